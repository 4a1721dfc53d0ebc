package disk

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/swarmsync/swarmsync/cafs"
)

// indexEntryBytes is what a chunk takes in the index, with what a key-value store needs beside keys and values.
const indexEntryBytes = 100

// quota sees to it that the store does not take more than it may.
type quota struct {
	limit int64 // 0: none

	// turn holds a token; whoever takes it may make room, and use run.
	turn chan struct{}
	// run is the reclaiming that the last one who needed room has left unfinished, or nil.
	run *run
	// full is what the state of the store was when nothing was left to reclaim.
	full storeState

	// mu guards reserved, the bytes that are about to be appended.
	mu       sync.Mutex
	reserved int64

	// changes counts changes of the catalog, which may make chunks cache.
	changes atomic.Uint64
}

// storeState is what must change before there is more to reclaim. The zero value is no state.
type storeState struct {
	changes, holds, volumes uint64
	bytes                   int64
}

// used returns what the store takes, in bytes, and how much of that is not packs.
func (s *Store) used() (used, metadata int64) {
	metadata = s.index.size() + s.ballast.size()
	return s.packs.size() + metadata, metadata
}

// Space implements cafs.Reclaimer. Root records count as chunks, for they stand in packs.
func (s *Store) Space(ctx context.Context) (cafs.Space, error) {
	if err := s.begin(ctx); err != nil {
		return cafs.Space{}, err
	}
	defer s.end()
	used, metadata := s.used()
	return cafs.Space{Used: used, Metadata: metadata, Quota: s.quota.limit}, nil
}

// indexRoom is what must stay free for the index to be able to work.
func indexRoom(index int64) int64 { return indexRoomBytes + min(index, indexRoomMax) }

// take reserves some bytes if there is room for them, or returns what they would exceed.
func (s *Store) take(bytes int64) *cafs.QuotaError {
	index := s.index.size()
	used := s.packs.size() + index + s.ballast.size()
	used += indexRoom(index) + s.append.packSizeMax // the room in which a pack is rewritten
	s.quota.mu.Lock()
	defer s.quota.mu.Unlock()
	used += s.quota.reserved
	if used+bytes > s.quota.limit {
		return &cafs.QuotaError{Used: used, Wanted: bytes, Quota: s.quota.limit}
	}
	s.quota.reserved += bytes
	return nil
}

// reserve sees to it that the store may grow by some bytes, until release is called: then they count if they were
// appended. The error is a *cafs.QuotaError, if there is nothing left to reclaim.
func (s *Store) reserve(ctx context.Context, bytes int64) (release func(), err error) {
	if s.quota.limit == 0 || bytes == 0 {
		return func() {}, nil
	}
	if s.take(bytes) != nil {
		if err := s.makeRoom(ctx, bytes); err != nil {
			return nil, err
		}
	}
	return func() {
		s.quota.mu.Lock()
		defer s.quota.mu.Unlock()
		s.quota.reserved -= bytes
	}, nil
}

// reserveChunks is reserve for those of the chunks that are in no pack yet.
func (s *Store) reserveChunks(ctx context.Context, chunks []cafs.Chunk) (release func(), err error) {
	if s.quota.limit == 0 {
		return func() {}, nil
	}
	var bytes int64
	keys := make([]cafs.Key, len(chunks))
	for i, chunk := range chunks {
		keys[i] = chunk.Key()
		bytes += recordHeaderSize + int64(len(chunk.Data())) + indexEntryBytes
	}
	err = s.index.visit(ctx, keys, func(i int, locations []location) {
		if slices.ContainsFunc(locations, s.packs.usable) {
			bytes -= recordHeaderSize + int64(len(chunks[i].Data())) + indexEntryBytes
		}
	})
	if err != nil {
		return nil, err
	}
	return s.reserve(ctx, bytes)
}

// reserveRoot is reserve for a change of the catalog. To remove a root never fails for want of room.
func (s *Store) reserveRoot(ctx context.Context, change rootChange) (release func(), err error) {
	if len(change.data) == 0 {
		return func() {}, nil
	}
	return s.reserve(ctx, recordHeaderSize+2*int64(len(change.data)))
}

