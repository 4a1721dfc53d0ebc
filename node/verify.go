package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// VerifyOptions says what to verify, and what to do about damage. The zero value reads everything and repairs nothing.
type VerifyOptions struct {
	// Roots are those to verify; none means all in the catalog.
	Roots []cafs.Key
	// Repair looks for what is missing in the files of the roots, and fetches the rest from peers.
	Repair bool
	// Wait is how long to look for a holder, as in FetchOptions.
	Wait time.Duration
	// Events receives events, EventDamage among them; nil for none. One that blocks stops the Verify.
	Events func(Event)
}

// Damage is a part of a root's content that is not as it was, or not here any more.
type Damage struct {
	Root cafs.Key `json:"root"`
	Name string   `json:"name,omitempty"`
	// Path is the file that the bad bytes are in, one of the user's or one of the store's; empty if the bytes are gone.
	Path string `json:"path,omitempty"`
	// Offset and Bytes say which part of the content it is: chunk for chunk, but neighbours together. Bytes is 0 if it is
	// the list of the chunks that is damaged.
	Offset int64 `json:"offset"`
	Bytes  int64 `json:"bytes"`
	// Lost tells that there is no good copy here.
	Lost    bool   `json:"lost"`
	Message string `json:"message"`
}

// VerifyResult is what a Verify found.
type VerifyResult struct {
	// Roots counts the roots, and Bytes the bytes of content that were read and are as they should be.
	Roots int   `json:"roots"`
	Bytes int64 `json:"bytes"`
	// Damaged are the roots that have lost something, before repairing, and Repaired those of them that are complete again.
	Damaged  int `json:"damaged"`
	Repaired int `json:"repaired"`
}

// Verify reads and hashes every copy of every chunk of some roots, lists included. What is bad is forgotten, and told as an
// EventDamage: a root that has lost something is not complete any more, and a Fetch gets just that. Of a root that is not
// complete, only what is here is verified.
//
// The error wraps cafs.ErrNotFound if a root is not in the catalog, and is that of a Fetch if repairing needs one that
// fails; the result is valid also then, as far as it goes.
func (n *Node) Verify(ctx context.Context, opts VerifyOptions) (VerifyResult, error) {
	roots := opts.Roots
	if len(roots) == 0 {
		for info, err := range n.store.Roots(ctx) {
			if err != nil {
				return VerifyResult{}, fmt.Errorf("read the catalog: %w", err)
			}
			roots = append(roots, info.Root)
		}
	}
	v := &verification{node: n, opts: opts, events: events{send: opts.Events}, buf: make([]byte, cafs.ChunkSizeMax)}
	infos := make([]cafs.RootInfo, len(roots))
	for i, root := range roots {
		info, err := n.store.Root(ctx, root)
		if err != nil {
			return v.result, fmt.Errorf("verify: %w", err)
		}
		infos[i] = info
		v.total += bytesOf(info.Record)
	}
	var failed []error
	for _, info := range infos {
		if err := v.verify(ctx, info); err != nil {
			if ctx.Err() != nil {
				return v.result, context.Cause(ctx)
			}
			failed = append(failed, err)
		}
	}
	return v.result, errors.Join(failed...)
}

// verification is one run of Verify.
type verification struct {
	node   *Node
	opts   VerifyOptions
	events events
	buf    []byte
	total  int64 // bytes of content of all roots
	done   int64 // of these
	told   time.Time
	result VerifyResult
}

func (v *verification) verify(ctx context.Context, info cafs.RootInfo) error {
	v.result.Roots++
	if v.opts.Repair {
		if err := v.searchFile(ctx, info); err != nil {
			return err
		}
	}
	before := v.done
	lost, whole, err := v.check(ctx, info)
	v.done = before + bytesOf(info.Record)
	v.progress(true)
	if err != nil {
		return fmt.Errorf("verify root %s: %w", info.Root.Short(), err)
	}
	if whole {
		return v.node.complete(ctx, info.Root, "")
	}
	if !lost {
		// Another root has its place, and whoever put it there was killed before it was noted; or it never was complete.
		v.node.noteIncomplete(info.Root, false, "another root has its place")
		return nil
	}
	v.result.Damaged++
	v.node.noteIncomplete(info.Root, true, "parts of it are damaged; a fetch of it gets those parts again")
	if !v.opts.Repair {
		return nil
	}
	fetchOpts := FetchOptions{Wait: v.opts.Wait, Events: func(event Event) {
		if event.Kind != EventProgress {
			v.events.now(event)
		}
	}}
	if _, err := v.node.Fetch(ctx, Link{Root: info.Root}, fetchOpts); err != nil {
		return fmt.Errorf("repair root %s: %w", info.Root.Short(), err)
	}
	v.result.Repaired++
	return nil
}

// searchFile finds what of a root is in its file, if the store does not know: the index may have been made anew.
func (v *verification) searchFile(ctx context.Context, info cafs.RootInfo) error {
	referrer, ok := v.node.store.(cafs.Referrer)
	if !ok || info.Place == "" {
		return nil
	}
	volume, known := v.node.volumeAt(ctx, info.Place)
	if known && (volume.Root != info.Root || unchanged(volume)) {
		return nil
	}
	if file, err := os.Lstat(info.Place); err != nil || !file.Mode().IsRegular() {
		return nil
	}
	if err := v.node.rehash(ctx, referrer, info); err != nil {
		return fmt.Errorf("look for root %s in %s: %w", info.Root.Short(), info.Place, err)
	}
	return nil
}

