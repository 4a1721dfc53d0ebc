package disk

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
)

// spiedFiles are userFiles of the operating system that can be interfered with, and that count.
type spiedFiles struct {
	osUserFiles
	opened  func(path string) // called when a file was opened, before anything else is done with it
	reading func(file userFile) error
	syncing func(path string) error
	garble  bool         // reads give other bytes
	fine    bool         // each look tells, if it does here
	looks   atomic.Int64 // at paths
	reads   atomic.Int64
	handles atomic.Int64 // files that are open
}

type spiedFile struct {
	userFile
	path  string
	files *spiedFiles
}

func (s *spiedFiles) open(path string, written bool) (userFile, error) {
	file, err := s.osUserFiles.open(path, written)
	if err != nil {
		return nil, err
	}
	s.handles.Add(1)
	if s.opened != nil {
		s.opened(path)
	}
	return &spiedFile{file, path, s}, nil
}

func (s *spiedFiles) identity(path string) (identity, error) {
	s.looks.Add(1)
	return s.osUserFiles.identity(path)
}

func (f *spiedFile) ReadAt(p []byte, off int64) (int, error) {
	if f.files.reading != nil {
		if err := f.files.reading(f); err != nil {
			return 0, err
		}
	}
	f.files.reads.Add(1)
	n, err := f.userFile.ReadAt(p, off)
	if f.files.garble && n > 0 {
		p[0] ^= 1
	}
	return n, err
}

func (f *spiedFile) eachLookTells() bool { return f.files.fine && f.userFile.eachLookTells() }

func (f *spiedFile) SyncData() error {
	if f.files.syncing != nil {
		if err := f.files.syncing(f.path); err != nil {
			return err
		}
	}
	return f.userFile.SyncData()
}

func (f *spiedFile) Close() error {
	f.files.handles.Add(-1)
	return f.userFile.Close()
}

// testClock is a clock that tests set.
type testClock struct{ offset atomic.Int64 }

func (c *testClock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *testClock) advance(d time.Duration) { c.offset.Add(int64(d)) }

// volumeStore is a store whose surroundings a test controls.
type volumeStore struct {
	*Store
	dir   string
	files *spiedFiles
	clock *testClock
}

func openVolumeStore(t *testing.T, dir string) volumeStore {
	t.Helper()
	s := volumeStore{dir: dir, files: &spiedFiles{}, clock: &testClock{}}
	s.Store = mustOpen(t, dir, Options{testOnlyUserFiles: s.files, testOnlyNow: s.clock.now})
	t.Cleanup(func() {
		_ = s.Close()
		if n := s.files.handles.Load(); n != 0 && !t.Failed() {
			t.Errorf("%d files of users are still open", n)
		}
	})
	return s
}

// reopen closes the store and opens it again.
func (s volumeStore) reopen(t *testing.T) volumeStore {
	t.Helper()
	mustClose(t, s.Store)
	return openVolumeStore(t, s.dir)
}

// userVolume is a file of a test, with the chunks that are in it.
type userVolume struct {
	path   string
	chunks []cafs.Chunk
	refs   []cafs.ChunkRef
}

func newUserFile(t testing.TB, id uint64, n, size int) userVolume {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	chunks, refs := cafstest.File(t, path, id, n, size)
	return userVolume{path, chunks, refs}
}

