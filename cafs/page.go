package cafs

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// PageInfo names a page of a list tree and says what it covers. It comes from the ref in the page above, or in the top
// list, and is a claim until the page itself was seen.
type PageInfo struct {
	// Level is 0 in leaf pages, which list chunks or entries; a page of level n lists pages of level n-1.
	Level int
	// Key and Size (in bytes) name the chunk that the page is stored as.
	Key  Key
	Size int
	// FirstItem is the number of the first chunk, or entry, below the page, Items how many there are.
	FirstItem, Items int64
	// FirstByte is where that begins in the stream, Bytes how much content is below the page.
	FirstByte, Bytes int64

	form itemForm
	path string // of the first entry below
}

// FirstPath returns the path of the first entry below a page of an entry table, and is empty for other pages.
func (p PageInfo) FirstPath() string { return p.path }

func (p PageInfo) endItem() int64 { return p.FirstItem + p.Items }
func (p PageInfo) endByte() int64 { return p.FirstByte + p.Bytes }

// pageRef is an item of a page of level 1 and above: what it says of the page below.
type pageRef struct {
	key   Key
	size  int    // bytes of the page
	items int64  // chunks or entries below
	bytes int64  // content bytes below
	path  string // of the first entry below, in entry tables
}

// decodedPage is the content of a page, or of a top list: chunks or entries if it is a leaf, else refs.
type decodedPage struct {
	chunks  []ChunkInfo
	entries []Entry
	refs    []pageRef
}

// itemForm tells what the leaf items of a list are. Its zero value stands for chunks.
type itemForm uint8

// The parts of the form of entries.
const (
	formEntries itemForm = 1 << 7
	formTimes            = itemForm(flagTimes)
	formPerms            = itemForm(flagPerms)
)

func (f itemForm) items() string {
	if f != 0 {
		return "entries"
	}
	return "chunks"
}

func (f itemForm) itemsMax() int64 {
	if f != 0 {
		return TreeEntriesMax
	}
	return ContentChunksMax
}

// itemSizeMin returns the shortest encoding of an item in bytes: it bounds what is allocated for a list of a given length.
func (f itemForm) itemSizeMin(level int) int {
	if f != 0 && level == 0 {
		return entrySizeMin
	}
	return KeySize + 1
}

// itemSizeMax returns the longest encoding of an item of entry tables.
func (f itemForm) itemSizeMax(level int) int {
	if level == 0 {
		return PathSizeMax + TargetSizeMax + 32
	}
	return KeySize + PathSizeMax + 32
}

// marked reports whether an item with this key ends its page, if the page has enough items.
func marked(key Key) bool { return key[KeySize-1]&pageMark == 0 }

// appendChunkInfo appends a leaf item. It is the format of the origin's SyncInfo stream, hence the zigzag varint.
func appendChunkInfo(b []byte, c ChunkInfo) []byte {
	return binary.AppendVarint(append(b, c.Key[:]...), int64(c.Size))
}

func appendRef(b []byte, form itemForm, r pageRef) []byte {
	b = binary.AppendUvarint(append(b, r.key[:]...), uint64(r.size))
	b = binary.AppendUvarint(b, uint64(r.items))
	b = binary.AppendUvarint(b, uint64(r.bytes))
	if form == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(r.path)))
	return append(b, r.path...)
}

var (
	errTruncated  = errors.New("ends within an item")
	errNotMinimal = errors.New("number is not in its shortest form")
)

// readUvarint reads a number that is at most limit from the front of b.
func readUvarint(b []byte, limit uint64) (v uint64, rest []byte, err error) {
	v, n := binary.Uvarint(b)
	switch {
	case n == 0:
		return 0, nil, errTruncated
	case n < 0 || v > limit:
		return 0, nil, fmt.Errorf("number is above %d", limit)
	case n > 1 && b[n-1] == 0:
		return 0, nil, errNotMinimal
	}
	return v, b[n:], nil
}

func readKey(b []byte) (key Key, rest []byte, err error) {
	if len(b) < KeySize {
		return Key{}, nil, errTruncated
	}
	return Key(b), b[KeySize:], nil
}

