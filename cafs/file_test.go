package cafs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/swarmsync/swarmsync/cafs"
)

// stored adds content to a new store.
func stored(t testing.TB, content []byte) (*mapStore, cafs.Record) {
	t.Helper()
	store := newMapStore()
	rec, err := cafs.AddFile(context.Background(), store, bytes.NewReader(content), cafs.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return store, rec
}

func openFile(t testing.TB, g cafs.Getter, rec cafs.Record) cafs.File {
	t.Helper()
	f, err := cafs.OpenFile(g, rec)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// bothFiles returns the two kinds of File with the same content.
func bothFiles(t testing.TB, content []byte) (*mapStore, map[string]cafs.File) {
	t.Helper()
	store, rec := stored(t, content)
	return store, map[string]cafs.File{
		"plain list": cafs.NewFile(store, chunksOf(t, content)),
		"list tree":  openFile(t, store, rec),
	}
}

func TestFileReads(t *testing.T) {
	for _, size := range []int{0, 1, 8192, 200_000, 6 << 20} {
		content := keystream(0, size)
		_, files := bothFiles(t, content)
		for name, f := range files {
			if f.Size() != int64(size) || f.NumChunks() != int64(len(refChunkSizes(content))) {
				t.Errorf("%s of %d bytes: %d bytes, %d chunks", name, size, f.Size(), f.NumChunks())
			}
			var chunks []cafs.ChunkInfo
			for c, err := range f.Chunks(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				chunks = append(chunks, c)
			}
			if !slices.Equal(chunks, chunksOf(t, content)) {
				t.Errorf("%s of %d bytes: other chunks", name, size)
			}
			var out bytes.Buffer
			if n, err := io.Copy(&out, f.Open(t.Context())); err != nil || n != int64(size) ||
				!bytes.Equal(out.Bytes(), content) {
				t.Errorf("%s of %d bytes: WriteTo wrote %d bytes (error %v)", name, size, n, err)
			}
		}
	}
}

func TestFileIsAReader(t *testing.T) {
	content := keystream(0, 300_000)
	_, files := bothFiles(t, content)
	for name, f := range files {
		if err := iotest.TestReader(f.Open(t.Context()), content); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFileReadsAnywhere(t *testing.T) {
	rng := newRand(t)
	content := keystream(0, 5<<20)
	_, files := bothFiles(t, content)
	for name, f := range files {
		r := f.Open(t.Context())
		for range 200 {
			off := rng.IntN(len(content))
			p := make([]byte, rng.IntN(300_000))
			want := content[off:min(off+len(p), len(content))]
			n, err := f.ReadAt(p, int64(off))
			if !bytes.Equal(p[:n], want) || (n < len(p)) != (err == io.EOF) || n == len(p) && err != nil { //nolint:errorlint // io.ReaderAt
				t.Fatalf("%s: ReadAt of %d at %d: %d bytes (error %v)", name, len(p), off, n, err)
			}
			if _, err := r.Seek(int64(off), io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if n, _ := io.ReadFull(r, p); !bytes.Equal(p[:n], want) {
				t.Fatalf("%s: Seek to %d and Read of %d: %d other bytes", name, off, len(p), n)
			}
		}
		if n, err := f.ReadAt(make([]byte, 1), f.Size()); n != 0 || err != io.EOF { //nolint:errorlint // io.ReaderAt
			t.Errorf("%s: ReadAt behind the end: %d bytes (error %v)", name, n, err)
		}
		if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
			t.Errorf("%s: ReadAt at -1: no error", name)
		}
	}
}

func TestFileConcurrently(t *testing.T) {
	content := keystream(0, 2<<20)
	_, files := bothFiles(t, content)
	for name, f := range files {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				p := make([]byte, 300_000)
				off := i * 200_000
				if n, err := f.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p[:n], content[off:off+len(p)]) {
					t.Errorf("%s: %d bytes at %d (error %v)", name, n, off, err)
				}
			})
		}
		wg.Wait()
	}
}