func mustOpenVolume(t testing.TB, store cafs.Referrer, path string, opts cafs.VolumeOptions) cafs.Volume {
	t.Helper()
	v, err := store.OpenVolume(t.Context(), path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func mustRefer(t testing.TB, v cafs.Volume, refs ...cafs.ChunkRef) {
	t.Helper()
	if err := v.Refer(t.Context(), refs...); err != nil {
		t.Fatal(err)
	}
}

// mustAdd makes a file a sealed volume.
func mustAdd(t testing.TB, store cafs.Referrer, file userVolume) {
	t.Helper()
	v := mustOpenVolume(t, store, file.path, cafs.VolumeOptions{})
	mustRefer(t, v, file.refs...)
	if err := errors.Join(v.Seal(t.Context(), file.path, cafstest.Root(1).Root), v.Close()); err != nil {
		t.Fatal(err)
	}
}

// checkNoOther wants that all the store gives out are the chunks asked for, and returns how many those were.
func checkNoOther(t *testing.T, store *Store, chunks []cafs.Chunk) (got int) {
	t.Helper()
	for i, chunk := range chunks {
		data, err := store.Get(t.Context(), chunk.Key(), nil)
		switch {
		case err == nil && bytes.Equal(data, chunk.Data()):
			got++
		case err == nil:
			t.Errorf("chunk %d: other bytes", i)
		case !errors.Is(err, cafs.ErrNotFound) && !errors.Is(err, cafs.ErrCorrupt):
			t.Errorf("chunk %d: %v", i, err)
		}
	}
	return got
}

// count returns how many of the chunks the store says it has.
func count(t *testing.T, store *Store, chunks []cafs.Chunk) (n int) {
	t.Helper()
	keys := make([]cafs.Key, len(chunks))
	for i, chunk := range chunks {
		keys[i] = chunk.Key()
	}
	have, err := store.Has(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, ok := range have {
		if ok {
			n++
		}
	}
	return n
}

func state(t *testing.T, store *Store, path string) cafs.VolumeState {
	t.Helper()
	info, err := store.Volume(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return info.State
}

func change(t testing.TB, path string, edit func([]byte) []byte) func() {
	return func() {
		content, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, edit(content), 0o600) // in place: the inode stays
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// accident is what may befall a file of 20 chunks of 3,000 bytes.
type accident struct {
	name  string
	do    func() error
	gets  int // chunks that are still in the file; -1: any
	state cafs.VolumeState
}

func accidents(t testing.TB, path string) []accident {
	aside := path + ".aside"
	edit := func(edit func([]byte) []byte) func() error {
		return func() error { change(t, path, edit)(); return nil }
	}
	invert := func(content []byte) []byte {
		content[7*3000+5] ^= 1
		return content
	}
	return []accident{
		{"nothing", func() error { return nil }, 20, cafs.VolumeFresh},
		{"touched", func() error { return os.Chtimes(path, time.Now(), time.Now()) }, 20, cafs.VolumeStale},
		{"edited", edit(invert), 19, cafs.VolumeStale},
		{"edited, time set back", func() error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			change(t, path, invert)()
			return os.Chtimes(path, info.ModTime(), info.ModTime())
		}, 19, cafs.VolumeStale},
		{"cut amid a chunk", func() error { return os.Truncate(path, 10*3000-1) }, 9, cafs.VolumeStale},
		{"emptied", func() error { return os.Truncate(path, 0) }, 0, cafs.VolumeStale},
		{"grown", func() error { return os.Truncate(path, 1<<20) }, 20, cafs.VolumeStale},
		{"shifted", edit(func(c []byte) []byte { return append([]byte{0}, c...) }), 0, cafs.VolumeStale},
		{"replaced by its copy", func() error {
			content, err := os.ReadFile(path)
			return errors.Join(err, os.Rename(path, aside), os.WriteFile(path, content, 0o600))
		}, 20, cafs.VolumeStale},
		{"replaced by noise", func() error {
			return errors.Join(os.Rename(path, aside), os.WriteFile(path, make([]byte, 20*3000), 0o600))
		}, 0, cafs.VolumeStale},
		{"removed", func() error { return os.Remove(path) }, 0, cafs.VolumeMissing},
		{"renamed", func() error { return os.Rename(path, aside) }, 0, cafs.VolumeMissing},
		{"replaced by a directory", func() error {
			return errors.Join(os.Rename(path, aside), os.Mkdir(path, 0o700))
		}, 0, cafs.VolumeMissing},
		{"replaced by a link to itself", func() error {
			return errors.Join(os.Rename(path, aside), os.Symlink(aside, path))
		}, 0, cafs.VolumeMissing},
		{"replaced by a pipe", func() error {
			return errors.Join(os.Rename(path, aside), makePipe(path))
		}, 0, cafs.VolumeMissing},
		{"directory renamed", func() error {
			dir := filepath.Dir(path)
			return os.Rename(dir, dir+".aside")
		}, 0, cafs.VolumeMissing},
	}
}

// forEachAccident runs a test for each accident, with a store in which the file is a sealed volume.
func forEachAccident(t *testing.T, run func(t *testing.T, s volumeStore, file userVolume, a accident)) {
	if runtime.GOOS == "windows" {
		t.Skip("not all of this can befall a file on Windows")
	}
	for i, a := range accidents(t, "") {
		t.Run(a.name, func(t *testing.T) {
			s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 20, 3000)
			s.clock.advance(time.Minute) // away from the change that made the file
			mustAdd(t, s, file)
			mustSync(t, s.Store)
			run(t, s, file, accidents(t, file.path)[i])
		})
	}
}

func TestVolumeAccidentBeforeGet(t *testing.T) {
	forEachAccident(t, func(t *testing.T, s volumeStore, file userVolume, a accident) {
		if n := count(t, s.Store, file.chunks); n != 20 {
			t.Fatalf("%d of 20 chunks before", n)
		}
		if err := a.do(); err != nil {
			t.Fatal(err)
		}
		want := 0
		if a.state == cafs.VolumeFresh {
			want = 20
		}
		s.clock.advance(checkInterval)
		if n := count(t, s.Store, file.chunks); n != want {
			t.Errorf("has %d chunks, want %d", n, want)
		}
		if got := state(t, s.Store, file.path); got != a.state {
			t.Errorf("the volume is %v, want %v", got, a.state)
		}
		if n := checkNoOther(t, s.Store, file.chunks); n != a.gets {
			t.Errorf("got %d chunks, want %d", n, a.gets)
		}
		mustSync(t, s.Store)
		s = s.reopen(t)
		if n := checkNoOther(t, s.Store, file.chunks); n != a.gets {
			t.Errorf("got %d chunks after opening the store again, want %d", n, a.gets)
		}
		if n := count(t, s.Store, file.chunks); n != want {
			t.Errorf("has %d chunks after opening the store again, want %d", n, want)
		}
	})
}

// TestVolumeAccidentAmidGet lets it happen between opening a file and reading it.
func TestVolumeAccidentAmidGet(t *testing.T) {
	forEachAccident(t, func(t *testing.T, s volumeStore, file userVolume, a accident) {
		once := sync.OnceValue(a.do)
		s.files.opened = func(string) {
			if err := once(); err != nil {
				t.Error(err)
			}
		}
		// What was opened may still be read, whatever its path has come to mean: for as long as it is open, if it has not
		// changed itself.
		n := checkNoOther(t, s.Store, file.chunks)
		if n != a.gets && n != a.gets+1 && (a.name != "directory renamed" || n != len(file.chunks)) {
			t.Errorf("got %d chunks, want %d, or the first as well", n, a.gets)
		}
	})
}

// TestVolumeAccidentUnderLoad lets it happen, in the course of many Gets.
func TestVolumeAccidentUnderLoad(t *testing.T) {
	forEachAccident(t, func(t *testing.T, s volumeStore, file userVolume, a accident) {
		var group sync.WaitGroup
		var gets atomic.Int64
		happened, some := make(chan struct{}), make(chan struct{})
		for range 4 {
			group.Go(func() {
				for late := false; ; {
					checkNoOther(t, s.Store, file.chunks)
					if gets.Add(1) == 4 {
						close(some)
					}
					if late {
						return
					}
					select {
					case <-happened:
						late = true
					default:
					}
				}
			})
		}
		<-some
		if err := a.do(); err != nil {
			t.Error(err)
		}
		close(happened)
		group.Wait()
	})
}

// TestVolumeRestored puts a file back that was away: as it was, it needs no hashing.
func TestVolumeRestored(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 20, 3000)
	mustAdd(t, s, file)
	dir := filepath.Dir(file.path)
	if err := os.Rename(dir, dir+".away"); err != nil { // not the file itself, which would change it
		t.Fatal(err)
	}
	if n := checkNoOther(t, s.Store, file.chunks); n != 0 {
		t.Errorf("got %d chunks of a file that is away", n)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	s.clock.advance(checkInterval)
	if n := count(t, s.Store, file.chunks); n != 20 {
		t.Errorf("has %d of 20 chunks of a file that is back", n)
	}
	checkHolds(t, s.Store, file.chunks...)
}

// TestVolumeLooks wants one look at a file for many keys, and none more for a while.
func TestVolumeLooks(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 100, 20)
	mustAdd(t, s, file)
	s.clock.advance(time.Minute)
	for i, want := range []int64{1, 0, 1} {
		if i == 2 {
			s.clock.advance(checkInterval)
		}
		before := s.files.looks.Load()
		if n := count(t, s.Store, file.chunks); n != 100 {
			t.Errorf("has %d of 100 chunks", n)
		}
		if looks := s.files.looks.Load() - before; looks != want {
			t.Errorf("call %d: %d looks at the file, want %d", i, looks, want)
		}
	}
}

func TestVolumeFreshAndRacy(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 2, 100)
	for _, step := range []struct {
		advance time.Duration
		want    cafs.VolumeState
	}{
		{0, cafs.VolumeRacy}, // whoever made the file did so just now
		{time.Hour, cafs.VolumeFresh},
	} {
		s.clock.advance(step.advance)
		mustAdd(t, s, file)
		if got := state(t, s.Store, file.path); got != step.want {
			t.Errorf("after %v the volume is %v, want %v", step.advance, got, step.want)
		}
	}
	if n := len(s.Store.files.volumes); n != 1 {
		t.Errorf("%d volumes for a file that did not change, want 1", n)
	}
	mustSync(t, s.Store)
	s = s.reopen(t)
	if got := state(t, s.Store, file.path); got != cafs.VolumeFresh {
		t.Errorf("after opening the store again the volume is %v, want fresh", got)
	}
}

// lookedAt is a file of which each look tells, or not.
type lookedAt struct {
	goldenFile
	tells bool
}

func (l lookedAt) eachLookTells() bool { return l.tells }

func TestHashedSince(t *testing.T) {
	const since, later = int64(1000), 1000 + int64(racyAge-racyAgeFine)
	for _, test := range []struct {
		name         string
		tells        bool
		since, ctime int64
		want         int64
	}{
		{"each look tells", true, since, 1_500_000_000, later},
		{"not each look tells", false, since, 1_500_000_000, since},
		{"times in whole seconds", true, since, 2_000_000_000, since},
		{"a file that could not be synced", true, 0, 1_500_000_000, 0},
	} {
		if got := hashedSince(test.since, lookedAt{tells: test.tells}, identity{ctime: test.ctime}); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func locationsOf(t *testing.T, store *Store, chunk cafs.Chunk) []location {
	t.Helper()
	locations, err := store.index.lookup(chunk.Key())
	if err != nil {
		t.Fatal(err)
	}
	return locations
}

// TestVolumeManyLocations has one chunk in more files than the index keeps, and in a pack.
func TestVolumeManyLocations(t *testing.T) {
	s := openVolumeStore(t, t.TempDir())
	chunk := cafstest.Chunk(0, 1000)
	var files []userVolume
	for range locationsMax + 3 {
		file := newUserFile(t, 0, 1, 1000)
		mustAdd(t, s, file)
		files = append(files, file)
	}
	if n := len(locationsOf(t, s.Store, chunk)); n != locationsMax {
		t.Fatalf("%d locations, want %d", n, locationsMax)
	}
	mustPut(t, s.Store, chunk)
	mustAdd(t, s, newUserFile(t, 0, 1, 1000))
	locations := locationsOf(t, s.Store, chunk)
	if len(locations) != locationsMax || !s.packs.known(locations[0].volume) {
		t.Fatalf("locations %v, want %d with the pack first", locations, locationsMax)
	}
	s = s.reopen(t)
	changeFile(t, packPath(s.dir, locations[0].volume), func(content []byte) []byte {
		content[recordHeaderSize] ^= 1
		return content
	})
	for i := range files { // the oldest first, which have been pushed out already
		checkHolds(t, s.Store, chunk)
		if err := os.Truncate(files[i].path, 10); err != nil {
			t.Fatal(err)
		}
	}
	checkHolds(t, s.Store, chunk) // in the last file
	if n := len(locationsOf(t, s.Store, chunk)); n >= locationsMax {
		t.Errorf("%d locations, although most were found bad", n)
	}
	mustPut(t, s.Store, chunk)
	if locations := locationsOf(t, s.Store, chunk); !s.packs.known(locations[0].volume) {
		t.Errorf("locations %v after putting the chunk again, want a pack first", locations)
	}
}

// TestVolumeRepeats refers to one chunk at several places of a file: the last place is kept.
func TestVolumeRepeats(t *testing.T) {
	s := openVolumeStore(t, t.TempDir())
	path := filepath.Join(t.TempDir(), "sparse")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	const size = 1 << 40 // all holes
	if err := f.Truncate(size); err != nil {
		t.Skipf("the file system has no file of %d bytes: %v", size, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	zeros := mustChunk(t, make([]byte, cafs.ChunkSizeMax))
	v := mustOpenVolume(t, s, path, cafs.VolumeOptions{})
	for i := range int64(3) {
		mustRefer(t, v, cafs.ChunkRef{Chunk: zeros.Info(), Offset: i << 30},
			cafs.ChunkRef{Chunk: zeros.Info(), Offset: size - cafs.ChunkSizeMax - i})
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	locations := locationsOf(t, s.Store, zeros)
	if len(locations) != 1 || locations[0].offset != size-cafs.ChunkSizeMax-2 {
		t.Errorf("locations %v, want the last", locations)
	}
	checkHolds(t, s.Store, zeros)
}

func TestVolumeReadOnlyFile(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 3, 1000)
	if err := os.Chmod(file.path, 0o400); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, s, file)
	checkHolds(t, s.Store, file.chunks...)
}

// noFiles refuses to open any file, for a reason of its choice.
type noFiles struct {
	osUserFiles
	err error
}

func (n noFiles) open(path string, _ bool) (userFile, error) {
	return nil, &os.PathError{Op: "open", Path: path, Err: n.err}
}

// TestVolumeUnreadable tells a file that may not be read, which counts as missing, from one that can't be.
func TestVolumeUnreadable(t *testing.T) {
	dir, file := t.TempDir(), newUserFile(t, 0, 3, 1000)
	store := mustOpen(t, dir, Options{})
	mustAdd(t, store, file)
	mustClose(t, store)
	for _, test := range []struct {
		err     syscall.Errno
		missing bool
	}{{syscall.EACCES, true}, {syscall.ENOENT, true}, {syscall.EIO, false}, {syscall.EMFILE, false}} {
		store := mustOpen(t, dir, Options{testOnlyUserFiles: noFiles{err: test.err}})
		_, err := store.Get(t.Context(), file.chunks[0].Key(), nil)
		if !errors.Is(err, test.err) || errors.Is(err, cafs.ErrNotFound) != test.missing || errors.Is(err, cafs.ErrCorrupt) {
			t.Errorf("%v: get: %v", test.err, err)
		}
		mustClose(t, store)
	}
	checkHolds(t, mustOpen(t, dir, Options{}), file.chunks...)
}

// TestVolumeSyncOrder wants that the index says nothing of bytes before they are synced.
func TestVolumeSyncOrder(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 5, 1000)
	inIndex := func() bool {
		_, closer, err := s.index.db.Get(keyWithPrefix(prefixChunk, file.chunks[0].Key()))
		if err == nil {
			_ = closer.Close()
		} else if !errors.Is(err, pebble.ErrNotFound) {
			t.Error(err)
		}
		return err == nil
	}
	syncs := 0
	s.files.syncing = func(path string) error {
		if syncs++; path != file.path || inIndex() {
			t.Errorf("sync of %s with the chunk in the index: %v", path, inIndex())
		}
		return nil
	}
	v := mustOpenVolume(t, s, file.path, cafs.VolumeOptions{Written: true})
	mustRefer(t, v, file.refs...)
	for range 2 {
		if err := v.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if syncs != 1 || !inIndex() {
			t.Errorf("%d syncs of the file, want 1; chunk in the index: %v", syncs, inIndex())
		}
	}
	if err := v.Seal(t.Context(), file.path, cafstest.Root(1).Root); err != nil {
		t.Fatal(err)
	}
	mustPutRoot(t, s.Store, cafstest.Root(1))
	if syncs != 1 {
		t.Errorf("%d syncs of a file that had nothing new, want 1", syncs)
	}

	// A file that its owner only reads is synced once, before it is hashed.
	other := newUserFile(t, 100, 5, 1000)
	syncs = 0
	s.files.syncing = func(path string) error {
		if syncs++; path != other.path || s.files.reads.Load() > 0 {
			t.Errorf("sync of %s, after %d reads", path, s.files.reads.Load())
		}
		return nil
	}
	mustAdd(t, s, other)
	mustSync(t, s.Store)
	if syncs != 1 {
		t.Errorf("%d syncs, want 1", syncs)
	}
}

// TestVolumeSyncFails has the disk of one output fail: that volume is lost, and nothing else.
func TestVolumeSyncFails(t *testing.T) {
	s := openVolumeStore(t, t.TempDir())
	bad, good := newUserFile(t, 0, 5, 1000), newUserFile(t, 100, 5, 1000)
	s.files.syncing = func(path string) error {
		if path == bad.path {
			return errDisk
		}
		return nil
	}
	badVolume := mustOpenVolume(t, s, bad.path, cafs.VolumeOptions{Written: true})
	goodVolume := mustOpenVolume(t, s, good.path, cafs.VolumeOptions{Written: true})
	mustRefer(t, badVolume, bad.refs...)
	mustRefer(t, goodVolume, good.refs...)
	packed := cafstest.Chunk(1000, 500)
	mustPut(t, s.Store, packed)
	mustSync(t, s.Store) // somebody else's
	killed := mustOpen(t, copyDir(t, s.dir), Options{})
	checkHolds(t, killed, good.chunks...)
	for _, chunk := range bad.chunks {
		checkLacks(t, killed, chunk)
	}

	for call, err := range map[string]error{
		"sync":  badVolume.Sync(t.Context()),
		"refer": badVolume.Refer(t.Context(), bad.refs...),
		"seal":  badVolume.Seal(t.Context(), bad.path, cafstest.Root(1).Root),
	} {
		if !errors.Is(err, errDisk) {
			t.Errorf("%s: %v, want the error of the disk", call, err)
		}
	}
	if err := goodVolume.Sync(t.Context()); err != nil {
		t.Error(err)
	}
	if err := badVolume.Close(); !errors.Is(err, errDisk) {
		t.Errorf("close: %v, want the error of the disk", err)
	}
	if err := goodVolume.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		checkHolds(t, s.Store, good.chunks...)
		checkHolds(t, s.Store, packed)
		if n := count(t, s.Store, bad.chunks); n != 0 {
			t.Errorf("has %d chunks of a file that was not synced", n)
		}
		for _, chunk := range bad.chunks {
			checkLacks(t, s.Store, chunk)
		}
		s = s.reopen(t)
	}
}

// TestVolumeIDs wants that what was referred to in a volume that is gone is never looked for in one that came after.
func TestVolumeIDs(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	first := newUserFile(t, 0, 5, 1000)
	mustAdd(t, store, first)
	mustSync(t, store)
	gone := locationsOf(t, store, first.chunks[0])[0].volume
	if err := store.RemoveVolume(t.Context(), first.path); err != nil {
		t.Fatal(err)
	}
	for _, store := range []*Store{store, mustOpen(t, copyDir(t, dir), Options{})} {
		second := newUserFile(t, 100, 5, 1000)
		mustAdd(t, store, second)
		if id := locationsOf(t, store, second.chunks[0])[0].volume; id <= gone {
			t.Errorf("volume %d came after %d", id, gone)
		}
		for _, chunk := range first.chunks {
			checkLacks(t, store, chunk)
		}
	}
}

// TestVolumeKilled finds what a process leaves that is killed.
func TestVolumeKilled(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	added, written := newUserFile(t, 0, 10, 1000), newUserFile(t, 100, 10, 1000)
	mustAdd(t, store, added)
	v := mustOpenVolume(t, store, written.path, cafs.VolumeOptions{Written: true})
	mustRefer(t, v, written.refs[:5]...)

	// Of what was not synced the index knows nothing.
	killed := mustOpen(t, copyDir(t, dir), Options{})
	if n := len(killed.files.volumes); n != 0 {
		t.Errorf("%d volumes, want none", n)
	}
	for _, chunk := range added.chunks {
		checkLacks(t, killed, chunk)
	}

	mustSync(t, store)
	mustRefer(t, v, written.refs[5:8]...)
	change(t, written.path, func(content []byte) []byte { return content })() // what the writer does all the time
	killed = mustOpen(t, copyDir(t, dir), Options{})
	checkHolds(t, killed, added.chunks...)
	if n := count(t, killed, added.chunks); n != 10 {
		t.Errorf("has %d of 10 chunks of the volume that was synced", n)
	}
	// What was being written has changed since, so it must be hashed again. Get does so, Has says no.
	if n := checkNoOther(t, killed, written.chunks); n != 5 {
		t.Errorf("got %d chunks of the file that was being written, want the 5 that were synced", n)
	}
	if n := count(t, killed, written.chunks); n != 0 {
		t.Errorf("has %d chunks of the file that was being written, want none before they are hashed", n)
	}

	// Whoever goes on hashes the file, and the volume of before goes.
	again := mustOpenVolume(t, killed, written.path, cafs.VolumeOptions{Written: true})
	mustRefer(t, again, written.refs[:8]...)
	if n := count(t, killed, written.chunks); n != 8 {
		t.Errorf("has %d chunks, want the 8 that were hashed again", n)
	}
	if n := len(killed.files.paths[written.path]); n != 1 {
		t.Errorf("%d volumes of one file, want 1", n)
	}
}

// TestVolumeKilledAmidRename kills a process before and after it renamed a file that takes the place of another.
func TestVolumeKilledAmidRename(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	old := newUserFile(t, 0, 5, 1000)
	mustAdd(t, store, old)
	partial := old.path + ".partial"
	chunks, refs := cafstest.File(t, partial, 3, 5, 1000) // two chunks are the same
	root := cafstest.Root(2).Root
	v := mustOpenVolume(t, store, partial, cafs.VolumeOptions{Written: true})
	mustRefer(t, v, refs...)
	if err := v.PrepareSeal(t.Context(), old.path, root); err != nil {
		t.Fatal(err)
	}

	killed := mustOpen(t, copyDir(t, dir), Options{})
	if n := count(t, killed, old.chunks); n != 5 || len(killed.files.volumes) != 1 {
		t.Errorf("before the file is renamed there are %d of 5 old chunks, in %d volumes, want 1", n, len(killed.files.volumes))
	}

	if err := os.Rename(partial, old.path); err != nil {
		t.Fatal(err)
	}
	copied := copyDir(t, dir)
	for range 2 { // the second open finds what the first has written
		killed = mustOpen(t, copied, Options{})
		checkHolds(t, killed, chunks...)
		if n := count(t, killed, chunks); n != 5 || len(killed.files.volumes) != 1 {
			t.Errorf("after the file was renamed there are %d of 5 new chunks, in %d volumes, want 1", n, len(killed.files.volumes))
		}
		info, err := killed.Volume(t.Context(), old.path)
		if err != nil || info.Root != root || info.State != cafs.VolumeRacy {
			t.Errorf("the volume is %+v, %v; want it sealed with the new root, and hashed at each read", info, err)
		}
		mustClose(t, killed)
	}
}

// TestVolumeNotRenamed prepares for a seal that does not come: a later process goes on with what was referred to.
func TestVolumeNotRenamed(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 10, 1000)
	v := mustOpenVolume(t, s, file.path, cafs.VolumeOptions{Written: true})
	mustRefer(t, v, file.refs...)
	if err := errors.Join(v.PrepareSeal(t.Context(), file.path+"-final", cafstest.Root(1).Root), v.Close()); err != nil {
		t.Fatal(err)
	}
	s = s.reopen(t)
	if n := count(t, s.Store, file.chunks); n != 10 {
		t.Errorf("has %d of 10 chunks", n)
	}
}

// TestVolumeContinued closes everything properly amid a file: whoever goes on needs to hash nothing.
func TestVolumeContinued(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 10, 1000)
	v := mustOpenVolume(t, s, file.path, cafs.VolumeOptions{Written: true})
	if err := os.Truncate(file.path, 100_000); err != nil { // what is opened is not yet what is written
		t.Fatal(err)
	}
	mustRefer(t, v, file.refs[:5]...)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	s = s.reopen(t)
	v = mustOpenVolume(t, s, file.path, cafs.VolumeOptions{Written: true})
	if n := count(t, s.Store, file.chunks); n != 5 {
		t.Errorf("has %d chunks, want 5", n)
	}
	mustRefer(t, v, file.refs[5:]...)
	if n := len(s.Store.files.volumes); n != 1 {
		t.Errorf("%d volumes, want 1", n)
	}
	checkHolds(t, s.Store, file.chunks...)
}

