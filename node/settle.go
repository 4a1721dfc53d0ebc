package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// settleInterval is how often a node looks for files to hash once more, and how long it must have had nothing else to do.
const settleInterval = 5 * time.Second

// settleTries bounds the times that a file is hashed which does not become fresh: its times may be of the future.
const settleTries = 3

// errUnsettled: a file was not hashed to its end, or is not worth it now.
var errUnsettled = errors.New("not now")

// settle hashes files once more that were changed so shortly before they were hashed that a change since then need not
// show: what was written by a fetch, and what was added at once. From then on they are served without hashing. It works
// only while the node has nothing else to do, and returns when ctx ends.
func (n *Node) settle(ctx context.Context, referrer cafs.Referrer) {
	tries := make(map[cafs.VolumeInfo]int) // of what is racy still, or can't be read
	for sleep(ctx, n.patience.settle) {
		if !n.idle() {
			continue
		}
		for volume, err := range referrer.Volumes(ctx) {
			if err != nil || !n.idle() {
				break
			}
			if volume.State != cafs.VolumeRacy || volume.Root == (cafs.Key{}) || tries[volume] >= settleTries {
				continue
			}
			settle := n.settleVolume
			if volume.Tree {
				settle = n.settleTree
			}
			err := settle(ctx, referrer, volume)
			if errors.Is(err, errUnsettled) {
				continue
			}
			tries[volume]++
			if err != nil && ctx.Err() == nil {
				log.Debugf("hash %s once more: %v", volume.Path, err)
			}
		}
	}
}

// idle reports whether this node neither fetches nor serves.
func (n *Node) idle() bool {
	n.mu.Lock()
	fetching := len(n.fetches) > 0
	n.mu.Unlock()
	return !fetching && (n.server == nil || n.server.quiet())
}

// settleVolume hashes a file against the list of its root, and seals it anew.
func (n *Node) settleVolume(ctx context.Context, referrer cafs.Referrer, known cafs.VolumeInfo) (err error) {
	file, err := os.Lstat(known.Path)
	if err != nil {
		return err
	}
	if time.Since(file.ModTime()) < settleInterval+time.Second {
		return errUnsettled // it would be as racy as before
	}
	info, err := n.store.Root(ctx, known.Root)
	if err != nil {
		return err
	}
	c, err := n.openContent(ctx, info.Root, info.Record)
	if err != nil {
		return err
	}
	defer c.release()
	volume, err := referrer.OpenVolume(ctx, known.Path, cafs.VolumeOptions{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, volume.Close()) }()
	err = n.hashFile(ctx, c, volume, func(number int64, row cafs.RangeChunks, good protocol.Bits) error {
		if !n.idle() {
			return errUnsettled
		}
		if good.Count() < len(row.Chunks) {
			n.noteDamage(known.Root)
			return fmt.Errorf("range %d: %w", number, cafs.ErrCorrupt)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := volume.Seal(ctx, known.Path, known.Root); err != nil {
		return err
	}
	return n.store.Sync(ctx)
}
