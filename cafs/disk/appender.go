package disk

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/internal/durable"
)

// appender writes records to the end of the newest pack, one group after the other, and tells the index where they are.
type appender struct {
	packs       *packSet
	files       *fileSet
	index       *index
	packSizeMax int64

	// mu guards the fields below; it is held over the write of a group, so that records stand in the order of the puts
	// and a pack has no holes before its end.
	mu         sync.Mutex
	nextVolume uint64
	active     *growingPack             // nil: the next group makes a new pack
	dirty      []*growingPack           // appended to since the last sync; active is the last of them, if it is one
	roots      []rootChange             // made since the last sync
	touched    map[*fileVolume]struct{} // whose entries the next commit writes
	gone       []uint64                 // volumes whose entries it removes
	goneTrees  []uint64                 // those of them that are trees
	emptied    map[uint64]volumeInfo    // packs that nothing in the index leads to any more
	syncing    []rootChange             // that the sync under way commits
	unsynced   int64                    // bytes appended since the last sync
	groups     uint64                   // of records, and changes of file volumes, since the store was opened
	failed     error                    // why nothing more is taken
	buf        []byte
	keys       []cafs.Key // of the chunks in buf
	seen       map[cafs.Key]struct{}
}

// growingPack is a pack that was appended to and is not synced.
type growingPack struct {
	id      uint64
	file    packFile
	info    volumeInfo
	flushed int64 // write-back was started up to here
}

func newAppender(packs *packSet, files *fileSet, index *index, packSizeMax int64) *appender {
	return &appender{
		packs:       packs,
		files:       files,
		index:       index,
		packSizeMax: packSizeMax,
		touched:     make(map[*fileVolume]struct{}),
		emptied:     make(map[uint64]volumeInfo),
		seen:        make(map[cafs.Key]struct{}),
	}
}

// full reports whether so much waits for a sync that one must come before the next group.
func (a *appender) full() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unsynced >= overlayBytesMax || len(a.dirty) >= unsyncedPacksMax || a.index.overlaySize() >= overlayEntriesMax
}

// appendChunks writes those of the chunks that are not here yet; they must fit into a group.
func (a *appender) appendChunks(ctx context.Context, chunks []cafs.Chunk) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		return a.failed
	}
	absent, elsewhere, err := a.absent(ctx, chunks)
	if err != nil || len(absent) == 0 {
		return err
	}
	keys := make([]cafs.Key, len(absent))
	locations := make([]location, len(absent))
	a.buf = a.buf[:0]
	for i, chunk := range absent {
		offset := int64(len(a.buf)) + recordHeaderSize
		var crc uint32
		a.buf, crc = appendRecord(a.buf, chunk.Key(), false, chunk.Data())
		keys[i] = chunk.Key()
		locations[i] = location{offset: offset, length: len(chunk.Data()), crc: crc}
	}
	pack, start, err := a.write(int64(len(absent)))
	if err != nil {
		return err
	}
	lists := make([][]location, len(absent))
	for i := range locations {
		locations[i].volume = pack
		locations[i].offset += start
		if lists[i] = locations[i : i+1 : i+1]; len(elsewhere[keys[i]]) > 0 {
			lists[i] = a.withPack(elsewhere[keys[i]], locations[i])
		}
	}
	a.index.set(keys, lists)
	return nil
}

// absent returns the chunks that are in no pack, each once, and where else they are. Files are no reason not to put a
// chunk: they may be gone tomorrow.
func (a *appender) absent(
	ctx context.Context, chunks []cafs.Chunk,
) (absent []cafs.Chunk, elsewhere map[cafs.Key][]location, err error) {
	a.keys = a.keys[:0]
	for _, chunk := range chunks {
		a.keys = append(a.keys, chunk.Key())
	}
	have := make([]bool, len(chunks))
	elsewhere = make(map[cafs.Key][]location)
	err = a.index.visit(ctx, a.keys, func(i int, locations []location) {
		if have[i] = slices.ContainsFunc(locations, a.packs.usable); !have[i] {
			elsewhere[a.keys[i]] = locations
		}
	})
	if err != nil {
		return nil, nil, err
	}
	clear(a.seen)
	absent = make([]cafs.Chunk, 0, len(chunks))
	for i, chunk := range chunks {
		if _, twice := a.seen[chunk.Key()]; have[i] || twice {
			continue
		}
		a.seen[chunk.Key()] = struct{}{}
		absent = append(absent, chunk)
	}
	return absent, elsewhere, nil
}

// appendRoot writes a change of the catalog, which comes into effect with the next sync.
func (a *appender) appendRoot(change rootChange) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		return a.failed
	}
	a.buf, _ = appendRecord(a.buf[:0], change.root, true, change.data)
	if _, _, err := a.write(0); err != nil {
		return err
	}
	a.roots = append(a.roots, change)
	return nil
}

