package cafs

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
)

// OpenFile returns the content of a root whose pages and chunks are read from g as they are needed: nothing is read
// here, and at most a few hundred KiB of the list are held at any time. The error wraps ErrBadRoot if the record breaks
// the rules. Reads of the File fail with ErrNotFound where a page or a chunk is not in g, and with ErrBadRoot where a
// page breaks the rules.
func OpenFile(g Getter, rec Record) (File, error) {
	if rec.Kind != KindFile {
		return File{}, fmt.Errorf("open content: a %v is not a file", rec.Kind)
	}
	return openData(g, rec)
}

// openData returns the data stream of a root of any kind.
func openData(g Getter, rec Record) (File, error) {
	top, err := rec.Data.top(0)
	if err != nil {
		return File{}, fmt.Errorf("open content: %w", err)
	}
	list := &pagedList{getter: g, list: rec.Data, top: top}
	return File{getter: g, list: list, size: rec.Data.Bytes, chunks: rec.Data.Items}, nil
}

// pagedList is a chunk list that is read from its pages.
type pagedList struct {
	getter Getter
	list   List
	top    decodedPage
	cache  pageCache
}

// rowAt returns the leaf page that covers the byte at off.
func (l *pagedList) rowAt(ctx context.Context, off int64) (RangeChunks, error) {
	page, at := l.top, PageInfo{Level: l.list.Depth}
	for at.Level > 0 {
		at = page.pageAt(at, off)
		var err error
		if page, err = l.cache.load(ctx, l.getter, at, l.list.Items); err != nil {
			return RangeChunks{}, err
		}
	}
	return RangeChunks{First: at.FirstItem, Offset: at.FirstByte, Chunks: page.chunks}, nil
}

// pageAt returns the page, one of those that p refers to, that covers the byte at off; at is p itself.
func (p decodedPage) pageAt(at PageInfo, off int64) PageInfo {
	for below := range p.below(at) {
		if off < below.endByte() {
			return below
		}
	}
	panic("cafs: offset behind the end of a page")
}

// below enumerates the pages that p refers to; at is p itself, or the top list with a level above all pages.
func (p decodedPage) below(at PageInfo) iter.Seq[PageInfo] {
	return func(yield func(PageInfo) bool) {
		below := PageInfo{Level: at.Level - 1, FirstItem: at.FirstItem, FirstByte: at.FirstByte, form: at.form}
		for _, r := range p.refs {
			below.Key, below.Size, below.Items, below.Bytes, below.path = r.key, r.size, r.items, r.bytes, r.path
			if !yield(below) {
				return
			}
			below.FirstItem += r.items
			below.FirstByte += r.bytes
		}
	}
}

// cachedPages is enough for the pages above a few readers and the leaf pages that they are in; a decoded page takes at
// most 14 KiB.
const cachedPages = 32

// pageCache holds the pages that were used last. Its zero value is empty.
type pageCache struct {
	mu    sync.Mutex
	pages []cachedPage // the one used last comes first
}

type cachedPage struct {
	claim pageClaim
	page  decodedPage
}

// pageClaim is all that a page is checked against. Hostile lists may claim different things of one page.
type pageClaim struct {
	key          Key
	items, bytes int64
	last         bool
	form         itemForm
	path         string
}

// load returns the content of a page, from the cache or from g; for the errors see readPage.
func (c *pageCache) load(ctx context.Context, g Getter, p PageInfo, streamItems int64) (decodedPage, error) {
	claim := pageClaim{p.Key, p.Items, p.Bytes, p.endItem() == streamItems, p.form, p.path}
	if page, ok := c.get(claim); ok {
		return page, nil
	}
	data, err := g.Get(ctx, p.Key, nil)
	if err != nil {
		return decodedPage{}, fmt.Errorf("read page %s: %w", p.Key, err)
	}
	page, err := readPage(p, data, streamItems)
	if err != nil {
		return decodedPage{}, err
	}
	c.put(claim, page)
	return page, nil
}

func (c *pageCache) get(claim pageClaim) (decodedPage, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.pages, func(p cachedPage) bool { return p.claim == claim })
	if i < 0 {
		return decodedPage{}, false
	}
	found := c.pages[i]
	copy(c.pages[1:i+1], c.pages[:i])
	c.pages[0] = found
	return found.page, true
}

func (c *pageCache) put(claim pageClaim, page decodedPage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pages) == cachedPages {
		c.pages = c.pages[:cachedPages-1]
	}
	c.pages = slices.Insert(c.pages, 0, cachedPage{claim, page})
}
