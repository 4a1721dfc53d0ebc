package cafs

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"sync"
)

// Outline is a list tree as far as it is known: the refs of the pages, not the chunks or entries that the leaf pages list,
// which are read again from a store when they are needed. It takes about 80 bytes for each page whose ref is known, 25 MB for
// content of 1 TiB, plus some hundred KiB for pages used lately.
//
// Receivers add pages as they arrive, in any order in which a page follows the one above it; holders load them from
// their store. The methods may be called concurrently; none holds a lock while it reads from a store or hashes.
type Outline struct {
	list   List
	form   itemForm
	chunks []ChunkInfo // the whole list, if it has no pages
	cache  pageCache

	mu        sync.RWMutex // guards what follows, with all branches
	top       *branch      // nil if the list has no pages
	lastChunk int          // size of the stream's last chunk, 0 until it is known
}

// branch is what is known of the pages that one page, or the top list, refers to.
type branch struct {
	level      int // of these pages
	pages      []outlinePage
	paths      []string // of the first entries below the pages, in entry tables
	endItem    int64
	endByte    int64
	up         *branch // the branch with the page that refers to these, nil at the top
	unfinished int     // pages here of which something at or below them is not known
}

// outlinePage is kept small: there are 300,000 in the outline of 1 TiB.
type outlinePage struct {
	key       Key
	size      uint32
	added     bool
	edges     leafEdges // of a leaf page that was added
	firstItem int64
	firstByte int64
	below     *branch // of a page of level 1 and above that was added
}

// leafEdges is what the rule on three neighbouring chunks needs to know of the ends of a leaf page: bytes, but no more
// than neighboursMin, which satisfies it.
type leafEdges struct{ first, firstTwo, last, lastTwo uint16 }

// NewOutline returns the outline of a list of chunks with no pages added. It checks everything that the list says; the
// error wraps ErrBadRoot.
func NewOutline(list List) (*Outline, error) { return newOutline(list, 0) }

// NewEntryOutline returns the outline of the entries of a tree with no pages added; for the error see NewOutline. Its
// items are entries, and it has no ranges.
func NewEntryOutline(rec Record) (*Outline, error) { return newOutline(rec.Entries, rec.entryForm()) }

func newOutline(list List, form itemForm) (*Outline, error) {
	top, err := list.top(form)
	if err != nil {
		return nil, err
	}
	o := &Outline{list: list, form: form, chunks: top.chunks}
	if list.Depth > 0 {
		o.top = newBranch(top, list.Depth-1, PageInfo{Items: list.Items, Bytes: list.Bytes, form: form}, nil)
	} else if n := len(top.chunks); n > 0 {
		o.lastChunk = top.chunks[n-1].Size
	}
	return o, nil
}

// newBranch returns the pages that the content of the page above refers to.
func newBranch(content decodedPage, level int, above PageInfo, up *branch) *branch {
	b := &branch{
		level: level, pages: make([]outlinePage, len(content.refs)), up: up, unfinished: len(content.refs),
		endItem: above.endItem(), endByte: above.endByte(),
	}
	item, byt := above.FirstItem, above.FirstByte
	for i, r := range content.refs {
		b.pages[i] = outlinePage{key: r.key, size: uint32(r.size), firstItem: item, firstByte: byt}
		item += r.items
		byt += r.bytes
	}
	if above.form != 0 {
		b.paths = make([]string, len(content.refs))
		for i, r := range content.refs {
			b.paths[i] = r.path
		}
	}
	return b
}

// info returns what is known of page i before it is added.
func (o *Outline) info(b *branch, i int) PageInfo {
	p := &b.pages[i]
	endItem, endByte := b.endItem, b.endByte
	if i+1 < len(b.pages) {
		endItem, endByte = b.pages[i+1].firstItem, b.pages[i+1].firstByte
	}
	info := PageInfo{
		Level: b.level, Key: p.key, Size: int(p.size), FirstItem: p.firstItem, Items: endItem - p.firstItem,
		FirstByte: p.firstByte, Bytes: endByte - p.firstByte, form: o.form,
	}
	if b.paths != nil {
		info.path = b.paths[i]
	}
	return info
}

// Items returns the number of chunks of the stream.
func (o *Outline) Items() int64 { return o.list.Items }

// Bytes returns the length of the stream in bytes.
func (o *Outline) Bytes() int64 { return o.list.Bytes }

// RangesMax returns the number of ranges of the stream, or one more; the exact number depends on the size of the last
// chunk, see Ranges.
func (o *Outline) RangesMax() int64 {
	if o.list.Bytes == 0 {
		return 0
	}
	return 1 + (o.list.Bytes-1)/RangeBytes
}

