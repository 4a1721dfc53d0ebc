package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// content is a root as sessions serve it and a fetch fills it: all of them share one outline. It is loaded when it is
// first needed and forgotten when nobody uses it.
type content struct {
	node   *Node
	root   cafs.Key
	record []byte

	loading chan struct{} // holds a token while the outline is loaded, so that others can stop waiting for it
	outline *cafs.Outline // valid after loaded has returned nil
	entries *cafs.Outline // as outline, of the entries of a tree; nil if it is a file

	uses int // guarded by Node.mu
}

var _ protocol.Content = (*content)(nil)

// openContent returns the content of a root whose record is known, loaded. The caller releases it.
func (n *Node) openContent(ctx context.Context, root cafs.Key, record []byte) (*content, error) {
	c := n.shareContent(root, record)
	if err := c.loaded(ctx); err != nil {
		c.release()
		return nil, err
	}
	return c, nil
}

// shareContent returns the content of a root, perhaps not loaded yet. The caller releases it.
func (n *Node) shareContent(root cafs.Key, record []byte) *content {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.contents[root]
	if c == nil {
		c = &content{node: n, root: root, record: record, loading: make(chan struct{}, 1)}
		n.contents[root] = c
	}
	c.uses++
	return c
}

func (c *content) release() {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	if c.uses--; c.uses == 0 {
		c.forgetLocked()
	}
}

// forgetLocked lets those who come from now on load a content of their own. Callers hold Node.mu.
func (c *content) forgetLocked() {
	if c.node.contents[c.root] == c {
		delete(c.node.contents, c.root)
	}
}

// loaded reads the pages that are here, unless that was done. A second call waits for the first, and tries again if that
// failed: perhaps it was only the first caller's ctx that ended.
func (c *content) loaded(ctx context.Context) error {
	select {
	case c.loading <- struct{}{}:
		defer func() { <-c.loading }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if c.outline != nil {
		return nil
	}
	outline, entries, err := outlinesOf(c.record)
	if err != nil {
		return err
	}
	if err := outline.Load(ctx, c.node.store); err != nil {
		return err
	}
	if entries != nil {
		if err := entries.Load(ctx, c.node.store); err != nil {
			return err
		}
	}
	c.outline, c.entries = outline, entries
	return nil
}

// outlinesOf returns the outlines of the data that a root record describes and, if that is a tree, of its entries, with no
// pages yet.
func outlinesOf(record []byte) (data, entries *cafs.Outline, err error) {
	parsed, err := cafs.ParseRecord(record)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil, nil, fmt.Errorf("%w: %w", err, ErrUnsupported)
	}
	if err != nil {
		return nil, nil, err
	}
	if data, err = cafs.NewOutline(parsed.Data); err != nil || parsed.Kind != cafs.KindTree {
		return data, nil, err
	}
	entries, err = cafs.NewEntryOutline(parsed)
	return data, entries, err
}

// listed reports whether all pages are here.
func (c *content) listed() bool {
	return c.outline.Complete() && (c.entries == nil || c.entries.Complete())
}

// list returns the outline of a stream of a PAGES request, nil if there is none.
func (c *content) list(stream int) *cafs.Outline {
	if stream == streamEntries {
		return c.entries
	}
	return c.outline
}

// The streams of a PAGES request.
const (
	streamData    = 0
	streamEntries = 1
)

// Root implements protocol.Content, as do the methods below.
func (c *content) Root() cafs.Key { return c.root }

func (c *content) Record() []byte { return c.record }

func (c *content) Have() (items []protocol.HaveItem, complete bool) {
	info, err := c.node.store.Root(c.node.ctx, c.root)
	if err != nil {
		return nil, false
	}
	if c.node.stillComplete(c.node.ctx, info) {
		return nil, true
	}
	if f := c.node.fetchOf(c.root); f != nil {
		if items, known := f.have(); known {
			return items, false
		}
	}
	return c.node.haves.get(c.root, time.Now, c.lookUpHave), false
}

// lookUpHave finds out which chunks of a partial root are here: none, if the list can't be read.
func (c *content) lookUpHave() (items []protocol.HaveItem) {
	ctx := c.node.ctx
	if c.loaded(ctx) != nil {
		return nil
	}
	for number := range c.outline.RangesMax() {
		if have, chunks, err := c.haveRange(ctx, number); err == nil && have.Count() > 0 {
			items = append(items, haveItem(number, have, chunks))
		}
	}
	return items
}

