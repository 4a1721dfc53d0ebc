package cafstest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

// sizes are those at which a store may go wrong: the ends of the allowed range, and both sides of block sizes.
var sizes = []int{1, 2, 31, 32, 511, 512, 4095, 4096, 4097, 8192, 65535, 65536, 131071, 131072}

func mustPut(t *testing.T, store cafs.Store, chunks ...cafs.Chunk) {
	t.Helper()
	if err := store.Put(t.Context(), chunks...); err != nil {
		t.Fatalf("put %d chunks: %v", len(chunks), err)
	}
}

// checkChunk fails the test unless store has the chunk.
func checkChunk(t *testing.T, store cafs.Store, chunk cafs.Chunk) {
	t.Helper()
	got, err := store.Get(t.Context(), chunk.Key(), nil)
	if err != nil {
		t.Errorf("get a chunk of %d bytes: %v", len(chunk.Data()), err)
	} else if !bytes.Equal(got, chunk.Data()) {
		t.Errorf("chunk %s: %d bytes that differ from the %d put", chunk.Key(), len(got), len(chunk.Data()))
	}
}

func checkMissing(t *testing.T, store cafs.Store, key cafs.Key) {
	t.Helper()
	if got, err := store.Get(t.Context(), key, nil); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("get of a missing chunk: %d bytes, error %v; want ErrNotFound", len(got), err)
	}
}

func checkHas(t *testing.T, store cafs.Store, keys []cafs.Key, want []bool) {
	t.Helper()
	have, err := store.Has(t.Context(), keys)
	if err != nil {
		t.Fatalf("has: %v", err)
	}
	if len(have) != len(keys) {
		t.Fatalf("has: %d answers for %d keys", len(have), len(keys))
	}
	for i := range have {
		if have[i] != want[i] {
			t.Errorf("has key %d of %d: %v, want %v", i, len(keys), have[i], want[i])
		}
	}
}

func testEmpty(t *testing.T, store cafs.Store) {
	key := Chunk(1, 100).Key()
	checkMissing(t, store, key)
	checkMissing(t, store, cafs.Key{})
	checkHas(t, store, []cafs.Key{key, {}}, []bool{false, false})
	if _, err := store.Root(t.Context(), Root(1).Root); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("root: %v, want ErrNotFound", err)
	}
	if err := store.RemoveRoot(t.Context(), Root(1).Root); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("remove root: %v, want ErrNotFound", err)
	}
	for info, err := range store.Roots(t.Context()) {
		t.Errorf("roots of an empty store: %v, %v", info, err)
	}
	if err := store.Sync(t.Context()); err != nil {
		t.Errorf("sync: %v", err)
	}
}

func testPutGet(t *testing.T, store cafs.Store) {
	var chunks []cafs.Chunk
	for i, size := range sizes {
		chunk := Chunk(uint64(i), size)
		chunks = append(chunks, chunk)
		mustPut(t, store, chunk)
		checkChunk(t, store, chunk)
	}
	// Once more after all the others came.
	for _, chunk := range chunks {
		checkChunk(t, store, chunk)
		checkHas(t, store, []cafs.Key{chunk.Key()}, []bool{true})
	}
	checkMissing(t, store, Chunk(1<<32, 100).Key())
}

func testPutNothing(t *testing.T, store cafs.Store) {
	mustPut(t, store)
	mustPut(t, store, Chunk(1, 10))
}

func testPutTwice(t *testing.T, store cafs.Store) {
	a, b, c := Chunk(1, 5000), Chunk(2, 1), Chunk(3, 131072)
	mustPut(t, store, a, b)
	mustPut(t, store, a)
	mustPut(t, store, c, a, c, c)
	for _, chunk := range []cafs.Chunk{a, b, c} {
		checkChunk(t, store, chunk)
	}
}

func testPutZeroChunk(t *testing.T, store cafs.Store) {
	if err := store.Put(t.Context(), cafs.Chunk{}); err == nil {
		t.Error("no error for the zero value of Chunk, whose key is not that of its bytes")
	}
	checkMissing(t, store, cafs.Key{})
}

