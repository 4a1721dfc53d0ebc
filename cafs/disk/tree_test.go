package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
)

// diskTree is a directory with files of one chunk, or of a part of one.
type diskTree struct {
	dir    string
	files  []cafs.TreeFile
	chunks []cafs.Chunk
	refs   []cafs.ChunkRef
}

// newDiskTree makes a directory: one chunk stands in the first file, one in the second and third together, and so on.
func newDiskTree(t *testing.T, id uint64) *diskTree {
	t.Helper()
	tree := &diskTree{dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(tree.dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	offset := int64(0)
	add := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join(tree.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		tree.files = append(tree.files, cafs.TreeFile{Path: name, Offset: offset, Size: int64(len(content))})
		offset += int64(len(content))
	}
	for i := range 6 {
		chunk := cafstest.Chunk(100*id+uint64(i), 1000+i)
		tree.chunks = append(tree.chunks, chunk)
		tree.refs = append(tree.refs, cafs.ChunkRef{Chunk: chunk.Info(), Offset: offset})
		if i%2 == 0 {
			add(fmt.Sprintf("d/%d", i), chunk.Data())
			continue
		}
		add(fmt.Sprintf("d/%d-1", i), chunk.Data()[:400])
		add(fmt.Sprintf("d/%d-2", i), chunk.Data()[400:])
	}
	return tree
}

func (tree *diskTree) age(t *testing.T) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	for _, f := range tree.files {
		if err := os.Chtimes(filepath.Join(tree.dir, f.Path), old, old); err != nil {
			t.Fatal(err)
		}
	}
}

func (tree *diskTree) add(t *testing.T, store *Store, root cafs.Key) {
	t.Helper()
	v, err := store.OpenTree(t.Context(), tree.dir, cafs.TreeVolumeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, f := range tree.files {
		r, err := v.Open(t.Context(), f.Path, f.Offset, f.Size)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Refer(t.Context(), tree.refs...); err != nil {
		t.Fatal(err)
	}
	if err := v.Seal(t.Context(), tree.dir, root); err != nil {
		t.Fatal(err)
	}
	if err := store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// check holds what the store has against which chunks it should have.
func (tree *diskTree) check(t *testing.T, store *Store, want ...bool) {
	t.Helper()
	keys := make([]cafs.Key, len(tree.chunks))
	for i, chunk := range tree.chunks {
		keys[i] = chunk.Key()
	}
	have, err := store.Has(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, chunk := range tree.chunks {
		if have[i] != want[i] {
			t.Errorf("chunk %d: here is %v, want %v", i, have[i], want[i])
		}
		data, err := store.Get(t.Context(), chunk.Key(), nil)
		if want[i] && (err != nil || !bytes.Equal(data, chunk.Data())) {
			t.Errorf("chunk %d: %d bytes, error %v", i, len(data), err)
		}
		if !want[i] && !errors.Is(err, cafs.ErrNotFound) && !errors.Is(err, cafs.ErrCorrupt) {
			t.Errorf("chunk %d: error %v", i, err)
		}
	}
}

var (
	allChunks = []bool{true, true, true, true, true, true}
	noChunks  = []bool{false, false, false, false, false, false}
)

func TestTreeIsServedFromItsFiles(t *testing.T) {
	home := t.TempDir()
	store := mustOpen(t, home, Options{})
	tree := newDiskTree(t, 1)
	root := cafstest.Root(1).Root
	tree.add(t, store, root)
	tree.check(t, store, allChunks...)
	info, err := store.Volume(t.Context(), tree.dir)
	if err != nil || !info.Tree || info.Root != root || info.State != cafs.VolumeRacy && info.State != cafs.VolumeFresh {
		t.Errorf("%+v, error %v", info, err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = mustOpen(t, home, Options{})
	tree.check(t, store, allChunks...)
	i := 0
	for f, err := range store.TreeFiles(t.Context(), tree.dir) {
		if err != nil {
			t.Fatal(err)
		}
		if f.State = 0; f != tree.files[i] {
			t.Errorf("file %d is %+v instead of %+v", i, f, tree.files[i])
		}
		i++
	}
	if i != len(tree.files) {
		t.Errorf("%d files instead of %d", i, len(tree.files))
	}
	if err := store.RemoveVolume(t.Context(), tree.dir); err != nil {
		t.Fatal(err)
	}
	tree.check(t, store, noChunks...)
	for row, err := range store.index.treeRowsFrom(t.Context(), 0, 0) {
		t.Errorf("a row is left of a tree that was removed: %+v, error %v", row, err)
	}
}

// Whatever happens to a file, of the others nothing is lost, and of the file nothing is given out that was not hashed.
func TestTreeWithAFileThatChanges(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"edited": func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{0, 1, 2, 3}, 10)
			return errors.Join(err, f.Close())
		},
		"cut":     func(path string) error { return os.Truncate(path, 10) },
		"removed": os.Remove,
		"a directory": func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o700))
		},
		"a link": func(path string) error {
			return errors.Join(os.Rename(path, path+".moved"), os.Symlink(path+".moved", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := mustOpen(t, t.TempDir(), Options{})
			tree := newDiskTree(t, 1)
			tree.age(t)
			tree.add(t, store, cafstest.Root(1).Root)
			if err := change(filepath.Join(tree.dir, "d/1-2")); err != nil {
				t.Fatal(err)
			}
			tree.check(t, store, true, false, true, true, true, true)
			if info, err := store.Volume(t.Context(), tree.dir); err != nil || info.State != cafs.VolumeStale {
				t.Errorf("%+v, error %v", info, err)
			}
		})
	}
}

func TestTreeKeepsWhatItKnewOfFiles(t *testing.T) {
	home := t.TempDir()
	store := mustOpen(t, home, Options{})
	tree := newDiskTree(t, 1)
	tree.add(t, store, cafstest.Root(1).Root)
	v, err := store.OpenTree(t.Context(), tree.dir, cafs.TreeVolumeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// The first file is left out.
	gone := tree.files[0].Size
	for _, f := range tree.files[1:] {
		if err := v.Keep(t.Context(), f, f.Offset-gone); err != nil {
			t.Fatal(err)
		}
	}
	wrong := tree.files[1]
	wrong.Offset++
	if err := v.Keep(t.Context(), wrong, 0); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("a file that is not there was kept: error %v", err)
	}
	refs := make([]cafs.ChunkRef, 0, len(tree.refs))
	for _, ref := range tree.refs[1:] {
		ref.Offset -= gone
		refs = append(refs, ref)
	}
	if err := v.Refer(t.Context(), refs...); err != nil {
		t.Fatal(err)
	}
	tree.check(t, store, allChunks...) // of the old one, which is there until Seal
	if err := v.Seal(t.Context(), tree.dir, cafstest.Root(2).Root); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	store = mustOpen(t, home, Options{})
	tree.check(t, store, false, true, true, true, true, true)
}

// What is not sealed is forgotten, whether the process ends or not.
func TestTreeThatIsNotSealed(t *testing.T) {
	home := t.TempDir()
	store := mustOpen(t, home, Options{})
	tree := newDiskTree(t, 1)
	v, err := store.OpenTree(t.Context(), tree.dir, cafs.TreeVolumeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Refer(t.Context(), tree.refs...); err != nil {
		t.Fatal(err)
	}
	tree.check(t, store, noChunks...)
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Volume(t.Context(), tree.dir); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if v, err = store.OpenTree(t.Context(), tree.dir, cafs.TreeVolumeOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := v.Refer(t.Context(), tree.refs...); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	store = mustOpen(t, home, Options{})
	tree.check(t, store, noChunks...)
	if _, err := store.Volume(t.Context(), tree.dir); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestTreeThatIsWritten(t *testing.T) {
	for _, cut := range []bool{false, true} {
		home := t.TempDir()
		store := mustOpen(t, home, Options{})
		tree := newDiskTree(t, 1)
		var content []byte
		for _, chunk := range tree.chunks {
			content = append(content, chunk.Data()...)
		}
		v, err := store.OpenTree(t.Context(), tree.dir, cafs.TreeVolumeOptions{Written: bytes.NewReader(content)})
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Refer(t.Context(), tree.refs[:3]...); err != nil {
			t.Fatal(err)
		}
		tree.check(t, store, true, true, true, false, false, false)
		if err := v.Refer(t.Context(), tree.refs[3:]...); err != nil {
			t.Fatal(err)
		}
		for _, f := range tree.files {
			if err := v.Place(t.Context(), f.Path, f.Offset, f.Size); err != nil {
				t.Fatal(err)
			}
		}
		if err := v.Place(t.Context(), "../outside", 0, 1); err == nil {
			t.Error("a file outside was placed")
		}
		final, root := tree.dir+".final", cafstest.Root(1).Root
		if err := v.PrepareSeal(t.Context(), final, root); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tree.dir, final); err != nil {
			t.Fatal(err)
		}
		tree.dir = final
		if !cut {
			if err := v.Seal(t.Context(), final, root); err != nil {
				t.Fatal(err)
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		store = mustOpen(t, home, Options{})
		tree.check(t, store, allChunks...)
		if info, err := store.Volume(t.Context(), final); err != nil || info.Root != root {
			t.Errorf("%+v, error %v", info, err)
		}
	}
}

// What was placed may have changed before the tree was synced, however long its files have been left alone.
func TestPlacedFilesAreHashedAgain(t *testing.T) {
	s, tree := openVolumeStore(t, t.TempDir()), newDiskTree(t, 2)
	s.clock.advance(time.Hour)
	v, err := s.OpenTree(t.Context(), tree.dir, cafs.TreeVolumeOptions{Written: bytes.NewReader(nil)})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, f := range tree.files {
		if err := v.Place(t.Context(), f.Path, f.Offset, f.Size); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Seal(t.Context(), tree.dir, cafstest.Root(2).Root); err != nil {
		t.Fatal(err)
	}
	n := 0
	for file, err := range s.TreeFiles(t.Context(), tree.dir) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; file.State != cafs.VolumeRacy {
			t.Errorf("%s is %v, want racy", file.Path, file.State)
		}
	}
	if n != len(tree.files) {
		t.Errorf("%d files, want %d", n, len(tree.files))
	}
}

func TestTreeRefuses(t *testing.T) {
	store := mustOpen(t, t.TempDir(), Options{})
	tree := newDiskTree(t, 1)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(tree.dir, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, filepath.Join(tree.dir, "d/0"), filepath.Join(tree.dir, "none"), "relative"} {
		if v, err := store.OpenTree(t.Context(), path, cafs.TreeVolumeOptions{}); err == nil {
			t.Errorf("%s was opened", path)
			_ = v.Close()
		}
	}
	v, err := store.OpenTree(t.Context(), tree.dir, cafs.TreeVolumeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for _, path := range []string{"..", "../x", "/etc/passwd", "", "d/none", "d"} {
		if f, err := v.Open(t.Context(), path, 0, 1); err == nil {
			t.Errorf("%q was opened", path)
			_ = f.Close()
		}
	}
	if _, err := v.Open(t.Context(), "d/0", 0, 1001); !errors.Is(err, cafs.ErrChanged) {
		t.Errorf("other size: error %v", err)
	}
	f, err := v.Open(t.Context(), "d/0", 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree.dir, "d/0"), make([]byte, 1001), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); !errors.Is(err, cafs.ErrChanged) {
		t.Errorf("changed while it was read: error %v", err)
	}
	if err := v.Seal(t.Context(), t.TempDir(), cafstest.Root(1).Root); !errors.Is(err, cafs.ErrChanged) {
		t.Errorf("sealed as another directory: error %v", err)
	}
	for _, err := range store.TreeFiles(context.Background(), tree.dir) {
		if !errors.Is(err, cafs.ErrNotFound) {
			t.Errorf("files of a tree that is not sealed: error %v", err)
		}
	}
}

// FuzzDecodeTreeRow looks for rows that are read as something else than what was written.
func FuzzDecodeTreeRow(f *testing.F) {
	key, value := encodeTreeRow(7, treeRow{end: 100, identity: identity{1, 2, 100, 4, -5}, hashed: 6, path: "a/b"})
	f.Add(key, value)
	f.Fuzz(func(t *testing.T, key, value []byte) {
		row, err := decodeTreeRow(key, value)
		if err != nil {
			if !errors.Is(err, errIndexBad) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if key[0] != prefixTreeFile {
			return
		}
		again, value2 := encodeTreeRow(uint64(7), row)
		if !bytes.Equal(again[9:], key[9:]) || !bytes.Equal(value2, value) {
			t.Fatalf("%x is read, but written as %x", value, value2)
		}
	})
}
