package cafs_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

func newOutline(t testing.TB, list cafs.List) *cafs.Outline {
	t.Helper()
	o, err := cafs.NewOutline(list)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// rangesOf sorts chunks into ranges the plain way.
func rangesOf(chunks []cafs.ChunkInfo) []cafs.RangeChunks {
	var ranges []cafs.RangeChunks
	var off int64
	for i, c := range chunks {
		for int64(len(ranges)) <= off>>20 {
			ranges = append(ranges, cafs.RangeChunks{First: int64(i), Offset: off})
		}
		r := &ranges[off>>20]
		r.Chunks = append(r.Chunks, c)
		off += int64(c.Size)
	}
	return ranges
}

func sameRow(a, b cafs.RangeChunks) bool {
	return a.First == b.First && a.Offset == b.Offset && slices.Equal(a.Chunks, b.Chunks)
}

func TestOutlineFillsInAnyOrder(t *testing.T) {
	rng := newRand(t)
	for _, n := range []int{0, 1, 117, 118, 3000, 50_000} {
		chunks := madeUpChunks(rng.IntN(1<<30), n)
		tree := refBuild(chunks)
		store := newMapStore()
		tree.put(store)
		o := newOutline(t, tree.list)
		want := rangesOf(chunks)
		for added := 0; ; added++ {
			missing := o.Missing(1 + rng.IntN(50))
			if len(missing) == 0 {
				if added != tree.pages() || !o.Complete() {
					t.Errorf("%d chunks: nothing missing after %d of %d pages, complete is %v",
						n, added, tree.pages(), o.Complete())
				}
				break
			}
			if o.Complete() {
				t.Fatalf("%d chunks: complete, but %d pages are missing", n, len(missing))
			}
			p := missing[rng.IntN(len(missing))]
			for range 2 { // the second time does nothing
				if err := o.AddPage(p, store.chunks[p.Key]); err != nil {
					t.Fatalf("%d chunks: %v", n, err)
				}
			}
			if len(want) > 0 {
				checkRange(t, o, store, rng.Int64N(int64(len(want))), want)
			}
		}
		for k := range want {
			if !o.RangeKnown(int64(k)) {
				t.Errorf("%d chunks: complete, but range %d is not known", n, k)
			}
			checkRange(t, o, store, int64(k), want)
		}
		if got, exact := o.Ranges(); got != int64(len(want)) || !exact {
			t.Errorf("%d chunks: %d ranges (exact: %v): want %d", n, got, exact, len(want))
		}
	}
}

// checkRange holds everything that the outline says of range k against each other and against want.
func checkRange(t *testing.T, o *cafs.Outline, g cafs.Getter, k int64, want []cafs.RangeChunks) {
	t.Helper()
	row, err := o.Range(t.Context(), g, k)
	missing := o.RangeMissing(k)
	leaves, leavesKnown := o.RangeLeaves(k)
	if !o.RangeKnown(k) {
		if !errors.Is(err, cafs.ErrNotFound) || len(missing) == 0 {
			t.Errorf("range %d is not known: got error %v, and %d pages to add", k, err, len(missing))
		}
		return
	}
	if err != nil || !sameRow(row, want[k]) {
		t.Errorf("range %d: chunk %d at %d and %d more (error %v): want chunk %d at %d and %d more",
			k, row.First, row.Offset, len(row.Chunks), err, want[k].First, want[k].Offset, len(want[k].Chunks))
	}
	if len(missing) > 0 || !leavesKnown {
		t.Errorf("range %d is known, but %d pages are missing (leaves known: %v)", k, len(missing), leavesKnown)
	}
	for _, p := range leaves {
		if p.Level != 0 || p.FirstByte >= (k+1)<<20 || p.FirstByte+p.Bytes <= k<<20 {
			t.Errorf("range %d: page of level %d with bytes %d+%d is none of its leaves", k, p.Level, p.FirstByte, p.Bytes)
		}
	}
}

func TestOutlineMissingGoesFromLeftToRight(t *testing.T) {
	rng := newRand(t)
	tree := refBuild(madeUpChunks(5, 20_000))
	store := newMapStore()
	tree.put(store)
	o := newOutline(t, tree.list)
	for {
		missing := o.Missing(1 << 20)
		if len(missing) == 0 {
			return
		}
		for i := 1; i < len(missing); i++ {
			if missing[i].FirstItem < missing[i-1].FirstItem+missing[i-1].Items {
				t.Fatalf("page from item %d comes after the one from %d", missing[i].FirstItem, missing[i-1].FirstItem)
			}
		}
		if got := o.Missing(3); !slices.Equal(got, missing[:min(3, len(missing))]) {
			t.Fatalf("the first 3 are %v: want %v", got, missing[:min(3, len(missing))])
		}
		p := missing[rng.IntN(len(missing))]
		if err := o.AddPage(p, store.chunks[p.Key]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOutlinePagesFor(t *testing.T) {
	rng := newRand(t)
	tree := refBuild(madeUpChunks(6, 50_000))
	if len(tree.levels) != 2 || len(tree.levels[1]) < 2 {
		t.Fatal("the tree is too small for this test")
	}
	store := newMapStore()
	tree.put(store)
	full := newOutline(t, tree.list)
	if err := full.Load(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	part := newOutline(t, tree.list)
	for {
		level := rng.IntN(tree.list.Depth)
		first := rng.Int64N(tree.list.Items)
		last := first + rng.Int64N(tree.list.Items-first)
		want := refPagesFor(tree, level, first, last)
		if got, complete := full.PagesFor(level, first, last, 1<<20); !complete || !slices.Equal(keysOf(got), want) {
			t.Fatalf("level %d, items %d to %d: %d pages (complete: %v): want %d",
				level, first, last, len(got), complete, len(want))
		}
		max := 1 + rng.IntN(len(want))
		if got, complete := full.PagesFor(level, first, last, max); complete != (max == len(want)) ||
			!slices.Equal(keysOf(got), want[:max]) {
			t.Fatalf("level %d, items %d to %d, %d of %d pages: got %d (complete: %v)",
				level, first, last, max, len(want), len(got), complete)
		}
		got, complete := part.PagesFor(level, first, last, 1<<20)
		if len(got) > len(want) || !slices.Equal(keysOf(got), want[:len(got)]) || complete != (len(got) == len(want)) {
			t.Fatalf("level %d, items %d to %d, part of the pages known: got %d (complete: %v), want the first of %d",
				level, first, last, len(got), complete, len(want))
		}
		missing := part.Missing(10)
		if len(missing) == 0 {
			break
		}
		p := missing[rng.IntN(len(missing))]
		if err := part.AddPage(p, store.chunks[p.Key]); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []struct {
		level       int
		first, last int64
	}{{-1, 0, 0}, {tree.list.Depth, 0, 0}, {0, -1, 0}, {0, 5, 4}, {0, 0, tree.list.Items}} {
		if got, complete := full.PagesFor(bad.level, bad.first, bad.last, 10); len(got) > 0 || complete {
			t.Errorf("%v: got %d pages", bad, len(got))
		}
	}
}

// refPagesFor sorts the pages into preorder: by first item, then the higher level first.
func refPagesFor(tree refTree, level int, first, last int64) []cafs.Key {
	var pages []refPage
	for l := level; l >= 0; l-- {
		for _, p := range tree.levels[l] {
			if p.first <= last && p.first+p.items > first {
				pages = append(pages, p)
			}
		}
	}
	slices.SortStableFunc(pages, func(a, b refPage) int {
		if a.first != b.first {
			return int(a.first - b.first)
		}
		return int(b.data[0]) - int(a.data[0])
	})
	var keys []cafs.Key
	for _, p := range pages {
		keys = append(keys, p.key())
	}
	return keys
}

func keysOf(pages []cafs.PageInfo) []cafs.Key {
	var keys []cafs.Key
	for _, p := range pages {
		keys = append(keys, p.Key)
	}
	return keys
}

func TestOutlineLoadTakesWhatIsThere(t *testing.T) {
	rng := newRand(t)
	tree := refBuild(madeUpChunks(9, 20_000))
	store := newMapStore()
	tree.put(store)
	part := store.clone()
	lost, spoilt := tree.levels[0][rng.IntN(len(tree.levels[0]))], tree.levels[0][rng.IntN(len(tree.levels[0]))]
	delete(part.chunks, lost.key())
	if spoilt.key() != lost.key() {
		part.chunks[spoilt.key()] = append([]byte{0}, spoilt.data...)
	}
	o := newOutline(t, tree.list)
	if err := o.Load(t.Context(), part); err != nil {
		t.Fatal(err)
	}
	for _, p := range o.Missing(10) {
		if p.Key != lost.key() && p.Key != spoilt.key() {
			t.Errorf("page of level %d from item %d was not loaded", p.Level, p.FirstItem)
		}
	}
	if o.Complete() {
		t.Error("complete without all pages")
	}
	if err := o.Load(t.Context(), store); err != nil || !o.Complete() {
		t.Errorf("complete is %v after the second load (error %v)", o.Complete(), err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newOutline(t, tree.list).Load(cancelled, failingGetter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v: want the error of the store", err)
	}
}

func TestOutlineLoadBelow(t *testing.T) {
	tree := refBuild(madeUpChunks(9, 100_000))
	store := newMapStore()
	tree.put(store)
	o := newOutline(t, tree.list)
	top := o.Missing(2)
	if len(top) < 2 || top[0].Level == 0 {
		t.Fatalf("the list begins with the pages %+v: want some above the leaves", top)
	}
	if err := o.LoadBelow(t.Context(), store, top[0]); err != nil || len(o.Missing(1)) == 0 || o.Missing(1)[0] != top[0] {
		t.Errorf("below a page that was not added: %v", err)
	}
	if err := o.AddPage(top[0], store.chunks[top[0].Key]); err != nil {
		t.Fatal(err)
	}
	if err := o.LoadBelow(t.Context(), store, top[0]); err != nil {
		t.Fatal(err)
	}
	if missing := o.Missing(1); len(missing) == 0 || missing[0] != top[1] {
		t.Errorf("after all below the first page was loaded %+v is missing, want the second page", missing)
	}
	if err := o.AddPage(top[1], store.chunks[top[1].Key]); err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.LoadBelow(cancelled, failingGetter{}, top[1]); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v: want the error of the store", err)
	}
}

// failingGetter fails as stores do when the context is over.
type failingGetter struct{}

func (failingGetter) Get(ctx context.Context, _ cafs.Key, _ []byte) ([]byte, error) {
	return nil, ctx.Err()
}

func (failingGetter) Has(ctx context.Context, _ []cafs.Key) ([]bool, error) { return nil, ctx.Err() }

func TestOutlineConcurrently(t *testing.T) {
	chunks := madeUpChunks(11, 8000)
	tree := refBuild(chunks)
	store := newMapStore()
	tree.put(store)
	want := rangesOf(chunks)
	o := newOutline(t, tree.list)
	var wg sync.WaitGroup
	for g := range 4 {
		rng := rand.New(rand.NewPCG(uint64(g), 0))
		wg.Go(func() {
			for {
				missing := o.Missing(8)
				if len(missing) == 0 {
					return
				}
				p := missing[rng.IntN(len(missing))]
				if err := o.AddPage(p, store.chunks[p.Key]); err != nil {
					t.Error(err)
				}
				k := rng.Int64N(int64(len(want)))
				row, err := o.Range(t.Context(), store, k)
				if err == nil && !sameRow(row, want[k]) || err != nil && !errors.Is(err, cafs.ErrNotFound) {
					t.Errorf("range %d is wrong (error %v)", k, err)
				}
				o.PagesFor(0, 0, 100, 10)
			}
		})
	}
	wg.Wait()
	if !o.Complete() {
		t.Error("not complete")
	}
}

func BenchmarkOutlineAddPage(b *testing.B) {
	tree := refBuild(madeUpChunks(0, 28_700))
	store := newMapStore()
	tree.put(store)
	for b.Loop() {
		o := newOutline(b, tree.list)
		if err := o.Load(context.Background(), store); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(tree.pages()), "ns/page")
}

func BenchmarkOutlineRange(b *testing.B) {
	tree := refBuild(madeUpChunks(0, 28_700))
	store := newMapStore()
	tree.put(store)
	o := newOutline(b, tree.list)
	if err := o.Load(context.Background(), store); err != nil {
		b.Fatal(err)
	}
	n, _ := o.Ranges()
	k := int64(0)
	for b.Loop() {
		if _, err := o.Range(context.Background(), store, k*7919%n); err != nil {
			b.Fatal(err)
		}
		k++
	}
}