func testBuffers(t *testing.T, store cafs.Store) {
	data := bytes.Clone(Chunk(1, 1000).Data())
	want := bytes.Clone(data)
	chunk, err := cafs.NewChunk(data)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, store, chunk)
	clear(data) // Put must have kept no reference

	for _, test := range []struct {
		name   string
		buf    []byte
		shared bool
	}{
		{"nil", nil, false},
		{"too small", make([]byte, 999), false},
		{"exact", make([]byte, 1000), true},
		{"capacity", make([]byte, 0, 1000), true},
		{"larger", make([]byte, 5000), true},
	} {
		got, err := store.Get(t.Context(), chunk.Key(), test.buf)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s: wrong bytes", test.name)
		}
		if shared := cap(test.buf) > 0 && &got[0] == &test.buf[:1][0]; shared != test.shared {
			t.Errorf("%s: result in the buffer: %v, want %v", test.name, shared, test.shared)
		}
		clear(got) // it is the caller's; the store must not notice
	}
	again, err := store.Get(t.Context(), chunk.Key(), nil)
	if err != nil || !bytes.Equal(again, want) {
		t.Errorf("bytes changed with the buffer of an earlier Get (error %v)", err)
	}
}

func testHas(t *testing.T, store cafs.Store) {
	const n = 10_000
	keys := make([]cafs.Key, n)
	want := make([]bool, n)
	var put []cafs.Chunk
	for i := range keys {
		chunk := Chunk(uint64(i), 8)
		keys[i] = chunk.Key()
		if want[i] = i%3 == 0; want[i] {
			put = append(put, chunk)
		}
	}
	mustPut(t, store, put...)
	checkHas(t, store, nil, nil)
	checkHas(t, store, keys, want)
	checkHas(t, store, []cafs.Key{keys[0], keys[1], keys[0], keys[1]}, []bool{true, false, true, false})

	// The same after a Sync, behind which stores may look elsewhere; and with some of each.
	if err := store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkHas(t, store, keys, want)
	mustPut(t, store, Chunk(1, 8))
	want[1] = true
	checkHas(t, store, keys, want)
}

func testReadRow(t *testing.T, store cafs.Store) {
	var row []cafs.ChunkInfo
	var want []cafs.Chunk
	bytes := 0
	for i := range uint64(100) {
		chunk := Chunk(i%90, 1+int(i%90)*37) // some are there twice
		row = append(row, chunk.Info())
		bytes += chunk.Info().Size
		if i%90%3 == 0 {
			chunk = cafs.Chunk{}
		} else {
			mustPut(t, store, chunk)
		}
		want = append(want, chunk)
	}
	for _, n := range []int{0, 1, len(row)} {
		got, damaged, err := cafs.ReadRow(t.Context(), store, row[:n], make([]byte, bytes))
		if err != nil || damaged || len(got) != n {
			t.Fatalf("row of %d: %d chunks, damaged: %v, error %v", n, len(got), damaged, err)
		}
		for i, chunk := range got {
			if chunk.Key() != want[i].Key() || string(chunk.Data()) != string(want[i].Data()) {
				t.Errorf("row of %d: chunk %d is %s, want %s", n, i, chunk.Key(), want[i].Key())
			}
		}
	}
}

func testCanceled(t *testing.T, store cafs.Store) {
	chunk := Chunk(1, 100)
	mustPut(t, store, chunk)
	if err := store.PutRoot(t.Context(), Root(1)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	check := func(call string, err error) {
		t.Helper()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a canceled context: %v, want context.Canceled", call, err)
		}
	}
	_, err := store.Get(ctx, chunk.Key(), nil)
	check("get", err)
	_, err = store.Has(ctx, []cafs.Key{chunk.Key()})
	check("has", err)
	_, _, err = store.Check(ctx, chunk.Key(), nil)
	check("check", err)
	check("put", store.Put(ctx, Chunk(2, 100)))
	check("sync", store.Sync(ctx))
	check("put root", store.PutRoot(ctx, Root(2)))
	_, err = store.Root(ctx, Root(1).Root)
	check("root", err)
	check("remove root", store.RemoveRoot(ctx, Root(1).Root))
	errs := 0
	for _, err := range store.Roots(ctx) {
		check("roots", err)
		errs++
	}
	if errs != 1 {
		t.Errorf("roots with a canceled context: %d errors, want 1", errs)
	}

	// The store is none the worse for it.
	checkChunk(t, store, chunk)
	if _, err := store.Root(t.Context(), Root(1).Root); err != nil {
		t.Errorf("root: %v", err)
	}
}

