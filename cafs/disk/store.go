package disk

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	logging "github.com/ipfs/go-log/v2"

	"github.com/swarmsync/swarmsync/cafs"
)

var log = logging.Logger("swarmsync/store")

// Options are the settings of a store. The zero value is right for nearly everybody.
type Options struct {
	// PackSize is the size in bytes that packs are not to exceed: at most PackSizeMax, at least 4 MiB; 0 means
	// PackSizeMax. It concerns packs made from now on.
	PackSize int64

	// Quota is the most that the store may take in bytes, at least QuotaLeast; 0 is no limit. Packs, index and ballast
	// count; files of the user's do not. Packs are a 16th of it at most, which is kept free, as is what the index needs to
	// work. A store that is larger when it is opened takes nothing before enough was reclaimed.
	Quota int64

	// What follows lets tests make the disk fail.
	testOnlyOpenPack  openPackFile
	testOnlyUserFiles userFiles
	testOnlyIndexFS   vfs.FS
	testOnlyRemove    func(path string) error
	testOnlyNow       func() time.Time
}

// Store is a cafs.Store on disk, and a cafs.Referrer. Its methods may be called concurrently. It takes at most 40 MiB of
// memory, besides the buffers that callers own and about 500 bytes for each volume; while it reclaims up to 32 MiB more,
// by what the catalog needs, and while chunks are held or reclaimed 2 MiB for each million of them that are used. It keeps
// at most 160 files open, besides those of volumes that callers have open.
type Store struct {
	lock    *os.File
	packs   *packSet
	files   *fileSet
	index   *index
	append  *appender
	ballast *ballast

	// turn holds a token; whoever takes it may sync, and sets synced.
	turn   chan struct{}
	synced uint64 // groups that the last sync covered
	// removal lets one RemoveRoot look and act at a time.
	removal chan struct{}

	holds  holds
	recent recent
	quota  quota
	// sweeping lets one pack be swept at a time.
	sweeping   chan struct{}
	removeFile func(path string) error

	// life guards closed, and lets calls begin only before it is set.
	life   sync.Mutex
	closed bool
	calls  sync.WaitGroup
	// closeOnce does the work of Close, and closeErr is its outcome.
	closeOnce sync.Once
	closeErr  error
}

var (
	_ cafs.Store     = (*Store)(nil)
	_ cafs.RowReader = (*Store)(nil)
)

// begin announces a call; the caller calls end if it returns nil.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return cafs.ErrClosed
	}
	s.calls.Add(1)
	return nil
}

func (s *Store) end() { s.calls.Done() }

// Get implements cafs.Getter. Of a copy in a pack it checks the CRC-32C, which finds what disks and memory do to bytes; it
// does not hash. What it reads from a file of the user's it hashes, whatever the file looks like. A copy that fails the
// check, or that is gone with its pack or volume, is forgotten; one in a file that is missing at the moment is not.
func (s *Store) Get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	s.holds.touch(key)
	s.recent.touch(key)
	return s.get(ctx, key, buf)
}

// get is Get without a trace.
func (s *Store) get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	var errs []error
	for loc, err := range s.untried(key) {
		if err != nil {
			return nil, err
		}
		data, err := s.read(ctx, key, loc, buf)
		if err == nil {
			return data, nil
		}
		errs = append(errs, err, s.forget(key, loc, err))
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("chunk %s: %w", key, cafs.ErrNotFound)
	}
	return nil, errors.Join(errs...)
}

// untried enumerates the locations of a chunk, the best first. After the last it looks again, for they may have been out of
// date, or the chunk was moved to another pack meanwhile. It stops after the first error.
func (s *Store) untried(key cafs.Key) iter.Seq2[location, error] {
	return func(yield func(location, error) bool) {
		var tried []location
		look := s.index.guess
		for more := true; more; look = s.index.lookup {
			locations, err := look(key)
			if err != nil {
				yield(location{}, err)
				return
			}
			more = false
			for _, loc := range locations {
				if slices.Contains(tried, loc) {
					continue
				}
				if !yield(loc, nil) {
					return
				}
				tried = append(tried, loc)
				more = true
			}
		}
	}
}

