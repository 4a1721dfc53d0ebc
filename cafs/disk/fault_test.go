package disk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
)

// faults makes packs fail, and remembers what of them is synced.
type faults struct {
	fullAt      atomic.Int64 // a pack takes no byte from here on; 0: no limit
	cutFails    atomic.Bool
	syncFails   atomic.Bool
	createFails atomic.Bool

	mu     sync.Mutex
	synced map[string]int64 // path to size
}

type faultyPack struct {
	packFile
	path   string
	faults *faults
}

var errDisk = syscall.EIO

func (f *faults) open(path string, flag int) (packFile, error) {
	if flag&os.O_CREATE != 0 && f.createFails.Load() {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.ENOSPC}
	}
	file, err := openOSPackFile(path, flag)
	if err != nil {
		return nil, err
	}
	return &faultyPack{file, path, f}, nil
}

func (p *faultyPack) WriteAt(data []byte, offset int64) (int, error) {
	full := p.faults.fullAt.Load()
	if full == 0 || offset+int64(len(data)) <= full {
		return p.packFile.WriteAt(data, offset)
	}
	n, err := p.packFile.WriteAt(data[:max(0, full-offset)], offset)
	if err == nil {
		err = &os.PathError{Op: "write", Path: p.path, Err: syscall.ENOSPC}
	}
	return n, err
}

func (p *faultyPack) Truncate(size int64) error {
	if p.faults.cutFails.Load() {
		return &os.PathError{Op: "truncate", Path: p.path, Err: errDisk}
	}
	return p.packFile.Truncate(size)
}

func (p *faultyPack) SyncData() error {
	if p.faults.syncFails.Load() {
		return &os.PathError{Op: "fdatasync", Path: p.path, Err: errDisk}
	}
	info, err := os.Stat(p.path)
	if err != nil {
		return err
	}
	p.faults.mu.Lock()
	defer p.faults.mu.Unlock()
	if p.faults.synced == nil {
		p.faults.synced = make(map[string]int64)
	}
	p.faults.synced[p.path] = info.Size()
	return nil
}

func TestPutDiskFull(t *testing.T) {
	for name, cutFails := range map[string]bool{"torn end is cut": false, "torn end stays": true} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var faults faults
			store := mustOpen(t, dir, Options{testOnlyOpenPack: faults.open})
			before, lost, after := testChunks(0, 10, 1000), cafstest.Chunk(100, 5000), testChunks(200, 10, 1000)
			mustPut(t, store, before...)

			faults.fullAt.Store(12_000) // amid the next chunk
			faults.cutFails.Store(cutFails)
			err := store.Put(t.Context(), lost)
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), packPath(dir, 0)) {
				t.Errorf("put on a full disk: %v, want ENOSPC and the path", err)
			}
			checkLacks(t, store, lost)
			checkHolds(t, store, before...)
			mustSync(t, store)
			faults.createFails.Store(true)
			if err := store.Put(t.Context(), lost); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("second put on a full disk: %v, want ENOSPC", err)
			}

			faults.fullAt.Store(0)
			faults.createFails.Store(false)
			mustPut(t, store, after...)
			copied := mustOpen(t, copyDir(t, dir), Options{})
			for _, store := range []*Store{store, copied} {
				checkHolds(t, store, before...)
				checkHolds(t, store, after...)
				checkLacks(t, store, lost)
			}
			mustClose(t, store)
			checkHolds(t, mustOpen(t, dir, Options{}), append(before, after...)...)
		})
	}
}

func TestPutRootDiskFull(t *testing.T) {
	dir := t.TempDir()
	var faults faults
	store := mustOpen(t, dir, Options{testOnlyOpenPack: faults.open})
	mustPutRoot(t, store, cafstest.Root(1))
	faults.fullAt.Store(1)
	if err := store.PutRoot(t.Context(), cafstest.Root(2)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put root on a full disk: %v, want ENOSPC", err)
	}
	checkCatalog(t, store, cafstest.Root(1))
	faults.fullAt.Store(0)
	mustPutRoot(t, store, cafstest.Root(3))
	mustClose(t, store)
	checkCatalog(t, mustOpen(t, dir, Options{}), cafstest.Root(1), cafstest.Root(3))
}

