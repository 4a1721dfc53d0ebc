package cafs

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// hostileEntries are what no tree may have. What a stranger sends is not made by an EntryListBuilder.
func hostileEntries() map[string][]Entry {
	file := func(path string) Entry { return Entry{Path: path, Type: TypeFile} }
	dir := func(path string) Entry { return Entry{Path: path} }
	long := strings.Repeat("n", NameSizeMax)
	return map[string][]Entry{
		"absolute":                {file("/etc/passwd")},
		"parent":                  {dir(".."), file("../x")},
		"parent inside":           {dir("a"), file("a/../../x")},
		"dot":                     {dir("a"), file("a/./x")},
		"empty component":         {dir("a"), file("a//x")},
		"slash at the end":        {dir("a/")},
		"empty path":              {file("")},
		"NUL":                     {file("a\x00b")},
		"long name":               {file(long + "n")},
		"long path":               {file(strings.Repeat(long+"/", 16) + long)},
		"too deep":                {file(strings.Repeat("a/", PathDepthMax) + "a")},
		"twice":                   {file("a"), file("a")},
		"twice, of another type":  {dir("a"), file("a")},
		"out of order":            {file("b"), file("a")},
		"file as a directory":     {file("a"), file("a/b")},
		"link as a directory":     {{Path: "a", Type: TypeSymlink, Target: "/etc"}, file("a/passwd")},
		"directory of a neighbor": {dir("a"), file("b/x")},
		"no target":               {{Path: "a", Type: TypeSymlink}},
		"target with a NUL":       {{Path: "a", Type: TypeSymlink, Target: "b\x00c"}},
		"unknown type":            {{Path: "a", Type: 4}},
	}
}

func TestHostileEntriesAreRefused(t *testing.T) {
	for name, entries := range hostileEntries() {
		var top []byte
		before := ""
		for _, e := range entries {
			top = appendEntry(top, formEntries, before, e)
			before = e.Path
		}
		if _, err := decodePage(formEntries, 0, append([]byte{0}, top...), true); err == nil {
			t.Errorf("%s: the page is read", name)
		}
		rec := Record{Kind: KindTree, Entries: List{Items: int64(len(entries)), Top: top}}
		if _, err := ParseRecord(rec.Encode()); !errors.Is(err, ErrBadRoot) {
			t.Errorf("%s: the record gives %v", name, err)
		}
	}
}

// What only shows where one page follows the other is found by Check.
func TestHostilePagesOfEntriesAreRefused(t *testing.T) {
	type page []Entry
	file := func(path string) Entry { return Entry{Path: path, Type: TypeFile, Size: 1} }
	run := func(dir, name string, n int) (p page) {
		for i := range n {
			p = append(p, file(dir+name+strings.Repeat("x", i)))
		}
		return p
	}
	for name, pages := range map[string][]page{
		"same path in two pages":    {run("", "a", 40), run("", "a", 40)},
		"order between pages":       {run("", "b", 40), run("", "a", 40)},
		"no directory between them": {run("", "a", 40), run("b/", "x", 40)},
		"cut without a reason":      {run("", "a", 40), run("", "b", 40)},
	} {
		store := memoryPages{}
		var refs []byte
		items := int64(0)
		for _, entries := range pages {
			data, before := []byte{0}, ""
			for _, e := range entries {
				data = appendEntry(data, formEntries, before, e)
				before = e.Path
			}
			key := KeyOf(data)
			store[key] = data
			refs = appendRef(refs, formEntries, pageRef{key, len(data), int64(len(entries)), int64(len(entries)), entries[0].Path})
			items += int64(len(entries))
		}
		data := NewListBuilder(nil)
		if err := data.Add(ChunkInfo{Size: int(items)}); err != nil {
			t.Fatal(err)
		}
		list, err := data.Finish()
		if err != nil {
			t.Fatal(err)
		}
		rec := Record{Kind: KindTree, Entries: List{Items: items, Bytes: items, Depth: 1, Top: refs}, Data: list}
		tree, err := OpenTree(store, rec)
		if err == nil {
			err = tree.Check(context.Background())
		}
		if !errors.Is(err, ErrBadRoot) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// memoryPages is a Getter of pages.
type memoryPages map[Key][]byte

func (m memoryPages) Get(_ context.Context, key Key, _ []byte) ([]byte, error) {
	if data, ok := m[key]; ok {
		return data, nil
	}
	return nil, ErrNotFound
}

func (m memoryPages) Has(_ context.Context, keys []Key) ([]bool, error) {
	have := make([]bool, len(keys))
	for i, key := range keys {
		_, have[i] = m[key]
	}
	return have, nil
}