// errNoVolume: a location is in a volume that is no more.
var errNoVolume = fmt.Errorf("its volume is gone: %w", cafs.ErrNotFound)

func (s *Store) read(ctx context.Context, key cafs.Key, loc location, buf []byte) ([]byte, error) {
	switch {
	case s.packs.known(loc.volume):
		data, err := s.packs.read(ctx, key, loc, buf)
		if err != nil && !s.packs.known(loc.volume) {
			break // it was removed just now
		}
		return data, err
	case s.files.known(loc.volume):
		return s.files.read(ctx, key, loc, buf)
	}
	return nil, fmt.Errorf("chunk %s: %w", key, errNoVolume)
}

// forget removes a location that could not be read, if the reason is one that stays.
func (s *Store) forget(key cafs.Key, loc location, reason error) error {
	if !errors.Is(reason, cafs.ErrCorrupt) && !errors.Is(reason, errNoVolume) {
		return nil
	}
	if s.packs.known(loc.volume) {
		log.Warnf("forget a copy: %v", reason)
	} else {
		log.Debugf("forget a copy: %v", reason) // users may change their files
		if s.index.overlaySize() >= overlayEntriesMax {
			return nil // it is met again; nothing but reads must not fill the memory
		}
	}
	return s.index.forget(key, loc)
}

// Has implements cafs.Getter. A chunk that is in files of the user's only is there if one of them is, by device, inode,
// size and times, as it was when it was hashed. A look at a file serves for 1 s.
func (s *Store) Has(ctx context.Context, keys []cafs.Key) ([]bool, error) {
	return s.has(ctx, keys, func(uint64) bool { return false })
}

// has is Has without the volumes that are passed over.
func (s *Store) has(ctx context.Context, keys []cafs.Key, passOver func(volume uint64) bool) ([]bool, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	s.holds.touch(keys...)
	have := make([]bool, len(keys))
	usable := func(loc location) bool {
		return s.packs.usable(loc) || !passOver(loc.volume) && s.files.usableAt(loc)
	}
	err := s.index.visit(ctx, keys, func(i int, locations []location) {
		have[i] = slices.ContainsFunc(locations, usable)
	})
	if err != nil {
		return nil, err
	}
	return have, nil
}

// Put implements cafs.Putter. It is at its best with a row of chunks: it writes up to 2 MiB of them at once. If more
// than 1 GiB, or 32,768 chunks, wait for a Sync, it syncs first. When the disk is full the error wraps ENOSPC, and what
// was there stays readable; after a failed sync the error wraps ErrUnsynced.
func (s *Store) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	for _, chunk := range chunks {
		if len(chunk.Data()) < cafs.ChunkSizeMin {
			return errors.New("put chunk: it is the zero value of its type")
		}
	}
	if s.quota.limit > 0 && groupLen(chunks) < len(chunks) {
		held := s.holds.begin(false) // to make room for a group must not take the place of an earlier one
		defer s.holds.end(held)
	}
	for len(chunks) > 0 {
		n := groupLen(chunks)
		if err := s.putGroup(ctx, chunks[:n]); err != nil {
			return fmt.Errorf("put chunks: %w", err)
		}
		chunks = chunks[n:]
	}
	return nil
}

// groupLen returns how many of the chunks are to be written at once.
func groupLen(chunks []cafs.Chunk) int {
	size := 0
	for i, chunk := range chunks {
		size += recordHeaderSize + len(chunk.Data())
		if size > groupSizeMax || i == groupChunksMax {
			return i
		}
	}
	return len(chunks)
}

func (s *Store) putGroup(ctx context.Context, chunks []cafs.Chunk) error {
	for _, chunk := range chunks {
		s.holds.touch(chunk.Key())
	}
	release, err := s.reserveChunks(ctx, chunks)
	if err != nil {
		return err
	}
	defer release()
	if err := s.readyToAppend(ctx); err != nil {
		return err
	}
	return s.append.appendChunks(ctx, chunks)
}

