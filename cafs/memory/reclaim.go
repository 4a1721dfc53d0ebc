package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/swarmsync/swarmsync/cafs"
)

const (
	// chunkOverhead is what a chunk takes beside its bytes: its key, twice a pointer, and its share of the map.
	chunkOverhead = 100
	// rootOverhead is what a root takes beside its texts.
	rootOverhead = 200
)

func rootSize(root cafs.RootInfo) int64 {
	return rootOverhead + int64(len(root.Record)+len(root.Name)+len(root.Place))
}

// use returns a chunk, or nil, and notes that it is wanted. The caller holds mu.
func (s *Store) use(key cafs.Key) *chunk {
	found := s.chunks[key]
	if found != nil {
		found.used.Store(s.clock.Add(1))
	}
	return found
}

// Hold implements cafs.Reclaimer.
func (s *Store) Hold() (release func()) {
	h := new(hold)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holds[h] = s.clock.Add(1)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.holds, h)
	}
}

// hold is what holds are told apart by: its address, so it must not be of no size.
type hold struct{ _ byte }

// Reclaim implements cafs.Reclaimer. It frees the cache that was used longest ago, no more than needed. Nothing else goes
// on meanwhile, which is the time of going through all chunks.
func (s *Store) Reclaim(ctx context.Context, opts cafs.ReclaimOptions) (cafs.Reclaimed, error) {
	s.mu.Lock()
	freed, err := s.reclaim(ctx, func(cache int64) bool { return cache > opts.Keep })
	s.mu.Unlock()
	if err == nil && opts.Progress != nil {
		opts.Progress(freed)
	}
	return freed, err
}

// reclaim frees cache, the one used longest ago first, while more says so of the bytes of cache that are left. The caller
// holds mu.
func (s *Store) reclaim(ctx context.Context, more func(cache int64) bool) (freed cafs.Reclaimed, err error) {
	if err := s.ready(ctx); err != nil {
		return freed, err
	}
	keys, cache, err := s.cache(ctx)
	if err != nil {
		return freed, err
	}
	for _, key := range keys {
		if !more(cache) {
			break
		}
		size := s.chunkSize(key)
		delete(s.chunks, key)
		s.chunkBytes -= size
		cache -= size
		freed.Bytes += size
		freed.Chunks++
	}
	return freed, nil
}

// cache returns the chunks that nobody needs, the one used longest ago first, and their bytes. The caller holds mu.
func (s *Store) cache(ctx context.Context) (keys []cafs.Key, bytes int64, err error) {
	needed := make(map[cafs.Key]struct{})
	for _, root := range s.roots {
		err := cafs.Needed(ctx, quietGetter{s}, root, func(c cafs.ChunkInfo) error {
			needed[c.Key] = struct{}{}
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	held := s.clock.Load() + 1
	for _, began := range s.holds {
		held = min(held, began)
	}
	used := make(map[cafs.Key]int64)
	for key, c := range s.chunks {
		if _, ok := needed[key]; !ok && c.used.Load() < held {
			used[key] = c.used.Load()
			keys = append(keys, key)
			bytes += s.chunkSize(key)
		}
	}
	slices.SortFunc(keys, func(a, b cafs.Key) int { return cmp.Compare(used[a], used[b]) })
	return keys, bytes, nil
}

// quietGetter reads chunks without noting that they are used, for callers that hold the lock.
type quietGetter struct{ store *Store }

func (g quietGetter) Get(_ context.Context, key cafs.Key, _ []byte) ([]byte, error) {
	found := g.store.chunks[key]
	if found == nil {
		return nil, fmt.Errorf("chunk %s: %w", key, cafs.ErrNotFound)
	}
	return found.data, nil
}

func (g quietGetter) Has(_ context.Context, keys []cafs.Key) ([]bool, error) {
	have := make([]bool, len(keys))
	for i, key := range keys {
		have[i] = g.store.chunks[key] != nil
	}
	return have, nil
}

func (s *Store) chunkSize(key cafs.Key) int64 { return chunkOverhead + int64(len(s.chunks[key].data)) }

func (s *Store) used() int64 { return s.chunkBytes + s.rootBytes }

// makeRoom sees to it that the store may grow by some bytes. The caller holds mu.
func (s *Store) makeRoom(ctx context.Context, bytes int64) error {
	fits := func() bool { return s.quota == 0 || s.used()+bytes <= s.quota }
	if fits() || bytes <= 0 {
		return nil
	}
	_, err := s.reclaim(ctx, func(int64) bool { return !fits() })
	exceeded := &cafs.QuotaError{Used: s.used(), Wanted: bytes, Quota: s.quota}
	switch {
	case err != nil:
		return exceeded.CannotReclaim(err)
	case !fits():
		return exceeded
	}
	return nil
}

// Space implements cafs.Reclaimer.
func (s *Store) Space(ctx context.Context) (cafs.Space, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return cafs.Space{}, err
	}
	metadata := s.rootBytes + int64(len(s.chunks))*chunkOverhead
	return cafs.Space{Used: s.used(), Metadata: metadata, Quota: s.quota}, nil
}

// Occupancy implements cafs.Reclaimer.
func (s *Store) Occupancy(ctx context.Context, root cafs.Key) (cafs.Occupancy, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.ready(ctx); err != nil {
		return cafs.Occupancy{}, err
	}
	info, ok := s.roots[root]
	if !ok {
		return cafs.Occupancy{}, fmt.Errorf("root %s: %w", root.Short(), cafs.ErrNotFound)
	}
	info.Complete, info.Damaged = false, false // what is missing takes no space
	var occupied cafs.Occupancy
	seen := make(map[cafs.Key]struct{})
	err := cafs.Needed(ctx, quietGetter{s}, info, func(c cafs.ChunkInfo) error {
		if _, twice := seen[c.Key]; !twice && s.chunks[c.Key] != nil {
			seen[c.Key] = struct{}{}
			occupied.Stored += int64(c.Size)
		}
		return nil
	})
	return occupied, err
}
