package disk

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swarmsync/swarmsync/cafs"
)

// needTimes skips a test where the times of files don't tell of changes: all is hashed there.
func needTimes(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if !timesTell(file) {
		t.Skip("the file system of the temporary directory is none whose times tell of changes")
	}
}

// What cannot have changed is not hashed again, which is a third of the work of serving it; all else is. A disk that gives
// other bytes than it was given stands in for a change that no time tells of.
func TestOnlyFreshFilesAreNotHashed(t *testing.T) {
	for name, c := range map[string]struct {
		age    time.Duration // of the file when it is hashed
		touch  bool
		hashed bool
	}{
		"fresh":   {2 * racyAge, false, false},
		"racy":    {0, false, true},
		"touched": {2 * racyAge, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 40, 3, 1000)
			needTimes(t, file.path)
			s.clock.advance(c.age)
			mustAdd(t, s, file)
			if c.touch {
				if err := os.Chtimes(file.path, time.Now(), time.Now()); err != nil {
					t.Fatal(err)
				}
			}
			s.files.garble = true
			data, err := s.Get(t.Context(), file.chunks[1].Key(), nil)
			if c.hashed && !errors.Is(err, cafs.ErrCorrupt) {
				t.Errorf("other bytes: error %v, want that they are noticed", err)
			}
			if !c.hashed && (err != nil || bytes.Equal(data, file.chunks[1].Data())) {
				t.Errorf("error %v, though nobody should have looked", err)
			}
		})
	}
}

// needFineTimes skips a test where not each look tells.
func needFineTimes(t *testing.T, path string) {
	t.Helper()
	needTimes(t, path)
	if !eachLookTells() {
		t.Skip("the kernel gives no fine times")
	}
}

// Files that were looked at have another time after each change, however soon it comes.
func TestEachLookTells(t *testing.T) {
	path := newUserFile(t, 42, 1, 1000).path
	needFineTimes(t, path)
	file, err := osUserFiles{}.open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	before, err := file.identity()
	if err != nil {
		t.Fatal(err)
	}
	writer := file.(osUserFile)
	for i := range 1000 {
		if _, err := writer.WriteAt([]byte{byte(i)}, 0); err != nil {
			t.Fatal(err)
		}
		after, err := file.identity()
		if err != nil {
			t.Fatal(err)
		}
		if after == before {
			t.Fatalf("change %d does not show", i)
		}
		before = after
	}
}

func TestYoungFileIsFreshWhereEachLookTells(t *testing.T) {
	for age, want := range map[time.Duration]cafs.VolumeState{
		0:               cafs.VolumeRacy,
		2 * racyAgeFine: cafs.VolumeFresh,
	} {
		s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 43, 3, 1000)
		needFineTimes(t, file.path)
		s.files.fine = true
		s.clock.advance(age)
		mustAdd(t, s, file)
		if got := state(t, s.Store, file.path); got != want {
			t.Errorf("a file that was made %v before it was hashed is %v, want %v", age, got, want)
		}
	}
}

// A file that could not be synced may change in memory without a sign of it.
func TestFileThatCannotBeSyncedIsHashed(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 41, 3, 1000)
	s.clock.advance(2 * racyAge)
	s.files.syncing = func(string) error { return unix.EIO }
	mustAdd(t, s, file)
	if got := state(t, s.Store, file.path); got != cafs.VolumeRacy {
		t.Errorf("the volume is %v, want racy", got)
	}
}

// An edited file must never send a byte of its new content, whoever edits it and however, while it is read all the time.
func TestEditedFileNeverLeaks(t *testing.T) {
	const chunks, size = 40, 3000
	write := func(t *testing.T, path string) func() {
		return func() {
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			defer file.Close()
			for at := int64(0); at < chunks*size; at += 700 {
				if _, err := file.WriteAt([]byte("edited"), at); err != nil {
					t.Error(err)
				}
			}
		}
	}
	for name, editor := range map[string]func(t *testing.T, path string) func(){
		"write": write,
		"truncate and write": func(t *testing.T, path string) func() {
			return func() {
				if err := os.WriteFile(path, bytes.Repeat([]byte("edited"), chunks*size/6), 0o600); err != nil {
					t.Error(err)
				}
			}
		},
		"rename over": func(t *testing.T, path string) func() {
			return func() {
				err := os.WriteFile(path+".new", bytes.Repeat([]byte("edited"), chunks*size/6), 0o600)
				if err := errors.Join(err, os.Rename(path+".new", path)); err != nil {
					t.Error(err)
				}
			}
		},
		// The mapping is there, and its pages are dirty, before the file is added.
		"mapping": func(t *testing.T, path string) func() {
			file, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			mapped, err := unix.Mmap(int(file.Fd()), 0, chunks*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Munmap(mapped) })
			for at := 0; at < len(mapped); at += 700 {
				mapped[at]++
				mapped[at]--
			}
			return func() {
				for at := 0; at+6 < len(mapped); at += 700 {
					copy(mapped[at:], "edited")
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 42, chunks, size)
			needTimes(t, file.path)
			edit := editor(t, file.path)
			s.clock.advance(2 * racyAge)
			mustAdd(t, s, file)
			if got := state(t, s.Store, file.path); got != cafs.VolumeFresh {
				t.Fatalf("the volume is %v, want fresh", got)
			}
			var over atomic.Bool
			var rounds atomic.Int64
			var readers sync.WaitGroup
			for range 4 {
				readers.Go(func() {
					for last := false; !last; rounds.Add(1) {
						last = over.Load() // once more after the edit
						checkNoOther(t, s.Store, file.chunks)
					}
				})
			}
			for rounds.Load() < 8 && !t.Failed() { // the edit comes amid reads
				time.Sleep(time.Millisecond)
			}
			edit()
			over.Store(true)
			readers.Wait()
			if got := checkNoOther(t, s.Store, file.chunks); got == chunks {
				t.Error("everything is still given out, so nothing was edited")
			}
		})
	}
}