// Ranges returns the number of ranges of the stream if the last leaf page is known, and RangesMax and false before.
func (o *Outline) Ranges() (n int64, exact bool) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.lastChunk > 0 {
		return 1 + (o.list.Bytes-int64(o.lastChunk))/RangeBytes, true
	}
	return o.RangesMax(), o.list.Bytes == 0
}

// Complete reports whether all pages were added.
func (o *Outline) Complete() bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.top == nil || o.top.unfinished == 0
}

// Missing returns the first pages, at most limit and from left to right, that can be added next: those whose ref is known
// and that were not added. The same page may stand in several places, as in long rows of equal chunks: look into the
// store before a peer is asked.
func (o *Outline) Missing(limit int) []PageInfo {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var pages []PageInfo
	if o.top != nil {
		o.missing(o.top, limit, &pages)
	}
	return pages
}

func (o *Outline) missing(b *branch, limit int, pages *[]PageInfo) {
	if b.unfinished == 0 {
		return
	}
	for i := range b.pages {
		if len(*pages) >= limit {
			return
		}
		switch p := &b.pages[i]; {
		case !p.added:
			*pages = append(*pages, o.info(b, i))
		case p.below != nil:
			o.missing(p.below, limit, pages)
		}
	}
}

// AddPage checks data against what is known of the page p, one that this Outline returned, and adds it; adding a page
// again does nothing. It keeps no reference to data, and storing the page is up to the caller. The error wraps
// ErrCorrupt if data is not what the page's key says: whoever sent it is to blame. It wraps ErrBadRoot if data is the
// page and breaks the rules of the format: nobody can ever complete this list. The outline is as before then.
func (o *Outline) AddPage(p PageInfo, data []byte) error {
	content, err := readPage(p, data, o.list.Items)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	b, i := o.find(p.Level, p.FirstItem)
	if b == nil || o.info(b, i) != p {
		return fmt.Errorf("page %s of level %d is not in this list", p.Key, p.Level)
	}
	page := &b.pages[i]
	if page.added {
		return nil
	}
	if p.Level > 0 {
		page.below = newBranch(content, p.Level-1, p, b)
		page.added = true
		return nil
	}
	if o.form == 0 {
		if err := o.addChunks(p, page, content.chunks); err != nil {
			return err
		}
	}
	page.added = true
	b.finish()
	return nil
}

// addChunks takes note of the chunks of a leaf page. Callers hold o.mu.
func (o *Outline) addChunks(p PageInfo, page *outlinePage, chunks []ChunkInfo) error {
	last := p.endItem() == o.list.Items
	edges := edgesOf(chunks, last)
	if err := o.checkEdges(p, edges); err != nil {
		return fmt.Errorf("page %s of level 0: %w: %w", p.Key, err, ErrBadRoot)
	}
	page.edges = edges
	if last {
		o.lastChunk = chunks[len(chunks)-1].Size
	}
	return nil
}

// finish notes that one more page of b is known with everything below it.
func (b *branch) finish() {
	for ; b != nil; b = b.up {
		if b.unfinished--; b.unfinished > 0 {
			return
		}
	}
}

// find returns the page of the given level that covers an item, or nil if that is not known.
func (o *Outline) find(level int, item int64) (*branch, int) {
	if item < 0 || item >= o.list.Items {
		return nil, 0
	}
	b := o.top
	for b != nil && b.level >= level {
		i := sort.Search(len(b.pages), func(i int) bool { return b.pages[i].firstItem > item }) - 1
		if b.level == level {
			return b, i
		}
		b = b.pages[i].below
	}
	return nil, 0
}

func edgesOf(chunks []ChunkInfo, last bool) leafEdges {
	capped := func(size int) uint16 { return uint16(min(size, neighboursMin)) }
	n := len(chunks)
	e := leafEdges{first: capped(chunks[0].Size), firstTwo: neighboursMin, last: capped(chunks[n-1].Size)}
	if n > 1 {
		e.firstTwo = capped(chunks[0].Size + chunks[1].Size)
		e.lastTwo = capped(chunks[n-2].Size + chunks[n-1].Size)
	}
	// Rows with the last chunk of the stream are free.
	if last && n == 1 {
		e.first = neighboursMin
	}
	if last && n <= 2 {
		e.firstTwo = neighboursMin
	}
	return e
}

// checkEdges applies the rule on three neighbouring chunks where they are in different pages: leaf page p, about to be
// added, and the pages beside it if they were added. Where they were not, they do it in their turn.
func (o *Outline) checkEdges(p PageInfo, edges leafEdges) error {
	if b, i := o.find(0, p.FirstItem-1); b != nil && b.pages[i].added {
		if err := b.pages[i].edges.checkNext(edges); err != nil {
			return err
		}
	}
	if b, i := o.find(0, p.endItem()); b != nil && b.pages[i].added {
		return edges.checkNext(b.pages[i].edges)
	}
	return nil
}