func TestSyncFails(t *testing.T) {
	dir := t.TempDir()
	var faults faults
	store := mustOpen(t, dir, Options{testOnlyOpenPack: faults.open})
	synced, unsynced := cafstest.Chunk(1, 1000), cafstest.Chunk(2, 1000)
	mustPut(t, store, synced)
	mustSync(t, store)
	mustPut(t, store, unsynced)

	faults.syncFails.Store(true)
	check := func(call string, err error) {
		t.Helper()
		if !errors.Is(err, ErrUnsynced) || !errors.Is(err, errDisk) {
			t.Errorf("%s: %v, want ErrUnsynced and its cause", call, err)
		}
	}
	check("sync", store.Sync(t.Context()))
	faults.syncFails.Store(false) // the kernel says it once only; the data are lost all the same
	check("second sync", store.Sync(t.Context()))
	check("put", store.Put(t.Context(), cafstest.Chunk(3, 1000)))
	check("put root", store.PutRoot(t.Context(), cafstest.Root(1)))
	checkHolds(t, store, synced, unsynced)
	check("close", store.Close())

	store = mustOpen(t, dir, Options{})
	checkHolds(t, store, synced, unsynced)
	checkCatalog(t, store)
	mustPut(t, store, cafstest.Chunk(3, 1000))
}

// powerCut is a directory of a store whose power is cut: of the packs only what was synced is left for sure, and behind it
// some of the rest, zeros or noise; of the index what its own file system, which plays the same game, has kept.
type powerCut struct {
	t       *testing.T
	rnd     *rand.Rand
	dir     string
	faults  faults
	indexFS *vfs.MemFS
}

