package disk

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/swarmsync/swarmsync/cafs"
)

// packEntry is a chunk in a pack that the index leads to.
type packEntry struct {
	key cafs.Key
	loc location
}

// packRoot is the record of a root in a pack.
type packRoot struct {
	key  cafs.Key
	size int64  // of the record
	data []byte // nil if it says that the root was removed
}

// visitPack is called with a part of what is in a pack, at most sweepBatch of either; the slices are not used again.
type visitPack func(ctx context.Context, entries []packEntry, roots []packRoot) error

const rootBatch = 32 // of visitPack, 1.7 MB at their largest

// packWalk is one call of walkPack.
type packWalk struct {
	store   *Store
	id      uint64
	end     int64
	visit   visitPack
	buf     []byte
	start   int64 // offset of buf in the pack
	records []packEntry
	roots   []packRoot
}

// walkPack goes through a pack that is synced up to end by the headers of its records, and visits the chunks that the index
// knows there, and the roots. The error wraps errRecordBad if it comes upon damage, for then it may have missed something;
// what stands in the data of chunks it does not look at.
func (s *Store) walkPack(ctx context.Context, id uint64, end int64, visit visitPack) error {
	w := &packWalk{store: s, id: id, end: end, visit: visit}
	for offset := int64(0); offset < end; {
		size, err := w.record(ctx, offset)
		if err != nil {
			return fmt.Errorf("pack %s at %d: %w", s.packs.path(id), offset, err)
		}
		offset += size
		if len(w.records) == sweepBatch || len(w.roots) == rootBatch {
			if err := w.flush(ctx); err != nil {
				return err
			}
		}
	}
	return w.flush(ctx)
}

// record takes in the record at an offset and returns its size.
func (w *packWalk) record(ctx context.Context, offset int64) (int64, error) {
	head, err := w.bytes(ctx, offset, recordHeaderSize)
	if err != nil {
		return 0, err
	}
	size, isRoot, err := recordLength(head)
	if err != nil || offset+int64(size) > w.end {
		return 0, errRecordBad
	}
	if isRoot {
		whole, err := w.bytes(ctx, offset, size)
		if err != nil {
			return 0, err
		}
		rec, err := decodeRecord(whole)
		if err != nil {
			return 0, errRecordBad
		}
		w.roots = append(w.roots, packRoot{rec.key, rec.size(), append([]byte(nil), rec.data...)})
		return int64(size), nil
	}
	loc := location{volume: w.id, offset: offset + recordHeaderSize, length: size - recordHeaderSize}
	w.records = append(w.records, packEntry{cafs.Key(head[:cafs.KeySize]), loc})
	return int64(size), nil
}

// bytes returns n bytes of the pack, valid until the next call.
func (w *packWalk) bytes(ctx context.Context, offset int64, n int) ([]byte, error) {
	if offset+int64(n) > w.end {
		return nil, errRecordBad
	}
	if offset < w.start || offset+int64(n) > w.start+int64(len(w.buf)) {
		window := int(min(max(int64(n), sweepWindow), w.end-offset))
		if cap(w.buf) < window {
			w.buf = make([]byte, window)
		}
		w.buf, w.start = w.buf[:window], offset
		if err := w.store.packs.readAt(ctx, location{volume: w.id, offset: offset}, w.buf); err != nil {
			w.buf = w.buf[:0]
			return nil, err
		}
	}
	return w.buf[offset-w.start:][:n], nil
}

// flush visits what was taken in. A record that the index does not know is garbage, if that is what it is: one that is whole.
func (w *packWalk) flush(ctx context.Context) error {
	keys := make([]cafs.Key, len(w.records))
	for i, r := range w.records {
		keys[i] = r.key
	}
	known := make([]bool, len(keys))
	damaged := false
	err := w.store.index.visit(ctx, keys, func(i int, locations []location) {
		for _, loc := range locations {
			if loc.volume == w.id && loc.offset == w.records[i].loc.offset {
				damaged = damaged || loc.length != w.records[i].loc.length
				w.records[i].loc, known[i] = loc, true
			}
		}
	})
	if err != nil {
		return err
	}
	if damaged {
		return errRecordBad
	}
	entries := make([]packEntry, 0, len(w.records))
	for i, r := range w.records {
		if known[i] {
			entries = append(entries, r)
		} else if err := w.checkGarbage(ctx, r); err != nil {
			return err
		}
	}
	err = w.visit(ctx, entries, w.roots)
	w.records, w.roots = w.records[:0], nil
	return err
}

func (w *packWalk) checkGarbage(ctx context.Context, r packEntry) error {
	whole, err := w.bytes(ctx, r.loc.offset-recordHeaderSize, recordHeaderSize+r.loc.length)
	if err != nil {
		return err
	}
	_, err = decodeRecord(whole)
	return err
}

// decodeEntry returns the places of the chunk in an entry of the index.
func decodeEntry(key, value []byte) ([]packEntry, error) {
	locations, err := decodeLocations(value)
	if err != nil || len(key) != 1+cafs.KeySize {
		return nil, errors.Join(errIndexBad, err)
	}
	entries := make([]packEntry, len(locations))
	for i, loc := range locations {
		entries[i] = packEntry{cafs.Key(key[1:]), loc}
	}
	return entries, nil
}

// walkIndex visits what the index knows in a pack, and, as that can't tell which roots have records there, the whole
// catalog. It goes through the whole index.
func (s *Store) walkIndex(ctx context.Context, id uint64, visit visitPack) error {
	it, err := s.index.db.NewIterWithContext(ctx, &pebble.IterOptions{
		LowerBound: []byte{prefixChunk},
		UpperBound: []byte{prefixChunk + 1},
	})
	if err != nil {
		return err
	}
	defer it.Close()
	var entries []packEntry
	for it.First(); it.Valid(); it.Next() {
		all, err := decodeEntry(it.Key(), it.Value())
		if err != nil {
			return err
		}
		for _, e := range all {
			if e.loc.volume == id {
				entries = append(entries, e)
			}
		}
		if len(entries) >= sweepBatch {
			if err := visit(ctx, entries, nil); err != nil {
				return err
			}
			entries = nil
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	if err := visit(ctx, entries, nil); err != nil {
		return err
	}
	for info, err := range s.index.roots(ctx) {
		if err != nil {
			return err
		}
		data := encodeRoot(info)
		root := packRoot{info.Root, recordHeaderSize + int64(len(data)), data}
		if err := visit(ctx, nil, []packRoot{root}); err != nil {
			return err
		}
	}
	return nil
}
