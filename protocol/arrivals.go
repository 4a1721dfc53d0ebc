package protocol

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/swarmsync/swarmsync/cafs"
)

// ChunkSource is where chunks come from that may still be arriving. Its methods may be called concurrently.
type ChunkSource interface {
	// AwaitChunk returns the bytes of the chunk named key as soon as it is there: in buf if they fit there and in new
	// memory if not; the caller owns them. When ctx ends before that, it returns the cause. Other errors say that the chunk
	// will not come, or can't be read.
	AwaitChunk(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error)
}

// Arrivals is a store whose readers can wait for chunks: give it to a Builder, or to whatever else receives, and to
// ChunksOfSyncInfo for those who are served meanwhile. Put wakes whoever waits for one of its chunks, and nobody else.
// Nothing is looked up again and again, and no goroutine is started.
//
// All methods may be called concurrently. It takes about 200 bytes for each chunk that somebody waits for.
type Arrivals struct {
	Storage

	// mu guards what follows. It is never held across a call to the store.
	mu      sync.Mutex
	waiting map[cafs.Key]*arrival
	err     error // why nothing more comes; nil: more may come
}

// arrival is a chunk that somebody waits for.
type arrival struct {
	look    chan struct{} // closed when it is worth looking into the store again
	waiters int
}

// NewArrivals returns an Arrivals that keeps its chunks in storage, and keeps a reference to that.
func NewArrivals(storage Storage) *Arrivals {
	return &Arrivals{Storage: storage, waiting: make(map[cafs.Key]*arrival)}
}

// Put implements cafs.Putter: it stores chunks and wakes those who wait for them. Chunks that a failed Put may have
// stored are looked for too.
func (a *Arrivals) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	err := a.Storage.Put(ctx, chunks...)
	keys := make([]cafs.Key, len(chunks))
	for i, chunk := range chunks {
		keys[i] = chunk.Key()
	}
	a.Arrived(keys...)
	return err
}

// Arrived wakes those who wait for chunks that came into the store by another way than Put.
func (a *Arrivals) Arrived(keys ...cafs.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, key := range keys {
		a.wake(key)
	}
}

// End says why nothing more comes: from now on AwaitChunk returns err, which must not be nil, for a chunk that is not in
// the store, also to those who wait already. Chunks that are there, or are put nevertheless, can still be read. Only the
// first call counts. Whoever receives calls it when that is over, however it ended.
func (a *Arrivals) End(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	a.err = err
	for key := range a.waiting {
		a.wake(key)
	}
}

// AwaitChunk implements ChunkSource.
func (a *Arrivals) AwaitChunk(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	data, err := a.Get(ctx, key, buf)
	here := !errors.Is(err, cafs.ErrNotFound)
	for !here {
		data, here, err = a.getNext(ctx, key, buf)
	}
	return data, err
}

// getNext looks for a chunk that was not there a moment ago. If it is still not there, it waits for the next time that
// it is worth looking, and returns that it is not here, and no error.
func (a *Arrivals) getNext(ctx context.Context, key cafs.Key, buf []byte) (data []byte, here bool, err error) {
	// First watch, then look, and what comes in between is not missed.
	expected, ended := a.watch(key)
	defer a.unwatch(key, expected)
	data, err = a.Get(ctx, key, buf)
	if !errors.Is(err, cafs.ErrNotFound) {
		return data, true, err
	}
	if ended != nil {
		return nil, true, fmt.Errorf("chunk %s will not come: %w", key, ended)
	}
	select {
	case <-expected.look:
		return nil, false, nil
	case <-ctx.Done():
		return nil, true, context.Cause(ctx)
	}
}

// watch returns what tells of the arrival of a chunk, and why nothing more comes, if that is so.
func (a *Arrivals) watch(key cafs.Key) (*arrival, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	expected := a.waiting[key]
	if expected == nil {
		expected = &arrival{look: make(chan struct{})}
		a.waiting[key] = expected
	}
	expected.waiters++
	return expected, a.err
}

// unwatch takes back a watch. The last one forgets the chunk.
func (a *Arrivals) unwatch(key cafs.Key, expected *arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	expected.waiters--
	if expected.waiters == 0 && a.waiting[key] == expected {
		delete(a.waiting, key)
	}
}

// wake makes those look again who wait for a chunk. The caller holds mu.
func (a *Arrivals) wake(key cafs.Key) {
	if expected := a.waiting[key]; expected != nil {
		close(expected.look)
		delete(a.waiting, key)
	}
}
