package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/swarmsync/swarmsync/cafs"
)

// stillComplete reports whether a root that was complete still is, as far as a look at the user's file tells that its
// chunks are in: nobody may have changed it, and no other root may have taken its place.
func (n *Node) stillComplete(ctx context.Context, info cafs.RootInfo) bool {
	if !info.Complete {
		return false
	}
	volume, known := n.volumeAt(ctx, info.Place)
	if !known {
		return true // its chunks are in the store
	}
	return volume.Root == info.Root && unchanged(volume)
}

// volumeAt returns the volume that the store has at path, if it has one.
func (n *Node) volumeAt(ctx context.Context, path string) (volume cafs.VolumeInfo, known bool) {
	referrer, ok := n.store.(cafs.Referrer)
	if !ok || path == "" {
		return cafs.VolumeInfo{}, false
	}
	volume, err := referrer.Volume(ctx, path)
	if err != nil && !errors.Is(err, cafs.ErrNotFound) {
		log.Warnf("look at %s: %v", path, err)
	}
	return volume, err == nil
}

// unchanged reports whether a file looks as it did when it was hashed.
func unchanged(volume cafs.VolumeInfo) bool {
	return volume.State == cafs.VolumeFresh || volume.State == cafs.VolumeRacy
}

// superseded reports whether another root has taken the place of a root.
func (n *Node) superseded(ctx context.Context, info cafs.RootInfo) bool {
	volume, known := n.volumeAt(ctx, info.Place)
	return known && volume.Root != info.Root && volume.Root != (cafs.Key{})
}

// standsAt reports whether the file at path is known to have the content of a root, unchanged.
func (n *Node) standsAt(ctx context.Context, root cafs.Key, path string) bool {
	volume, known := n.volumeAt(ctx, path)
	return known && volume.Root == root && unchanged(volume) && (!volume.Tree || n.treeStandsAt(ctx, root, path))
}

// treeStandsAt reports whether the directory at path has all of the tree that it is known as. It looks at everything anew.
func (n *Node) treeStandsAt(ctx context.Context, root cafs.Key, path string) bool {
	tree, _, err := n.openTreeOf(ctx, root)
	referrer, ok := n.store.(cafs.TreeReferrer)
	if err != nil || !ok {
		return false
	}
	for file, err := range referrer.TreeFiles(ctx, path) {
		if err != nil || file.State != cafs.VolumeFresh && file.State != cafs.VolumeRacy {
			return false
		}
	}
	for e, err := range tree.Entries(ctx, "") {
		if err != nil || e.Size == 0 && !standsAsEntry(e.Entry, filepath.Join(path, filepath.FromSlash(e.Path))) {
			return false
		}
	}
	return true
}

// standsAsEntry reports whether what is at path is what an entry without content says.
func standsAsEntry(e cafs.Entry, path string) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	switch e.Type {
	case cafs.TypeDirectory:
		return info.IsDir()
	case cafs.TypeSymlink:
		target, err := os.Readlink(path)
		return err == nil && target == e.Target
	}
	return info.Mode().IsRegular() && info.Size() == 0
}