func TestFileNeverReturnsWrongBytes(t *testing.T) {
	content := keystream(0, 6<<20)
	store, rec := stored(t, content)
	chunks := chunksOf(t, content)
	victim := chunks[5]
	tree := refBuild(chunks)
	page := tree.levels[0][0].key()
	tests := []struct {
		name  string
		spoil func(s *mapStore)
		want  error
	}{
		{"chunk gone", func(s *mapStore) { delete(s.chunks, victim.Key) }, cafs.ErrNotFound},
		{"chunk of other bytes", func(s *mapStore) { s.chunks[victim.Key] = make([]byte, victim.Size) }, cafs.ErrCorrupt},
		{"chunk of other size", func(s *mapStore) { s.chunks[victim.Key] = s.chunks[victim.Key][1:] }, cafs.ErrCorrupt},
		{"page gone", func(s *mapStore) { delete(s.chunks, page) }, cafs.ErrNotFound},
		{"page of other bytes", func(s *mapStore) { s.chunks[page] = []byte{0} }, cafs.ErrCorrupt},
	}
	for _, test := range tests {
		spoilt := store.clone()
		test.spoil(spoilt)
		f := openFile(t, spoilt, rec)
		got, err := io.ReadAll(f.Open(t.Context()))
		if !errors.Is(err, test.want) || !bytes.HasPrefix(content, got) {
			t.Errorf("%s: read %d bytes, error %v", test.name, len(got), err)
		}
		var out bytes.Buffer
		if _, err := io.Copy(&out, f.Open(t.Context())); !errors.Is(err, test.want) || !bytes.HasPrefix(content, out.Bytes()) {
			t.Errorf("%s: copied %d bytes, error %v", test.name, out.Len(), err)
		}
	}
}

func TestFileOfABadList(t *testing.T) {
	for _, size := range []int{-1, 0, cafs.ChunkSizeMax + 1} {
		f := cafs.NewFile(newMapStore(), []cafs.ChunkInfo{{Size: 5}, {Size: size}})
		if _, err := io.ReadAll(f.Open(t.Context())); err == nil {
			t.Errorf("chunk of %d bytes: read", size)
		}
		if _, err := io.Copy(io.Discard, f.Open(t.Context())); err == nil {
			t.Errorf("chunk of %d bytes: copied", size)
		}
		for _, err := range f.Chunks(t.Context()) {
			if err == nil {
				t.Errorf("chunk of %d bytes: listed", size)
			}
		}
	}
	if _, err := cafs.OpenFile(newMapStore(), cafs.Record{Kind: cafs.KindFile, Data: cafs.List{Bytes: 1}}); !errors.Is(err, cafs.ErrBadRoot) {
		t.Errorf("record with wrong sums: got %v", err)
	}
	if _, err := cafs.OpenFile(newMapStore(), cafs.Record{Kind: cafs.KindTree}); err == nil {
		t.Error("a tree was opened as a file")
	}
}

func TestZeroFileIsEmpty(t *testing.T) {
	var f cafs.File
	if got, err := io.ReadAll(f.Open(t.Context())); len(got) > 0 || err != nil {
		t.Errorf("read %d bytes, error %v", len(got), err)
	}
}

func TestFileReaderSeeksAndCloses(t *testing.T) {
	_, files := bothFiles(t, []byte("content"))
	for name, f := range files {
		r := f.Open(t.Context())
		for _, step := range []struct {
			offset int64
			whence int
			want   string
		}{{3, io.SeekStart, "tent"}, {-5, io.SeekEnd, "ntent"}, {-7, io.SeekCurrent, "content"}, {100, io.SeekStart, ""}} {
			_, err := r.Seek(step.offset, step.whence)
			got, rerr := io.ReadAll(r)
			if string(got) != step.want || err != nil || rerr != nil {
				t.Errorf("%s: seek by %d from %d: %q, errors %v, %v", name, step.offset, step.whence, got, err, rerr)
			}
		}
		if _, err := r.Seek(-1, io.SeekStart); err == nil {
			t.Errorf("%s: seek to -1: no error", name)
		}
		if _, err := r.Seek(0, 9); err == nil {
			t.Errorf("%s: seek from nowhere: no error", name)
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil {
			t.Errorf("%s: close: %v", name, err)
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s: read after close: %v", name, err)
		}
	}
}

func TestWriteToReportsErrorsOfTheWriter(t *testing.T) {
	_, files := bothFiles(t, keystream(0, 3<<20))
	broken := errors.New("broken")
	for name, f := range files {
		r, w := io.Pipe()
		r.CloseWithError(broken)
		if _, err := io.Copy(w, f.Open(t.Context())); !errors.Is(err, broken) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func BenchmarkFileWriteTo(b *testing.B) {
	content := keystream(0, 16<<20)
	store, rec := stored(b, content)
	f := openFile(b, store, rec)
	b.SetBytes(f.Size())
	for b.Loop() {
		if _, err := io.Copy(struct{ io.Writer }{io.Discard}, f.Open(context.Background())); err != nil {
			b.Fatal(err)
		}
	}
}
