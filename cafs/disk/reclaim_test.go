package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
)

// listedRoot is a root of chunks that are all here, with its pages.
type listedRoot struct {
	info   cafs.RootInfo
	chunks []cafs.Chunk
}

// addListed puts chunks, and the root that lists them into the catalog.
func addListed(t *testing.T, store *Store, chunks []cafs.Chunk) listedRoot {
	t.Helper()
	root := list(t, chunks)
	for group := range slices.Chunk(root.chunks, 20) {
		mustPut(t, store, group...)
	}
	mustPutRoot(t, store, root.info)
	return root
}

// list makes a root of chunks.
func list(t *testing.T, chunks []cafs.Chunk) listedRoot {
	t.Helper()
	all := slices.Clone(chunks)
	builder := cafs.NewListBuilder(func(page cafs.Chunk) error {
		all = append(all, page)
		return nil
	})
	for _, chunk := range chunks {
		if err := builder.Add(chunk.Info()); err != nil {
			t.Fatal(err)
		}
	}
	list, err := builder.Finish()
	if err != nil {
		t.Fatal(err)
	}
	record := cafs.Record{Kind: cafs.KindFile, Data: list}.Encode()
	info := cafs.RootInfo{Root: cafs.KeyOf(record), Record: record, Complete: true, Name: fmt.Sprintf("%d chunks", len(chunks))}
	return listedRoot{info, all}
}

