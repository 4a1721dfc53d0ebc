package cafstest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// quotaBytes is the smallest quota that a store must be able to work with.
const quotaBytes = 64 << 20

// runReclaimer holds a store to the contract of cafs.Reclaimer.
func runReclaimer(t *testing.T, maker Maker) {
	tests := []struct {
		name string
		run  func(t *testing.T, store cafs.Store)
	}{
		{"ReclaimCache", testReclaimCache},
		{"ReclaimNeeded", testReclaimNeeded},
		{"ReclaimPartial", testReclaimPartial},
		{"ReclaimHeld", testReclaimHeld},
		{"ReclaimReadLast", testReclaimReadLast},
		{"ReclaimPageMissing", testReclaimPageMissing},
		{"ReclaimLaterKind", testReclaimLaterKind},
		{"ReclaimEnds", testReclaimEnds},
		{"ReclaimBesideAdds", testReclaimBesideAdds},
		{"Occupancy", testOccupancy},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, openStore(t, maker)) })
	}
	limited := []struct {
		name string
		run  func(t *testing.T, store cafs.Store)
	}{
		{"QuotaTakesCache", testQuotaTakesCache},
		{"QuotaIsHard", testQuotaIsHard},
		{"QuotaOfOnePut", testQuotaOfOnePut},
		{"QuotaPageMissing", testQuotaPageMissing},
		{"QuotaBesideAdds", testQuotaBesideAdds},
	}
	for _, test := range limited {
		t.Run(test.name, func(t *testing.T) {
			store := maker.OpenLimited(t, quotaBytes)
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test.run(t, store)
		})
	}
	if maker.Reopen != nil {
		t.Run("ReopenReclaimed", func(t *testing.T) { testReopenReclaimed(t, maker) })
	}
}

// content returns bytes that look random and are the same in every run.
func content(id uint64, size int) []byte {
	data := make([]byte, 0, size)
	for part := id << 32; len(data) < size; part++ {
		data = append(data, Chunk(part, min(cafs.ChunkSizeMax, size-len(data))).Data()...)
	}
	return data
}

// addFile adds content as users do, and returns the root, which is not in the catalog yet.
func addFile(ctx context.Context, store cafs.Store, data []byte) (cafs.RootInfo, error) {
	record, err := cafs.AddFile(ctx, store, bytes.NewReader(data), cafs.AddOptions{})
	if err != nil {
		return cafs.RootInfo{}, err
	}
	added := time.Unix(1_700_000_000, 0).UTC()
	return cafs.RootInfo{Root: record.Root(), Record: record.Encode(), Complete: true, Added: added}, nil
}

func mustAddRoot(t *testing.T, store cafs.Store, data []byte) cafs.RootInfo {
	t.Helper()
	root, err := addFile(t.Context(), store, data)
	if err != nil {
		t.Fatal(err)
	}
	mustPutRoot(t, store, root)
	return root
}

