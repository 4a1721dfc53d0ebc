package cafs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// List is what a root record holds of a list, that of a stream's chunks or that of a tree's entries: the sums and the top
// of the list tree. The zero List is empty.
type List struct {
	// Bytes is the length of the stream, or of the tree's files together, and Items the number of chunks, or of entries.
	Bytes, Items int64
	// Depth is the number of levels of pages below Top, 0 to ListDepthMax.
	Depth int
	// Top is the encoded top list, at most ListTopMax bytes: leaf items if Depth is 0, else refs of pages.
	Top []byte
}

// top checks everything that the list says against the rules and returns the items of its top list. Errors wrap
// ErrBadRoot.
func (l List) top(form itemForm) (decodedPage, error) {
	top, err := l.decodeTop(form)
	if err != nil {
		return decodedPage{}, fmt.Errorf("list of %s: %w: %w", form.items(), err, ErrBadRoot)
	}
	return top, nil
}

func (l List) decodeTop(form itemForm) (decodedPage, error) {
	switch {
	case l.Bytes < 0 || l.Bytes > ContentBytesMax:
		return decodedPage{}, fmt.Errorf("%d bytes: want at most %d", l.Bytes, int64(ContentBytesMax))
	case l.Items < 0 || l.Items > form.itemsMax():
		return decodedPage{}, fmt.Errorf("%d %s: want at most %d", l.Items, form.items(), form.itemsMax())
	case l.Depth < 0 || l.Depth > ListDepthMax:
		return decodedPage{}, fmt.Errorf("depth %d: want at most %d", l.Depth, ListDepthMax)
	case len(l.Top) > ListTopMax:
		return decodedPage{}, fmt.Errorf("top list of %d bytes: want at most %d", len(l.Top), ListTopMax)
	}
	top, err := decodeItems(form, l.Depth, l.Top, ListTopMax/form.itemSizeMin(l.Depth), true)
	if err != nil {
		return decodedPage{}, fmt.Errorf("top list: %w", err)
	}
	if err := top.checkSums(l.Items, l.Bytes); err != nil {
		return decodedPage{}, fmt.Errorf("top list: %w", err)
	}
	if below := top.bytesBelow(); l.Depth > 0 && below <= ListTopMax {
		return decodedPage{}, fmt.Errorf("depth %d, but the %d bytes of the level below would fit in the top list",
			l.Depth, below)
	}
	return top, nil
}

// bytesBelow returns the bytes of the items of the pages that p refers to, without the pages' level bytes.
func (p decodedPage) bytesBelow() int {
	n := 0
	for _, r := range p.refs {
		n += r.size - 1
	}
	return n
}

// appendTo appends the list as it stands in a root record.
func (l List) appendTo(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(l.Bytes))
	b = binary.AppendUvarint(b, uint64(l.Items))
	b = append(b, byte(l.Depth))
	b = binary.AppendUvarint(b, uint64(len(l.Top)))
	return append(b, l.Top...)
}

// readList reads a list from the front of b, without the checks of List.top. It keeps no reference to b.
func readList(form itemForm, b []byte) (l List, rest []byte, err error) {
	bytes, b, err := readUvarint(b, ContentBytesMax)
	if err != nil {
		return List{}, nil, fmt.Errorf("content bytes: %w", err)
	}
	items, b, err := readUvarint(b, uint64(form.itemsMax()))
	if err != nil {
		return List{}, nil, fmt.Errorf("%s: %w", form.items(), err)
	}
	if len(b) == 0 {
		return List{}, nil, errTruncated
	}
	depth, b := int(b[0]), b[1:]
	topSize, b, err := readUvarint(b, ListTopMax)
	if err != nil {
		return List{}, nil, fmt.Errorf("length of the top list: %w", err)
	}
	if uint64(len(b)) < topSize {
		return List{}, nil, errTruncated
	}
	top := append([]byte(nil), b[:topSize]...)
	return List{int64(bytes), int64(items), depth, top}, b[topSize:], nil
}

// ListBuilder makes the list tree of a stream from its chunks. It holds at most one unfinished page, and up to
// ListTopMax bytes of finished ones, of each level. It is not safe for concurrent use.
type ListBuilder struct {
	listBuilder
	before [3]int // sizes of the last three chunks, the latest last; valid as far as there are as many
	item   []byte // the last item of level 0, encoded
}

// listBuilder is what the builders of all lists have in common: everything above the leaf items.
type listBuilder struct {
	put    func(Chunk) error
	form   itemForm
	levels []*listLevel
	list   List // Bytes and Items so far
}

// NewListBuilder returns the builder of an empty list. It calls put with each page, in Add or Finish as soon as the
// page is cut: pages of a level from left to right, a page after all pages below it. put may keep the chunk.
func NewListBuilder(put func(Chunk) error) *ListBuilder {
	return &ListBuilder{listBuilder: listBuilder{put: put}}
}