func mustReclaim(t *testing.T, store *Store) cafs.Reclaimed {
	t.Helper()
	freed, err := store.Reclaim(t.Context(), cafs.ReclaimOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return freed
}

func infosOf(roots []listedRoot) []cafs.RootInfo {
	var infos []cafs.RootInfo
	for _, root := range roots {
		infos = append(infos, root.info)
	}
	return infos
}

// checkRoots wants just those roots in the catalog, and all of their chunks.
func checkRoots(t *testing.T, store *Store, roots []listedRoot) {
	t.Helper()
	checkCatalog(t, store, infosOf(roots)...)
	for _, root := range roots {
		checkHolds(t, store, root.chunks...)
	}
}

// steps calls step before and after everything that a reclaiming does to packs.
type steps struct{ step func(what string) }

type steppedPack struct {
	packFile
	steps *steps
}

func (s *steps) open(path string, flag int) (packFile, error) {
	file, err := openOSPackFile(path, flag)
	if err != nil {
		return nil, err
	}
	if flag&os.O_CREATE != 0 {
		s.step("make a pack")
	}
	return &steppedPack{file, s}, nil
}

func (p *steppedPack) WriteAt(data []byte, offset int64) (int, error) {
	// A part of a write, as it is if the process is killed within it.
	if n, err := p.packFile.WriteAt(data[:len(data)/2], offset); err != nil {
		return n, err
	}
	p.steps.step("write a part")
	n, err := p.packFile.WriteAt(data, offset)
	p.steps.step("write")
	return n, err
}

func (p *steppedPack) SyncData() error {
	p.steps.step("sync a pack")
	return p.packFile.SyncData()
}

func (s *steps) remove(path string) error {
	s.step("before a pack is removed")
	err := os.Remove(path)
	s.step("a pack was removed")
	return err
}

// TestReclaimKilled kills the process at each step of a reclaiming. What the catalog needs must be there then, and what was
// removed from the catalog must not come back, whether the index is the one that was left or made anew.
func TestReclaimKilled(t *testing.T) {
	dir := t.TempDir()
	steps := &steps{step: func(string) {}}
	store := mustOpen(t, dir, Options{testOnlyOpenPack: steps.open, testOnlyRemove: steps.remove})
	store.append.packSizeMax = 60_000 // less than an option may ask for
	var kept, gone []listedRoot
	for i := range uint64(12) {
		chunks := append(testChunks(i*100, 8, 4000), testChunks(10_000+i%3, 2, 4000)...) // some are shared
		if i == 6 {
			chunks = testChunks(20_000, 140, 3000) // with pages
		}
		root := addListed(t, store, chunks)
		if i%3 == 0 {
			kept = append(kept, root)
		} else {
			gone = append(gone, root)
		}
	}
	for _, root := range gone {
		if err := store.RemoveRoot(t.Context(), root.info.Root); err != nil {
			t.Fatal(err)
		}
	}
	kept = append(kept, addListed(t, store, testChunks(30_000, 10, 4000)), addListed(t, store, gone[0].chunks))

	type left struct{ dir, after string }
	var copies []left
	steps.step = func(what string) { copies = append(copies, left{copyDir(t, dir), what}) }
	freed := mustReclaim(t, store)
	steps.step = func(string) {}
	if freed.Bytes < 200_000 || len(copies) < 20 {
		t.Fatalf("freed %+v in %d steps: too little for this test", freed, len(copies))
	}
	checkRoots(t, store, kept)
	for i, copied := range append(copies, left{copyDir(t, dir), "the end"}) {
		for _, rebuild := range []bool{false, true} {
			if rebuild {
				if err := os.RemoveAll(filepath.Join(copied.dir, indexName)); err != nil {
					t.Fatal(err)
				}
			}
			store := mustOpen(t, copied.dir, Options{})
			checkRoots(t, store, kept)
			if i%5 == 0 {
				mustReclaim(t, store)
				checkRoots(t, store, kept)
			}
			mustClose(t, store)
			if t.Failed() {
				t.Fatalf("killed after step %d of %d (%s), rebuilt %v", i, len(copies), copied.after, rebuild)
			}
		}
	}
}

// TestReclaimEntryLeft opens a store in which a reclaiming was cut off after the removal of a pack, whose entry is left, and
// wants that no more is said of it.
func TestReclaimEntryLeft(t *testing.T) {
	dir := t.TempDir()
	var copied string
	store := mustOpen(t, dir, Options{testOnlyRemove: func(path string) error {
		err := os.Remove(path)
		copied = copyDir(t, dir)
		return err
	}})
	mustPut(t, store, testChunks(0, 10, 1000)...)
	mustReclaim(t, store)
	store = mustOpen(t, copied, Options{})
	mustPut(t, store, cafstest.Chunk(1, 1000))
	mustClose(t, store)
	store = mustOpen(t, copied, Options{})
	volumes, err := store.index.volumes()
	if err != nil || len(volumes.packs) != 1 || volumes.packs[0] != (volumeInfo{}) {
		t.Errorf("entries of packs: %v, error %v; want that of the new one", volumes.packs, err)
	}
}

// TestReclaimPowerCut cuts the power at random steps of a reclaiming.
func TestReclaimPowerCut(t *testing.T) {
	rnd := newRand(t)
	for range 8 {
		cut := newPowerCut(t, rnd)
		steps := &steps{step: func(string) {}}
		store := mustOpen(t, cut.dir, Options{
			testOnlyOpenPack: func(path string, flag int) (packFile, error) {
				file, err := cut.faults.open(path, flag)
				if err != nil {
					return nil, err
				}
				return &steppedPack{file, steps}, nil
			},
			testOnlyIndexFS: cut.indexFS,
			testOnlyRemove:  steps.remove,
		})
		store.append.packSizeMax = 50_000
		var kept []listedRoot
		for i := range uint64(10) {
			root := addListed(t, store, testChunks(i*100, 5+rnd.Uint64N(10), 3000))
			if rnd.IntN(3) == 0 {
				kept = append(kept, root)
			} else if err := store.RemoveRoot(t.Context(), root.info.Root); err != nil {
				t.Fatal(err)
			}
		}
		var after []string
		steps.step = func(string) {
			if rnd.IntN(4) == 0 {
				after = append(after, cut.now())
			}
		}
		mustReclaim(t, store)
		steps.step = func(string) {}
		mustClose(t, store)
		for _, dir := range append(after, cut.now()) {
			store := mustOpen(t, dir, Options{})
			checkRoots(t, store, kept)
			mustReclaim(t, store)
			checkRoots(t, store, kept)
			mustClose(t, store)
		}
		if t.Failed() {
			return
		}
	}
}

// TestGetWhilePackGoes has the pack of a chunk be given up between the look-up of the chunk and its read.
func TestGetWhilePackGoes(t *testing.T) {
	var reclaim func()
	store := mustOpen(t, t.TempDir(), Options{testOnlyOpenPack: func(path string, flag int) (packFile, error) {
		if flag == os.O_RDONLY && reclaim != nil {
			do := reclaim
			reclaim = nil
			do()
		}
		return openOSPackFile(path, flag)
	}})
	root := addListed(t, store, testChunks(0, 5, 4000))
	mustPut(t, store, testChunks(100, 50, 4000)...)
	reclaim = func() { mustReclaim(t, store) }
	checkHolds(t, store, root.chunks[0])
	if packs := store.packs.before(1000); reclaim != nil || len(packs) != 1 || packs[0] == 0 {
		t.Errorf("packs %v: the first was not given up", packs)
	}
	checkRoots(t, store, []listedRoot{root})

	cache := cafstest.Chunk(1000, 4000)
	mustPut(t, store, cache)
	mustPut(t, store, testChunks(2000, 50, 4000)...)
	store.packs.take(store.append.newest()) // that of all of them
	if _, err := store.Get(t.Context(), cache.Key(), nil); !errors.Is(err, cafs.ErrNotFound) || errors.Is(err, cafs.ErrCorrupt) {
		t.Errorf("get of a chunk whose pack is gone: %v, want ErrNotFound", err)
	}
}

// slowPack is a pack whose reads call reading first, and over in the end.
type slowPack struct {
	packFile
	reading func() (over func())
}

func (p *slowPack) ReadAt(data []byte, offset int64) (int, error) {
	defer p.reading()()
	return p.packFile.ReadAt(data, offset)
}

// TestPackStaysWhileRead has a read go on while its pack is given up: the file is not removed before it is over, which not
// every system would do.
func TestPackStaysWhileRead(t *testing.T) {
	var store *Store
	var slow, over atomic.Bool
	begun := make(chan struct{})
	reading := func() func() {
		if !slow.CompareAndSwap(true, false) {
			return func() {}
		}
		close(begun)
		for store.packs.known(0) {
			runtime.Gosched()
		}
		return func() { over.Store(true) }
	}
	store = mustOpen(t, t.TempDir(), Options{
		testOnlyOpenPack: func(path string, flag int) (packFile, error) {
			file, err := openOSPackFile(path, flag)
			return &slowPack{file, reading}, err
		},
		testOnlyRemove: func(path string) error {
			if !over.Load() {
				t.Error("the pack is removed while it is read")
			}
			return os.Remove(path)
		},
	})
	root := addListed(t, store, testChunks(0, 5, 4000))
	mustPut(t, store, testChunks(100, 50, 4000)...)
	slow.Store(true)
	var reader sync.WaitGroup
	reader.Go(func() { checkHolds(t, store, root.chunks[0]) })
	<-begun
	mustReclaim(t, store)
	reader.Wait()
}

// TestHoldEndsWhileReclaimed puts a root, and ends the hold under which its chunks were put and found, after the catalog was
// read. The hold of the reclaiming goes on with what that protected.
func TestHoldEndsWhileReclaimed(t *testing.T) {
	store := mustOpen(t, t.TempDir(), Options{})
	root := list(t, testChunks(0, 20, 4000))
	mustPut(t, store, root.chunks[:10]...)
	mustPut(t, store, testChunks(100, 50, 4000)...)
	release := store.Hold()
	mustPut(t, store, root.chunks...)
	r, err := store.beginRun(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.end()
	mustPutRoot(t, store, root.info)
	release()
	for more := true; more; {
		if _, more, err = r.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	checkRoots(t, store, []listedRoot{root})
	if have, err := store.Has(t.Context(), []cafs.Key{cafstest.Chunk(100, 4000).Key()}); err != nil || have[0] {
		t.Errorf("nothing was given up (error %v)", err)
	}
}

// TestDropTouched touches a chunk after it was found to be of no use.
func TestDropTouched(t *testing.T) {
	store := mustOpen(t, t.TempDir(), Options{})
	chunks := testChunks(0, 20, 4000)
	mustPut(t, store, chunks...)
	r, err := store.beginRun(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer r.end()
	w := &sweeper{run: r, id: r.packs[0]}
	checkHolds(t, store, chunks[7]) // it is here, says the store now
	err = store.walkPack(t.Context(), w.id, 20*(recordHeaderSize+4000), func(ctx context.Context, entries []packEntry, _ []packRoot) error {
		for _, e := range entries {
			if err := w.drop(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = w.flush(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	for i, chunk := range chunks {
		if i == 7 {
			checkHolds(t, store, chunk)
		} else {
			checkLacks(t, store, chunk)
		}
	}
	if w.freed.Chunks != 19 {
		t.Errorf("freed %+v, want 19 chunks", w.freed)
	}
}

// TestReclaimDamaged gives up a pack with damage in it.
func TestReclaimDamaged(t *testing.T) {
	const size = recordHeaderSize + 4000
	for name, damage := range map[string]func([]byte){
		"key":                 func(pack []byte) { pack[3*size] ^= 1 },
		"length":              func(pack []byte) { pack[3*size+cafs.KeySize] ^= 1 },
		"impossible length":   func(pack []byte) { pack[3*size+cafs.KeySize+3] ^= 0x7f },
		"data of a neighbour": func(pack []byte) { pack[4*size+recordHeaderSize] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			store := mustOpen(t, dir, Options{})
			root := addListed(t, store, testChunks(0, 4, 4000))
			removed := addListed(t, store, testChunks(50, 4, 4000))
			other := addListed(t, store, testChunks(60, 3, 4000))
			mustPut(t, store, testChunks(100, 50, 4000)...)
			if err := store.RemoveRoot(t.Context(), removed.info.Root); err != nil {
				t.Fatal(err)
			}
			changeFile(t, packPath(dir, 0), func(pack []byte) []byte {
				damage(pack)
				return pack
			})
			mustReclaim(t, store)
			if _, err := os.Stat(packPath(dir, 0)); !os.IsNotExist(err) {
				t.Errorf("the pack is still there: %v", err)
			}
			checkRoots(t, store, []listedRoot{root, other})
			mustClose(t, store)
			if err := os.RemoveAll(filepath.Join(dir, indexName)); err != nil {
				t.Fatal(err)
			}
			checkRoots(t, mustOpen(t, dir, Options{}), []listedRoot{root, other})
		})
	}
}

// TestReclaimLostPack reclaims while a pack is missing that comes back later.
func TestReclaimLostPack(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	root := addListed(t, store, testChunks(0, 4, 4000))
	mustClose(t, store)
	aside := filepath.Join(t.TempDir(), "pack")
	if err := os.Rename(packPath(dir, 0), aside); err != nil {
		t.Fatal(err)
	}
	store = mustOpen(t, dir, Options{})
	mustPut(t, store, testChunks(100, 50, 4000)...)
	mustReclaim(t, store)
	mustClose(t, store)
	if err := os.Rename(aside, packPath(dir, 0)); err != nil {
		t.Fatal(err)
	}
	checkRoots(t, mustOpen(t, dir, Options{}), []listedRoot{root})
}

// TestReclaimMovesNoDamage forgets a needed chunk that is damaged, as a Get does.
func TestReclaimMovesNoDamage(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	root := addListed(t, store, testChunks(0, 4, 4000))
	mustPut(t, store, testChunks(100, 50, 4000)...)
	changeFile(t, packPath(dir, 0), func(pack []byte) []byte {
		pack[recordHeaderSize] ^= 1
		return pack
	})
	mustReclaim(t, store)
	checkLacks(t, store, root.chunks[0])
	checkHolds(t, store, root.chunks[1:]...)
}

// TestReclaimFails has the disk fail at each kind of step; the next reclaiming does what is left.
func TestReclaimFails(t *testing.T) {
	for name, fail := range map[string]func(f *faults, removeFails *atomic.Bool, on bool){
		"remove":      func(_ *faults, removeFails *atomic.Bool, on bool) { removeFails.Store(on) },
		"make a pack": func(f *faults, _ *atomic.Bool, on bool) { f.createFails.Store(on) },
		"write": func(f *faults, _ *atomic.Bool, on bool) {
			f.fullAt.Store(0)
			if on {
				f.fullAt.Store(100)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			var faults faults
			var removeFails atomic.Bool
			store := mustOpen(t, dir, Options{testOnlyOpenPack: faults.open, testOnlyRemove: func(path string) error {
				if removeFails.Load() {
					return &os.PathError{Op: "remove", Path: path, Err: syscall.EIO}
				}
				return os.Remove(path)
			}})
			root := addListed(t, store, testChunks(0, 5, 4000))
			mustPut(t, store, testChunks(100, 50, 4000)...)
			full := store.packs.size()
			fail(&faults, &removeFails, true)
			if _, err := store.Reclaim(t.Context(), cafs.ReclaimOptions{}); err == nil || !strings.Contains(err.Error(), packPath(dir, 0)) {
				t.Errorf("reclaim on a bad disk: %v, want an error with the path", err)
			}
			if size := store.packs.size(); size < full {
				t.Errorf("%d bytes used, of %d, though nothing was removed", size, full)
			}
			checkRoots(t, store, []listedRoot{root})
			fail(&faults, &removeFails, false)
			mustReclaim(t, store)
			checkRoots(t, store, []listedRoot{root})
			if size := store.packs.size(); size > full/5 {
				t.Errorf("%d bytes are left of %d", size, full)
			}
			mustClose(t, store)
			checkRoots(t, mustOpen(t, dir, Options{}), []listedRoot{root})
		})
	}
}

// TestReclaimRootRecords changes the catalog often, without a chunk: what it no longer says is no reason to grow.
func TestReclaimRootRecords(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	kept, removed := cafstest.Root(1), cafstest.Root(2)
	for i := range 200 {
		kept.Name = fmt.Sprintf("%d %s", i, bytes.Repeat([]byte{'x'}, 1000))
		mustPutRoot(t, store, kept)
		mustPutRoot(t, store, removed)
	}
	if err := store.RemoveRoot(t.Context(), removed.Root); err != nil {
		t.Fatal(err)
	}
	if freed := mustReclaim(t, store); freed.Bytes < 200_000 || freed.Chunks != 0 {
		t.Errorf("freed %+v", freed)
	}
	checkCatalog(t, store, kept)
	mustClose(t, store)
	if err := os.RemoveAll(filepath.Join(dir, indexName)); err != nil {
		t.Fatal(err)
	}
	checkCatalog(t, mustOpen(t, dir, Options{}), kept)
}

// TestReclaimKeepsRemoval gives up a pack that says that a root was removed, while an older one has the root.
func TestReclaimKeepsRemoval(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	removed := cafstest.Root(1)
	mustPutRoot(t, store, removed)
	kept := addListed(t, store, testChunks(0, 50, 4000))
	store.append.packSizeMax = store.packs.size()
	mustPut(t, store, testChunks(100, 30, 4000)...) // a new pack
	if err := store.RemoveRoot(t.Context(), removed.Root); err != nil {
		t.Fatal(err)
	}
	mustReclaim(t, store)
	if packs := store.packs.before(1000); !slices.Equal(packs, []uint64{0, 2}) {
		t.Fatalf("packs %v: want the first, and what is left of the second in the third", packs)
	}
	mustClose(t, store)
	if err := os.RemoveAll(filepath.Join(dir, indexName)); err != nil {
		t.Fatal(err)
	}
	store = mustOpen(t, dir, Options{})
	checkRoots(t, store, []listedRoot{kept})
}

func TestQuotaOptions(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{Quota: QuotaLeast - 1}); err == nil {
		t.Error("a quota that is too small was taken")
	}
	for quota, want := range map[int64]int64{0: PackSizeMax, QuotaLeast: packSizeLeast, 1 << 30: 64 << 20, 1 << 40: PackSizeMax} {
		opts, err := Options{Quota: quota}.withDefaults()
		if err != nil || opts.PackSize != want {
			t.Errorf("quota of %d: packs of %d bytes, want %d; error %v", quota, opts.PackSize, want, err)
		}
	}
}

// TestQuotaLowered opens a store that is larger than it may be: it takes nothing but what it has room for once cache is gone.
func TestQuotaLowered(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{PackSize: packSizeLeast})
	needed := addListed(t, store, testChunks(0, 500, 100_000))
	cache := addListed(t, store, testChunks(1000, 500, 100_000))
	mustClose(t, store)

	store = mustOpen(t, dir, Options{Quota: QuotaLeast})
	put := cafstest.Chunk(1, 99_999)
	if err := store.Put(t.Context(), put); !errors.Is(err, cafs.ErrQuota) {
		t.Errorf("put into a store that is too large: %v", err)
	}
	if err := store.PutRoot(t.Context(), cafstest.Root(1)); !errors.Is(err, cafs.ErrQuota) {
		t.Errorf("put root into a store that is too large: %v", err)
	}
	checkRoots(t, store, []listedRoot{needed, cache})
	for _, root := range []listedRoot{cache, needed} { // to remove is allowed
		if err := store.RemoveRoot(t.Context(), root.info.Root); err != nil {
			t.Fatal(err)
		}
	}
	mustPut(t, store, put)
	if used, _ := store.used(); used > QuotaLeast {
		t.Errorf("%d bytes used of %d", used, QuotaLeast)
	}
}

// TestQuotaCountsIndex fills a store by referring to chunks in a file, without a byte in a pack. When the file is no volume any
// more, there is room again.
func TestQuotaCountsIndex(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	store := mustOpen(t, filepath.Join(dir, "store"), Options{Quota: QuotaLeast})
	referred := 0
	fill := func() (err error) {
		t.Helper()
		volume, err := store.OpenVolume(t.Context(), path, cafs.VolumeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		refs := make([]cafs.ChunkRef, groupChunksMax)
		for round := 0; err == nil && round < 400; round++ {
			for i := range refs {
				referred++
				key := cafs.KeyOf(fmt.Appendf(nil, "%d", referred))
				refs[i] = cafs.ChunkRef{Chunk: cafs.ChunkInfo{Key: key, Size: 1000}, Offset: int64(i)}
			}
			err = volume.Refer(t.Context(), refs...)
			if used, _ := store.used(); used > QuotaLeast {
				t.Fatalf("%d bytes used of %d, after %d chunks", used, QuotaLeast, referred)
			}
		}
		if errClose := volume.Close(); errClose != nil {
			t.Error(errClose)
		}
		return err
	}
	if err := fill(); !errors.Is(err, cafs.ErrQuota) {
		t.Fatalf("refer to %d chunks: %v, want ErrQuota", referred, err)
	}
	first := referred
	if err := store.RemoveVolume(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if err := fill(); !errors.Is(err, cafs.ErrQuota) || referred-first < first/2 {
		t.Errorf("refer to %d chunks in place of %d: %v", referred-first, first, err)
	}
	if err := store.RemoveVolume(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	// How much it frees depends on what the key-value store has done about it by itself.
	mustReclaim(t, store)
	before := referred
	if err := fill(); !errors.Is(err, cafs.ErrQuota) || referred-before < first/2 {
		t.Errorf("refer to %d chunks in place of %d after reclaiming: %v", referred-before, first, err)
	}
}

func TestFilter(t *testing.T) {
	const n = 50_000
	f := newFilter(n, neededFilterBytes)
	key := func(i uint64) cafs.Key { return cafs.KeyOf(fmt.Appendf(nil, "%d", i)) }
	for i := range uint64(n) {
		f.add(key(i))
	}
	wrong := 0
	for i := range uint64(n) {
		if !f.has(key(i)) {
			t.Fatalf("key %d was added", i)
		}
		if f.has(key(n + i)) {
			wrong++
		}
	}
	if wrong > n/300 {
		t.Errorf("%d of %d keys that were not added", wrong, n)
	}
	if got := f.added.Load(); got < n*99/100 || got > n {
		t.Errorf("%d keys, want %d", got, n)
	}
	if size := len(newFilter(1<<40, neededFilterBytes).words) * 8; size > neededFilterBytes {
		t.Errorf("filter of %d bytes", size)
	}
}

// TestHolds has holds overlap.
func TestHolds(t *testing.T) {
	var h holds
	keys := make([]cafs.Key, 6)
	for i := range keys {
		keys[i] = cafs.Key{byte(i), 8: byte(i), 9: byte(i)}
	}
	want := func(when string, held ...int) {
		t.Helper()
		for i, key := range keys {
			if h.held(key) != slices.Contains(held, i) {
				t.Errorf("%s: key %d held: %v", when, i, h.held(key))
			}
		}
	}
	h.touch(keys[0])
	want("nobody holds")
	first := h.begin(false)
	h.touch(keys[1])
	second := h.begin(false)
	h.touch(keys[2])
	heir := h.begin(true)
	h.touch(keys[3])
	want("three hold", 1, 2, 3)
	h.end(first)
	h.touch(keys[4])
	want("the first has an heir", 1, 2, 3, 4)
	h.end(heir)
	h.end(heir)
	want("the second is left", 2, 3, 4)
	h.end(second)
	want("nobody holds any more")
}

// TestHoldMany touches more chunks than one filter is for.
func TestHoldMany(t *testing.T) {
	var h holds
	defer h.end(h.begin(false))
	n := uint64(3 * holdKeysFirst)
	key := func(i uint64) cafs.Key { return cafs.KeyOf(fmt.Appendf(nil, "%d", i)) }
	keys := make([]cafs.Key, n)
	for i := range keys {
		keys[i] = key(uint64(i))
	}
	h.touch(keys...)
	wrong := 0
	for i := range n {
		if !h.held(key(i)) {
			t.Fatalf("key %d of %d is not held", i, n)
		}
		if h.held(key(n + i)) {
			wrong++
		}
	}
	if wrong > int(n)/100 {
		t.Errorf("%d of %d keys held that nobody touched", wrong, n)
	}
}
