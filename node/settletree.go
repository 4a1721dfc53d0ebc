package node

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// settleTree hashes the files of a tree once more that were changed shortly before they were hashed.
func (n *Node) settleTree(ctx context.Context, referrer cafs.Referrer, known cafs.VolumeInfo) error {
	trees, ok := referrer.(cafs.TreeReferrer)
	if !ok {
		return nil
	}
	for file, err := range trees.TreeFiles(ctx, known.Path) {
		if err != nil {
			return err
		}
		if file.State == cafs.VolumeFresh {
			continue
		}
		info, err := os.Lstat(filepath.Join(known.Path, filepath.FromSlash(file.Path)))
		if err != nil {
			return err
		}
		if time.Since(info.ModTime()) < settleInterval+time.Second {
			return errUnsettled // it would be as racy as before
		}
	}
	return n.rehashTree(ctx, trees, known, n.idle)
}

// rehashTree hashes those files of a tree that are not known to be as they were when they were hashed, and seals it anew if all
// of it is what its root says; else the error wraps cafs.ErrChanged. It goes on only as long as proceed says so.
func (n *Node) rehashTree(
	ctx context.Context, trees cafs.TreeReferrer, known cafs.VolumeInfo, proceed func() bool,
) (err error) {
	tree, record, err := n.openTreeOf(ctx, known.Root)
	if err != nil {
		return err
	}
	volume, err := trees.OpenTree(ctx, known.Path, cafs.TreeVolumeOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, volume.Close()) }()
	files := openKnownFiles(ctx, trees, known.Path)
	defer files.close()
	defer n.store.Hold()() // the pages are put again
	opts := cafs.TreeOptions{Salt: record.Salt, Times: record.Times, Perms: record.Perms, Volume: volume, Old: tree.Data()}
	again, err := cafs.AddTree(ctx, n.store, knownEntries(ctx, tree, files, volume, proceed), opts)
	if err != nil {
		return err
	}
	if again.Root() != known.Root {
		return cafs.ErrChanged
	}
	if err := volume.Seal(ctx, known.Path, known.Root); err != nil {
		return err
	}
	return n.store.Sync(ctx)
}

// knownEntries enumerates the entries of a tree, whose files that have changed or may have are to be read.
func knownEntries(
	ctx context.Context, tree cafs.Tree, files *knownFiles, volume cafs.TreeVolume, proceed func() bool,
) iter.Seq2[cafs.SourceEntry, error] {
	return func(yield func(cafs.SourceEntry, error) bool) {
		for e, err := range tree.Entries(ctx, "") {
			if err == nil && !proceed() {
				err = errUnsettled
			}
			source := cafs.SourceEntry{Entry: e.Entry}
			if err == nil && e.Size > 0 {
				source, err = knownSource(ctx, e.Entry, files, volume)
			}
			if !yield(source, err) || err != nil {
				return
			}
		}
	}
}

// knownSource is a file with content that is added in place, after those that come before it in the tree.
func knownSource(ctx context.Context, e cafs.Entry, files *knownFiles, volume cafs.TreeVolume) (cafs.SourceEntry, error) {
	source := cafs.SourceEntry{Entry: e, Open: func(offset int64) (io.ReadCloser, error) {
		return volume.Open(ctx, e.Path, offset, e.Size)
	}}
	before, ok, err := files.find(e.Path)
	if err != nil || !ok || before.State != cafs.VolumeFresh || before.Size != e.Size {
		return source, err
	}
	source.Before, source.Unchanged = before.Offset, true
	source.Keep = func(offset int64) error { return volume.Keep(ctx, before, offset) }
	return source, nil
}