// checkContent fails the test unless all of a root can be read.
func checkContent(t *testing.T, store cafs.Store, root cafs.RootInfo, want []byte) {
	t.Helper()
	record, err := cafs.ParseRecord(root.Record)
	if err != nil {
		t.Fatal(err)
	}
	file, err := cafs.OpenFile(store, record)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(file.Open(t.Context()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("content of root %s: %d bytes, want %d, error %v", root.Root.Short(), len(got), len(want), err)
	}
}

func mustReclaim(t *testing.T, store cafs.Store, keep int64) cafs.Reclaimed {
	t.Helper()
	var told cafs.Reclaimed
	freed, err := store.Reclaim(t.Context(), cafs.ReclaimOptions{
		Keep: keep,
		Progress: func(so cafs.Reclaimed) {
			if so.Bytes < told.Bytes || so.Chunks < told.Chunks {
				t.Errorf("progress went back from %+v to %+v", told, so)
			}
			told = so
		},
	})
	if err != nil {
		t.Fatalf("reclaim: %v", err)
	}
	return freed
}

func mustSpace(t *testing.T, store cafs.Store) cafs.Space {
	t.Helper()
	space, err := store.Space(t.Context())
	if err != nil {
		t.Fatalf("space: %v", err)
	}
	if space.Metadata < 0 || space.Metadata > space.Used {
		t.Errorf("space: %+v", space)
	}
	return space
}

func chunks(from, n uint64, size int) []cafs.Chunk {
	list := make([]cafs.Chunk, n)
	for i := range list {
		list[i] = Chunk(from+uint64(i), size)
	}
	return list
}

func keysOf(list []cafs.Chunk) []cafs.Key {
	keys := make([]cafs.Key, len(list))
	for i, chunk := range list {
		keys[i] = chunk.Key()
	}
	return keys
}

// here returns how many of the chunks are here, and fails the test if Has and Get differ.
func here(t *testing.T, store cafs.Store, list []cafs.Chunk) int {
	t.Helper()
	n := 0
	for _, chunk := range list {
		have, err := store.Has(t.Context(), []cafs.Key{chunk.Key()})
		if err != nil {
			t.Fatal(err)
		}
		if have[0] {
			checkChunk(t, store, chunk)
			n++
		} else {
			checkMissing(t, store, chunk.Key())
		}
	}
	return n
}

func testReclaimCache(t *testing.T, store cafs.Store) {
	before := mustSpace(t, store)
	if before.Quota != 0 {
		t.Errorf("quota %d of a store without one", before.Quota)
	}
	mustReclaim(t, store, 0) // of nothing
	cache := chunks(0, 100, 30_000)
	mustPut(t, store, cache...)
	if n := here(t, store, cache); n != len(cache) {
		t.Fatalf("%d of %d chunks are here before anybody wants their space", n, len(cache))
	}
	full := mustSpace(t, store)
	if grown := full.Used - before.Used; grown < 100*30_000 {
		t.Errorf("%d bytes more for 3,000,000 put", grown)
	}
	if freed := mustReclaim(t, store, 1<<40); freed != (cafs.Reclaimed{}) || here(t, store, cache) != len(cache) {
		t.Errorf("freed %+v of cache that may stay", freed)
	}
	freed := mustReclaim(t, store, 0)
	if freed.Chunks != 100 || freed.Bytes < 100*30_000 {
		t.Errorf("freed %+v, want 100 chunks of 30,000 bytes", freed)
	}
	if n := here(t, store, cache); n != 0 {
		t.Errorf("%d chunks of cache are left", n)
	}
	if left := mustSpace(t, store); full.Used-left.Used < 100*30_000 {
		t.Errorf("%d bytes less for 3,000,000 freed", full.Used-left.Used)
	}
	// What went can come again.
	mustPut(t, store, cache...)
	if n := here(t, store, cache); n != len(cache) {
		t.Errorf("%d of %d chunks are here after they were put again", n, len(cache))
	}
}

func testReclaimNeeded(t *testing.T, store cafs.Store) {
	needed, shared := content(1, 6<<20), content(2, 6<<20)
	shared = append(shared, needed[:2<<20]...) // so that chunks are shared
	kept := mustAddRoot(t, store, needed)
	gone := mustAddRoot(t, store, shared)
	cache := chunks(0, 100, 30_000)
	mustPut(t, store, cache...)
	mustReclaim(t, store, 0)
	if n := here(t, store, cache); n != 0 {
		t.Errorf("%d chunks of cache are left", n)
	}
	checkContent(t, store, kept, needed)
	checkContent(t, store, gone, shared)

	if err := store.RemoveRoot(t.Context(), gone.Root); err != nil {
		t.Fatal(err)
	}
	checkContent(t, store, gone, shared) // as long as nobody wants the space
	freed := mustReclaim(t, store, 0)
	if freed.Bytes < 5<<20 {
		t.Errorf("freed %+v of a root with 6 MiB of its own", freed)
	}
	checkContent(t, store, kept, needed)
	if again := mustReclaim(t, store, 0); again.Chunks != 0 {
		t.Errorf("freed %+v the second time", again)
	}
}

// testReclaimPartial keeps what is known of an incomplete root.
func testReclaimPartial(t *testing.T, store cafs.Store) {
	source := newShelf()
	data := content(1, 16<<20)
	record, err := cafs.AddFile(t.Context(), source, bytes.NewReader(data), cafs.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	outline, err := cafs.NewOutline(record.Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := outline.Load(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	mustPutRoot(t, store, cafs.RootInfo{Root: record.Root(), Record: record.Encode()})
	// Of every other leaf page nothing is here but the first chunk that it lists.
	var known, hidden []cafs.Chunk
	pages := make(map[cafs.Key]bool)
	all, _ := outline.PagesFor(0, 0, outline.Items()-1, 1000)
	for i, page := range all {
		if pages[page.Key] = i%2 == 0; pages[page.Key] {
			known = append(known, source.chunk(page.Key))
		}
	}
	for k := range outline.RangesMax() {
		row, err := outline.Range(t.Context(), source, k)
		if err != nil {
			t.Fatal(err)
		}
		leaves, _ := outline.RangeLeaves(k)
		switch {
		case len(leaves) > 1:
		case pages[leaves[0].Key]:
			for _, c := range row.Chunks {
				known = append(known, source.chunk(c.Key))
			}
		default:
			hidden = append(hidden, source.chunk(row.Chunks[0].Key))
		}
	}
	if len(known) < 50 || len(hidden) == 0 {
		t.Fatalf("%d chunks known, %d hidden: the content does not serve", len(known), len(hidden))
	}
	mustPut(t, store, known...)
	mustPut(t, store, hidden...)
	mustPut(t, store, chunks(0, 500, 100_000)...) // most of it is cache
	mustReclaim(t, store, 0)
	if n := here(t, store, known); n != len(known) {
		t.Errorf("%d of %d chunks of an incomplete root are left", n, len(known))
	}
	if n := here(t, store, hidden); n != 0 {
		t.Errorf("%d chunks are left that no page which is here lists", n)
	}
}

// shelf is chunks in a map.
type shelf struct {
	mu     sync.Mutex
	chunks map[cafs.Key]cafs.Chunk
}

func newShelf() *shelf { return &shelf{chunks: make(map[cafs.Key]cafs.Chunk)} }

func (s *shelf) chunk(key cafs.Key) cafs.Chunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.chunks[key]
}

func (s *shelf) Put(_ context.Context, list ...cafs.Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range list {
		copied, err := cafs.NewChunk(bytes.Clone(c.Data()))
		if err != nil {
			return err
		}
		s.chunks[c.Key()] = copied
	}
	return nil
}

func (s *shelf) Sync(context.Context) error { return nil }

func (s *shelf) Get(_ context.Context, key cafs.Key, _ []byte) ([]byte, error) {
	if c := s.chunk(key); len(c.Data()) > 0 {
		return bytes.Clone(c.Data()), nil
	}
	return nil, cafs.ErrNotFound
}

func (s *shelf) Has(_ context.Context, keys []cafs.Key) ([]bool, error) {
	have := make([]bool, len(keys))
	for i, key := range keys {
		have[i] = len(s.chunk(key).Data()) > 0
	}
	return have, nil
}

func testReclaimHeld(t *testing.T, store cafs.Store) {
	put, again, got, asked := chunks(0, 20, 20_000), chunks(100, 20, 20_000), chunks(200, 20, 20_000), chunks(300, 20, 20_000)
	idle := chunks(400, 400, 20_000)
	for _, list := range [][]cafs.Chunk{again, got, asked, idle} {
		mustPut(t, store, list...)
	}
	release := store.Hold()
	inner := store.Hold() // holds overlap
	mustPut(t, store, put...)
	mustPut(t, store, again...)
	for _, chunk := range got {
		checkChunk(t, store, chunk)
	}
	if _, err := store.Has(t.Context(), keysOf(asked)); err != nil {
		t.Fatal(err)
	}
	inner()
	inner()
	check := func(when string, want int) {
		t.Helper()
		mustReclaim(t, store, 0)
		for name, list := range map[string][]cafs.Chunk{"put": put, "put again": again, "got": got, "asked for": asked} {
			have, err := store.Has(t.Context(), keysOf(list))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, h := range have {
				if h {
					n++
				}
			}
			if n != want {
				t.Errorf("%s: %d chunks that were %s are here, want %d", when, n, name, want)
			}
		}
	}
	check("held", 20)
	if have, err := store.Has(t.Context(), keysOf(idle)); err != nil || have[0] || have[399] {
		t.Errorf("chunks that nobody held are left (error %v)", err)
	}
	check("still held", 20)
	release()
	check("released", 0)
}

// testReclaimReadLast keeps what was read lately while other cache can go.
func testReclaimReadLast(t *testing.T, store cafs.Store) {
	old, read := chunks(0, 150, 40_000), chunks(1000, 50, 40_000)
	for i := range read { // so that they stand between each other
		mustPut(t, store, read[i])
		mustPut(t, store, old[3*i:3*i+3]...)
	}
	for _, chunk := range read {
		checkChunk(t, store, chunk)
	}
	freed := mustReclaim(t, store, 100*45_000)
	if freed.Bytes < 80*40_000 {
		t.Errorf("freed %+v, want half", freed)
	}
	if n := here(t, store, read); n != len(read) {
		t.Errorf("%d of %d chunks that were read last are left", n, len(read))
	}
}

func testReclaimPageMissing(t *testing.T, store cafs.Store) {
	source := newShelf()
	record, err := cafs.AddFile(t.Context(), source, bytes.NewReader(content(1, 6<<20)), cafs.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cache := chunks(0, 100, 30_000)
	mustPut(t, store, cache...)
	root := cafs.RootInfo{Root: record.Root(), Record: record.Encode(), Complete: true}
	for range 2 {
		mustPutRoot(t, store, root) // though its pages are not here
		if _, err := store.Reclaim(t.Context(), cafs.ReclaimOptions{}); !errors.Is(err, cafs.ErrCorrupt) {
			t.Errorf("reclaim beside a root that has lost its pages: %v, want ErrCorrupt", err)
		}
		if n := here(t, store, cache); n != len(cache) {
			t.Errorf("%d of %d chunks are left", n, len(cache))
		}
		root.Complete, root.Damaged = false, true
	}
	root.Damaged = false
	mustPutRoot(t, store, root)
	if freed := mustReclaim(t, store, 0); freed.Chunks != 100 {
		t.Errorf("freed %+v, want 100 chunks", freed)
	}
}

// testReclaimLaterKind has a root of a kind that this release does not know.
func testReclaimLaterKind(t *testing.T, store cafs.Store) {
	cache := chunks(0, 100, 30_000)
	mustPut(t, store, cache...)
	record := []byte("SSR1\x03\x01\x00")
	mustPutRoot(t, store, cafs.RootInfo{Root: cafs.KeyOf(record), Record: record})
	if _, err := store.Reclaim(t.Context(), cafs.ReclaimOptions{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("reclaim beside a root of a later kind: %v, want ErrUnsupported", err)
	}
	if n := here(t, store, cache); n != len(cache) {
		t.Errorf("%d of %d chunks are left", n, len(cache))
	}
}

func testReclaimEnds(t *testing.T, store cafs.Store) {
	cache := chunks(0, 10, 30_000)
	mustPut(t, store, cache...)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Reclaim(ctx, cafs.ReclaimOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("reclaim with a canceled context: %v", err)
	}
	if n := here(t, store, cache); n != len(cache) {
		t.Errorf("%d of %d chunks are left", n, len(cache))
	}
	release := store.Hold()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	release()
	store.Hold()()
	_, err := store.Reclaim(t.Context(), cafs.ReclaimOptions{})
	_, errSpace := store.Space(t.Context())
	_, errOccupancy := store.Occupancy(t.Context(), cafs.Key{})
	for _, err := range []error{err, errSpace, errOccupancy} {
		if !errors.Is(err, cafs.ErrClosed) {
			t.Errorf("after close: %v, want ErrClosed", err)
		}
	}
}

// testReclaimBesideAdds adds, gets and removes roots while others reclaim without end.
func testReclaimBesideAdds(t *testing.T, store cafs.Store) {
	addBeside(t, store, 2<<20, func(ctx context.Context) error {
		_, err := store.Reclaim(ctx, cafs.ReclaimOptions{})
		return err
	})
}

// addBeside lets some workers add content of about size bytes, much of which they share, and remove some of it again, while
// others call beside over and over. What is in the catalog in the end must be readable.
func addBeside(t *testing.T, store cafs.Store, size int, beside func(context.Context) error) {
	const workers, rounds = 4, 6
	common := content(1, size/2)
	ctx, cancel := context.WithCancel(t.Context())
	var others, adding sync.WaitGroup
	for range 2 {
		others.Go(func() {
			for ctx.Err() == nil {
				if err := beside(ctx); err != nil && ctx.Err() == nil {
					t.Errorf("beside adds: %v", err)
					return
				}
			}
		})
	}
	type kept struct {
		root cafs.RootInfo
		data []byte
	}
	results := make([][]kept, workers)
	for worker := range workers {
		adding.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 1))
			for round := range rounds {
				data := append(content(uint64(10+worker*rounds+round), size/2), common[random.IntN(size/8):]...)
				release := store.Hold()
				root, err := addFile(t.Context(), store, data)
				if err == nil {
					err = store.PutRoot(t.Context(), root)
				}
				release()
				if err != nil {
					t.Errorf("add: %v", err)
					return
				}
				checkContent(t, store, root, data)
				if round%3 == 2 {
					results[worker] = append(results[worker], kept{root, data})
				} else if err := store.RemoveRoot(t.Context(), root.Root); err != nil {
					t.Errorf("remove: %v", err)
				}
			}
		})
	}
	adding.Wait()
	cancel()
	others.Wait()
	for _, list := range results {
		for _, k := range list {
			checkContent(t, store, k.root, k.data)
		}
	}
}

func testOccupancy(t *testing.T, store cafs.Store) {
	data := content(1, 6<<20)
	root := mustAddRoot(t, store, append(data, data...))
	occupied, err := store.Occupancy(t.Context(), root.Root)
	if err != nil || occupied.InPlace != 0 || occupied.Stored < 6<<20 || occupied.Stored > 6<<20+1<<20 {
		t.Errorf("occupancy of 6 MiB twice: %+v, error %v", occupied, err)
	}
	if _, err := store.Occupancy(t.Context(), cafs.Key{1}); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("occupancy of an unknown root: %v", err)
	}
	mustPutRoot(t, store, Root(1))
	if occupied, err := store.Occupancy(t.Context(), Root(1).Root); err != nil || occupied != (cafs.Occupancy{}) {
		t.Errorf("occupancy of a record that nobody can read: %+v, error %v", occupied, err)
	}
}

