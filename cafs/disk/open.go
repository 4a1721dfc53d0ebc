package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/swarmsync/swarmsync/internal/durable"
)

// Open opens the store in dir, or makes one there if dir is empty or missing. The store is the caller's to close.
//
// It reads what a process that ended early, or a power cut, left behind the synced part of the packs, keeps every record
// that is whole, and cuts a torn end. An index that is missing or damaged is made anew from all packs, which takes about
// a second for each GiB; a damaged one is kept aside, as the directory "damaged". Volumes are not in the packs: their
// files are to be added again then. A store of an older format is brought to the newest.
//
// The error wraps ErrForeign, ErrNewerFormat or ErrBadVersion, or is a *LockedError, if dir is not for this process to
// work on; it was not changed then. Other errors are those of the operating system, with the path.
func Open(dir string, opts Options) (*Store, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, err := checkVersion(dir); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := lockHome(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	s, err := openLocked(dir, opts)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), lock.Close())
	}
	s.lock = lock
	return s, nil
}

func (o Options) withDefaults() (Options, error) {
	if o.Quota != 0 && o.Quota < QuotaLeast {
		return o, fmt.Errorf("open store: quota of %d bytes: want %d or more", o.Quota, QuotaLeast)
	}
	if o.PackSize == 0 {
		o.PackSize = PackSizeMax
	}
	if o.Quota > 0 {
		o.PackSize = min(o.PackSize, max(packSizeLeast, o.Quota/quotaPacks))
	}
	if o.PackSize < packSizeLeast || o.PackSize > PackSizeMax {
		return o, fmt.Errorf("open store: pack size of %d bytes: want %d to %d", o.PackSize, packSizeLeast, PackSizeMax)
	}
	if o.testOnlyOpenPack == nil {
		o.testOnlyOpenPack = openOSPackFile
	}
	if o.testOnlyUserFiles == nil {
		o.testOnlyUserFiles = osUserFiles{}
	}
	if o.testOnlyNow == nil {
		o.testOnlyNow = time.Now
	}
	if o.testOnlyRemove == nil {
		o.testOnlyRemove = os.Remove
	}
	if o.testOnlyIndexFS == nil {
		o.testOnlyIndexFS = vfs.Default
	}
	return o, nil
}

func openLocked(dir string, opts Options) (*Store, error) {
	// Once more, now that nobody else is about to make a store here.
	version, err := checkVersion(dir)
	if err != nil {
		return nil, err
	}
	if version < formatVersion {
		if err := writeVersion(dir); err != nil {
			return nil, err
		}
	}
	if err := durable.MkdirAll(filepath.Join(dir, packsName), 0o700); err != nil {
		return nil, err
	}
	rebuild := filepath.Join(dir, rebuildName)
	if _, err := os.Lstat(rebuild); err == nil {
		log.Warnf("%s is there: the index is made anew", rebuild)
		return openWithNewIndex(dir, opts)
	}
	s, err := openParts(dir, opts)
	if err != nil && isIndexDamage(err) {
		log.Warnf("the index is damaged, and made anew: %v", err)
		return openWithNewIndex(dir, opts)
	}
	return s, err
}

