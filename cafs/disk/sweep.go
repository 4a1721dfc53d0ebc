package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/internal/durable"
)

// How a pack is given up, so that nothing is lost wherever it is cut off:
//
//  1. What stays is appended to the newest pack, chunks and records of the catalog alike, and the overlay of the index says
//     so. What goes is taken out of the overlay. Cut off here, and the pack is as it was; there are some chunks twice.
//  2. A sync: first of the packs, then of the index. From here on the index knows nothing in the pack, and its entry of
//     the pack says so. Cut off here, and the pack is one of which all is garbage, for the next run to give up.
//  3. The file is removed, and then its directory synced. Cut off here, and there is an entry of a pack that is gone and had
//     nothing in it, which the next opening removes.
//  4. The entry goes with some later sync. It must not go before the file, although it has no use: a pack without an entry
//     is read from its beginning, and what its old records say of roots would override what the catalog knows by now.
//
// If the index is made anew before step 3, the chunks that were to go are cache again; of the roots the records that were
// appended in step 1 count, for they come last.

// sweeper gives up one pack.
type sweeper struct {
	*run
	id    uint64
	moves []packEntry // that are to be moved next
	size  int         // of their records, in bytes
	data  []byte
	roots map[cafs.Key]struct{} // whose records were dealt with
	moved int64                 // bytes that were appended elsewhere
	freed cafs.Reclaimed
}

// sweep gives up a pack. The caller has the token in sweeping.
func (r *run) sweep(ctx context.Context, id uint64) (cafs.Reclaimed, error) {
	s := r.store
	info, ok := s.packs.get(id)
	if !ok {
		return cafs.Reclaimed{}, nil
	}
	w := &sweeper{run: r, id: id, roots: make(map[cafs.Key]struct{})}
	err := s.walkPack(ctx, id, info.end, w.visit)
	if errors.Is(err, errRecordBad) {
		log.Warnf("pack %s is damaged; what the index knows of it is moved: %v", s.packs.path(id), err)
		err = s.walkIndex(ctx, id, w.visit)
	}
	if err == nil {
		err = w.flush(ctx)
	}
	if err == nil {
		s.append.noteEmptied(id, info.end)
		err = s.sync(ctx)
	}
	if err == nil {
		err = s.removePack(id, info)
	}
	if err != nil {
		return cafs.Reclaimed{}, fmt.Errorf("give up pack %s: %w", s.packs.path(id), err)
	}
	w.freed.Bytes = info.end - w.moved
	return w.freed, nil
}

// removePack removes a pack that the index knows nothing in.
func (s *Store) removePack(id uint64, info volumeInfo) error {
	s.packs.take(id)
	if err := s.removeFile(s.packs.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.packs.set(id, volumeInfo{end: info.end}) // it still takes its space
		return err
	}
	if err := durable.SyncDir(s.packs.dir); err != nil {
		return err
	}
	s.append.removed(id)
	return nil
}

// visit moves or drops what is in a part of the pack.
func (w *sweeper) visit(ctx context.Context, entries []packEntry, roots []packRoot) error {
	if err := w.keepRoots(roots); err != nil {
		return err
	}
	for _, e := range entries {
		do := w.drop
		if w.needs(e.key) || w.spares(e.key) {
			do = w.move
		}
		if err := do(ctx, e); err != nil {
			return err
		}
	}
	return w.syncIfFull(ctx)
}

// keepRoots keeps what the catalog knows of roots that have records in the pack.
func (w *sweeper) keepRoots(roots []packRoot) error {
	roots = slices.DeleteFunc(roots, func(root packRoot) bool {
		_, done := w.roots[root.key]
		return done
	})
	moved, kept, err := w.store.append.keepRoots(w.id, roots)
	for _, root := range kept {
		w.roots[root] = struct{}{}
	}
	w.moved += moved
	return err
}

// syncIfFull keeps the overlay of the index from growing.
func (w *sweeper) syncIfFull(ctx context.Context) error {
	if !w.store.append.full() {
		return nil
	}
	return w.store.sync(ctx)
}

// drop makes the index forget the chunk, unless somebody has touched it by now.
//
// Others first touch a chunk and then look it up; here it is first forgotten and then looked at whether it was touched. So
// if somebody found it in this pack, which was before it was forgotten, he touched it before that, and it is seen here that
// he did. It is moved then, like those that were needed from the beginning. Who looked it up in between takes it for
// missing, which cache may be at any time.
func (w *sweeper) drop(ctx context.Context, e packEntry) error {
	if err := w.store.index.forget(e.key, e.loc); err != nil {
		return err
	}
	if w.store.holds.held(e.key) {
		return w.move(ctx, e)
	}
	w.freed.Chunks++
	return nil
}