// TestVolumeClosedAmidGet closes a written volume, which has a new path, between a Get's look-up and its read.
func TestVolumeClosedAmidGet(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 2, 1000)
	v := mustOpenVolume(t, s, file.path, cafs.VolumeOptions{Written: true})
	mustRefer(t, v, file.refs...)
	closing := sync.OnceValue(func() error {
		err := os.Rename(file.path, file.path+".final")
		return errors.Join(err, v.Seal(t.Context(), file.path+".final", cafstest.Root(1).Root), v.Close())
	})
	s.files.reading = func(userFile) error { return closing() }
	checkHolds(t, s.Store, file.chunks...)
}

// TestVolumeIndexLost makes the index anew: volumes can't be told from it any more, and the file is added again.
func TestVolumeIndexLost(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	file, packed := newUserFile(t, 0, 10, 1000), cafstest.Chunk(1000, 500)
	mustPut(t, store, packed, file.chunks[0])
	mustAdd(t, store, file)
	mustPutRoot(t, store, cafstest.Root(1))
	mustClose(t, store)
	if err := os.RemoveAll(filepath.Join(dir, indexName)); err != nil {
		t.Fatal(err)
	}
	store = mustOpen(t, dir, Options{})
	checkHolds(t, store, packed, file.chunks[0])
	checkCatalog(t, store, cafstest.Root(1))
	for _, chunk := range file.chunks[1:] {
		checkLacks(t, store, chunk)
	}
	if _, err := store.Volume(t.Context(), file.path); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("volume: %v, want ErrNotFound", err)
	}
	mustAdd(t, store, file)
	mustClose(t, store)
	checkHolds(t, mustOpen(t, dir, Options{}), file.chunks...)
}

