package cafs_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

func TestListBuilderFollowsTheText(t *testing.T) {
	rng := newRand(t)
	sizes := []int{0, 1, 2, 31, 32, 33, 116, 117, 118, 119, 255, 256, 257, 1000, 12_000, 40_000}
	for range 5 {
		sizes = append(sizes, rng.IntN(20_000))
	}
	for _, n := range sizes {
		chunks := madeUpChunks(rng.IntN(1<<30), n)
		want := refBuild(chunks)
		store := newMapStore()
		if err := sameList(buildList(t, store, chunks), want.list); err != nil {
			t.Errorf("%d chunks: %v", n, err)
		}
		for _, level := range want.levels {
			for _, p := range level {
				if !bytes.Equal(store.chunks[p.key()], p.data) {
					t.Errorf("%d chunks: page of level %d from item %d is missing", n, p.data[0], p.first)
				}
			}
		}
		if len(store.chunks) != want.pages() {
			t.Errorf("%d chunks: %d pages were put: want %d", n, len(store.chunks), want.pages())
		}
	}
}

func TestListOfEqualChunks(t *testing.T) {
	key := cafs.Key{31: 0xff} // not marked, so that only the number of items ends pages
	chunks := make([]cafs.ChunkInfo, 1000)
	for i := range chunks {
		chunks[i] = cafs.ChunkInfo{Key: key, Size: cafs.ChunkSizeMax}
	}
	store := newMapStore()
	if err := sameList(buildList(t, store, chunks), refBuild(chunks).list); err != nil {
		t.Error(err)
	}
	if len(store.chunks) != 2 {
		t.Errorf("%d different pages: want two, that of 256 chunks and the last", len(store.chunks))
	}
}

// The smallest pages make the deepest tree for their number of chunks.
func TestListOfMarkedChunks(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a list of 350,000 chunks twice")
	}
	chunks := madeUpChunks(0, 350_000)
	for i := range chunks {
		chunks[i].Key[31] = 0
	}
	tree := refBuild(chunks)
	if tree.list.Depth != 3 {
		t.Fatalf("depth %d: this test wants 3", tree.list.Depth)
	}
	store := newMapStore()
	if err := sameList(buildList(t, store, chunks), tree.list); err != nil {
		t.Error(err)
	}
	o := newOutline(t, tree.list)
	if err := o.Load(t.Context(), store); err != nil || !o.Complete() {
		t.Fatalf("complete is %v (error %v)", o.Complete(), err)
	}
	want := rangesOf(chunks)
	for k := 0; k < len(want); k += 500 {
		checkRange(t, o, store, int64(k), want)
	}
	i := 0
	for c, err := range openFile(t, store, cafs.Record{Kind: cafs.KindFile, Data: tree.list}).Chunks(t.Context()) {
		if err != nil || c != chunks[i] {
			t.Fatalf("chunk %d is %v (error %v): want %v", i, c, err, chunks[i])
		}
		i++
	}
}

// The store must be able to rely on it, and memory depends on it: pages leave the builder when they are cut.
func TestListBuilderPutsPagesAtOnceAndParentsAfterChildren(t *testing.T) {
	const n = 30_000
	chunks := madeUpChunks(0, n)
	added, late := 0, 0
	var levels []byte
	b := cafs.NewListBuilder(func(c cafs.Chunk) error {
		levels = append(levels, c.Data()[0])
		if added == n {
			late++
		}
		return nil
	})
	for _, c := range chunks {
		if err := b.Add(c); err != nil {
			t.Fatal(err)
		}
		added++
	}
	list, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if list.Depth != 2 || late > list.Depth || len(levels) < n/256 {
		t.Errorf("depth %d, %d of %d pages were held to the end: want 2 levels and at most one a level",
			list.Depth, late, len(levels))
	}
	if levels[0] != 0 || levels[len(levels)-1] != 1 {
		t.Errorf("the first page has level %d and the last %d: want 0 and 1", levels[0], levels[len(levels)-1])
	}
}

func TestListBuilderRefusesWhatReceiversRefuse(t *testing.T) {
	small := cafs.ChunkInfo{Size: 2730}
	tests := []struct {
		name   string
		chunks []cafs.ChunkInfo
		bad    bool
	}{
		{"no bytes", []cafs.ChunkInfo{{}}, true},
		{"too large", []cafs.ChunkInfo{{Size: cafs.ChunkSizeMax + 1}}, true},
		{"three small ones at the end", []cafs.ChunkInfo{{Size: 8192}, small, small, small}, false},
		{"three small ones before the end", []cafs.ChunkInfo{small, small, small, {Size: 8192}}, true},
		{"just enough", []cafs.ChunkInfo{small, {Size: 2732}, small, {Size: 8192}}, false},
	}
	for _, test := range tests {
		b := cafs.NewListBuilder(func(cafs.Chunk) error { return nil })
		var err error
		for _, c := range test.chunks {
			err = errors.Join(err, b.Add(c))
		}
		if (err != nil) != test.bad {
			t.Errorf("%s: error %v", test.name, err)
		}
	}
}

func TestListBuilderReportsErrorsOfPut(t *testing.T) {
	full := errors.New("full")
	b := cafs.NewListBuilder(func(cafs.Chunk) error { return full })
	var err error
	for _, c := range madeUpChunks(0, 1000) {
		if err = b.Add(c); err != nil {
			break
		}
	}
	if !errors.Is(err, full) {
		t.Errorf("got %v: want the error of put", err)
	}
}

// An edit changes the pages around it and those above them, and nothing else. The figures are those of docs/format.md.
func TestEditsChangeFewPages(t *testing.T) {
	if testing.Short() {
		t.Skip("cuts and hashes 128 MiB")
	}
	content := keystream(7, 64<<20)
	middle := len(content) / 2
	edited := append(append(append([]byte(nil), content[:middle]...), 'x'), content[middle:]...)
	before, after := newMapStore(), newMapStore()
	buildList(t, before, chunksOf(t, content))
	list := buildList(t, after, chunksOf(t, edited))
	changed, pages := len(list.Top), 0
	for key, data := range after.chunks {
		if _, ok := before.chunks[key]; !ok {
			changed += len(data)
			pages++
		}
	}
	t.Logf("one byte more in %d: %d of %d pages changed, %d bytes with the top list",
		len(content), pages, len(after.chunks), changed)
	if pages > 3 || changed > 24_000 {
		t.Errorf("one byte more in 64 MiB changes %d pages and %d bytes of lists", pages, changed)
	}
}

func BenchmarkListBuilder(b *testing.B) {
	chunks := madeUpChunks(0, 28_700) // 1 GiB
	for b.Loop() {
		builder := cafs.NewListBuilder(func(cafs.Chunk) error { return nil })
		for _, c := range chunks {
			if err := builder.Add(c); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := builder.Finish(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(chunks)), "ns/chunk")
}