func readChunkInfo(b []byte) (c ChunkInfo, rest []byte, err error) {
	if c.Key, b, err = readKey(b); err != nil {
		return ChunkInfo{}, nil, err
	}
	zigzag, b, err := readUvarint(b, 2*ChunkSizeMax)
	if err != nil {
		return ChunkInfo{}, nil, fmt.Errorf("chunk size: %w", err)
	}
	if zigzag == 0 || zigzag%2 != 0 {
		return ChunkInfo{}, nil, errors.New("chunk size is not positive")
	}
	c.Size = int(zigzag / 2)
	return c, b, nil
}

func readRef(form itemForm, b []byte) (r pageRef, rest []byte, err error) {
	if r.key, b, err = readKey(b); err != nil {
		return pageRef{}, nil, err
	}
	size, b, err := readUvarint(b, PageSizeMax)
	if err != nil {
		return pageRef{}, nil, fmt.Errorf("page size: %w", err)
	}
	items, b, err := readUvarint(b, uint64(form.itemsMax()))
	if err != nil {
		return pageRef{}, nil, fmt.Errorf("items below: %w", err)
	}
	bytes, b, err := readUvarint(b, ContentBytesMax)
	if err != nil {
		return pageRef{}, nil, fmt.Errorf("bytes below: %w", err)
	}
	r.size, r.items, r.bytes = int(size), int64(items), int64(bytes)
	if form == 0 {
		return r, b, nil
	}
	path, b, err := readBytes(b, PathSizeMax)
	if err != nil {
		return pageRef{}, nil, fmt.Errorf("first path: %w", err)
	}
	r.path = string(path)
	if err := checkPath(r.path); err != nil {
		return pageRef{}, nil, fmt.Errorf("first path: %w", err)
	}
	return r, b, nil
}

// readItems reads items to the end of b, but not more than limit, each of at least sizeMin bytes.
func readItems[T any](b []byte, limit, sizeMin int, read func([]byte) (T, []byte, error)) ([]T, error) {
	items := make([]T, 0, min(limit, len(b)/sizeMin))
	for len(b) > 0 {
		if len(items) == limit {
			return nil, fmt.Errorf("more than %d items", limit)
		}
		item, rest, err := read(b)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", len(items), err)
		}
		items, b = append(items, item), rest
	}
	return items, nil
}

// readPage checks the bytes of the page p against what p says of it and returns what they hold. streamItems is the
// number of chunks of the whole stream. The error wraps ErrCorrupt if data is not what the key says, and ErrBadRoot if
// it is and breaks a rule that one page alone can break.
func readPage(p PageInfo, data []byte, streamItems int64) (decodedPage, error) {
	if len(data) > PageSizeMax || KeyOf(data) != p.Key {
		return decodedPage{}, fmt.Errorf("page %s of level %d: the bytes hash to something else: %w",
			p.Key, p.Level, ErrCorrupt)
	}
	page, err := decodePage(p.form, p.Level, data, p.endItem() == streamItems)
	if err == nil {
		err = page.checkSums(p.Items, p.Bytes)
	}
	if err == nil && p.form != 0 && page.firstPath() != p.path {
		err = fmt.Errorf("its first path is %q, but %q was announced", page.firstPath(), p.path)
	}
	if err == nil && len(data) != p.Size {
		err = fmt.Errorf("%d bytes, but %d were announced", len(data), p.Size)
	}
	if err != nil {
		return decodedPage{}, fmt.Errorf("page %s of level %d: %w: %w", p.Key, p.Level, err, ErrBadRoot)
	}
	return page, nil
}

// decodePage reads a page of the given level; last tells that no other page of this level follows.
func decodePage(form itemForm, level int, data []byte, last bool) (decodedPage, error) {
	if len(data) == 0 || len(data) > PageSizeMax {
		return decodedPage{}, fmt.Errorf("%d bytes: want 1 to %d", len(data), PageSizeMax)
	}
	if int(data[0]) != level {
		return decodedPage{}, fmt.Errorf("it says that its level is %d", data[0])
	}
	page, err := decodeItems(form, level, data[1:], pageItemsMax, last)
	if err != nil {
		return decodedPage{}, err
	}
	// Where the next item had no room, its size is not known here; Tree.Check looks at that.
	full := form != 0 && len(data)+form.itemSizeMax(level) > PageSizeMax
	return page, page.checkCut(last, full)
}

