package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// staleInterval is how often a node looks at the files of the roots that others have sessions about.
	staleInterval = 500 * time.Millisecond
	// staleQuiet is how long a file that was changed must have been left alone before it is hashed again.
	staleQuiet = 2 * time.Second
	// suspectsMax bounds the roots that wait for a look; more are looked at when they are met again.
	suspectsMax = 64
)

// staleFiles are the files of the user's that are not any more what they were when they were hashed, by root. Only the
// goroutine of tendFiles uses them.
type staleFiles map[cafs.Key]*staleFile

type staleFile struct {
	look   fileLook  // the last one
	since  time.Time // when that was seen first
	hashed bool      // since then, or at least begun
}

// fileLook is what tells that a file was touched.
type fileLook struct {
	size     int64
	modified time.Time
	missing  bool
}

func lookAt(path string) fileLook {
	info, err := os.Lstat(path)
	if err != nil {
		return fileLook{missing: true}
	}
	return fileLook{size: info.Size(), modified: info.ModTime()}
}

// suspect asks for a look at the file of a root, without waiting.
func (n *Node) suspect(root cafs.Key) {
	select {
	case n.suspects <- root:
	default:
	}
}

// tendFiles sees to it that what this node tells of the user's files is true: that a file has changed is told at once,
// and what is still in it when it was left alone for a while, after hashing it. It returns when ctx ends.
func (n *Node) tendFiles(ctx context.Context, referrer cafs.Referrer) {
	stale := make(staleFiles)
	rehashed := make(chan struct{}, 1)
	hashing := false
	ticker := time.NewTicker(staleInterval)
	defer ticker.Stop()
	for {
		var roots []cafs.Key
		select {
		case <-ctx.Done():
			return
		case root := <-n.suspects:
			roots = append(roots, root)
		case <-rehashed:
			hashing = false
		case <-ticker.C:
			roots = n.server.roots()
			for root := range stale {
				roots = append(roots, root)
			}
		}
		for _, root := range roots {
			info, due := n.tendFile(ctx, stale, root, time.Now())
			if !due || hashing {
				continue
			}
			hashing = true
			stale[root].hashed = true
			n.work.Go(func() {
				if err := n.rehash(ctx, referrer, info); err != nil && ctx.Err() == nil {
					log.Warnf("hash %s again: %v", info.Place, err)
				}
				rehashed <- struct{}{}
			})
		}
	}
}

// tendFile looks at the file of a root, and tells receivers if it has changed. due reports that it is time to hash it.
func (n *Node) tendFile(ctx context.Context, stale staleFiles, root cafs.Key, now time.Time) (info cafs.RootInfo, due bool) {
	info, err := n.store.Root(ctx, root)
	volume, known := n.volumeAt(ctx, info.Place)
	file := stale[root]
	if err != nil || !known || volume.Root != root || n.fetchOf(root) != nil { // a fetch tells for itself
		delete(stale, root)
		return info, false
	}
	if unchanged(volume) {
		if file != nil {
			delete(stale, root)
			n.offerAgain(ctx, info)
		}
		return info, false
	}
	if file == nil {
		file = &staleFile{hashed: true}
		stale[root] = file
	}
	if look := lookAt(info.Place); look != file.look {
		if file.hashed {
			n.withdraw(ctx, info)
		}
		*file = staleFile{look: look, since: now}
	}
	return info, !file.hashed && !file.look.missing && now.Sub(file.since) >= staleQuiet
}

// offerAgain tells that a root is complete after all: its file is back, or only looked changed.
func (n *Node) offerAgain(ctx context.Context, info cafs.RootInfo) {
	if err := n.complete(ctx, info.Root, ""); err != nil {
		log.Warnf("note that root %s is complete again: %v", info.Root.Short(), err)
		return
	}
	if ranges, err := rangesOf(info.Record); err == nil && ranges > 0 {
		n.tellReceivers(info.Root, []protocol.HaveItem{{First: 0, Count: ranges, Op: protocol.HaveAll}})
	}
}

// withdraw notes that the file of a root has changed, and tells receivers that nothing of the root is here but what is
// found elsewhere.
func (n *Node) withdraw(ctx context.Context, info cafs.RootInfo) {
	n.noteIncomplete(info.Root, true, fmt.Sprintf("%s has changed; what is still in it is served when it was left alone for %v", info.Place, staleQuiet))
	n.haves.drop(info.Root)
	ranges, err := rangesOf(info.Record)
	if err != nil || ranges == 0 {
		return
	}
	n.tellReceivers(info.Root, []protocol.HaveItem{{First: 0, Count: ranges, Op: protocol.HaveNone}})
	c := n.shareContent(info.Root, info.Record)
	defer c.release()
	n.tellReceivers(info.Root, c.lookUpHave())
}