// TestVolumeForgets wants that reads of a file that was edited don't fill the memory.
func TestVolumeForgets(t *testing.T) {
	s := openVolumeStore(t, t.TempDir())
	const n, size = overlayEntriesMax + 1000, 8
	file := newUserFile(t, 0, n, size)
	mustAdd(t, s, file)
	mustSync(t, s.Store)
	if err := os.Truncate(file.path, 0); err != nil {
		t.Fatal(err)
	}
	if got := checkNoOther(t, s.Store, file.chunks); got != 0 {
		t.Errorf("got %d chunks of an empty file", got)
	}
	if waiting := s.index.overlaySize(); waiting > overlayEntriesMax {
		t.Errorf("%d entries wait for a sync, want at most %d", waiting, overlayEntriesMax)
	}
}

// TestVolumeReplacesAnother renames an output over a file that is a volume, as an update does.
func TestVolumeReplacesAnother(t *testing.T) {
	s, old := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 5, 1000)
	mustAdd(t, s, old)
	partial := old.path + ".partial"
	chunks, refs := cafstest.File(t, partial, 3, 5, 1000) // two chunks are the same
	v := mustOpenVolume(t, s, partial, cafs.VolumeOptions{Written: true})
	mustRefer(t, v, refs...)
	err := errors.Join(v.Sync(t.Context()), os.Rename(partial, old.path))
	if err := errors.Join(err, v.Seal(t.Context(), old.path, cafstest.Root(2).Root), v.Close()); err != nil {
		t.Fatal(err)
	}
	mustSync(t, s.Store)
	for range 2 {
		checkHolds(t, s.Store, chunks...)
		if n := count(t, s.Store, chunks); n != 5 {
			t.Errorf("has %d of 5 chunks", n)
		}
		for _, chunk := range old.chunks[:3] {
			checkLacks(t, s.Store, chunk)
		}
		if n := len(s.Store.files.volumes); n != 1 {
			t.Errorf("%d volumes, want 1", n)
		}
		s = s.reopen(t)
	}
}