// readyToAppend sees to it that one more group may be appended.
func (s *Store) readyToAppend(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.ballast.ready(); err != nil {
		return err
	}
	if s.append.full() {
		return s.sync(ctx)
	}
	return nil
}

// Sync implements cafs.Putter. Calls at the same time share one wait for the disk.
func (s *Store) Sync(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	return s.sync(ctx)
}

func (s *Store) sync(ctx context.Context) error {
	groups, err := s.append.count()
	if err != nil {
		return err
	}
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	// A chunk that was forgotten waits for a commit too, and no group brought it.
	if s.synced >= groups && s.index.overlaySize() == 0 {
		return nil
	}
	part, err := s.append.cut()
	if err != nil {
		return err
	}
	if err := s.append.sync(part); err != nil {
		return err
	}
	s.synced = part.groups
	return nil
}

// PutRoot implements cafs.Catalog.
func (s *Store) PutRoot(ctx context.Context, root cafs.RootInfo) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	if err := root.Check(); err != nil {
		return err
	}
	if err := s.changeRoot(ctx, rootChange{root.Root, encodeRoot(root)}); err != nil {
		return fmt.Errorf("put root %s: %w", root.Root.Short(), err)
	}
	return nil
}

func (s *Store) changeRoot(ctx context.Context, change rootChange) error {
	release, err := s.reserveRoot(ctx, change)
	if err != nil {
		return err
	}
	defer release()
	if err := s.readyToAppend(ctx); err != nil {
		return err
	}
	if err := s.append.appendRoot(change); err != nil {
		return err
	}
	s.quota.changes.Add(1)
	return s.sync(ctx)
}

// Root implements cafs.Catalog.
func (s *Store) Root(ctx context.Context, root cafs.Key) (cafs.RootInfo, error) {
	if err := s.begin(ctx); err != nil {
		return cafs.RootInfo{}, err
	}
	defer s.end()
	return s.index.root(root)
}

// Roots implements cafs.Catalog.
func (s *Store) Roots(ctx context.Context) iter.Seq2[cafs.RootInfo, error] {
	return func(yield func(cafs.RootInfo, error) bool) {
		if err := s.begin(ctx); err != nil {
			yield(cafs.RootInfo{}, err)
			return
		}
		defer s.end()
		for info, err := range s.index.roots(ctx) {
			if !yield(info, err) {
				return
			}
		}
	}
}

// RemoveRoot implements cafs.Catalog.
func (s *Store) RemoveRoot(ctx context.Context, root cafs.Key) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	select {
	case <-s.removal:
		defer func() { s.removal <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := s.index.root(root)
	if err == nil || errors.Is(err, cafs.ErrCorrupt) {
		err = s.changeRoot(ctx, rootChange{root: root})
	}
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return nil
}

// Stats tells what a store holds.
type Stats struct {
	// Packs is the number of pack files.
	Packs int
	// PackBytes is what they take on disk, in bytes.
	PackBytes int64
	// IndexBytes is what the index and the catalog take on disk, in bytes.
	IndexBytes int64
	// Chunks is the number of chunks in the packs. It is an estimate: copies that went bad are still counted.
	Chunks int64
}

// Stats returns what the store holds at the moment, or cafs.ErrClosed. It is cheap.
func (s *Store) Stats() (Stats, error) {
	if err := s.begin(context.Background()); err != nil {
		return Stats{}, err
	}
	defer s.end()
	var stats Stats
	stats.Packs, stats.PackBytes, stats.Chunks = s.packs.total()
	stats.IndexBytes = s.index.size()
	return stats, nil
}

// Close implements cafs.Store. It returns ErrUnsynced if a sync failed, now or before; the store is closed all the same.
func (s *Store) Close() error {
	s.life.Lock()
	s.closed = true
	s.life.Unlock()
	s.closeOnce.Do(func() {
		s.calls.Wait()
		s.closeErr = s.shut()
	})
	return s.closeErr
}

// shut syncs and closes everything; no other call is under way.
func (s *Store) shut() error {
	s.files.opened.close()
	return errors.Join(
		s.sync(context.Background()),
		s.append.close(),
		s.packs.close(),
		s.index.close(),
		s.lock.Close(),
	)
}