// decodeItems reads the items of a page of the given level, or of a top list of that level.
func decodeItems(form itemForm, level int, items []byte, limit int, last bool) (page decodedPage, err error) {
	sizeMin := form.itemSizeMin(level)
	switch {
	case level == 0 && form == 0:
		if page.chunks, err = readItems(items, limit, sizeMin, readChunkInfo); err != nil {
			return decodedPage{}, err
		}
		return page, checkNeighbours(page.chunks, last)
	case level == 0:
		page.entries, err = readEntries(form, items, limit)
		return page, err
	}
	read := func(b []byte) (pageRef, []byte, error) { return readRef(form, b) }
	if page.refs, err = readItems(items, limit, sizeMin, read); err != nil {
		return decodedPage{}, err
	}
	for i, r := range page.refs {
		if err := r.check(form, level-1, last && i == len(page.refs)-1); err != nil {
			return decodedPage{}, fmt.Errorf("item %d: %w", i, err)
		}
		if form != 0 && i > 0 && ComparePaths(page.refs[i-1].path, r.path) >= 0 {
			return decodedPage{}, fmt.Errorf("item %d: first path %q is not above that of the item before", i, r.path)
		}
	}
	return page, nil
}

// firstPath returns the path of the first entry in or below an entry page.
func (p decodedPage) firstPath() string {
	if p.refs != nil {
		return p.refs[0].path
	}
	return p.entries[0].Path
}

// check holds what a ref says of a page of the given level against what such a page can be at all, so that numbers made
// up by a stranger are known as such before the page arrives.
func (r pageRef) check(form itemForm, level int, last bool) error {
	itemsMin, itemsMax := int64(1), int64(pageItemsMax)
	least := int64(pageItemsMin)
	if last || form != 0 { // pages of long paths are full before they have that many items
		least = 1
	}
	itemsMin *= least
	for range level {
		itemsMax *= pageItemsMax
		itemsMin *= least
	}
	if r.items < itemsMin || r.items > itemsMax {
		return fmt.Errorf("%d items below a page of level %d: want %d to %d", r.items, level, itemsMin, itemsMax)
	}
	if form == 0 && (r.bytes < r.items*ChunkSizeMin || r.bytes > r.items*ChunkSizeMax) {
		return fmt.Errorf("%d bytes in %d chunks", r.bytes, r.items)
	}
	if r.size <= form.itemSizeMin(level) {
		return fmt.Errorf("page of %d bytes", r.size)
	}
	return nil
}

// checkCut reports an error unless the page ends where the rules end it: not after an earlier item, and after its last
// one unless the list ends there, or the page is full.
func (p decodedPage) checkCut(last, full bool) error {
	n := len(p.chunks) + len(p.entries) + len(p.refs)
	if n == 0 {
		return errors.New("no items")
	}
	for i := pageItemsMin; i < n; i++ {
		if p.marked(i - 1) {
			return fmt.Errorf("goes on after item %d, which ends it", i-1)
		}
	}
	if endsByRule := n == pageItemsMax || n >= pageItemsMin && p.marked(n-1); !endsByRule && !last && !full {
		return fmt.Errorf("ends after %d items without a reason", n)
	}
	return nil
}

func (p decodedPage) marked(i int) bool {
	switch {
	case p.refs != nil:
		return marked(p.refs[i].key)
	case p.entries != nil:
		return markedPath(p.entries[i].Path)
	}
	return marked(p.chunks[i].Key)
}

// checkSums holds the sums of the page's items against what is said of them one level up.
func (p decodedPage) checkSums(items, bytes int64) error {
	gotItems := int64(len(p.chunks) + len(p.entries))
	gotBytes := RangeChunks{Chunks: p.chunks}.Bytes()
	for _, e := range p.entries {
		gotBytes += e.Size
	}
	for _, r := range p.refs {
		gotItems += r.items
		gotBytes += r.bytes
	}
	if gotItems != items || gotBytes != bytes {
		return fmt.Errorf("%d items and %d bytes below, but %d and %d were announced", gotItems, gotBytes, items, bytes)
	}
	return nil
}

// checkNeighbours reports an error if three neighbours have too few bytes; last tells that the row ends with the last
// chunk of the stream.
func checkNeighbours(chunks []ChunkInfo, last bool) error {
	end := len(chunks)
	if last {
		end--
	}
	for i := 0; i+2 < end; i++ {
		if sum := chunks[i].Size + chunks[i+1].Size + chunks[i+2].Size; sum < neighboursMin {
			return fmt.Errorf("chunks %d to %d have %d bytes together: want %d or more", i, i+2, sum, neighboursMin)
		}
	}
	return nil
}