// outputRound returns what writeForever writes in a round, and where.
func outputRound(round uint64) ([]cafs.Chunk, []cafs.ChunkRef) {
	const size = 5000
	chunks := testChunks(round*childBatch, childBatch, size)
	var refs []cafs.ChunkRef
	for i, chunk := range chunks {
		refs = append(refs, cafs.ChunkRef{Chunk: chunk.Info(), Offset: int64(round*childBatch+uint64(i)) * size})
	}
	return chunks, refs
}

// writeForever writes chunks into a file, refers to them, and prints a line after each round that is synced.
func writeForever(dir, path string) error {
	store, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	ctx := context.Background()
	v, err := store.OpenVolume(ctx, path, cafs.VolumeOptions{Written: true})
	if err != nil {
		return err
	}
	for round := uint64(0); ; round++ {
		chunks, refs := outputRound(round)
		for i, chunk := range chunks {
			if _, err := out.WriteAt(chunk.Data(), refs[i].Offset); err != nil {
				return err
			}
		}
		if err := errors.Join(v.Refer(ctx, refs...), v.Sync(ctx)); err != nil {
			return err
		}
		fmt.Println(round)
	}
}

// TestVolumeKillWriter kills a process that writes a file, several times at the same file and store.
func TestVolumeKillWriter(t *testing.T) {
	rnd := newRand(t)
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "output")
	for range 3 {
		rounds := killChild(t, 1+rnd.IntN(20), childDir+"="+dir, childOutput+"="+path)
		store := mustOpen(t, dir, Options{})
		for round := range uint64(rounds) {
			chunks, _ := outputRound(round)
			checkHolds(t, store, chunks...)
		}
		for round := uint64(rounds); round < uint64(rounds)+3; round++ {
			chunks, _ := outputRound(round)
			checkNoOther(t, store, chunks)
		}
		if n := len(store.files.paths[path]); n != 1 {
			t.Errorf("%d volumes of one file, want 1", n)
		}
		mustClose(t, store)
		if t.Failed() {
			t.Fatalf("after %d rounds", rounds)
		}
	}
}

