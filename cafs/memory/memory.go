// Package memory holds a store that lives in the memory of the process, for tests, for short-lived tools, and as the
// plainest reading of the store contract. Nothing of it survives the process.
//
// Start with New.
package memory

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/swarmsync/swarmsync/cafs"
)

// Store is a cafs.Store in memory. It takes the sum of the chunks that are put, and about 100 bytes for each. Its methods
// may be called concurrently. Sync and PutRoot promise no more than the other methods, for nothing here outlives the
// process.
type Store struct {
	quota int64 // 0: none

	mu     sync.RWMutex
	closed bool
	chunks map[cafs.Key]*chunk
	roots  map[cafs.Key]cafs.RootInfo
	// chunkBytes and rootBytes are what chunks and roots take.
	chunkBytes, rootBytes int64
	// holds are the times at which the holds began.
	holds map[*hold]int64

	// clock counts uses of chunks: it is the time that holds and chunks are compared by.
	clock atomic.Int64
}

// chunk is the bytes of one, and when it was last put, read or asked for. Nobody changes the bytes.
type chunk struct {
	data []byte
	used atomic.Int64
}

var _ cafs.Store = (*Store)(nil)

// New returns an empty store without a limit.
func New() *Store { return NewLimited(0) }

// NewLimited returns an empty store of at most quota bytes, roots and 100 bytes for each chunk counted; 0 is no limit.
func NewLimited(quota int64) *Store {
	return &Store{
		quota:  quota,
		chunks: make(map[cafs.Key]*chunk),
		roots:  make(map[cafs.Key]cafs.RootInfo),
		holds:  make(map[*hold]int64),
	}
}

// ready returns the reason why a call may not go on. The caller holds mu.
func (s *Store) ready(ctx context.Context) error {
	if s.closed {
		return cafs.ErrClosed
	}
	return ctx.Err()
}

// Get implements cafs.Getter.
func (s *Store) Get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	found := s.use(key)
	if found == nil {
		return nil, fmt.Errorf("chunk %s: %w", key, cafs.ErrNotFound)
	}
	return append(buf[:0], found.data...), nil
}

// Has implements cafs.Getter.
func (s *Store) Has(ctx context.Context, keys []cafs.Key) ([]bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	have := make([]bool, len(keys))
	for i, key := range keys {
		have[i] = s.use(key) != nil
	}
	return have, nil
}

// Check implements cafs.Checker.
func (s *Store) Check(ctx context.Context, key cafs.Key, _ []byte) (bad []cafs.BadCopy, good bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return nil, false, err
	}
	found := s.use(key)
	if found == nil || cafs.KeyOf(found.data) == key {
		return nil, found != nil, nil
	}
	s.chunkBytes -= s.chunkSize(key)
	delete(s.chunks, key)
	return []cafs.BadCopy{{Path: "memory", Err: cafs.ErrCorrupt}}, false, nil
}

// Put implements cafs.Putter.
func (s *Store) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return err
	}
	for _, c := range chunks {
		if len(c.Data()) < cafs.ChunkSizeMin {
			return fmt.Errorf("put chunk: it is the zero value of its type")
		}
	}
	// To make room for one of them must not take the place of another.
	h := new(hold)
	s.holds[h] = s.clock.Add(1)
	defer delete(s.holds, h)
	for _, c := range chunks {
		if s.use(c.Key()) != nil {
			continue
		}
		size := chunkOverhead + int64(len(c.Data()))
		if err := s.makeRoom(ctx, size); err != nil {
			return fmt.Errorf("put chunk: %w", err)
		}
		s.chunks[c.Key()] = &chunk{data: bytes.Clone(c.Data())}
		s.use(c.Key())
		s.chunkBytes += size
	}
	return nil
}

// Sync implements cafs.Putter; there is nothing to do.
func (s *Store) Sync(ctx context.Context) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.ready(ctx)
}

// PutRoot implements cafs.Catalog.
func (s *Store) PutRoot(ctx context.Context, root cafs.RootInfo) error {
	if err := root.Check(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return err
	}
	size := rootSize(root)
	if old, ok := s.roots[root.Root]; ok {
		size -= rootSize(old)
	}
	if err := s.makeRoom(ctx, size); err != nil {
		return fmt.Errorf("put root %s: %w", root.Root.Short(), err)
	}
	root.Record = bytes.Clone(root.Record)
	s.roots[root.Root] = root
	s.rootBytes += size
	return nil
}

// Root implements cafs.Catalog.
func (s *Store) Root(ctx context.Context, root cafs.Key) (cafs.RootInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return cafs.RootInfo{}, err
	}
	info, ok := s.roots[root]
	if !ok {
		return cafs.RootInfo{}, fmt.Errorf("root %s: %w", root.Short(), cafs.ErrNotFound)
	}
	info.Record = bytes.Clone(info.Record)
	return info, nil
}

// Roots implements cafs.Catalog. The enumeration works on a copy of the catalog, which it takes when the loop begins.
func (s *Store) Roots(ctx context.Context) iter.Seq2[cafs.RootInfo, error] {
	return func(yield func(cafs.RootInfo, error) bool) {
		infos, err := s.sortedRoots(ctx)
		if err != nil {
			yield(cafs.RootInfo{}, err)
			return
		}
		for _, info := range infos {
			if err := ctx.Err(); err != nil {
				yield(cafs.RootInfo{}, err)
				return
			}
			info.Record = bytes.Clone(info.Record)
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (s *Store) sortedRoots(ctx context.Context) ([]cafs.RootInfo, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(s.roots), func(a, b cafs.RootInfo) int {
		return bytes.Compare(a.Root[:], b.Root[:])
	}), nil
}

// RemoveRoot implements cafs.Catalog.
func (s *Store) RemoveRoot(ctx context.Context, root cafs.Key) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(ctx); err != nil {
		return err
	}
	info, ok := s.roots[root]
	if !ok {
		return fmt.Errorf("remove root %s: %w", root.Short(), cafs.ErrNotFound)
	}
	delete(s.roots, root)
	s.rootBytes -= rootSize(info)
	return nil
}

// Close implements cafs.Store. It frees the content.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.chunks = nil
	s.roots = nil
	return nil
}
