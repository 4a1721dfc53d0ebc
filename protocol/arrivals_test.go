package protocol_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

// countingGetter counts how often chunks are looked for.
type countingGetter struct {
	*memory.Store
	mu   sync.Mutex
	gets map[cafs.Key]int
}

func (g *countingGetter) Get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	g.mu.Lock()
	if g.gets == nil {
		g.gets = make(map[cafs.Key]int)
	}
	g.gets[key]++
	g.mu.Unlock()
	return g.Store.Get(ctx, key, buf)
}

func mustChunk(t testing.TB, data string) cafs.Chunk {
	t.Helper()
	chunk, err := cafs.NewChunk([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return chunk
}

// outcome is what came of an AwaitChunk.
type outcome struct {
	data string
	err  error
}

// await runs AwaitChunk in a goroutine.
func await(ctx context.Context, source protocol.ChunkSource, key cafs.Key) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		data, err := source.AwaitChunk(ctx, key, nil)
		done <- outcome{string(data), err}
	}()
	return done
}

// TestArrivalsWake: who waits for a chunk is woken by that chunk, whichever way it comes, and looks for it no more often
// than it takes.
func TestArrivalsWake(t *testing.T) {
	for name, arrive := range map[string]func(a *protocol.Arrivals, store *memory.Store, chunk cafs.Chunk) error{
		"put": func(a *protocol.Arrivals, _ *memory.Store, chunk cafs.Chunk) error { return a.Put(t.Context(), chunk) },
		"told": func(a *protocol.Arrivals, store *memory.Store, chunk cafs.Chunk) error {
			defer a.Arrived(chunk.Key())
			return store.Put(t.Context(), chunk)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &countingGetter{Store: memory.New()}
				a := protocol.NewArrivals(store)
				wanted, other := mustChunk(t, "wanted"), mustChunk(t, "other")
				first, second := await(t.Context(), a, wanted.Key()), await(t.Context(), a, wanted.Key())
				synctest.Wait()
				if err := arrive(a, store.Store, other); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if n := store.gets[wanted.Key()]; n != 4 {
					t.Errorf("two who wait looked %d times, want 4", n)
				}
				if err := arrive(a, store.Store, wanted); err != nil {
					t.Fatal(err)
				}
				for _, done := range []<-chan outcome{first, second, await(t.Context(), a, wanted.Key())} {
					if got := <-done; got.data != "wanted" || got.err != nil {
						t.Errorf("got %q, %v", got.data, got.err)
					}
				}
				if n := store.gets[wanted.Key()]; n != 7 {
					t.Errorf("they looked %d times, want 7", n)
				}
			})
		})
	}
}

// TestArrivalsEnd: waiting ends with the context of the caller or with the reception, and what is there can be read all
// the same.
func TestArrivalsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := protocol.NewArrivals(memory.New())
		here, missing := mustChunk(t, "here"), mustChunk(t, "missing")
		if err := a.Put(t.Context(), here); err != nil {
			t.Fatal(err)
		}
		left := errors.New("left")
		ctx, cancel := context.WithCancelCause(t.Context())
		leaves, stays := await(ctx, a, missing.Key()), await(t.Context(), a, missing.Key())
		synctest.Wait()
		cancel(left)
		if got := <-leaves; !errors.Is(got.err, left) {
			t.Errorf("with a context that ended: %v, want %v", got.err, left)
		}
		// The reason may look like what an Arrivals waits on.
		reason := fmt.Errorf("the last source: %w", cafs.ErrNotFound)
		a.End(reason)
		a.End(errors.New("again"))
		for _, done := range []<-chan outcome{stays, await(t.Context(), a, missing.Key())} {
			if got := <-done; !errors.Is(got.err, reason) {
				t.Errorf("after the end: %q, %v, want %v", got.data, got.err, reason)
			}
		}
		if got := <-await(t.Context(), a, here.Key()); got.data != "here" {
			t.Errorf("of what is here: %q, %v", got.data, got.err)
		}
	})
}