func newPowerCut(t *testing.T, rnd *rand.Rand) *powerCut {
	t.Helper()
	c := &powerCut{t: t, rnd: rnd, dir: t.TempDir(), indexFS: vfs.NewCrashableMem()}
	if err := c.indexFS.MkdirAll(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return c
}

// now returns a directory with what a cut at this moment leaves.
func (c *powerCut) now() string {
	c.t.Helper()
	cut := c.t.TempDir()
	cutIndex := c.indexFS.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: c.rnd.IntN(101), RNG: c.rnd})
	if err := os.Mkdir(filepath.Join(cut, packsName), 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := writeVersion(cut); err != nil {
		c.t.Fatal(err)
	}
	if _, err := vfs.Clone(cutIndex, vfs.Default, filepath.Join(c.dir, indexName), filepath.Join(cut, indexName)); err != nil {
		c.t.Fatal(err)
	}
	// There may be none, when all of them were given up.
	paths, err := filepath.Glob(filepath.Join(c.dir, packsName, "*.pack"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		content = c.spoil(path, content)
		if err := os.WriteFile(filepath.Join(cut, packsName, filepath.Base(path)), content, 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	return cut
}

// spoil returns what is left of a pack.
func (c *powerCut) spoil(path string, content []byte) []byte {
	c.faults.mu.Lock()
	sure := c.faults.synced[path]
	c.faults.mu.Unlock()
	if sure == 0 && c.rnd.IntN(2) == 0 {
		content = nil
	}
	for at := sure; at < int64(len(content)); {
		end := min(at+c.rnd.Int64N(4096), int64(len(content)))
		if c.rnd.IntN(3) == 0 {
			clear(content[at:end])
		}
		if c.rnd.IntN(40) == 0 {
			content = content[:end]
		}
		at = end
	}
	return content
}

// TestPowerCut cuts the power at random moments.
func TestPowerCut(t *testing.T) {
	rnd := newRand(t)
	for range 15 {
		cut := newPowerCut(t, rnd)
		store := mustOpen(t, cut.dir, Options{testOnlyOpenPack: cut.faults.open, testOnlyIndexFS: cut.indexFS})
		store.append.packSizeMax = 50_000 // less than an option may ask for
		var synced []cafs.Chunk
		var put []cafs.Chunk
		var roots []cafs.RootInfo
		for i := range uint64(2 + rnd.IntN(40)) {
			more := testChunks(i*10, 1+rnd.Uint64N(9), 1+rnd.IntN(3000))
			mustPut(t, store, more...)
			put = append(put, more...)
			switch rnd.IntN(6) {
			case 0:
				mustSync(t, store)
				synced = put[:len(put):len(put)]
			case 1:
				roots = append(roots, cafstest.Root(i))
				mustPutRoot(t, store, cafstest.Root(i))
				synced = put[:len(put):len(put)]
			}
		}
		after := mustOpen(t, cut.now(), Options{})
		checkHolds(t, after, synced...)
		checkHonest(t, after, put)
		for _, root := range roots {
			if _, err := after.Root(t.Context(), root.Root); err != nil {
				t.Error(err)
			}
		}
		mustPut(t, after, put...)
		checkHolds(t, after, put...)
		mustClose(t, after)
		if t.Failed() {
			return
		}
	}
}

// checkHonest wants that the store has just those of the chunks that it says.
func checkHonest(t *testing.T, store *Store, chunks []cafs.Chunk) {
	t.Helper()
	for _, chunk := range chunks {
		have, err := store.Has(t.Context(), []cafs.Key{chunk.Key()})
		if err != nil {
			t.Fatal(err)
		}
		got, err := store.Get(t.Context(), chunk.Key(), nil)
		if have[0] && (err != nil || !bytes.Equal(got, chunk.Data())) {
			t.Errorf("has a chunk that it can't read: %v", err)
		}
		if !have[0] && !errors.Is(err, cafs.ErrNotFound) {
			t.Errorf("chunk that it has not: %v", err)
		}
	}
}

// failingFS fails writes to files, and syncs, once it is told to.
type failingFS struct {
	vfs.FS
	fails atomic.Bool
}

type failingFile struct {
	vfs.File
	fs *failingFS
}

func (f *failingFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	return &failingFile{file, f}, nil
}

func (f *failingFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(old, name, category)
	if err != nil {
		return nil, err
	}
	return &failingFile{file, f}, nil
}

func (f *failingFile) Write(data []byte) (int, error) {
	if f.fs.fails.Load() {
		return 0, errDisk
	}
	return f.File.Write(data)
}

func (f *failingFile) Sync() error     { return f.err(f.File.Sync) }
func (f *failingFile) SyncData() error { return f.err(f.File.SyncData) }

func (f *failingFile) err(do func() error) error {
	if f.fs.fails.Load() {
		return errDisk
	}
	return do()
}

// TestIndexFails has the disk fail under the index, which the key-value store takes for the end of the world.
func TestIndexFails(t *testing.T) {
	dir := t.TempDir()
	indexFS := &failingFS{FS: vfs.Default}
	store := mustOpen(t, dir, Options{testOnlyIndexFS: indexFS})
	before, after := testChunks(0, 10, 1000), testChunks(10, 10, 1000)
	mustPut(t, store, before...)
	mustPutRoot(t, store, cafstest.Root(1))
	mustPut(t, store, after...)

	indexFS.fails.Store(true)
	for range 2 {
		if err := store.Sync(t.Context()); !errors.Is(err, ErrUnsynced) {
			t.Errorf("sync: %v, want ErrUnsynced", err)
		}
	}
	if err := store.Put(t.Context(), cafstest.Chunk(100, 10)); !errors.Is(err, ErrUnsynced) {
		t.Errorf("put: %v, want ErrUnsynced", err)
	}
	checkHolds(t, store, append(before, after...)...)
	checkCatalog(t, store, cafstest.Root(1))
	if err := store.Close(); !errors.Is(err, ErrUnsynced) {
		t.Errorf("close: %v, want ErrUnsynced", err)
	}

	store = mustOpen(t, dir, Options{})
	checkHolds(t, store, append(before, after...)...)
	checkCatalog(t, store, cafstest.Root(1))
}
