package cafs_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

// testTree is a tree in memory, by path.
type testTree map[string]testEntry

type testEntry struct {
	cafs.Entry
	content []byte
}

func (tree testTree) add(e cafs.Entry, content []byte) {
	for i, c := range e.Path {
		if c == '/' {
			tree[e.Path[:i]] = testEntry{Entry: cafs.Entry{Path: e.Path[:i]}}
		}
	}
	e.Size = int64(len(content))
	tree[e.Path] = testEntry{e, content}
}

func (tree testTree) file(path string, content []byte) {
	tree.add(cafs.Entry{Path: path, Type: cafs.TypeFile}, content)
}

// paths returns the paths in order, by the definition rather than by ComparePaths.
func (tree testTree) paths() []string {
	return slices.SortedFunc(maps.Keys(tree), func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
}

// source returns the tree as AddTree takes it. What is in old, with the same content, is told as unchanged; read counts the
// files that are opened.
func (tree testTree) source(old map[string]cafs.TreeEntry, oldTree testTree, read map[string]bool) iter.Seq2[cafs.SourceEntry, error] {
	return func(yield func(cafs.SourceEntry, error) bool) {
		for _, path := range tree.paths() {
			e := tree[path]
			source := cafs.SourceEntry{Entry: e.Entry, Open: func(int64) (io.ReadCloser, error) {
				read[path] = true
				return io.NopCloser(bytes.NewReader(e.content)), nil
			}}
			if before, ok := old[path]; ok && bytes.Equal(oldTree[path].content, e.content) {
				source.Before, source.Unchanged = before.Offset, true
			}
			if !yield(source, nil) {
				return
			}
		}
	}
}

func addTree(t testing.TB, store *mapStore, tree testTree, opts cafs.TreeOptions) cafs.Record {
	t.Helper()
	rec, err := cafs.AddTree(t.Context(), store, tree.source(nil, nil, map[string]bool{}), opts)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

func openTree(t testing.TB, store cafs.Getter, rec cafs.Record) cafs.Tree {
	t.Helper()
	parsed, err := cafs.ParseRecord(rec.Encode())
	if err != nil {
		t.Fatal(err)
	}
	tree, err := cafs.OpenTree(store, parsed)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// randomTree has files of all sizes, in directories that nest, with names that sort differently as paths and as text.
func randomTree(rng *rand.Rand, files int) testTree {
	tree := testTree{}
	names := []string{"a", "a-b", "a.b", "B", "ä", "\xff\xfe", "a b", "z"}
	for range files {
		path := ""
		for range rng.IntN(4) {
			path += names[rng.IntN(len(names))] + "/"
		}
		path += fmt.Sprintf("%s%d", names[rng.IntN(len(names))], rng.IntN(1000))
		size := rng.IntN(3000)
		switch rng.IntN(8) {
		case 0:
			size = 0
		case 1:
			size = 10_000 + rng.IntN(10_000)
		case 2:
			size = rng.IntN(400_000)
		}
		content := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(rng.Uint32()), byte(rng.Uint32())}).Read(content)
		e := cafs.Entry{Path: path, Type: cafs.TypeFile}
		switch rng.IntN(10) {
		case 0:
			e.Type = cafs.TypeExecutable
		case 1:
			e.Type, e.Target, content = cafs.TypeSymlink, "../"+names[rng.IntN(len(names))], nil
		case 2:
			e.Type, content = cafs.TypeDirectory, nil
		}
		if old, ok := tree[path]; ok && old.Type == cafs.TypeDirectory {
			continue
		}
		tree.add(e, content)
	}
	return tree
}

func TestTreeIsReadAsItWasAdded(t *testing.T) {
	rng := newRand(t)
	for _, files := range []int{0, 1, 2, 40, 700, 5000} {
		tree, store := randomTree(rng, files), newMapStore()
		rec := addTree(t, store, tree, cafs.TreeOptions{})
		read := openTree(t, store, rec)
		if err := read.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		paths := tree.paths()
		if read.NumEntries() != int64(len(paths)) {
			t.Fatalf("%d entries instead of %d", read.NumEntries(), len(paths))
		}
		data := read.Data().Open(t.Context())
		i := 0
		for e, err := range read.Entries(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if want := tree[paths[i]].Entry; e.Entry != want {
				t.Fatalf("entry %d is %+v instead of %+v", i, e.Entry, want)
			}
			content := make([]byte, e.Size)
			if _, err := io.ReadFull(data, content); err != nil || !bytes.Equal(content, tree[e.Path].content) {
				t.Fatalf("content of %q differs (error %v)", e.Path, err)
			}
			i++
		}
		for _, path := range paths {
			e, err := read.Lookup(t.Context(), path)
			if err != nil || e.Path != path {
				t.Fatalf("look up %q: %q, error %v", path, e.Path, err)
			}
			if _, err := read.Lookup(t.Context(), path+"\x01"); !errors.Is(err, cafs.ErrNotFound) {
				t.Fatalf("look up %q and more: error %v", path, err)
			}
		}
		if i != len(paths) {
			t.Fatalf("%d entries instead of %d", i, len(paths))
		}
	}
}

// A file of a segment's size has the chunks that it has alone; so has a row of small neighbours as one stream.
func TestTreeCutsSegments(t *testing.T) {
	store, tree := newMapStore(), testTree{}
	large, small := keystream(1, cafs.SegmentBytes), keystream(2, cafs.SegmentBytes-1)
	tree.file("a", small)
	tree.file("b/c", small)
	tree.add(cafs.Entry{Path: "b/d", Type: cafs.TypeSymlink, Target: "c"}, nil)
	tree.file("b/e", nil)
	tree.file("c", small)
	tree.file("d", large)
	tree.file("e", keystream(3, 300_000))
	tree.file("f", []byte("x"))
	rec := addTree(t, store, tree, cafs.TreeOptions{})
	var want []cafs.ChunkInfo
	for _, segment := range [][]byte{bytes.Repeat(small, 3), large, keystream(3, 300_000), []byte("x")} {
		want = append(want, chunksOf(t, segment)...)
	}
	var got []cafs.ChunkInfo
	for c, err := range openTree(t, store, rec).Data().Chunks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, c)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d chunks: %v, instead of %d: %v", len(got), got, len(want), want)
	}
}

