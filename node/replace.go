package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"

	"github.com/swarmsync/swarmsync/cafs"
)

// replaced is a root that a file is served from which the output of a fetch takes the place of.
type replaced struct {
	cafs.RootInfo
	path string
	// stays has the keys of the chunks that the output has too.
	stays map[cafs.Key]struct{}
}

// rootReplacedAt returns the other root that the file at path is served for, if there is one.
func (f *fetch) rootReplacedAt(ctx context.Context, path string) (old replaced, found bool) {
	volume, known := f.node.volumeAt(ctx, path)
	if !known || volume.Root == f.link.Root || volume.Root == (cafs.Key{}) {
		return replaced{}, false
	}
	info, err := f.node.store.Root(ctx, volume.Root)
	if err != nil {
		return replaced{}, false // the user has removed it from the catalog
	}
	return replaced{RootInfo: info, path: path}, true
}

// noteReplaced tells the user what goes when the output takes the place of a file that another root is served from.
func (f *fetch) noteReplaced(ctx context.Context, path string) {
	old, found := f.rootReplacedAt(ctx, path)
	if !found || f.opts.KeepOld {
		return
	}
	bytes := int64(0)
	err := f.node.eachNowhereElse(ctx, old, func(chunk cafs.ChunkInfo) error {
		bytes += int64(chunk.Size)
		return nil
	})
	message := fmt.Sprintf("root %.8s… is served from %s, which is about to be replaced", old.Root, path)
	switch {
	case err != nil:
		message += ": what of it is nowhere else will be gone"
	case bytes > 0:
		message += fmt.Sprintf(": up to %s of it are nowhere else and will be gone; --keep-old keeps them", humanize.Bytes(uint64(bytes)))
	}
	f.events.now(Event{Kind: EventNote, Message: message})
}

// eachNowhereElse calls do for each chunk of a root that is in the file at its path and nowhere else.
func (n *Node) eachNowhereElse(ctx context.Context, old replaced, do func(chunk cafs.ChunkInfo) error) error {
	referrer, ok := n.store.(cafs.Referrer)
	if !ok {
		return nil
	}
	c, err := n.openContent(ctx, old.Root, old.Record)
	if err != nil {
		return err
	}
	defer c.release()
	for number := range c.outline.RangesMax() {
		row, err := c.rangeChunks(ctx, number)
		if err != nil {
			return err
		}
		keys := make([]cafs.Key, len(row.Chunks))
		for i, chunk := range row.Chunks {
			keys[i] = chunk.Key
		}
		here, err := n.store.Has(ctx, keys)
		if err != nil {
			return err
		}
		elsewhere, err := referrer.HasElsewhere(ctx, old.path, keys)
		if err != nil {
			return err
		}
		for i, chunk := range row.Chunks {
			if _, stays := old.stays[chunk.Key]; here[i] && !elsewhere[i] && !stays {
				if err := do(chunk); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// errGoes: a chunk of a root goes with the file that is replaced.
var errGoes = errors.New("goes")

// replaceOld is called when the output is complete and about to take the place of what is there. It keeps what is to be
// kept; after is called when the output is in place.
func (f *fetch) replaceOld(ctx context.Context) (after func() error, err error) {
	old, found := f.rootReplacedAt(ctx, f.outPath)
	if !found {
		return func() error { return nil }, nil
	}
	if old.stays, err = f.content.keys(ctx); err != nil {
		return nil, err
	}
	var buf []byte
	err = f.node.eachNowhereElse(ctx, old, func(info cafs.ChunkInfo) error {
		if !f.opts.KeepOld {
			return errGoes
		}
		chunk, err := cafs.ReadChunk(ctx, f.node.store, info, buf)
		if isDamage(err) {
			return nil // it was changed just now
		}
		if err != nil {
			return err
		}
		buf = chunk.Data()
		return f.node.store.Put(ctx, chunk)
	})
	if errors.Is(err, errGoes) {
		return func() error {
			f.node.noteIncomplete(old.Root, false, fmt.Sprintf("root %s has taken its place at %s", f.link.Root.Short(), f.outPath))
			return nil
		}, nil
	}
	if err == nil {
		err = f.node.store.Sync(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("keep what is in %s: %w", f.outPath, err)
	}
	return func() error { return f.node.leavePlace(ctx, old.Root) }, nil
}

// leavePlace notes that a root is in the store and not in a file any more.
func (n *Node) leavePlace(ctx context.Context, root cafs.Key) error {
	n.catalog.Lock()
	defer n.catalog.Unlock()
	info, err := n.store.Root(ctx, root)
	if errors.Is(err, cafs.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the root: %w", err)
	}
	info.Place = ""
	return n.put(ctx, info)
}

// finishReplacing completes the roots whose outputs were renamed by a process that ended before it could say so.
func (n *Node) finishReplacing(ctx context.Context, partial map[cafs.Key]bool) error {
	referrer, ok := n.store.(cafs.Referrer)
	if !ok || len(partial) == 0 {
		return nil
	}
	for volume, err := range referrer.Volumes(ctx) {
		if err != nil {
			return err
		}
		if partial[volume.Root] && unchanged(volume) {
			if err := n.complete(ctx, volume.Root, volume.Path); err != nil {
				return err
			}
		}
	}
	return nil
}