// makeRoom reclaims, in small steps, until the store may grow by some bytes, and reserves them.
func (s *Store) makeRoom(ctx context.Context, bytes int64) error {
	select {
	case <-s.quota.turn:
		defer func() { s.quota.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	// What another call has left unfinished; then what was not read lately; then all.
	for _, begin := range []func() error{
		func() error { return nil },
		func() error { return s.beginQuotaRun(ctx, true) },
		func() error { return s.beginQuotaRun(ctx, false) },
	} {
		exceeded := s.take(bytes)
		if exceeded == nil {
			return nil
		}
		if s.state() == s.quota.full {
			return exceeded
		}
		if err := begin(); err != nil {
			return exceeded.CannotReclaim(err)
		}
		if done, err := s.reclaimFor(ctx, bytes); done || err != nil {
			return err
		}
	}
	if s.index.size() > indexRoomBytes {
		if _, err := s.sweepIndex(ctx); err != nil {
			return fmt.Errorf("reclaim: %w", err)
		}
	}
	if exceeded := s.take(bytes); exceeded != nil {
		s.quota.full = s.state()
		return exceeded
	}
	return nil
}

// reclaimFor goes on with the run that there is until some bytes could be reserved.
func (s *Store) reclaimFor(ctx context.Context, bytes int64) (done bool, err error) {
	for s.quota.run != nil {
		if s.take(bytes) == nil {
			return true, nil
		}
		if _, more, err := s.quota.run.step(ctx); err != nil || !more {
			s.endQuotaRun()
			if err != nil {
				return false, fmt.Errorf("reclaim: %w", err)
			}
		}
	}
	return false, nil
}

func (s *Store) beginQuotaRun(ctx context.Context, spare bool) error {
	begun, err := s.beginRun(ctx, spare)
	s.quota.run = begun
	return err
}

func (s *Store) endQuotaRun() {
	s.quota.run.end()
	s.quota.run = nil
}

func (s *Store) state() storeState {
	return storeState{
		changes: 1 + s.quota.changes.Load(),
		holds:   s.holds.ended.Load(),
		volumes: s.files.endedCount(),
		bytes:   s.packs.size(),
	}
}

// Occupancy implements cafs.Reclaimer. What occurs in the content more than once counts once, but for 1 chunk in 1,000.
func (s *Store) Occupancy(ctx context.Context, root cafs.Key) (cafs.Occupancy, error) {
	if err := s.begin(ctx); err != nil {
		return cafs.Occupancy{}, err
	}
	defer s.end()
	info, err := s.index.root(root)
	if err != nil {
		return cafs.Occupancy{}, err
	}
	info.Complete, info.Damaged = false, false // what is missing takes no space
	count := occupancy{store: s, seen: newFilter(listedChunks(info), neededFilterBytes)}
	err = cafs.Needed(ctx, quietGetter{s}, info, func(c cafs.ChunkInfo) error {
		if count.seen.has(c.Key) {
			return nil
		}
		count.seen.add(c.Key)
		count.keys = append(count.keys, c.Key)
		count.sizes = append(count.sizes, int64(c.Size))
		if len(count.keys) < sweepBatch {
			return nil
		}
		return count.lookUp(ctx)
	})
	if err == nil {
		err = count.lookUp(ctx)
	}
	return count.occupied, err
}

// occupancy is one call of Occupancy.
type occupancy struct {
	store    *Store
	seen     *filter
	keys     []cafs.Key
	sizes    []int64
	occupied cafs.Occupancy
}

func (o *occupancy) lookUp(ctx context.Context) error {
	err := o.store.index.visit(ctx, o.keys, func(i int, locations []location) {
		switch {
		case slices.ContainsFunc(locations, o.store.packs.usable):
			o.occupied.Stored += o.sizes[i]
		case slices.ContainsFunc(locations, func(loc location) bool { return o.store.files.usableAt(loc) }):
			o.occupied.InPlace += o.sizes[i]
		}
	})
	o.keys, o.sizes = o.keys[:0], o.sizes[:0]
	return err
}