// Add appends a chunk to the list. It fails if put does, if the chunk has an impossible size, if the list gets too long,
// or if three neighbouring chunks are so small that every receiver would refuse the list. After an error the builder is
// of no use.
func (b *ListBuilder) Add(c ChunkInfo) error {
	if err := b.check(c); err != nil {
		return fmt.Errorf("list of chunks, item %d: %w", b.list.Items, err)
	}
	b.before = [3]int{b.before[1], b.before[2], c.Size}
	b.list.Items++
	b.list.Bytes += int64(c.Size)
	b.item = appendChunkInfo(b.item[:0], c)
	return b.add(0, listItem{encoded: b.item, marked: marked(c.Key), items: 1, bytes: int64(c.Size)})
}

func (b *ListBuilder) check(c ChunkInfo) error {
	if err := checkChunkSize(c.Size); err != nil {
		return err
	}
	if b.list.Items == ContentChunksMax || b.list.Bytes > ContentBytesMax-int64(c.Size) {
		return fmt.Errorf("content is larger than %d bytes or %d chunks", int64(ContentBytesMax), int64(ContentChunksMax))
	}
	// Only now it is certain that the three before c do not include the last chunk.
	if sum := b.before[0] + b.before[1] + b.before[2]; b.list.Items >= 3 && sum < neighboursMin {
		return fmt.Errorf("the three chunks before have %d bytes together: want %d or more", sum, neighboursMin)
	}
	return nil
}

// Finish ends the list and returns it. The builder is of no use afterwards.
func (b *listBuilder) Finish() (List, error) {
	for level := 0; level < len(b.levels); level++ {
		l := b.levels[level]
		if l.total > ListTopMax {
			if err := b.cut(level); err != nil {
				return List{}, err
			}
			continue // with the level that now has the refs
		}
		b.list.Depth = level
		for _, p := range append(l.waiting, l.page) {
			b.list.Top = append(b.list.Top, p.encodedItems()...)
		}
	}
	return b.list, nil
}

// listItem is an item of any level on its way into a page.
type listItem struct {
	encoded []byte
	marked  bool
	items   int64  // chunks or entries that it stands for
	bytes   int64  // their bytes
	path    string // of the first of the entries
}

// listLevel is the right edge of one level of the tree. Its pages wait until it is known that the level does not fit in
// the top list.
type listLevel struct {
	total   int // bytes of all items so far
	waiting []listPage
	page    listPage
}

type listPage struct {
	data  []byte // level and items; empty before the first item
	count int
	items int64
	bytes int64
	path  string
}

// encodedItems returns the encoded items of the page.
func (p listPage) encodedItems() []byte { return p.data[min(1, len(p.data)):] }

// level returns one level, which is made if it is the next one.
func (b *listBuilder) level(level int) *listLevel {
	if level == len(b.levels) {
		b.levels = append(b.levels, &listLevel{})
	}
	return b.levels[level]
}

func (b *listBuilder) add(level int, item listItem) error {
	l := b.level(level)
	p := &l.page
	if p.count > 0 && len(p.data)+len(item.encoded) > PageSizeMax { // refs with long paths
		if err := b.cut(level); err != nil {
			return err
		}
	}
	if p.count == 0 {
		p.data = append(p.data, byte(level))
		p.path = item.path
	}
	p.data = append(p.data, item.encoded...)
	p.count++
	p.items += item.items
	p.bytes += item.bytes
	l.total += len(item.encoded)
	if p.count == pageItemsMax || p.count >= pageItemsMin && item.marked {
		return b.cut(level)
	}
	return nil
}

// cut ends the page that the level is at. Once the level is known to be too long for the top list, its pages are put
// and their refs go to the level above.
func (b *listBuilder) cut(level int) error {
	l := b.levels[level]
	if l.page.count > 0 {
		l.waiting = append(l.waiting, l.page)
		l.page = listPage{}
	}
	if l.total <= ListTopMax {
		return nil
	}
	if level == ListDepthMax {
		return errors.New("list tree is too deep")
	}
	waiting := l.waiting
	l.waiting = nil
	for _, p := range waiting {
		page, err := NewChunk(p.data)
		if err != nil {
			return err
		}
		if err := b.put(page); err != nil {
			return fmt.Errorf("put page of level %d: %w", level, err)
		}
		ref := pageRef{page.Key(), len(p.data), p.items, p.bytes, p.path}
		item := listItem{appendRef(nil, b.form, ref), marked(ref.key), ref.items, ref.bytes, ref.path}
		if err := b.add(level+1, item); err != nil {
			return err
		}
	}
	return nil
}
