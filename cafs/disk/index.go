package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/swarmsync/swarmsync/cafs"
)

// indexFormat is the key-value store's own format. It is fixed, and not "the newest", so that the format of the store
// changes with a release of ours only. A higher one may be written here at any time; there is no way back.
const indexFormat = pebble.FormatTableFormatV6

// index maps chunk keys to locations, and holds the catalog and what is known of the volumes. What was added since the
// last commit is in an overlay in memory and hides what the key-value store says of the same keys.
type index struct {
	db *pebble.DB
	// damaged takes note that a part of the key-value store turned out unreadable. Any goroutine calls it.
	damaged func(error)
	// failed is the first error that the key-value store cannot go on after.
	failed atomic.Pointer[error]

	// mu guards the fields below. The maps hold all locations of a key; none means that the chunk is forgotten.
	mu      sync.RWMutex
	pending map[cafs.Key][]location
	// committing is what a commit is writing. Nobody changes it.
	committing map[cafs.Key][]location
	// commits counts the commits that ended.
	commits int

	visited visited
}

// errIndexBad: the index holds what no index of this format holds, or lacks a part.
var errIndexBad = errors.New("index is damaged")

// rootChange is a change of the catalog; no data means that the root was removed.
type rootChange struct {
	root cafs.Key
	data []byte
}

// commit is what moves into the index together, besides the overlay.
type commit struct {
	packs      map[uint64]volumeInfo
	files      map[uint64]fileInfo
	gone       []uint64     // volumes that are no more, even if they are in files
	goneTrees  []uint64     // those of them that were trees
	roots      []rootChange // in the order in which they were made
	nextVolume uint64
}

// openIndex opens the key-value store in dir, or makes it. damaged is called, by any goroutine, when a part of it turns
// out unreadable.
func openIndex(dir string, fs vfs.FS, damaged func(error)) (*index, error) {
	x := &index{damaged: damaged, pending: make(map[cafs.Key][]location)}
	cache := pebble.NewCache(indexCacheBytes)
	defer cache.Unref() // the key-value store has its own reference
	options := &pebble.Options{
		Cache:              cache,
		FS:                 fs,
		FormatMajorVersion: indexFormat,
		Logger:             indexLogger{x},
		MaxOpenFiles:       indexOpenFilesMax,
		MemTableSize:       indexMemtableBytes,
	}
	for i := range options.Levels {
		options.Levels[i].FilterPolicy = bloom.FilterPolicy(indexBloomBits)
	}
	options.EventListener = &pebble.EventListener{
		BackgroundError: func(err error) { log.Errorf("index: %v", err) },
		DataCorruption:  func(info pebble.DataCorruptionInfo) { damaged(info.Details) },
	}
	db, err := pebble.Open(dir, options)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("open index %s: %w: %w", dir, errIndexBad, err) // some of its files are missing
	}
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", dir, err)
	}
	x.db = db
	return x, nil
}

func (x *index) close() error {
	err := x.db.Close()
	if failure := x.failure(); failure != nil {
		return failure
	}
	return err
}

func (x *index) failure() error {
	if err := x.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// overlaid returns what the overlay says of a key; known is false if it says nothing.
func (x *index) overlaid(key cafs.Key) (locations []location, known bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.overlaidLocked(key)
}

func (x *index) overlaidLocked(key cafs.Key) (locations []location, known bool) {
	if locations, known = x.pending[key]; known {
		return locations, true
	}
	locations, known = x.committing[key]
	return locations, known
}

// overlaySize returns the number of keys that wait for a commit.
func (x *index) overlaySize() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.pending)
}