// haveItem tells which of a range's chunks are here: one or more.
func haveItem(number int64, have protocol.Bits, chunks int) protocol.HaveItem {
	if have.Count() == chunks {
		return protocol.HaveItem{First: number, Count: 1, Op: protocol.HaveAll}
	}
	return protocol.HaveItem{First: number, Count: 1, Op: protocol.HaveAdd, Bits: have}
}

// rangeChunks lists the chunks of a range. A page that was here and is not any more is damage: the outline, which knows
// that the page was added, can't be used to get it again.
func (c *content) rangeChunks(ctx context.Context, number int64) (cafs.RangeChunks, error) {
	row, err := c.outline.Range(ctx, c.node.store, number)
	if isDamage(err) && c.outline.RangeKnown(number) {
		c.node.mu.Lock()
		c.forgetLocked()
		c.node.mu.Unlock()
		c.node.noteDamage(c.root)
	}
	return row, err
}

// haveRange looks up which of a range's chunks are here, and how many there are.
func (c *content) haveRange(ctx context.Context, number int64) (have protocol.Bits, chunks int, err error) {
	row, err := c.rangeChunks(ctx, number)
	if err != nil {
		return nil, 0, err
	}
	here, err := hasChunks(ctx, c.node.store, row.Chunks)
	if err != nil {
		return nil, 0, err
	}
	have = protocol.NewBits(len(here))
	for i, ok := range here {
		if ok {
			have.Set(i)
		}
	}
	return have, len(here), nil
}

// haveBytes counts the bytes of the content that are here.
func (c *content) haveBytes(ctx context.Context) (int64, error) {
	total := int64(0)
	for number := range c.outline.RangesMax() {
		if !c.outline.RangeKnown(number) {
			continue
		}
		row, err := c.rangeChunks(ctx, number)
		if err != nil {
			return 0, err
		}
		have, err := hasChunks(ctx, c.node.store, row.Chunks)
		if err != nil {
			return 0, err
		}
		for i, ok := range have {
			if ok {
				total += int64(row.Chunks[i].Size)
			}
		}
	}
	return total, nil
}

// keys returns the keys of all chunks.
func (c *content) keys(ctx context.Context) (map[cafs.Key]struct{}, error) {
	keys := make(map[cafs.Key]struct{}, c.outline.Items())
	for number := range c.outline.RangesMax() {
		row, err := c.rangeChunks(ctx, number)
		if err != nil {
			return nil, err
		}
		for _, chunk := range row.Chunks {
			keys[chunk.Key] = struct{}{}
		}
	}
	return keys, nil
}

// hasChunks is store.Has for the keys of chunks.
func hasChunks(ctx context.Context, store cafs.Getter, chunks []cafs.ChunkInfo) ([]bool, error) {
	keys := make([]cafs.Key, len(chunks))
	for i, info := range chunks {
		keys[i] = info.Key
	}
	have, err := store.Has(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("look up chunks: %w", err)
	}
	return have, nil
}

func (c *content) Chunks(ctx context.Context, number int64) ([]cafs.ChunkInfo, error) {
	if err := c.loaded(ctx); err != nil {
		return nil, err
	}
	if number >= c.outline.RangesMax() {
		return nil, nil
	}
	row, err := c.rangeChunks(ctx, number)
	if err != nil {
		return nil, err
	}
	// Those are about to be read one by one: a store may find them faster after it was asked for all.
	_, _ = hasChunks(ctx, c.node.store, row.Chunks) // the reads tell what is wrong
	return row.Chunks, nil
}

func (c *content) ReadChunk(ctx context.Context, at protocol.ChunkAt, buf []byte) ([]byte, error) {
	return watchedGetter{c.node.store, c.node, c.root}.Get(ctx, at.Info.Key, buf)
}

func (c *content) Pages(ctx context.Context, request protocol.PagesRequest) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if err := c.loaded(ctx); err != nil {
			yield(nil, err)
			return
		}
		list := c.list(request.Stream)
		if list == nil {
			yield(nil, fmt.Errorf("a file has no list of entries: %w", cafs.ErrNotFound))
			return
		}
		pages, complete := list.PagesFor(request.Level, request.First, request.Last, protocol.PagesMax)
		store := watchedGetter{c.node.store, c.node, c.root}
		var buf []byte
		for _, page := range pages {
			var err error
			if buf, err = store.Get(ctx, page.Key, buf); err != nil {
				yield(nil, fmt.Errorf("page at chunk %d: %w", page.FirstItem, err))
				return
			}
			if !yield(buf, nil) {
				return
			}
		}
		if !complete && len(pages) < protocol.PagesMax {
			yield(nil, fmt.Errorf("more pages of level %d: %w", request.Level, cafs.ErrNotFound))
		}
	}
}
