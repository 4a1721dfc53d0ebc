package node

import (
	"context"

	"github.com/swarmsync/swarmsync/cafs"
)

// oldTree is what is known of the tree that the target was added or written as.
type oldTree struct {
	files map[string]cafs.TreeFile
	data  cafs.File
}

// openOldTree returns what is known of a directory, nil if that is nothing.
func (n *Node) openOldTree(ctx context.Context, path string) *oldTree {
	referrer, ok := n.store.(cafs.TreeReferrer)
	volume, known := n.volumeAt(ctx, path)
	if !ok || !known || !volume.Tree {
		return nil
	}
	tree, _, err := n.openTreeOf(ctx, volume.Root)
	if err != nil {
		return nil // it was removed from the catalog
	}
	old := &oldTree{files: make(map[string]cafs.TreeFile), data: tree.Data()}
	for file, err := range referrer.TreeFiles(ctx, path) {
		if err != nil {
			return nil
		}
		old.files[file.Path] = file
	}
	return old
}

// openTreeOf returns the tree of a catalogued root.
func (n *Node) openTreeOf(ctx context.Context, root cafs.Key) (cafs.Tree, cafs.Record, error) {
	info, err := n.store.Root(ctx, root)
	if err != nil {
		return cafs.Tree{}, cafs.Record{}, err
	}
	record, err := cafs.ParseRecord(info.Record)
	if err != nil {
		return cafs.Tree{}, cafs.Record{}, err
	}
	tree, err := cafs.OpenTree(watchedGetter{n.store, n, root}, record)
	return tree, record, err
}