func (w *sweeper) move(ctx context.Context, e packEntry) error {
	size := recordHeaderSize + e.loc.length
	if w.size+size > groupSizeMax || len(w.moves) == groupChunksMax {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	w.moves = append(w.moves, e)
	w.size += size
	return nil
}

// flush copies the chunks that are to be moved. A copy that is damaged is forgotten, as it is by Get.
func (w *sweeper) flush(ctx context.Context) error {
	if len(w.moves) == 0 {
		return ctx.Err()
	}
	keys, parts := make([]cafs.Key, 0, len(w.moves)), make([][]byte, 0, len(w.moves))
	w.data = slices.Grow(w.data[:0], w.size)
	for _, e := range w.moves {
		at := len(w.data)
		part, err := w.store.packs.read(ctx, e.key, e.loc, w.data[at:at:at+e.loc.length])
		if errors.Is(err, cafs.ErrCorrupt) {
			if err := w.store.forget(e.key, e.loc, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		w.data = w.data[:at+len(part)]
		keys, parts = append(keys, e.key), append(parts, part)
	}
	w.moves, w.size = w.moves[:0], 0
	moved, err := w.store.append.moveChunks(ctx, w.id, keys, parts)
	if err != nil {
		return err
	}
	w.moved += moved
	return w.syncIfFull(ctx)
}

// rootStays reports whether the record of a root in a pack must be kept when the pack goes: it is what the catalog knows
// of the root, or an older pack might have a record that it overrides.
func (s *Store) rootStays(pack uint64, root packRoot) (bool, error) {
	data, err := s.index.rootData(root.key)
	if errors.Is(err, cafs.ErrNotFound) {
		return root.data == nil && len(s.packs.before(pack)) > 0, nil
	}
	return err == nil && bytes.Equal(data, root.data), err
}

// newest returns the id of the pack that is written to, or of the next one.
func (a *appender) newest() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.active == nil {
		return a.nextVolume
	}
	return a.active.id
}

// retireIf ends a pack if it is the active one.
func (a *appender) retireIf(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.active != nil && a.active.id == id {
		a.retire()
		a.groups++ // there is something for a sync to do
	}
}

// noteEmptied makes the next commit note that the index knows nothing in a pack.
func (a *appender) noteEmptied(id uint64, end int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.emptied[id] = volumeInfo{end: end}
	a.groups++
}

// removed makes a later commit remove the entry of a pack.
func (a *appender) removed(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone = append(a.gone, id)
	a.groups++
}

// moveChunks appends chunks that stand in a pack which is about to go, and returns the bytes of their records. A chunk that
// is in another pack as well is not appended.
func (a *appender) moveChunks(ctx context.Context, from uint64, keys []cafs.Key, data [][]byte) (int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		return 0, a.failed
	}
	lists := make([][]location, len(keys))
	err := a.index.visit(ctx, keys, func(i int, locations []location) {
		elsewhere := func(loc location) bool {
			return loc.volume != from && (a.packs.usable(loc) || a.files.known(loc.volume))
		}
		for _, loc := range locations {
			if elsewhere(loc) {
				lists[i] = append(lists[i], loc)
			}
		}
	})
	if err != nil {
		return 0, err
	}
	clear(a.seen)
	a.buf = a.buf[:0]
	moved := make(map[int]location, len(keys))
	for i, key := range keys {
		if _, twice := a.seen[key]; twice || slices.ContainsFunc(lists[i], a.packs.usable) {
			continue
		}
		a.seen[key] = struct{}{}
		loc := location{offset: int64(len(a.buf)) + recordHeaderSize, length: len(data[i])}
		a.buf, loc.crc = appendRecord(a.buf, key, false, data[i])
		moved[i] = loc
	}
	if len(moved) > 0 {
		pack, start, err := a.write(int64(len(moved)))
		if err != nil {
			return 0, err
		}
		for i, loc := range moved {
			loc.volume = pack
			loc.offset += start
			lists[i] = a.withPack(lists[i], loc)
		}
	}
	a.setMoved(keys, lists, moved)
	return int64(len(a.buf)), nil
}

// setMoved tells the index where chunks are now. Of a key that occurs twice the first counts, which was appended.
func (a *appender) setMoved(keys []cafs.Key, lists [][]location, moved map[int]location) {
	kept, keptLists := make([]cafs.Key, 0, len(keys)), make([][]location, 0, len(keys))
	for i, key := range keys {
		if _, appended := moved[i]; appended || slices.ContainsFunc(lists[i], a.packs.usable) {
			kept, keptLists = append(kept, key), append(keptLists, lists[i])
		}
	}
	a.index.set(kept, keptLists)
}

// keepRoots appends what the catalog knows of roots that have records in a pack which is about to go. It returns the bytes,
// and the roots. It need not if a change of the root is on its way into the index: the record of that is in a newer pack.
func (a *appender) keepRoots(from uint64, roots []packRoot) (bytes int64, kept []cafs.Key, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		return 0, nil, a.failed
	}
	older := len(a.packs.before(from)) > 0
	a.buf = a.buf[:0]
	for _, root := range roots {
		changing := func(change rootChange) bool { return change.root == root.key }
		if slices.Contains(kept, root.key) || slices.ContainsFunc(a.roots, changing) || slices.ContainsFunc(a.syncing, changing) {
			continue
		}
		data, err := a.index.rootData(root.key)
		if errors.Is(err, cafs.ErrNotFound) {
			if root.data != nil || !older {
				continue
			}
		} else if err != nil {
			return 0, nil, err
		}
		a.buf, _ = appendRecord(a.buf, root.key, true, data)
		kept = append(kept, root.key)
	}
	if len(kept) == 0 {
		return 0, nil, nil
	}
	_, _, err = a.write(0)
	return int64(len(a.buf)), kept, err
}