func (e leafEdges) checkNext(next leafEdges) error {
	if e.lastTwo+next.first < neighboursMin || e.last+next.firstTwo < neighboursMin {
		return fmt.Errorf("three chunks across the border of a page have less than %d bytes together", neighboursMin)
	}
	return nil
}

// Load adds every page that is in g and can be found from the top. Pages that are corrupt there count as missing. When
// it fails, the pages found so far were added; the error wraps ErrBadRoot if a page breaks the rules.
func (o *Outline) Load(ctx context.Context, g Getter) error {
	if o.top == nil {
		return nil
	}
	return o.load(ctx, g, o.top, make([]byte, PageSizeMax))
}

// LoadBelow is Load for the pages below one that was added.
func (o *Outline) LoadBelow(ctx context.Context, g Getter, p PageInfo) error {
	o.mu.RLock()
	var below *branch
	if b, i := o.find(p.Level, p.FirstItem); b != nil {
		below = b.pages[i].below
	}
	o.mu.RUnlock()
	if below == nil {
		return nil
	}
	return o.load(ctx, g, below, make([]byte, PageSizeMax))
}

func (o *Outline) load(ctx context.Context, g Getter, b *branch, buf []byte) error {
	missing := o.notAdded(b)
	keys := make([]Key, len(missing))
	for i, p := range missing {
		keys[i] = p.Key
	}
	have, err := g.Has(ctx, keys)
	if err != nil {
		return fmt.Errorf("look for pages: %w", err)
	}
	for i, p := range missing {
		if !have[i] {
			continue
		}
		if err := o.loadPage(ctx, g, p, buf); err != nil {
			return err
		}
	}
	for _, below := range o.unfinishedBelow(b) {
		if err := o.load(ctx, g, below, buf); err != nil {
			return err
		}
	}
	return nil
}

func (o *Outline) loadPage(ctx context.Context, g Getter, p PageInfo, buf []byte) error {
	data, err := g.Get(ctx, p.Key, buf)
	if err == nil {
		err = o.AddPage(p, data)
	}
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		return nil
	}
	return err
}

func (o *Outline) notAdded(b *branch) []PageInfo {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var pages []PageInfo
	for i := range b.pages {
		if !b.pages[i].added {
			pages = append(pages, o.info(b, i))
		}
	}
	return pages
}

func (o *Outline) unfinishedBelow(b *branch) []*branch {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var branches []*branch
	for i := range b.pages {
		if below := b.pages[i].below; below != nil && below.unfinished > 0 {
			branches = append(branches, below)
		}
	}
	return branches
}

// RangeKnown reports whether Range can tell the chunks of range k: all pages that may list one of them were added.
func (o *Outline) RangeKnown(k int64) bool {
	known := k >= 0 && k < o.RangesMax()
	o.visitRange(k, func(_ PageInfo, added bool) { known = known && added })
	return known
}

// RangeLeaves returns the leaf pages that may list a chunk of range k, whether they were added or not. Where refs of
// them are not known it has the lowest page above them whose ref is, and known is false.
func (o *Outline) RangeLeaves(k int64) (pages []PageInfo, known bool) {
	known = k >= 0 && k < o.RangesMax()
	o.visitRange(k, func(p PageInfo, _ bool) {
		pages = append(pages, p)
		known = known && p.Level == 0
	})
	return pages, known
}

// RangeMissing returns the pages that must be added before Range can tell the chunks of range k, as far as their refs
// are known. It is empty when RangeKnown is true.
func (o *Outline) RangeMissing(k int64) []PageInfo {
	var pages []PageInfo
	o.visitRange(k, func(p PageInfo, added bool) {
		if !added {
			pages = append(pages, p)
		}
	})
	return pages
}