func testConcurrentChunks(t *testing.T, store cafs.Store) {
	const workers, rounds, batch = 8, 10, 7
	var group sync.WaitGroup
	for worker := range workers {
		group.Go(func() {
			for round := range rounds {
				var chunks []cafs.Chunk
				for i := range batch {
					id := (worker*rounds+round)*batch + i
					chunks = append(chunks, Chunk(uint64(id), 1+id*37%20000))
				}
				if err := store.Put(t.Context(), chunks...); err != nil {
					t.Errorf("put: %v", err)
					return
				}
				for _, chunk := range chunks {
					checkChunk(t, store, chunk)
				}
				if round%4 == 0 {
					if err := store.Sync(t.Context()); err != nil {
						t.Errorf("sync: %v", err)
					}
				}
			}
		})
	}
	group.Wait()
	for id := range workers * rounds * batch {
		checkChunk(t, store, Chunk(uint64(id), 1+id*37%20000))
	}
}

func testConcurrentSameChunk(t *testing.T, store cafs.Store) {
	chunk := Chunk(1, 40000)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range uint64(10) {
				if err := store.Put(t.Context(), chunk, Chunk(2+i, 3000)); err != nil {
					t.Errorf("put: %v", err)
					return
				}
				checkChunk(t, store, chunk)
				checkChunk(t, store, Chunk(2+i, 3000))
			}
		})
	}
	group.Wait()
}

func testSync(t *testing.T, store cafs.Store) {
	// What Sync promises shows only after a power cut; here it must not get in the way of anything.
	var group sync.WaitGroup
	for worker := range uint64(4) {
		group.Go(func() {
			for i := range uint64(10) {
				chunk := Chunk(worker*10+i, 2000)
				if err := store.Put(t.Context(), chunk); err != nil {
					t.Errorf("put: %v", err)
				}
				if err := store.Sync(t.Context()); err != nil {
					t.Errorf("sync: %v", err)
				}
				checkChunk(t, store, chunk)
			}
		})
	}
	group.Wait()
}

func testClose(t *testing.T, store cafs.Store) {
	chunk := Chunk(1, 100)
	mustPut(t, store, chunk)
	for range 2 {
		if err := store.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	check := func(call string, err error) {
		t.Helper()
		if !errors.Is(err, cafs.ErrClosed) {
			t.Errorf("%s after close: %v, want ErrClosed", call, err)
		}
	}
	_, err := store.Get(t.Context(), chunk.Key(), nil)
	check("get", err)
	_, err = store.Has(t.Context(), []cafs.Key{chunk.Key()})
	check("has", err)
	_, _, err = store.Check(t.Context(), chunk.Key(), nil)
	check("check", err)
	check("put", store.Put(t.Context(), chunk))
	check("sync", store.Sync(t.Context()))
	check("put root", store.PutRoot(t.Context(), Root(1)))
	_, err = store.Root(t.Context(), Root(1).Root)
	check("root", err)
	check("remove root", store.RemoveRoot(t.Context(), Root(1).Root))
	for _, err := range store.Roots(t.Context()) {
		check("roots", err)
	}
}

// testCloseUnderLoad closes the store amid calls: each of them must finish its work or fail with ErrClosed.
func testCloseUnderLoad(t *testing.T, store cafs.Store) {
	var group sync.WaitGroup
	started := make(chan struct{}, 4)
	for worker := range uint64(4) {
		group.Go(func() {
			for i := uint64(0); ; i++ {
				chunk := Chunk(worker<<32|i, 500)
				err := store.Put(t.Context(), chunk)
				if err == nil {
					_, err = store.Get(t.Context(), chunk.Key(), nil)
				}
				if i == 0 {
					started <- struct{}{}
				}
				if errors.Is(err, cafs.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("while closing: %v", err)
					return
				}
			}
		})
	}
	for range 4 {
		<-started
	}
	if err := store.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	group.Wait()
}

func testCheck(t *testing.T, store cafs.Store) {
	chunk := Chunk(1, 5000)
	mustPut(t, store, chunk)
	for _, buf := range [][]byte{nil, make([]byte, 10), make([]byte, cafs.ChunkSizeMax)} {
		if bad, good, err := store.Check(t.Context(), chunk.Key(), buf); len(bad) > 0 || !good || err != nil {
			t.Errorf("check of a chunk that was put: %v, %v, %v; want a good copy and no bad one", bad, good, err)
		}
		if bad, good, err := store.Check(t.Context(), Chunk(2, 10).Key(), buf); len(bad) > 0 || good || err != nil {
			t.Errorf("check of a chunk that is not there: %v, %v, %v; want neither a good copy nor a bad one", bad, good, err)
		}
	}
	checkChunk(t, store, chunk)
}