// What is told as unchanged makes no difference but to what is read.
func TestTreeIsAddedAgainByItsChanges(t *testing.T) {
	rng := newRand(t)
	for range 30 {
		store := newMapStore()
		old := randomTree(rng, 1+rng.IntN(300))
		oldTree := openTree(t, store, addTree(t, store, old, cafs.TreeOptions{}))
		before := make(map[string]cafs.TreeEntry)
		for e, err := range oldTree.Entries(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			before[e.Path] = e
		}
		changed := maps.Clone(old)
		for range rng.IntN(6) {
			paths := changed.paths()
			path := paths[rng.IntN(len(paths))]
			e := changed[path]
			if !e.IsFile() {
				continue
			}
			switch content := bytes.Clone(e.content); rng.IntN(4) {
			case 0:
				delete(changed, path)
			case 1:
				changed.file(path+"-new", keystream(byte(rng.Uint32()), rng.IntN(40_000)))
			case 2:
				changed.add(e.Entry, append(content, 'x'))
			default:
				if len(content) > 0 {
					content[rng.IntN(len(content))] ^= 1
				}
				changed.add(e.Entry, content)
			}
		}
		want := addTree(t, newMapStore(), changed, cafs.TreeOptions{})
		read := make(map[string]bool)
		opts := cafs.TreeOptions{Old: oldTree.Data()}
		got, err := cafs.AddTree(t.Context(), store, changed.source(before, old, read), opts)
		if err != nil {
			t.Fatal(err)
		}
		if got.Root() != want.Root() {
			t.Fatal("other root than without the old tree")
		}
		if err := openTree(t, store, got).Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTreeReadsOnlyWhatChanged(t *testing.T) {
	store, old := newMapStore(), testTree{}
	for i := range 1000 {
		old.file(fmt.Sprintf("small/%03d", i), keystream(byte(i), 1000+i))
		old.file(fmt.Sprintf("large/%03d", i), keystream(byte(i), cafs.SegmentBytes+i))
	}
	oldTree := openTree(t, store, addTree(t, store, old, cafs.TreeOptions{}))
	before := make(map[string]cafs.TreeEntry)
	for e, err := range oldTree.Entries(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		before[e.Path] = e
	}
	changed := maps.Clone(old)
	changed.file("small/500", keystream(7, 1234))
	changed.file("large/500", keystream(7, 99_999))
	read := make(map[string]bool)
	got, err := cafs.AddTree(t.Context(), store, changed.source(before, old, read), cafs.TreeOptions{Old: oldTree.Data()})
	if err != nil {
		t.Fatal(err)
	}
	if want := addTree(t, newMapStore(), changed, cafs.TreeOptions{}); got.Root() != want.Root() {
		t.Fatal("other root than without the old tree")
	}
	// Small neighbours share the chunks of the one that changed, and the chunker reads ahead.
	if !read["small/500"] || !read["large/500"] || len(read) > 700 {
		t.Errorf("%d of 2000 files were read", len(read))
	}
}

func TestTreeKeepsTimesAndPermissions(t *testing.T) {
	tree := testTree{}
	tree.add(cafs.Entry{Path: "run", Type: cafs.TypeExecutable, Perm: 0o751, ModTime: -1}, []byte("x"))
	tree.add(cafs.Entry{Path: "text", Type: cafs.TypeFile, Perm: 0o604, ModTime: 1 << 62}, []byte("y"))
	tree.add(cafs.Entry{Path: "to", Type: cafs.TypeSymlink, Target: "text", ModTime: 5}, nil)
	tree.add(cafs.Entry{Path: "dir", Perm: 0o700}, nil)
	for _, opts := range []cafs.TreeOptions{{}, {Times: true}, {Perms: true}, {Times: true, Perms: true}} {
		store := newMapStore()
		for e, err := range openTree(t, store, addTree(t, store, tree, opts)).Entries(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			want := tree[e.Path].Entry
			if !opts.Times {
				want.ModTime = 0
			}
			if !opts.Perms {
				want.Perm = 0
			}
			if e.Entry != want {
				t.Errorf("%+v: %+v instead of %+v", opts, e.Entry, want)
			}
		}
	}
}

func TestEntryListBuilderRefuses(t *testing.T) {
	long := strings.Repeat("n", cafs.NameSizeMax)
	file := func(path string) cafs.Entry { return cafs.Entry{Path: path, Type: cafs.TypeFile} }
	dir := func(path string) cafs.Entry { return cafs.Entry{Path: path} }
	link := func(target string) cafs.Entry { return cafs.Entry{Path: "l", Type: cafs.TypeSymlink, Target: target} }
	for name, entries := range map[string][]cafs.Entry{
		"empty path":          {file("")},
		"absolute":            {file("/etc")},
		"parent":              {file("..")},
		"parent inside":       {dir("a"), file("a/..")},
		"dot":                 {file(".")},
		"two slashes":         {dir("a"), file("a//b")},
		"slash at the end":    {dir("a/")},
		"NUL":                 {file("a\x00b")},
		"long name":           {file(long + "n")},
		"long path":           {file(strings.Repeat(long+"/", 16) + long)},
		"too deep":            {file(strings.Repeat("a/", cafs.PathDepthMax) + "a")},
		"twice":               {file("a"), file("a")},
		"out of order":        {file("b"), file("a")},
		"order of text":       {dir("a"), file("a-b"), file("a/b")},
		"no directory":        {file("a/b")},
		"no directory inside": {dir("a"), file("a/b/c")},
		"file as a directory": {file("a"), file("a/b")},
		"link as a directory": {{Path: "a", Type: cafs.TypeSymlink, Target: "/"}, file("a/b")},
		"other's directory":   {dir("a"), file("a/x"), file("b/x")},
		"unknown type":        {{Path: "a", Type: 4}},
		"directory with size": {{Path: "a", Size: 1}},
		"negative size":       {{Path: "a", Type: cafs.TypeFile, Size: -1}},
		"too large":           {{Path: "a", Type: cafs.TypeFile, Size: cafs.ContentBytesMax + 1}},
		"too large together":  {{Path: "a", Type: cafs.TypeFile, Size: cafs.ContentBytesMax}, {Path: "b", Type: cafs.TypeFile, Size: 1}},
		"no target":           {link("")},
		"long target":         {link(strings.Repeat("t", cafs.TargetSizeMax+1))},
		"target with NUL":     {link("a\x00")},
		"target of a file":    {{Path: "a", Type: cafs.TypeFile, Target: "b"}},
		"time":                {{Path: "a", ModTime: 1}},
		"permissions":         {{Path: "a", Perm: 1}},
	} {
		builder := cafs.NewEntryListBuilder(cafs.Record{Kind: cafs.KindTree}, func(cafs.Chunk) error { return nil })
		var err error
		for _, e := range entries {
			if err = builder.Add(e); err != nil {
				break
			}
		}
		if err == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}

// Entries whose pages are full before they have enough items for a mark.
func TestTreeOfLongPaths(t *testing.T) {
	tree, store := testTree{}, newMapStore()
	component := strings.Repeat("x", 250)
	for i := range 60 {
		path := ""
		for depth := range 16 {
			name := component
			if depth == 0 {
				name = fmt.Sprintf("%03d%s", i, component[3:])
			}
			path += name + "/"
		}
		tree.add(cafs.Entry{Path: path[:len(path)-1], Type: cafs.TypeSymlink, Target: strings.Repeat("t", cafs.TargetSizeMax)}, nil)
	}
	read := openTree(t, store, addTree(t, store, tree, cafs.TreeOptions{}))
	if err := read.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range tree {
		if e, err := read.Lookup(t.Context(), path); err != nil || e.Entry != want.Entry {
			t.Fatalf("%q: error %v", path, err)
		}
	}
}

// treeVector is one case of the golden vectors of trees; docs/format.md describes the fields.
type treeVector struct {
	Name    string        `json:"name"`
	Times   bool          `json:"times,omitempty"`
	Perms   bool          `json:"perms,omitempty"`
	Entries []vectorEntry `json:"entries,omitempty"`
	MadeUp  int           `json:"made_up,omitempty"`
	Depth   int           `json:"depth"`
	Chunks  int64         `json:"chunks"`
	Record  string        `json:"record"`
	Root    cafs.Key      `json:"root"`
}

type vectorEntry struct {
	Path    string `json:"path"` // hexadecimal
	Type    int    `json:"type"`
	Size    int    `json:"size,omitempty"`
	Target  string `json:"target,omitempty"` // hexadecimal
	Perm    int    `json:"perm,omitempty"`
	ModTime int64  `json:"mtime,omitempty"`
}

const treeVectorsFile = "testdata/trees.json"

func treeVectorInputs() map[string]struct {
	tree testTree
	opts cafs.TreeOptions
	made int
} {
	type input = struct {
		tree testTree
		opts cafs.TreeOptions
		made int
	}
	small := testTree{}
	small.file("a", keystream(0, 5))
	small.file("a-b", keystream(0, 20_000))
	small.add(cafs.Entry{Path: "d/empty"}, nil)
	small.add(cafs.Entry{Path: "d/run", Type: cafs.TypeExecutable}, keystream(0, 16_383))
	small.add(cafs.Entry{Path: "d/to", Type: cafs.TypeSymlink, Target: "../a"}, nil)
	small.file("d/\xff", nil)
	small.file("d/z", keystream(0, 100_000))
	full := testTree{}
	for path, e := range small {
		e.ModTime = int64(len(path)) * 1_000_000_007
		if e.Type != cafs.TypeSymlink {
			e.Perm = 0o640
		}
		if e.Type == cafs.TypeExecutable || e.Type == cafs.TypeDirectory {
			e.Perm = 0o755
		}
		full[path] = e
	}
	return map[string]input{
		"empty":   {testTree{}, cafs.TreeOptions{}, 0},
		"small":   {small, cafs.TreeOptions{}, 0},
		"full":    {full, cafs.TreeOptions{Times: true, Perms: true}, 0},
		"made-up": {madeUpTree(20_000), cafs.TreeOptions{}, 20_000},
	}
}

// madeUpTree has n files: file i is d‹i/100, 4 digits›/f‹i mod 100, 2 digits› and has (7919·i mod 300) bytes of the keystream.
func madeUpTree(n int) testTree {
	tree := testTree{}
	for i := range n {
		tree.file(fmt.Sprintf("d%04d/f%02d", i/100, i%100), keystream(0, 7919*i%300))
	}
	return tree
}

func TestTreeVectors(t *testing.T) {
	var vectors []treeVector
	inputs := treeVectorInputs()
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		in, store := inputs[name], newMapStore()
		rec := addTree(t, store, in.tree, in.opts)
		v := treeVector{
			Name: name, Times: in.opts.Times, Perms: in.opts.Perms, MadeUp: in.made, Depth: rec.Entries.Depth,
			Chunks: rec.Data.Items, Record: hex.EncodeToString(rec.Encode()), Root: rec.Root(),
		}
		if in.made == 0 {
			for e, err := range openTree(t, store, rec).Entries(t.Context(), "") {
				if err != nil {
					t.Fatal(err)
				}
				v.Entries = append(v.Entries, vectorEntry{
					Path: hex.EncodeToString([]byte(e.Path)), Type: int(e.Type), Size: int(e.Size),
					Target: hex.EncodeToString([]byte(e.Target)), Perm: int(e.Perm), ModTime: e.ModTime,
				})
			}
		}
		vectors = append(vectors, v)
	}
	got, err := json.MarshalIndent(vectors, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(treeVectorsFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(treeVectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the vectors are %s", got)
	}
}
