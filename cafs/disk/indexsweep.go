package disk

import (
	"context"

	"github.com/cockroachdb/pebble/v2"
)

// sweepIndex makes the index forget what stands in volumes that are no more, and returns the bytes that this freed. Users who
// replace and remove files leave a lot of that. It goes through the whole index, ten million chunks in some seconds; others
// use it meanwhile.
//
// Ids of volumes are never used twice, and a volume is known before there are locations in it. So a location in a volume that
// is not known may go, whatever happens meanwhile. A pack that is lost may be put back where it was.
func (s *Store) sweepIndex(ctx context.Context) (freed int64, err error) {
	before := s.index.size()
	it, err := s.index.db.NewIterWithContext(ctx, &pebble.IterOptions{
		LowerBound: []byte{prefixChunk},
		UpperBound: []byte{prefixChunk + 1},
	})
	if err != nil {
		return 0, err
	}
	forgotten, err := s.forgetStale(ctx, it)
	if errClose := it.Close(); err == nil {
		err = errClose
	}
	if err != nil || forgotten == 0 {
		return 0, err
	}
	if err := s.sync(ctx); err != nil {
		return 0, err
	}
	if err := s.index.compact(ctx); err != nil {
		return 0, err
	}
	return max(0, before-s.index.size()), nil
}

func (s *Store) forgetStale(ctx context.Context, it *pebble.Iterator) (forgotten int, err error) {
	var stale []packEntry
	flush := func() error {
		if err := s.index.forgetAll(ctx, stale); err != nil {
			return err
		}
		forgotten += len(stale)
		stale = stale[:0]
		if s.append.full() {
			return s.sync(ctx)
		}
		return ctx.Err()
	}
	n := 0
	for it.First(); it.Valid(); it.Next() {
		entries, err := decodeEntry(it.Key(), it.Value())
		if err != nil {
			return forgotten, err
		}
		for _, e := range entries {
			_, lost := s.packs.lost[e.loc.volume]
			if !lost && !s.packs.known(e.loc.volume) && !s.files.known(e.loc.volume) {
				stale = append(stale, e)
			}
		}
		if n++; n%sweepBatch == 0 {
			if err := flush(); err != nil {
				return forgotten, err
			}
		}
	}
	if err := it.Error(); err != nil {
		return forgotten, err
	}
	return forgotten, flush()
}

// compact makes the key-value store give up the space of what was removed, in parts, each of which takes about as much
// space as it has for the time that it is rewritten.
func (x *index) compact(ctx context.Context) error {
	parts := 1
	if x.size() > indexRoomMax {
		parts = 256
	}
	for part := range parts {
		start, end := []byte{prefixChunk, byte(part)}, []byte{prefixChunk, byte(part + 1)}
		if part == parts-1 {
			end = []byte{prefixChunk + 1}
		}
		if err := x.db.Compact(ctx, start, end, false); err != nil {
			return err
		}
	}
	return nil
}