// lookup returns the locations of a chunk, the best first, and none if it is not here. Nobody may change them.
func (x *index) lookup(key cafs.Key) ([]location, error) {
	// The overlay comes first: a commit moves entries from there to the key-value store, never back.
	if locations, known := x.overlaid(key); known {
		return locations, nil
	}
	value, closer, err := x.db.Get(keyWithPrefix(prefixChunk, key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up chunk %s: %w", key, err)
	}
	defer closer.Close()
	locations, err := decodeLocations(value)
	if err != nil {
		x.damaged(err)
		return nil, fmt.Errorf("look up chunk %s: %w", key, err)
	}
	return locations, nil
}

// guess is lookup in less time, for a chunk that was visited a moment ago. What it returns may be out of date.
func (x *index) guess(key cafs.Key) ([]location, error) {
	if _, known := x.overlaid(key); !known {
		if locations := x.visited.get(key); locations != nil {
			return locations, nil
		}
	}
	return x.lookup(key)
}

// overlaidKey is the locations of one of the keys that visit was given.
type overlaidKey struct {
	i         int
	locations []location
}

// visit calls found with the locations of keys[i], the best first, for those i where there are any,
// in an order of its own. Nobody may change them.
func (x *index) visit(ctx context.Context, keys []cafs.Key, found func(i int, locations []location)) error {
	unknown := make([]int32, 0, len(keys))
	var overlaid []overlaidKey
	x.mu.RLock()
	for i, key := range keys {
		if locations, known := x.overlaidLocked(key); !known {
			unknown = append(unknown, int32(i))
		} else if len(locations) > 0 {
			overlaid = append(overlaid, overlaidKey{i, locations})
		}
	}
	x.mu.RUnlock()
	for _, key := range overlaid { // not under the lock, for found may look at files
		found(key.i, key.locations)
	}
	if len(unknown) == 0 {
		return nil
	}
	// In the order of the keys each seek starts where the one before ended.
	slices.SortFunc(unknown, func(a, b int32) int { return bytes.Compare(keys[a][:], keys[b][:]) })
	return x.visitStored(ctx, keys, unknown, found)
}

func (x *index) visitStored(
	ctx context.Context, keys []cafs.Key, sorted []int32, found func(i int, locations []location),
) error {
	it, err := x.db.NewIterWithContext(ctx, &pebble.IterOptions{
		LowerBound: []byte{prefixChunk},
		UpperBound: []byte{prefixChunk + 1},
	})
	if err != nil {
		return fmt.Errorf("look up chunks: %w", err)
	}
	defer it.Close()
	seek := keyWithPrefix(prefixChunk, cafs.Key{})
	for n, i := range sorted {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		copy(seek[1:], keys[i][:])
		// The whole key is its prefix, so the filters answer for most of what is absent. In a batch of 30,000 keys that takes
		// 0.7 µs a key, absent or present; a Get for each takes 2.6 µs.
		if !it.SeekPrefixGE(seek) {
			if err := it.Error(); err != nil {
				return fmt.Errorf("look up chunks: %w", err)
			}
			continue
		}
		locations, err := decodeLocations(it.Value())
		if err != nil {
			x.damaged(err)
			return fmt.Errorf("look up chunk %s: %w", keys[i], err)
		}
		x.visited.note(keys[i], locations)
		found(int(i), locations)
	}
	return nil
}

// set makes lists[i] the locations of keys[i]; the index keeps them.
func (x *index) set(keys []cafs.Key, lists [][]location) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, key := range keys {
		x.setLocked(key, lists[i])
	}
}

func (x *index) setLocked(key cafs.Key, locations []location) {
	x.pending[key] = locations
	x.visited.forget(key)
}

// addBefore puts loc before the locations that the chunk has, of which the last may be dropped.
func (x *index) addBefore(key cafs.Key, loc location) error {
	old, err := x.lookup(key)
	if err != nil {
		return err
	}
	if slices.Contains(old, loc) {
		return nil
	}
	locations := append([]location{loc}, old[:min(len(old), locationsMax-1)]...)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.setLocked(key, locations)
	return nil
}

// forget removes a location of a chunk, if it is still there.
func (x *index) forget(key cafs.Key, loc location) error {
	for {
		x.mu.RLock()
		commits := x.commits
		x.mu.RUnlock()
		locations, err := x.lookup(key)
		if err != nil {
			return err
		}
		if !slices.Contains(locations, loc) {
			x.visited.forget(key) // it was a guess
			return nil
		}
		if x.replace(key, locations, without(locations, loc), commits) {
			return nil
		}
	}
}

