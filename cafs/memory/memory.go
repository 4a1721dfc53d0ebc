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

	"github.com/swarmsync/swarmsync/cafs"
)

// Store is a cafs.Store in memory. It has no limit of its own: it takes the sum of the chunks that are put, and about
// 100 bytes for each. Its methods may be called concurrently. Sync and PutRoot promise no more than the other methods,
// for nothing here outlives the process.
type Store struct {
	mu     sync.RWMutex
	closed bool
	chunks map[cafs.Key][]byte
	roots  map[cafs.Key]cafs.RootInfo
}

var _ cafs.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	return &Store{
		chunks: make(map[cafs.Key][]byte),
		roots:  make(map[cafs.Key]cafs.RootInfo),
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
	data, ok := s.chunks[key]
	if !ok {
		return nil, fmt.Errorf("chunk %s: %w", key, cafs.ErrNotFound)
	}
	return append(buf[:0], data...), nil
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
		_, have[i] = s.chunks[key]
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
	data, ok := s.chunks[key]
	if !ok || cafs.KeyOf(data) == key {
		return nil, ok, nil
	}
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
	for _, chunk := range chunks {
		if len(chunk.Data()) < cafs.ChunkSizeMin {
			return fmt.Errorf("put chunk: it is the zero value of its type")
		}
		if _, ok := s.chunks[chunk.Key()]; !ok {
			s.chunks[chunk.Key()] = bytes.Clone(chunk.Data())
		}
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
	root.Record = bytes.Clone(root.Record)
	s.roots[root.Root] = root
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
	if _, ok := s.roots[root]; !ok {
		return fmt.Errorf("remove root %s: %w", root.Short(), cafs.ErrNotFound)
	}
	delete(s.roots, root)
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
