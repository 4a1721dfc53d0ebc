package disk

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
)

// check wants that a check of a chunk finds bad copies in the given files, and whether a good one is left.
func check(t *testing.T, store *Store, chunk cafs.Chunk, wantGood bool, want error, paths ...string) {
	t.Helper()
	bad, good, err := store.Check(t.Context(), chunk.Key(), nil)
	if err != nil || good != wantGood {
		t.Errorf("check: good %v, %v; want %v", good, err, wantGood)
	}
	var found []string
	for _, copied := range bad {
		found = append(found, copied.Path)
		if !errors.Is(copied.Err, want) {
			t.Errorf("a copy in %s is bad: %v, want %v", copied.Path, copied.Err, want)
		}
	}
	if !slices.Equal(found, paths) {
		t.Errorf("bad copies in %q, want %q", found, paths)
	}
}

func TestCheckPack(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	other, chunk := cafstest.Chunk(1, 100), cafstest.Chunk(2, 1000)
	mustPut(t, store, other, chunk)
	check(t, store, chunk, true, nil)
	changeFile(t, packPath(dir, 0), func(content []byte) []byte {
		content[len(content)-500] ^= 4
		return content
	})
	check(t, store, other, true, nil)
	check(t, store, chunk, false, cafs.ErrCorrupt, packPath(dir, 0))
	check(t, store, chunk, false, nil) // it was forgotten
	mustPut(t, store, chunk)
	check(t, store, chunk, true, nil)
}

func TestCheckFile(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 4, 1000)
	s.clock.advance(2 * racyAge)
	mustAdd(t, s, file)
	if state := state(t, s.Store, file.path); state != cafs.VolumeFresh {
		t.Fatalf("the file is %s; the test shows nothing", state)
	}
	mustPut(t, s.Store, file.chunks[1])

	// The disk gives other bytes, and the file looks as before: it is not to be trusted any more, also by those who ask
	// for chunks that nobody has checked.
	s.files.garble = true
	check(t, s.Store, file.chunks[0], false, cafs.ErrCorrupt, file.path)
	check(t, s.Store, file.chunks[1], true, cafs.ErrCorrupt, file.path)
	if data, err := s.Get(t.Context(), file.chunks[2].Key(), nil); !errors.Is(err, cafs.ErrCorrupt) {
		t.Errorf("get from a file that is not to be trusted: %d bytes, %v; want ErrCorrupt", len(data), err)
	}
	s.files.garble = false
	s.files.reading = func(userFile) error { return syscall.EIO }
	check(t, s.Store, file.chunks[3], false, cafs.ErrCorrupt, file.path)
}

func TestCheckFileOfSomebody(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 0, 4, 1000)
	mustAdd(t, s, file)
	change(t, file.path, func(content []byte) []byte { clear(content[:1000]); return content })()
	s.clock.advance(2 * checkInterval)
	check(t, s.Store, file.chunks[0], false, cafs.ErrChanged, file.path)
	check(t, s.Store, file.chunks[1], true, nil)
	if err := os.Rename(file.path, file.path+"-away"); err != nil {
		t.Fatal(err)
	}
	check(t, s.Store, file.chunks[1], false, nil)
	if err := os.Rename(file.path+"-away", file.path); err != nil {
		t.Fatal(err)
	}
	check(t, s.Store, file.chunks[1], true, nil)
}