// openWithNewIndex moves the index aside and opens the store with an empty one, which recovery fills.
func openWithNewIndex(dir string, opts Options) (*Store, error) {
	if err := moveIndexAside(dir); err != nil {
		return nil, err
	}
	// Now that there is no index, the request for a new one is met, even if what follows is cut off.
	if err := os.Remove(filepath.Join(dir, rebuildName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return openParts(dir, opts)
}

// moveIndexAside makes the index the damaged one, in place of the one of last time.
func moveIndexAside(dir string) error {
	aside := filepath.Join(dir, damagedName)
	if err := os.RemoveAll(aside); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, indexName), aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return durable.SyncDir(dir)
}

// openParts opens the parts of a store and brings its index up to date.
func openParts(dir string, opts Options) (*Store, error) {
	ballast := openBallast(filepath.Join(dir, ballastName))
	// Roots are secrets, and the key-value store would let everybody read its files.
	if err := opts.testOnlyIndexFS.MkdirAll(filepath.Join(dir, indexName), 0o700); err != nil {
		return nil, err
	}
	indexFS := vfs.OnDiskFull(opts.testOnlyIndexFS, ballast.drop)
	index, err := openIndex(filepath.Join(dir, indexName), indexFS, askForRebuild(filepath.Join(dir, rebuildName)))
	if err != nil {
		return nil, err
	}
	packs := newPackSet(filepath.Join(dir, packsName), opts.testOnlyOpenPack)
	files := newFileSet(opts.testOnlyUserFiles, opts.testOnlyNow)
	files.rows = index.treeRows
	s := &Store{
		packs:   packs,
		files:   files,
		index:   index,
		append:  newAppender(packs, files, index, opts.PackSize),
		ballast: ballast,
		turn:    make(chan struct{}, 1),
		removal: make(chan struct{}, 1),

		quota:      quota{limit: opts.Quota, turn: make(chan struct{}, 1)},
		sweeping:   make(chan struct{}, 1),
		removeFile: opts.testOnlyRemove,
	}
	for _, turn := range []chan struct{}{s.turn, s.removal, s.quota.turn, s.sweeping} {
		turn <- struct{}{}
	}
	if err := s.recover(); err != nil {
		return nil, errors.Join(err, s.append.close(), packs.close(), index.close())
	}
	return s, nil
}

// askForRebuild returns a function that makes the next Open replace the index, and says so.
func askForRebuild(rebuild string) (damaged func(error)) {
	var once sync.Once
	return func(err error) {
		once.Do(func() {
			log.Errorf("the index is damaged, and will be made anew when the store is next opened: %v", err)
			if err := durable.WriteFile(rebuild, nil, 0o600); err != nil {
				log.Errorf("ask for a new index: %v", err)
			}
		})
	}
}

// isIndexDamage reports whether a new index may help against an error of openParts: it cannot be read, or a part of it
// is missing. Errors of packs are none of these.
func isIndexDamage(err error) bool {
	return pebble.IsCorruptionError(err) || errors.Is(err, pebble.ErrDBNotPristine) || errors.Is(err, errIndexBad)
}

// recover makes the index know all that the packs hold, and readies the newest pack for the next record.
func (s *Store) recover() error {
	volumes, err := s.index.volumes()
	if err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	sizes, err := listPacks(s.packs.dir)
	if err != nil {
		return err
	}
	for id, info := range volumes.files {
		s.files.load(id, info)
	}
	s.append.finishSeal()
	known, next := volumes.packs, volumes.next
	ids := make([]uint64, 0, len(sizes))
	for id := range sizes {
		ids = append(ids, id)
		next = max(next, id+1)
	}
	for id := range known {
		if _, ok := sizes[id]; ok {
			continue
		}
		if known[id].chunks > 0 {
			log.Warnf("pack %s is gone, and %d chunks with it", s.packs.path(id), known[id].chunks)
			s.packs.lost[id] = struct{}{}
			continue
		}
		s.append.gone = append(s.append.gone, id) // it was emptied, and the removal of its entry was cut off
	}
	if len(s.append.gone) > 0 {
		if err := durable.SyncDir(s.packs.dir); err != nil { // see removePack
			return err
		}
	}
	s.append.nextVolume = next
	// In the order in which they were written: later records of a root override earlier ones.
	slices.Sort(ids)
	for _, id := range ids {
		info, whole, err := s.recoverPack(id, known[id], sizes[id])
		if err != nil {
			return fmt.Errorf("recover pack %s: %w", s.packs.path(id), err)
		}
		s.packs.set(id, info)
		if last := id == ids[len(ids)-1]; last && whole && info.end < s.append.packSizeMax {
			return s.append.resume(id, info)
		}
	}
	return nil
}

// listPacks returns the packs in a directory with the sizes of their files.
func listPacks(dir string) (map[uint64]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	sizes := make(map[uint64]int64)
	for _, entry := range entries {
		id, ok := parsePackName(entry.Name())
		if !ok {
			log.Warnf("%s is not a pack; it is left alone", filepath.Join(dir, entry.Name()))
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return nil, err
		}
		sizes[id] = info.Size()
	}
	return sizes, nil
}

// recoverPack brings the index up to date with one pack. whole is true if records may be appended to it.
func (s *Store) recoverPack(id uint64, known volumeInfo, size int64) (info volumeInfo, whole bool, err error) {
	switch {
	case size == known.end:
		return known, true, nil
	case size < known.end:
		log.Warnf("pack %s has lost its end: %d bytes instead of %d", s.packs.path(id), size, known.end)
		return volumeInfo{size, known.chunks}, false, nil
	}
	file, err := s.packs.openFile(s.packs.path(id), os.O_RDWR)
	if err != nil {
		return volumeInfo{}, false, err
	}
	info, err = s.recoverTail(id, file, known, size)
	if errClose := file.Close(); err == nil {
		err = errClose
	}
	return info, true, err
}

// recoverTail indexes the whole records of a pack behind the part that the index knows of, and cuts what follows the
// last of them.
func (s *Store) recoverTail(id uint64, file packFile, known volumeInfo, size int64) (volumeInfo, error) {
	scan := newScan(file, known.end, size)
	info := known
	var roots []rootChange
	for {
		rec, offset, err := scan.next()
		if isEOF(err) {
			break
		}
		if err != nil {
			return volumeInfo{}, err
		}
		info.end = offset + rec.size()
		if rec.isRoot {
			roots = append(roots, rootChange{rec.key, slices.Clone(rec.data)})
		} else {
			info.chunks++
			loc := location{volume: id, offset: offset + recordHeaderSize, length: len(rec.data), crc: rec.crc}
			if err := s.index.addBefore(rec.key, loc); err != nil {
				return volumeInfo{}, err
			}
		}
		if len(roots) < recoveredRootsMax && s.index.overlaySize() < overlayEntriesMax {
			continue
		}
		// Without the volume: if this is cut off, the next recovery begins at the same record.
		if err := s.commitRecovered(file, commit{roots: roots, nextVolume: s.append.nextVolume}); err != nil {
			return volumeInfo{}, err
		}
		roots = nil
	}
	log.Infof("pack %s: took over %d bytes, cut %d", s.packs.path(id), info.end-known.end, size-info.end)
	if info.end < size {
		if err := file.Truncate(info.end); err != nil {
			return volumeInfo{}, err
		}
	}
	packs := map[uint64]volumeInfo{id: info}
	return info, s.commitRecovered(file, commit{packs: packs, roots: roots, nextVolume: s.append.nextVolume})
}

// commitRecovered moves what was found in a pack into the index.
func (s *Store) commitRecovered(file packFile, c commit) error {
	if err := file.SyncData(); err != nil {
		return err
	}
	s.index.freeze()
	return s.index.commit(c)
}
