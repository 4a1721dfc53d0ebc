package cafs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

// Lists that hash right and break one rule each. They are written as raw bytes, not with the package's own encoders.

// unmarked returns n chunks of the given size whose keys are different and end no page.
func unmarked(n, size int) []cafs.ChunkInfo {
	chunks := make([]cafs.ChunkInfo, n)
	for i := range chunks {
		chunks[i].Size = size
		binary.BigEndian.PutUint32(chunks[i].Key[:], uint32(i))
		chunks[i].Key[31] = 0x3f
	}
	return chunks
}

// mark makes the key of a chunk one that ends a page.
func mark(chunks []cafs.ChunkInfo, i int) []cafs.ChunkInfo {
	chunks[i].Key[31] = 0xc0
	return chunks
}

func resize(chunks []cafs.ChunkInfo, from int, sizes ...int) []cafs.ChunkInfo {
	for i, size := range sizes {
		chunks[from+i].Size = size
	}
	return chunks
}

// leaf returns the leaf page of chunks, whatever they are.
func leaf(chunks []cafs.ChunkInfo) refPage {
	p := refPage{data: []byte{0}}
	for _, c := range chunks {
		p.data = append(p.data, refLeafItem(c).encoded...)
		p.items++
		p.bytes += int64(c.Size)
	}
	return p
}

// above returns the page of the given level that refers to below.
func above(level byte, below []refPage) refPage {
	p := refPage{data: []byte{level}}
	for _, b := range below {
		p.data = append(p.data, refRefItem(b).encoded...)
		p.items += b.items
		p.bytes += b.bytes
	}
	return p
}

// listOf returns the list whose top refers to pages of level depth-1.
func listOf(depth int, pages ...refPage) cafs.List {
	top := above(0, pages)
	return cafs.List{Bytes: top.bytes, Items: top.items, Depth: depth, Top: top.data[1:]}
}

// madeUpLeaves returns n full leaf pages that cannot be marked, without their chunks.
func madeUpLeaves(n int) []refPage {
	pages := make([]refPage, n)
	for i := range pages {
		for salt := uint32(0); ; salt++ {
			pages[i] = refPage{data: make([]byte, 8961), items: 256, bytes: 256 * 30_000}
			binary.BigEndian.PutUint64(pages[i].data, uint64(i)<<32|uint64(salt))
			if pages[i].key()[31]&0x3f != 0 {
				break
			}
		}
	}
	return pages
}

func markPage(pages []refPage, i int) []refPage {
	for salt := uint32(1); pages[i].key()[31]&0x3f != 0; salt++ {
		binary.BigEndian.PutUint32(pages[i].data[16:], salt)
	}
	return pages
}

// with replaces the bytes of a page.
func with(p refPage, change func([]byte) []byte) refPage {
	p.data = change(bytes.Clone(p.data))
	return p
}

// claiming changes what the page above says of p.
func claiming(p refPage, items, bytes int64) refPage {
	p.items += items
	p.bytes += bytes
	return p
}