// forgetAll is forget for many, and takes a quarter of the time.
func (x *index) forgetAll(ctx context.Context, entries []packEntry) error {
	x.mu.RLock()
	commits := x.commits
	x.mu.RUnlock()
	keys := make([]cafs.Key, len(entries))
	for i, e := range entries {
		keys[i] = e.key
	}
	var changed []packEntry
	err := x.visit(ctx, keys, func(i int, locations []location) {
		if !x.replace(keys[i], locations, without(locations, entries[i].loc), commits) {
			changed = append(changed, entries[i])
		}
	})
	if err != nil {
		return err
	}
	for _, e := range changed {
		if err := x.forget(e.key, e.loc); err != nil {
			return err
		}
	}
	return nil
}

func without(locations []location, loc location) []location {
	return slices.DeleteFunc(slices.Clone(locations), func(l location) bool { return l == loc })
}

// replace sets the locations of a key to those in by, if they are those in old and no commit ended since there were as
// many of them as commits says.
func (x *index) replace(key cafs.Key, old, by []location, commits int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.commits != commits {
		return false
	}
	if current, known := x.overlaidLocked(key); known && !slices.Equal(current, old) {
		return false
	}
	x.setLocked(key, by)
	return true
}

// freeze sets the pending entries apart for a commit. It must be called in the same critical section in which the
// commit's other parts are determined.
func (x *index) freeze() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.committing = x.pending
	x.pending = make(map[cafs.Key][]location, len(x.committing))
}

// commit writes what freeze set apart, and c, to the key-value store. When it returns nil all of that survives a power
// cut. After an error the frozen entries stay in the overlay, and the index must take no other commit.
func (x *index) commit(c commit) error {
	err := x.commitFrozen(c)
	if failure := x.failure(); failure != nil {
		err = failure
	}
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.committing = nil
	x.commits++
	return nil
}

func (x *index) commitFrozen(c commit) error {
	x.mu.RLock()
	frozen := x.committing
	x.mu.RUnlock()

	batch := x.db.NewBatch()
	defer func() { _ = batch.Close() }()
	if err := c.fillFiles(batch); err != nil {
		return err
	}
	// The entries need not come together: each tells of bytes that are synced.
	for key, locations := range frozen {
		if err := setLocations(batch, key, locations); err != nil {
			return err
		}
		if batch.Count() < batchEntriesMax {
			continue
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			return err
		}
		_ = batch.Close()
		batch = x.db.NewBatch()
	}
	// What makes the store look no further at an open comes last.
	if err := c.fill(batch); err != nil {
		return err
	}
	return batch.Commit(pebble.Sync)
}

func setLocations(batch *pebble.Batch, key cafs.Key, locations []location) error {
	if len(locations) == 0 {
		return batch.Delete(keyWithPrefix(prefixChunk, key), nil)
	}
	value := appendLocations(make([]byte, 0, locationSize), locations)
	return batch.Set(keyWithPrefix(prefixChunk, key), value, nil)
}

// fillFiles writes what must be there before locations in files are.
func (c commit) fillFiles(batch *pebble.Batch) error {
	for id, info := range c.files {
		if err := batch.Set(volumeKey(id), encodeFile(info), nil); err != nil {
			return err
		}
	}
	for _, id := range c.gone {
		if err := batch.Delete(volumeKey(id), nil); err != nil {
			return err
		}
	}
	for _, id := range c.goneTrees {
		if err := batch.DeleteRange(treeFileKey(id, 0), treeFileKey(id+1, 0), nil); err != nil {
			return err
		}
	}
	next := binary.LittleEndian.AppendUint64(nil, c.nextVolume)
	return batch.Set([]byte{prefixNextVolume}, next, nil)
}