// write appends buf to a pack, and returns which one and where. After an error the pack ends where it did before.
func (a *appender) write(chunks int64) (id uint64, start int64, err error) {
	size := int64(len(a.buf))
	if a.active != nil && a.active.info.end+size > a.packSizeMax {
		a.retire()
	}
	if a.active == nil {
		if err := a.create(); err != nil {
			return 0, 0, err
		}
	}
	pack := a.active
	if _, err := pack.file.WriteAt(a.buf, pack.info.end); err != nil {
		err = fmt.Errorf("append to %s: %w", a.packs.path(pack.id), err)
		if errCut := pack.file.Truncate(pack.info.end); errCut != nil {
			// The pack keeps the torn end, which a scan passes over; nothing may be written behind it.
			a.retire()
			err = errors.Join(err, errCut)
		}
		return 0, 0, err
	}
	start = pack.info.end
	pack.info.end += size
	pack.info.chunks += chunks
	a.packs.set(pack.id, pack.info)
	a.unsynced += size
	a.groups++
	a.markDirty(pack)
	if n := pack.info.end - pack.flushed; n >= writebackBytes {
		pack.file.StartWriteback(pack.flushed, n)
		pack.flushed = pack.info.end
	}
	return pack.id, start, nil
}

// retire ends the active pack. The next sync closes it, even if there is nothing in it to sync: the one under way may
// still be using it.
func (a *appender) retire() {
	a.markDirty(a.active)
	a.active = nil
}

func (a *appender) markDirty(pack *growingPack) {
	if len(a.dirty) == 0 || a.dirty[len(a.dirty)-1] != pack {
		a.dirty = append(a.dirty, pack)
	}
}

// create makes a new pack the active one.
func (a *appender) create() error {
	id := a.nextVolume
	path := a.packs.path(id)
	file, err := a.packs.openFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("make pack: %w", err)
	}
	a.nextVolume++
	if err := durable.SyncDir(a.packs.dir); err != nil {
		_ = file.Close()
		_ = os.Remove(path)
		return fmt.Errorf("make pack %s: %w", path, err)
	}
	a.active = &growingPack{id: id, file: file}
	a.packs.set(id, volumeInfo{})
	return nil
}

// resume makes a pack that is synced and indexed up to its end the active one.
func (a *appender) resume(id uint64, info volumeInfo) error {
	file, err := a.packs.openFile(a.packs.path(id), os.O_RDWR)
	if err != nil {
		return fmt.Errorf("open pack: %w", err)
	}
	a.active = &growingPack{id: id, file: file, info: info, flushed: info.end}
	return nil
}

// unsyncedPart is what a sync has to write.
type unsyncedPart struct {
	packs  []*growingPack
	active *growingPack // the one of the packs that stays open
	files  []unsyncedFile
	commit commit
	groups uint64
}

// cut takes what was appended since the last cut, and freezes the overlay of the index at the same moment.
func (a *appender) cut() (unsyncedPart, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		return unsyncedPart{}, a.failed
	}
	part := unsyncedPart{packs: a.dirty, active: a.active, groups: a.groups}
	part.commit = commit{packs: make(map[uint64]volumeInfo), roots: a.roots, nextVolume: a.nextVolume}
	for _, pack := range a.dirty {
		part.commit.packs[pack.id] = pack.info
	}
	maps.Copy(part.commit.packs, a.emptied)
	clear(a.emptied)
	a.cutVolumes(&part)
	a.dirty = nil
	a.roots, a.syncing = nil, a.roots
	a.unsynced = 0
	a.index.freeze()
	return part, nil
}

// sync syncs the packs and files of a part, closes those that are full, and commits the rest of it to the index.
func (a *appender) sync(part unsyncedPart) error {
	a.syncFiles(&part)
	err := a.syncPacks(part)
	if err == nil {
		err = a.index.commit(part.commit)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.syncing = nil
		return nil
	}
	// After a failed sync the kernel may have dropped what it could not write: to sync again and believe the answer
	// would be to lie.
	a.failed = fmt.Errorf("%w: %w", ErrUnsynced, err)
	return a.failed
}

func (a *appender) syncPacks(part unsyncedPart) error {
	var errs []error
	for _, pack := range part.packs {
		if err := pack.file.SyncData(); err != nil {
			errs = append(errs, fmt.Errorf("sync %s: %w", a.packs.path(pack.id), err))
		}
		if pack != part.active {
			errs = append(errs, pack.file.Close())
		}
	}
	return errors.Join(errs...)
}

// count returns the number of groups so far, and why no more are taken, if so.
func (a *appender) count() (uint64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.groups, a.failed
}

// close closes the packs that are open for appending. They are synced, unless a sync failed.
func (a *appender) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.active != nil {
		a.retire()
	}
	var errs []error
	for _, pack := range a.dirty {
		errs = append(errs, pack.file.Close())
	}
	a.dirty = nil
	return errors.Join(errs...)
}