func TestOutlineRefusesPagesThatBreakARule(t *testing.T) {
	full := leaf(unmarked(256, 30_000))
	last := leaf(unmarked(40, 30_000))
	fullAbove := above(1, madeUpLeaves(256))
	lastAbove := above(1, madeUpLeaves(100))
	ended := func(n int) []cafs.ChunkInfo { return mark(unmarked(n, 30_000), n-1) }
	endedRefs := func(n int) []refPage { return markPage(madeUpLeaves(n), n-1) }

	level0 := func(mid refPage) []refPage { return []refPage{full, mid, last} }
	level1 := func(mid refPage) []refPage { return []refPage{fullAbove, mid, lastAbove} }
	tests := []struct {
		name  string
		depth int
		pages []refPage
		bad   int  // which of them is to be refused
		ok    bool // unless it is not: the same with the rule kept
	}{
		{"ends by its mark", 1, level0(leaf(ended(32))), 1, true},
		{"ends before 32 items", 1, level0(claiming(leaf(ended(31)), 1, 30_000)), 1, false},
		{"ends without a mark", 1, level0(leaf(unmarked(32, 30_000))), 1, false},
		{"ends without a mark at the end", 1, []refPage{full, last}, 1, true},
		{"goes on after a mark", 1, level0(leaf(mark(ended(100), 31))), 1, false},
		{"goes on after a mark at the end", 1, []refPage{full, leaf(mark(unmarked(90, 30_000), 40))}, 1, false},
		{"goes on after an early mark", 1, level0(leaf(mark(ended(100), 30))), 1, true},
		{"257 items", 1, level0(claiming(leaf(unmarked(257, 30_000)), -1, -30_000)), 1, false},
		{"one item less than announced", 1, []refPage{full, claiming(last, 1, 0)}, 1, false},
		{"one byte less than announced", 1, []refPage{full, claiming(last, 0, 1)}, 1, false},
		{"level 1 for 0", 1, []refPage{full, with(last, level(1))}, 1, false},
		{"byte after the last item", 1, []refPage{full, with(last, oneMore)}, 1, false},
		{"item cut short", 1, []refPage{full, with(last, oneLess)}, 1, false},
		{"size not in its shortest form", 1, []refPage{full, with(last, longSize)}, 1, false},
		{"chunk of no bytes", 1, level0(leaf(resize(ended(40), 39, 0))), 1, false},
		{"chunk of minus one byte", 1, level0(leaf(resize(ended(40), 39, -1))), 1, false},
		{"chunk of 131,072 bytes", 1, level0(leaf(resize(ended(40), 39, 131_072))), 1, true},
		{"chunk of 131,073 bytes", 1, level0(leaf(resize(ended(40), 39, 131_073))), 1, false},
		{"three small chunks", 1, level0(leaf(resize(ended(50), 7, 2000, 6000, 191))), 1, false},
		{"three chunks just not too small", 1, level0(leaf(resize(ended(50), 7, 2000, 6000, 192))), 1, true},
		{"three small chunks at the end", 1, []refPage{full, leaf(resize(unmarked(40, 30_000), 37, 1, 1, 1))}, 1, true},
		{"four small chunks at the end", 1, []refPage{full, leaf(resize(unmarked(40, 30_000), 36, 1, 1, 1, 1))}, 1, false},

		{"refs end by their mark", 2, level1(above(1, endedRefs(32))), 1, true},
		{"refs end without a mark", 2, level1(above(1, madeUpLeaves(32))), 1, false},
		{"refs go on after a mark", 2, level1(above(1, markPage(endedRefs(60), 31))), 1, false},
		{"257 refs", 2, level1(claiming(above(1, madeUpLeaves(257)), -256, -256*30_000)), 1, false},
		{"refs with wrong sums", 2, []refPage{fullAbove, claiming(lastAbove, -1, 0)}, 1, false},
		{"refs of level 0 for 1", 2, []refPage{fullAbove, with(lastAbove, level(0))}, 1, false},
		{"page of a few items before the end", 2, []refPage{fullAbove, shortLeafBelow(3)}, 1, false},
		{"page of a few items at the end", 2, []refPage{fullAbove, shortLeafBelow(39)}, 1, true},
		{"the same in the middle", 2, level1(shortLeafBelow(39)), 1, false},
	}
	for _, test := range tests {
		o, err := cafs.NewOutline(listOf(test.depth, test.pages...))
		if err != nil {
			t.Errorf("%s: the top list is refused already: %v", test.name, err)
			continue
		}
		err = addTo(t, o, test.pages[test.bad])
		if test.ok && err != nil || !test.ok && !errors.Is(err, cafs.ErrBadRoot) || errors.Is(err, cafs.ErrCorrupt) {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}

func TestOutlineRefusesPagesOfAnotherSizeThanAnnounced(t *testing.T) {
	full, last := leaf(unmarked(256, 30_000)), leaf(unmarked(40, 30_000))
	list := listOf(1, full, last)
	size := list.Top[32:] // of the first page, two bytes
	if got, n := binary.Uvarint(size); got != uint64(len(full.data)) || n != 2 {
		t.Fatalf("the first page has %d bytes in %d", got, n)
	}
	binary.PutUvarint(size, uint64(len(full.data)-1))
	o := newOutline(t, list)
	if err := addTo(t, o, full); !errors.Is(err, cafs.ErrBadRoot) || errors.Is(err, cafs.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func level(n byte) func([]byte) []byte { return func(b []byte) []byte { b[0] = n; return b } }
func oneMore(b []byte) []byte          { return append(b, 0) }
func oneLess(b []byte) []byte          { return b[:len(b)-1] }

// longSize writes the size of the last item with a byte more than it takes.
func longSize(b []byte) []byte {
	b[len(b)-1] |= 0x80
	return append(b, 0)
}

// shortLeafBelow returns a page that refers to 40 leaf pages, the one with the given number with 31 items only.
func shortLeafBelow(number int) refPage {
	leaves := markPage(madeUpLeaves(40), 39)
	leaves[number].items, leaves[number].bytes = 31, 31*30_000
	return above(1, leaves)
}

// addTo adds the page to the outline, where it refers to it.
func addTo(t *testing.T, o *cafs.Outline, p refPage) error {
	t.Helper()
	for _, m := range o.Missing(1 << 20) {
		if m.Key == p.key() {
			return o.AddPage(m, p.data)
		}
	}
	t.Fatalf("the outline does not ask for the page of level %d", p.data[0])
	return nil
}

func TestOutlineRefusesSmallChunksAcrossPages(t *testing.T) {
	ended := func(sizes ...int) refPage {
		return leaf(resize(mark(unmarked(60, 30_000), 59), 60-len(sizes), sizes...))
	}
	begun := func(n int, sizes ...int) refPage { return leaf(resize(unmarked(n, 30_000), 0, sizes...)) }
	full, last := leaf(unmarked(256, 30_000)), leaf(unmarked(100, 30_000))
	tests := []struct {
		name        string
		left, right refPage
		more        []refPage // pages behind
		ok          bool
	}{
		{"two and one", ended(4000, 4000), begun(256, 191), []refPage{last}, false},
		{"two and one, just enough", ended(4000, 4000), begun(256, 192), []refPage{last}, true},
		{"one and two", ended(4000), begun(256, 4000, 191), []refPage{last}, false},
		{"one and two, just enough", ended(4000), begun(256, 4000, 192), []refPage{last}, true},
		{"the last chunk is the third", ended(1, 1), begun(1, 1), []refPage{}, true},
		{"the last chunk is the third, in a page of two", ended(1), begun(2, 1, 1), []refPage{}, true},
		{"the last chunk is the fourth", ended(1, 1), begun(2, 1, 1), []refPage{}, false},
		{"the last chunk is the fourth, in a page of three", ended(1), begun(3, 1, 1, 1), []refPage{}, false},
	}
	for _, test := range tests {
		pages := append([]refPage{full, test.left, test.right}, test.more...)
		for _, order := range [][]refPage{{full, test.left, test.right}, {test.right, test.left, full}} {
			o := newOutline(t, listOf(1, pages...))
			var err error
			for _, p := range order {
				err = errors.Join(err, addTo(t, o, p))
			}
			if test.ok && err != nil || !test.ok && !errors.Is(err, cafs.ErrBadRoot) {
				t.Errorf("%s: got %v", test.name, err)
			}
		}
	}
}

func TestOutlineBlamesThePeerForOtherBytes(t *testing.T) {
	full, last := leaf(unmarked(256, 30_000)), leaf(unmarked(40, 30_000))
	o := newOutline(t, listOf(1, full, last))
	p := o.Missing(2)[1]
	for i := range last.data {
		for bit := range 8 {
			spoilt := bytes.Clone(last.data)
			spoilt[i] ^= 1 << bit
			if err := o.AddPage(p, spoilt); !errors.Is(err, cafs.ErrCorrupt) || errors.Is(err, cafs.ErrBadRoot) {
				t.Fatalf("bit %d of byte %d: got %v", bit, i, err)
			}
		}
	}
	for _, spoilt := range [][]byte{nil, last.data[1:], append(bytes.Clone(last.data), 0), full.data} {
		if err := o.AddPage(p, spoilt); !errors.Is(err, cafs.ErrCorrupt) {
			t.Errorf("%d bytes for %d: got %v", len(spoilt), len(last.data), err)
		}
	}
	other := p
	other.FirstItem--
	if err := o.AddPage(other, last.data); err == nil {
		t.Error("a page that is not in the list was added")
	}
	if got := o.Missing(3); len(got) != 2 {
		t.Errorf("%d pages are missing after nothing was added: want 2", len(got))
	}
}

func TestNewOutlineRefusesTopListsThatBreakARule(t *testing.T) {
	full, last := leaf(unmarked(256, 30_000)), leaf(unmarked(40, 30_000))
	good := listOf(1, full, last)
	few := func(chunks []cafs.ChunkInfo) cafs.List { return refBuild(chunks).list }
	tests := []struct {
		name string
		list cafs.List
		ok   bool
	}{
		{"empty", cafs.List{}, true},
		{"one page", listOf(1, full), true},
		{"good", good, true},
		{"a byte more", cafs.List{Bytes: good.Bytes + 1, Items: good.Items, Depth: 1, Top: good.Top}, false},
		{"an item more", cafs.List{Bytes: good.Bytes, Items: good.Items + 1, Depth: 1, Top: good.Top}, false},
		{"bytes in nothing", cafs.List{Bytes: 1}, false},
		{"items in nothing", cafs.List{Items: 1}, false},
		{"pages of nothing", cafs.List{Depth: 1}, false},
		{"negative", cafs.List{Bytes: -1, Items: -1, Depth: -1}, false},
		{"depth 7", cafs.List{Bytes: good.Bytes, Items: good.Items, Depth: 7, Top: good.Top}, false},
		{"other depth", cafs.List{Bytes: good.Bytes, Items: good.Items, Depth: 0, Top: good.Top}, false},
		{"deeper than needed", listOf(1, leaf(unmarked(115, 30_000))), false},
		{"117 chunks on top", few(unmarked(117, 30_000)), true},
		{"118 chunks in a page", listOf(1, leaf(unmarked(118, 30_000))), true},
		{"118 chunks on top", cafs.List{
			Bytes: 118 * 30_000, Items: 118, Top: leaf(unmarked(118, 30_000)).data[1:],
		}, false},
		{"three small chunks", few(resize(unmarked(100, 30_000), 50, 1, 1, 1)), false},
		{"three small chunks at the end", few(resize(unmarked(100, 30_000), 97, 1, 1, 1)), true},
		{"nothing but small chunks", few(unmarked(3, 1)), true},
		{"one too many of them", few(unmarked(4, 1)), false},
		{"chunk of no bytes", few(resize(unmarked(9, 30_000), 3, 0)), false},
		{"top list cut short", cafs.List{Bytes: good.Bytes, Items: good.Items, Depth: 1, Top: good.Top[:len(good.Top)-1]}, false},
		{"page of 65,537 bytes", listOf(1, full, refPage{data: make([]byte, 65_537), items: 40, bytes: 1_200_000}), false},
		{"page of 33 bytes", listOf(1, full, refPage{data: make([]byte, 33), items: 1, bytes: 1}), false},
		{"page of no items", listOf(1, full, refPage{data: last.data}), false},
		{"page of 257 items", listOf(1, full, claiming(last, 217, 217*30_000)), false},
		{"page of 31 items in the middle", listOf(1, full, claiming(last, -9, 0), last), false},
		{"items of less than a byte", listOf(1, full, refPage{data: last.data, items: 40, bytes: 39}), false},
		{"items of more than a chunk", listOf(1, full, refPage{data: last.data, items: 40, bytes: 40*131_072 + 1}), false},
		{"more than 2^44 bytes", listOf(6, slices.Repeat([]refPage{
			{data: last.data, items: 1 << 30, bytes: 1 << 43},
		}, 3)...), false},
		{"more than 2^31 items", listOf(6, slices.Repeat([]refPage{
			{data: last.data, items: 1 << 30, bytes: 1 << 40},
		}, 3)...), false},
	}
	for _, test := range tests {
		_, err := cafs.NewOutline(test.list)
		if (err == nil) != test.ok || err != nil && !errors.Is(err, cafs.ErrBadRoot) {
			t.Errorf("%s: got %v", test.name, err)
		}
		// The record is refused by the same rules, unless it cannot even say such a thing.
		if test.list.Bytes < 0 {
			continue
		}
		_, err = cafs.ParseRecord(refRecord(nil, test.list))
		if (err == nil) != test.ok || err != nil && !errors.Is(err, cafs.ErrBadRoot) {
			t.Errorf("%s: the record: got %v", test.name, err)
		}
	}
}