func (c commit) fill(batch *pebble.Batch) error {
	for id, info := range c.packs {
		if err := batch.Set(volumeKey(id), encodePack(info), nil); err != nil {
			return err
		}
	}
	for _, change := range c.roots {
		var err error
		if key := keyWithPrefix(prefixRoot, change.root); len(change.data) == 0 {
			err = batch.Delete(key, nil)
		} else {
			err = batch.Set(key, change.data, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// volumes returns all volumes that the index knows of, and the smallest id that it knows to be free.
func (x *index) volumes() (volumes, error) {
	all := volumes{packs: make(map[uint64]volumeInfo), files: make(map[uint64]fileInfo)}
	it, err := x.db.NewIter(&pebble.IterOptions{
		LowerBound: []byte{prefixVolume},
		UpperBound: []byte{prefixVolume + 1},
	})
	if err != nil {
		return volumes{}, err
	}
	defer it.Close()
	for it.First(); it.Valid(); it.Next() {
		if err := all.add(it.Key(), it.Value()); err != nil {
			return volumes{}, err
		}
	}
	if err := it.Error(); err != nil {
		return volumes{}, err
	}
	value, closer, err := x.db.Get([]byte{prefixNextVolume})
	if errors.Is(err, pebble.ErrNotFound) {
		return all, nil
	}
	if err != nil {
		return volumes{}, err
	}
	defer closer.Close()
	if len(value) != 8 {
		return volumes{}, fmt.Errorf("next volume: %d bytes: %w", len(value), errIndexBad)
	}
	all.next = max(all.next, binary.LittleEndian.Uint64(value))
	return all, nil
}

// root returns what the catalog knows of a root; the error wraps cafs.ErrNotFound if that is nothing.
func (x *index) root(root cafs.Key) (cafs.RootInfo, error) {
	data, err := x.rootData(root)
	if err != nil {
		return cafs.RootInfo{}, err
	}
	return decodeRoot(root, data)
}

// rootData returns what the catalog knows of a root as it is encoded; the error wraps cafs.ErrNotFound if that is nothing.
func (x *index) rootData(root cafs.Key) ([]byte, error) {
	value, closer, err := x.db.Get(keyWithPrefix(prefixRoot, root))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, fmt.Errorf("root %s: %w", root.Short(), cafs.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("root %s: %w", root.Short(), err)
	}
	defer closer.Close()
	return bytes.Clone(value), nil
}

// size returns what the key-value store takes on disk, in bytes.
func (x *index) size() int64 { return int64(x.db.Metrics().DiskSpaceUsage()) }

// roots enumerates the catalog as it is when the loop begins.
func (x *index) roots(ctx context.Context) iter.Seq2[cafs.RootInfo, error] {
	return func(yield func(cafs.RootInfo, error) bool) {
		it, err := x.db.NewIterWithContext(ctx, &pebble.IterOptions{
			LowerBound: []byte{prefixRoot},
			UpperBound: []byte{prefixRoot + 1},
		})
		if err != nil {
			yield(cafs.RootInfo{}, fmt.Errorf("list roots: %w", err))
			return
		}
		defer it.Close()
		for it.First(); it.Valid(); it.Next() {
			info, err := decodeRootEntry(it.Key(), it.Value())
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(cafs.RootInfo{}, err)
				return
			}
			if !yield(info, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(cafs.RootInfo{}, fmt.Errorf("list roots: %w", err))
		}
	}
}

func decodeRootEntry(key, value []byte) (cafs.RootInfo, error) {
	if len(key) != 1+cafs.KeySize {
		return cafs.RootInfo{}, fmt.Errorf("index entry of a root: wrong length: %w", errIndexBad)
	}
	return decodeRoot(cafs.Key(key[1:]), value)
}

// indexLogger takes what the key-value store says. Its news are for debugging; its errors come back to whoever caused
// them, or through the event listener.
type indexLogger struct{ index *index }

func (indexLogger) Infof(format string, args ...any)  { log.Debugf("index: "+format, args...) }
func (indexLogger) Errorf(format string, args ...any) { log.Errorf("index: "+format, args...) }

// Fatalf is how the key-value store says that it cannot go on, after a failed write of its own. It counts on the end of
// the process; but what it holds can be derived again, so here the store goes on for reads, and takes no commit.
//
// BUG(store): When a disk fails just as the key-value store begins a new log, which it does every 4 MiB, it panics and
// ends the process. Nothing that was confirmed is lost then.
func (l indexLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf("index: "+format, args...)
	if l.index.failed.CompareAndSwap(nil, &err) {
		log.Errorf("%v", err)
	}
}