// TestArrivalsBrokenStore: an error of the store is no reason to wait.
func TestArrivalsBrokenStore(t *testing.T) {
	store := memory.New()
	a := protocol.NewArrivals(store)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := a.AwaitChunk(t.Context(), cafs.KeyOf(nil), nil); !errors.Is(err, cafs.ErrClosed) {
		t.Errorf("error %v, want ErrClosed", err)
	}
}

// TestArrivalsRace lets chunks arrive in any order while many wait for each: nobody misses one.
func TestArrivalsRace(t *testing.T) {
	a := protocol.NewArrivals(memory.New())
	r := random(t)
	var waiting sync.WaitGroup
	var chunks []cafs.Chunk
	for i := range 200 {
		chunks = append(chunks, mustChunk(t, fmt.Sprint("chunk ", i)))
	}
	for range 4 {
		for _, i := range r.Perm(len(chunks)) {
			waiting.Go(func() {
				data, err := a.AwaitChunk(t.Context(), chunks[i].Key(), nil)
				if err != nil || cafs.KeyOf(data) != chunks[i].Key() {
					t.Errorf("chunk %d: %q, %v", i, data, err)
				}
			})
		}
	}
	for _, i := range r.Perm(len(chunks)) {
		if err := a.Put(t.Context(), chunks[i]); err != nil {
			t.Fatal(err)
		}
	}
	waiting.Wait()
}

func TestChunksOfSyncInfo(t *testing.T) {
	c := newContent(t, shuffle.Permutation{2, 1, 0}, nil, []byte("first"), nil, []byte("second"), []byte("first"))
	viaList, err := send(t, c.chunks(t), c.info.Perm, []byte{0x30})
	if err != nil {
		t.Fatal(err)
	}
	chunks := protocol.ChunksOfSyncInfo(c.info, protocol.NewArrivals(c.sender))
	viaSource, err := send(t, chunks, c.info.Perm, []byte{0x30})
	if err != nil || string(viaSource) != string(viaList) || len(viaSource) == 0 {
		t.Errorf("the source gives %q, %v, the list %q", viaSource, err, viaList)
	}
	chunks.Dispose()
	chunks.Dispose()
	if _, err := chunks.NextChunk(t.Context()); !errors.Is(err, protocol.ErrDisposed) {
		t.Errorf("NextChunk after Dispose: %v", err)
	}
	if _, err := chunks.ReadChunk(t.Context(), c.info.Chunks[0], 0, nil); !errors.Is(err, protocol.ErrDisposed) {
		t.Errorf("ReadChunk after Dispose: %v", err)
	}
}

// TestChunksOfSyncInfoLies: a list that says another size than the chunk has, and a store that has other bytes, must not
// reach the other side.
func TestChunksOfSyncInfoLies(t *testing.T) {
	c := newContent(t, nil, nil, []byte("first"))
	c.info.Chunks[0].Size++
	chunks := protocol.ChunksOfSyncInfo(c.info, protocol.NewArrivals(c.sender))
	if data, err := send(t, chunks, nil, []byte{0x80}); !errors.Is(err, cafs.ErrCorrupt) || len(data) != 0 {
		t.Errorf("sent %q, %v, want ErrCorrupt", data, err)
	}
}

// TestServeWhileReceiving: what a Builder is still receiving goes on to the next receiver, chunk by chunk, each with a
// permutation of its own.
func TestServeWhileReceiving(t *testing.T) {
	r := random(t)
	for range 20 {
		c := randomContent(t, r)
		middle := protocol.NewArrivals(c.receiver)
		b, err := protocol.NewBuilder(middle, c.info, 1+r.IntN(50), "middle")
		if err != nil {
			t.Fatal(err)
		}
		onward := &content{info: c.info, whole: c.whole, receiver: memory.New()}
		onward.info.Perm = shuffle.Random(1+r.IntN(100), r)
		served := make(chan received)
		go func() {
			chunks := protocol.ChunksOfSyncInfo(onward.info, middle)
			defer chunks.Dispose()
			served <- transferFrom(t, onward, chunks, onward.builder(t, 1+r.IntN(50)))
		}()
		transfer(t, c, b).mustHold(t, c.whole)
		(<-served).mustHold(t, c.whole)
	}
}