// tellReceivers tells everybody who has a session about a root what is here now.
func (n *Node) tellReceivers(root cafs.Key, items []protocol.HaveItem) {
	if n.server == nil {
		return
	}
	key := protocol.DiscoveryKeyOf(root)
	news := make(map[peer.ID][]protocol.HaveItem)
	for _, id := range n.server.receivers(key) {
		news[id] = items
	}
	n.server.tellHave(key, news)
}

// rehash finds out what is left of a root in a file that has changed, and offers that again.
func (n *Node) rehash(ctx context.Context, referrer cafs.Referrer, info cafs.RootInfo) (err error) {
	c, err := n.openContent(ctx, info.Root, info.Record)
	if err != nil {
		return err
	}
	defer c.release()
	known, ok := n.volumeAt(ctx, info.Place)
	if trees, isTree := referrer.(cafs.TreeReferrer); ok && known.Tree && isTree {
		// Of the files that have not changed nothing was taken back. The others may only look changed.
		if err := n.rehashTree(ctx, trees, known, func() bool { return true }); !errors.Is(err, cafs.ErrChanged) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	volume, err := referrer.OpenVolume(ctx, info.Place, cafs.VolumeOptions{})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, volume.Close()) }()
	whole := true
	err = n.hashFile(ctx, c, volume, func(number int64, row cafs.RangeChunks, good protocol.Bits) error {
		whole = whole && good.Count() == len(row.Chunks)
		if err := volume.Refer(ctx, goodRefs(row, good)...); err != nil {
			return err
		}
		if have, chunks, err := c.haveRange(ctx, number); err == nil && have.Count() > 0 {
			n.tellReceivers(info.Root, []protocol.HaveItem{haveItem(number, have, chunks)})
		}
		return nil
	})
	n.haves.drop(info.Root)
	if err != nil {
		return err
	}
	if file, err := os.Lstat(info.Place); err == nil && whole && file.Size() == c.outline.Bytes() {
		// Sealed, it is as it should be, which the next look sees; if it has changed meanwhile the next look sees that.
		if err := volume.Seal(ctx, info.Place, info.Root); err != nil && !errors.Is(err, cafs.ErrChanged) {
			return err
		}
	}
	return n.store.Sync(ctx)
}

// goodRefs says where those chunks of a range are that good has.
func goodRefs(row cafs.RangeChunks, good protocol.Bits) []cafs.ChunkRef {
	refs := make([]cafs.ChunkRef, 0, len(row.Chunks))
	offset := row.Offset
	for i, chunk := range row.Chunks {
		if good.Get(i) {
			refs = append(refs, cafs.ChunkRef{Chunk: chunk, Offset: offset})
		}
		offset += int64(chunk.Size)
	}
	return refs
}

// hashFile hashes a file at the places where the chunks of a root are to be, and calls each for every range, with those
// that are there.
func (n *Node) hashFile(
	ctx context.Context, c *content, file cafs.Volume,
	each func(number int64, row cafs.RangeChunks, good protocol.Bits) error,
) error {
	buf := make([]byte, cafs.ChunkSizeMax)
	var zeros cafs.ChunkInfo // the last chunk of zeros alone
	var holeEnd int64        // of the hole that it was found in
	for number := range c.outline.RangesMax() {
		if err := ctx.Err(); err != nil {
			return err
		}
		row, err := c.rangeChunks(ctx, number)
		if err != nil {
			return err
		}
		good := protocol.NewBits(len(row.Chunks))
		offset := row.Offset
		for i, chunk := range row.Chunks {
			data := buf[:chunk.Size]
			if chunk == zeros && offset+int64(chunk.Size) <= holeEnd {
				good.Set(i)
			} else if _, err := file.ReadAt(data, offset); err == nil { // what can't be read is not there; a file may end early
				if _, err := cafs.VerifyChunk(chunk, data); err == nil {
					good.Set(i)
					if isZero(data) {
						zeros, holeEnd = chunk, offset+file.HoleAt(offset)
					}
				}
			}
			offset += int64(chunk.Size)
		}
		if err := each(number, row, good); err != nil {
			return err
		}
	}
	return nil
}