// checkQuota fails the test if the store is larger than it may be.
func checkQuota(t *testing.T, store cafs.Store) {
	t.Helper()
	if space := mustSpace(t, store); space.Quota != quotaBytes || space.Used > space.Quota {
		t.Errorf("space %+v: more than the quota", space)
	}
}

func testQuotaTakesCache(t *testing.T, store cafs.Store) {
	needed := content(1, 6<<20)
	root := mustAddRoot(t, store, needed)
	for batch := range uint64(40) { // twice the quota
		list := chunks(batch*100, 32, 100_000)
		mustPut(t, store, list...)
		if n := here(t, store, list); n != len(list) {
			t.Fatalf("batch %d: %d of %d chunks that were put just now are here", batch, n, len(list))
		}
		checkQuota(t, store)
	}
	checkContent(t, store, root, needed)
}

func testQuotaIsHard(t *testing.T, store cafs.Store) {
	release := store.Hold()
	var held []cafs.Chunk
	var err error
	for i := uint64(0); err == nil && i < 1000; i++ {
		chunk := Chunk(i, 100_000)
		if err = store.Put(t.Context(), chunk); err == nil {
			held = append(held, chunk)
		}
		checkQuota(t, store)
	}
	var quota *cafs.QuotaError
	if !errors.Is(err, cafs.ErrQuota) || !errors.As(err, &quota) || quota.Quota != quotaBytes {
		t.Fatalf("put more than the quota: %v, want a QuotaError", err)
	}
	if len(held) < 150 {
		t.Errorf("only %d chunks of 100,000 bytes in %d", len(held), quotaBytes)
	}
	for range 3 {
		if err := store.Put(t.Context(), Chunk(5000, 100_000)); !errors.Is(err, cafs.ErrQuota) {
			t.Errorf("put into a full store: %v", err)
		}
	}
	mustPut(t, store, held...) // what is here takes no space
	if n := here(t, store, held); n != len(held) {
		t.Errorf("%d of %d chunks that are held are here", n, len(held))
	}
	checkQuota(t, store)
	release()
	mustPut(t, store, chunks(5000, 10, 100_000)...)
	checkQuota(t, store)
}