// visitRange calls visit, under the lock, with the lowest known pages that cover a byte of range k, left to right.
func (o *Outline) visitRange(k int64, visit func(p PageInfo, added bool)) {
	if k < 0 || k >= o.RangesMax() {
		return
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	if o.top != nil {
		o.visit(o.top, k*RangeBytes, (k+1)*RangeBytes, visit)
	}
}

func (o *Outline) visit(b *branch, from, to int64, visit func(p PageInfo, added bool)) {
	i := sort.Search(len(b.pages), func(i int) bool { return b.pages[i].firstByte > from }) - 1
	for i = max(i, 0); i < len(b.pages) && b.pages[i].firstByte < to; i++ {
		if below := b.pages[i].below; below != nil {
			o.visit(below, from, to, visit)
			continue
		}
		visit(o.info(b, i), b.pages[i].added)
	}
}

// Range returns the chunks of range k, those whose first byte lies in [k·RangeBytes, (k+1)·RangeBytes). It reads leaf
// pages from g, the last ones used from memory. The row is empty only if k is one below RangesMax and not a range, see
// Ranges. The error wraps ErrNotFound if not RangeKnown(k), or if g has not got a page that was added.
func (o *Outline) Range(ctx context.Context, g Getter, k int64) (RangeChunks, error) {
	if k < 0 || k >= o.RangesMax() {
		return RangeChunks{}, fmt.Errorf("range %d of %d: no such range", k, o.RangesMax())
	}
	from, to := k*RangeBytes, (k+1)*RangeBytes
	if o.list.Depth == 0 {
		return o.orEnd(RangeChunks{Chunks: o.chunks}.within(from, to)), nil
	}
	if !o.RangeKnown(k) {
		return RangeChunks{}, fmt.Errorf("pages of range %d: %w", k, ErrNotFound)
	}
	leaves, _ := o.RangeLeaves(k)
	var row RangeChunks
	for _, p := range leaves {
		page, err := o.cache.load(ctx, g, p, o.list.Items)
		if err != nil {
			return RangeChunks{}, fmt.Errorf("range %d: %w", k, err)
		}
		part := RangeChunks{p.FirstItem, p.FirstByte, page.chunks}.within(from, to)
		if len(row.Chunks) == 0 {
			row = part
			continue
		}
		row.Chunks = append(row.Chunks, part.Chunks...)
	}
	return o.orEnd(row), nil
}

// Leaf returns the row of chunks of the leaf page with a chunk, which it reads from g. The error wraps ErrNotFound if that
// page was not added, or is not in g.
func (o *Outline) Leaf(ctx context.Context, g Getter, chunk int64) (RangeChunks, error) {
	o.mu.RLock()
	b, i := o.find(0, chunk)
	added := b != nil && b.pages[i].added
	var p PageInfo
	if added {
		p = o.info(b, i)
	}
	o.mu.RUnlock()
	if !added {
		return RangeChunks{}, fmt.Errorf("page of chunk %d: %w", chunk, ErrNotFound)
	}
	page, err := o.cache.load(ctx, g, p, o.list.Items)
	if err != nil {
		return RangeChunks{}, fmt.Errorf("page of chunk %d: %w", chunk, err)
	}
	return RangeChunks{p.FirstItem, p.FirstByte, page.chunks}, nil
}

// within returns the chunks of the row that begin in [from, to). Appending to them does not touch the row.
func (r RangeChunks) within(from, to int64) RangeChunks {
	first, start := 0, r.Offset
	for first < len(r.Chunks) && start < from {
		start += int64(r.Chunks[first].Size)
		first++
	}
	end, off := first, start
	for end < len(r.Chunks) && off < to {
		off += int64(r.Chunks[end].Size)
		end++
	}
	return RangeChunks{r.First + int64(first), start, r.Chunks[first:end:end]}
}

// orEnd places an empty row at the end of the stream.
func (o *Outline) orEnd(r RangeChunks) RangeChunks {
	if len(r.Chunks) == 0 {
		return RangeChunks{First: o.list.Items, Offset: o.list.Bytes}
	}
	return r
}

// PagesFor returns, in the order in which a request for pages is answered, the pages of the given level and below that
// cover the chunks with the numbers first to last: each page is followed by those below it, from left to right. The
// pages are those whose refs are known, whether they were added or not. If complete is false they are only the beginning
// of the answer: it goes on with pages that are not known yet, or has more than limit pages. What does not exist, a level or a
// chunk, has no pages and is not complete.
func (o *Outline) PagesFor(level int, first, last int64, limit int) (pages []PageInfo, complete bool) {
	if level < 0 || level >= o.list.Depth || first < 0 || first > last || last >= o.list.Items {
		return nil, false
	}
	o.mu.RLock()
	defer o.mu.RUnlock()
	complete = o.pagesFor(o.top, level, first, last, limit, &pages)
	return pages, complete
}

func (o *Outline) pagesFor(b *branch, level int, first, last int64, limit int, pages *[]PageInfo) (complete bool) {
	i := sort.Search(len(b.pages), func(i int) bool { return b.pages[i].firstItem > first }) - 1
	for i = max(i, 0); i < len(b.pages) && b.pages[i].firstItem <= last; i++ {
		if b.level <= level {
			if len(*pages) >= limit {
				return false
			}
			*pages = append(*pages, o.info(b, i))
		}
		if b.level == 0 {
			continue
		}
		below := b.pages[i].below
		if below == nil || !o.pagesFor(below, level, first, last, limit, pages) {
			return false
		}
	}
	return true
}