// watchedFS calls written after each write to a log.
type watchedFS struct {
	*vfs.MemFS
	written func()
}

type watchedFile struct {
	vfs.File
	fs *watchedFS
}

func (w *watchedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := w.MemFS.Create(name, category)
	if err != nil || filepath.Ext(name) != ".log" {
		return file, err
	}
	return &watchedFile{file, w}, nil
}

func (f *watchedFile) Write(data []byte) (int, error) {
	n, err := f.File.Write(data)
	f.fs.written()
	return n, err
}

// TestVolumeCommitCut cuts the power amid a commit: no location may be in the index before its volume's id is known to
// be used, or the next volume with that id would be said to have the chunk.
func TestVolumeCommitCut(t *testing.T) {
	const n = 2*batchEntriesMax + 1000
	dir, file := t.TempDir(), newUserFile(t, 0, 1, 1000)
	watched := &watchedFS{MemFS: vfs.NewCrashableMem()}
	var mu sync.Mutex // guards what follows
	writes := 0
	var cuts []*vfs.MemFS
	rnd := newRand(t)
	watched.written = func() {
		mu.Lock()
		defer mu.Unlock()
		if writes++; writes%4 != 0 {
			return
		}
		cuts = append(cuts, watched.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rnd}))
	}
	if err := watched.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	store := mustOpen(t, dir, Options{testOnlyIndexFS: watched})
	v := mustOpenVolume(t, store, file.path, cafs.VolumeOptions{})
	refs := make([]cafs.ChunkRef, n)
	for i := range refs {
		refs[i].Chunk = cafs.ChunkInfo{Key: cafs.KeyOf(binary.LittleEndian.AppendUint64(nil, uint64(i))), Size: 8}
	}
	mustRefer(t, v, refs...)
	mustClose(t, store)

	amid := 0
	for _, cut := range cuts {
		index, err := openIndex(filepath.Join(dir, indexName), cut, func(error) {})
		if err != nil {
			t.Fatal(err)
		}
		volumes, err := index.volumes()
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		it, err := index.db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixChunk}, UpperBound: []byte{prefixChunk + 1}})
		if err != nil {
			t.Fatal(err)
		}
		for it.First(); it.Valid(); it.Next() {
			if volume := binary.LittleEndian.Uint64(it.Value()); volume >= volumes.next {
				t.Fatalf("a location is in volume %d, and the next volume is %d", volume, volumes.next)
			}
			found++
		}
		if found > 0 && found < n {
			amid++
		}
		if err := errors.Join(it.Close(), index.close()); err != nil {
			t.Fatal(err)
		}
	}
	if t.Logf("%d of %d cuts were amid the commit", amid, len(cuts)); amid == 0 {
		t.Errorf("none of %d cuts was amid the commit", len(cuts))
	}
}

// A file that was read just now may be replaced, and added again, while it is still open.
func TestFileReplacedWhileItIsOpen(t *testing.T) {
	s, file, other := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 20, 3000), newUserFile(t, 20, 20, 3000)
	s.clock.advance(time.Minute)
	mustAdd(t, s, file)
	if n := checkNoOther(t, s.Store, file.chunks); n != 20 {
		t.Fatalf("got %d chunks", n)
	}
	if err := os.Rename(other.path, file.path); err != nil {
		t.Fatal(err)
	}
	other.path = file.path
	mustAdd(t, s, other)
	if n := checkNoOther(t, s.Store, other.chunks); n != 20 {
		t.Errorf("got %d chunks of the file that took its place, want 20", n)
	}
}