// testQuotaPageMissing fills a store in which it can't be known what is needed.
func testQuotaPageMissing(t *testing.T, store cafs.Store) {
	record, err := cafs.AddFile(t.Context(), newShelf(), bytes.NewReader(content(1, 6<<20)), cafs.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	root := cafs.RootInfo{Root: record.Root(), Record: record.Encode(), Complete: true}
	mustPutRoot(t, store, root)
	var list []cafs.Chunk
	for i := uint64(0); err == nil && i < 1000; i++ {
		chunk := Chunk(i, 100_000)
		if err = store.Put(t.Context(), chunk); err == nil {
			list = append(list, chunk)
		}
	}
	if !errors.Is(err, cafs.ErrQuota) || errors.Is(err, cafs.ErrCorrupt) {
		t.Errorf("put more than the quota: %v, want ErrQuota", err)
	}
	if n := here(t, store, list); n != len(list) {
		t.Errorf("%d of %d chunks are here", n, len(list))
	}
	if err := store.RemoveRoot(t.Context(), root.Root); err != nil {
		t.Fatal(err)
	}
	mustPut(t, store, Chunk(2000, 100_000))
}

// testQuotaOfOnePut puts in one call what takes the place of all else, and then more than there is place for.
func testQuotaOfOnePut(t *testing.T, store cafs.Store) {
	for round := range uint64(3) {
		list := chunks(round*1000, 150, 100_000)
		mustPut(t, store, list...)
		if n := here(t, store, list); n != len(list) {
			t.Errorf("%d of %d chunks of one put are here", n, len(list))
		}
		checkQuota(t, store)
	}
	if err := store.Put(t.Context(), chunks(10_000, 700, 100_000)...); !errors.Is(err, cafs.ErrQuota) {
		t.Errorf("put of more than the quota: %v, want ErrQuota", err)
	}
	checkQuota(t, store)
}

// testQuotaBesideAdds puts cache while others add. All that is put comes to less than there is room for, so that nobody may
// find the store full, however long a hold protects what others put; but what was there before must go for it.
func testQuotaBesideAdds(t *testing.T, store cafs.Store) {
	for batch := range uint64(30) {
		mustPut(t, store, chunks(1<<40+batch*20, 20, 100_000)...)
	}
	var putting sync.Mutex
	put := uint64(0)
	addBeside(t, store, 512<<10, func(ctx context.Context) error {
		putting.Lock()
		defer putting.Unlock()
		if put == 100 {
			<-ctx.Done()
			return nil
		}
		put++
		return store.Put(ctx, Chunk(1<<41+put, 100_000))
	})
	checkQuota(t, store)
}

func testReopenReclaimed(t *testing.T, maker Maker) {
	store := openStore(t, maker)
	contents := make(map[cafs.Key][]byte)
	var roots []cafs.RootInfo
	for i := range uint64(6) {
		data := content(1+i, 3<<20)
		root := mustAddRoot(t, store, data)
		contents[root.Root] = data
		roots = append(roots, root)
	}
	for round := range 3 {
		if err := store.RemoveRoot(t.Context(), roots[0].Root); err != nil {
			t.Fatal(err)
		}
		roots = roots[1:]
		if freed := mustReclaim(t, store, 0); freed.Bytes < 2<<20 {
			t.Errorf("round %d: freed %+v", round, freed)
		}
		store = maker.Reopen(t, store)
		t.Cleanup(func() { _ = store.Close() })
		n := 0
		for _, err := range store.Roots(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != len(roots) {
			t.Errorf("round %d: %d roots, want %d", round, n, len(roots))
		}
		for _, root := range roots {
			checkContent(t, store, root, contents[root.Root])
		}
	}
}