// check checks the list of a root and then its chunks. lost tells that something that was here is not here any more, and
// whole that everything is.
func (v *verification) check(ctx context.Context, info cafs.RootInfo) (lost, whole bool, err error) {
	outline, entries, err := outlinesOf(info.Record)
	if err != nil {
		return false, false, err
	}
	report := &damageReport{v: v, info: info, gone: v.goneText(ctx, info)}
	report.expected = (info.Complete || info.Damaged) && !v.node.superseded(ctx, info)
	pages := checkedPages{v.node.store, report, v.buf}
	if err := outline.Load(ctx, pages); err != nil {
		return false, false, err
	}
	listed := outline.Complete()
	if entries != nil {
		if err := entries.Load(ctx, pages); err != nil {
			return false, false, err
		}
		listed = listed && entries.Complete()
	}
	if !listed && report.expected && !report.lost {
		report.add("", 0, 0, true, "a part of the list of its chunks is gone")
	}
	for number := range outline.RangesMax() {
		if !outline.RangeKnown(number) {
			report.flush()
			continue
		}
		row, err := outline.Range(ctx, v.node.store, number)
		if err != nil {
			return false, false, err
		}
		offset := row.Offset
		for _, chunk := range row.Chunks {
			if err := v.checkChunk(ctx, report, chunk, offset); err != nil {
				return false, false, err
			}
			offset += int64(chunk.Size)
		}
		v.progress(false)
	}
	report.flush()
	return report.lost, listed && !report.missing, nil
}

// goneText says where the chunks of a root are not that are gone without a trace.
func (v *verification) goneText(ctx context.Context, info cafs.RootInfo) string {
	if volume, known := v.node.volumeAt(ctx, info.Place); known && volume.State == cafs.VolumeMissing {
		return fmt.Sprintf("%s is missing", info.Place)
	}
	return "gone"
}

// bytesOf returns the size of the content that a catalogued record describes, 0 if it is none.
func bytesOf(record []byte) int64 {
	outline, _, err := outlinesOf(record)
	if err != nil {
		return 0
	}
	return outline.Bytes()
}

func (v *verification) checkChunk(ctx context.Context, report *damageReport, chunk cafs.ChunkInfo, offset int64) error {
	bad, good, err := v.node.store.Check(ctx, chunk.Key, v.buf)
	if err != nil {
		return err
	}
	size := int64(chunk.Size)
	v.done += size
	if good {
		v.result.Bytes += size
	} else {
		report.missing = true
	}
	for _, copied := range bad {
		report.add(copied.Path, offset, size, !good, badText(copied.Err))
	}
	if !good && len(bad) == 0 && report.expected {
		report.add("", offset, size, true, report.gone)
	}
	return nil
}

func badText(err error) string {
	var cause syscall.Errno
	switch {
	case errors.Is(err, cafs.ErrChanged):
		return "somebody has changed the file"
	case errors.As(err, &cause):
		return "can't be read: " + cause.Error()
	}
	return "other bytes than there were"
}

func (v *verification) progress(always bool) {
	if now := time.Now(); always || now.Sub(v.told) >= tickInterval {
		v.told = now
		v.events.now(Event{Kind: EventProgress, Total: v.total, Reused: v.done})
	}
}

// damageReport tells of the damage of one root, neighbours together.
type damageReport struct {
	v    *verification
	info cafs.RootInfo
	gone string // what to say of chunks that there is no copy of
	open *Damage

	expected bool // everything should be here

	lost    bool // something that was here
	missing bool // something, whether it was here or not
}

func (r *damageReport) add(path string, offset, bytes int64, lost bool, message string) {
	r.lost = r.lost || lost
	if d := r.open; d != nil && bytes > 0 && d.Path == path && d.Offset+d.Bytes == offset && d.Lost == lost && d.Message == message {
		d.Bytes += bytes
		return
	}
	r.flush()
	r.open = &Damage{
		Root: r.info.Root, Name: r.info.Name, Path: path, Offset: offset, Bytes: bytes, Lost: lost, Message: message,
	}
}

func (r *damageReport) flush() {
	if r.open == nil {
		return
	}
	r.v.events.now(Event{Kind: EventDamage, Damage: r.open})
	r.open = nil
}

// checkedPages is a store whose every copy of a page is checked before it is read.
type checkedPages struct {
	cafs.Store
	report *damageReport
	buf    []byte
}

func (c checkedPages) Get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	bad, good, err := c.Check(ctx, key, c.buf)
	if err != nil {
		return nil, err
	}
	for _, copied := range bad {
		c.report.add(copied.Path, 0, 0, !good, "a part of the list of its chunks: "+badText(copied.Err))
	}
	if !good {
		return nil, fmt.Errorf("page %s: %w", key, cafs.ErrNotFound)
	}
	return c.Store.Get(ctx, key, buf)
}
