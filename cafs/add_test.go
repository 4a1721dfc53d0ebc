package cafs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"

	"github.com/swarmsync/swarmsync/cafs"
)

func TestAddFileStoresWhatTheTextSays(t *testing.T) {
	salt := keystream(9, cafs.SaltSize)
	for _, size := range []int{0, 1, 8193, 1 << 20, 1<<20 + 1, 5 << 20} {
		content := keystream(0, size)
		store := newMapStore()
		var progress []int64
		rec, err := cafs.AddFile(t.Context(), store, bytes.NewReader(content), cafs.AddOptions{
			Salt:     salt,
			Progress: func(n int64) { progress = append(progress, n) },
		})
		if err != nil {
			t.Fatal(err)
		}
		tree := refBuild(chunksOf(t, content))
		if want := refRecord(salt, tree.list); !bytes.Equal(rec.Encode(), want) {
			t.Errorf("%d bytes: other record", size)
		}
		want := newMapStore()
		tree.put(want)
		for _, c := range cutAll(t, content) {
			want.chunks[cafs.KeyOf(c)] = c
		}
		for key, data := range want.chunks {
			if !bytes.Equal(store.chunks[key], data) {
				t.Errorf("%d bytes: chunk %s is not in the store", size, key)
			}
		}
		if len(store.chunks) != len(want.chunks) {
			t.Errorf("%d bytes: %d chunks in the store: want %d", size, len(store.chunks), len(want.chunks))
		}
		if n := len(progress); n != (size+1<<20-1)>>20 && n != 1+(size+1<<20-1)>>20 || n > 0 && progress[n-1] != int64(size) {
			t.Errorf("%d bytes: progress was %v", size, progress)
		}
		goleak.VerifyNone(t)
	}
}

func TestAddFileKeepsRootsWithSaltApart(t *testing.T) {
	roots := map[cafs.Key]bool{}
	for _, salt := range [][]byte{nil, keystream(1, cafs.SaltSize), keystream(2, cafs.SaltSize)} {
		rec, err := cafs.AddFile(t.Context(), newMapStore(), bytes.NewReader([]byte("x")), cafs.AddOptions{Salt: salt})
		if err != nil {
			t.Fatal(err)
		}
		roots[rec.Root()] = true
	}
	if len(roots) != 3 {
		t.Errorf("%d different roots: want 3", len(roots))
	}
	for _, salt := range [][]byte{{}, make([]byte, 31), make([]byte, 33)} {
		if _, err := cafs.AddFile(t.Context(), newMapStore(), bytes.NewReader(nil), cafs.AddOptions{Salt: salt}); err == nil {
			t.Errorf("salt of %d bytes: no error", len(salt))
		}
	}
}

func TestAddFileReportsErrorsOfTheReader(t *testing.T) {
	broken := errors.New("broken")
	for _, size := range []int{0, 5000, 9 << 20} {
		r := io.MultiReader(bytes.NewReader(keystream(0, size)), iotest.ErrReader(broken))
		if _, err := cafs.AddFile(t.Context(), newMapStore(), r, cafs.AddOptions{}); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: got %v", size, err)
		}
		goleak.VerifyNone(t)
	}
}

// limitedStore fails after some Puts.
type limitedStore struct {
	*mapStore
	left int
}

var errFull = errors.New("full")

func (s *limitedStore) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	if s.left == 0 {
		return errFull
	}
	s.left--
	return s.mapStore.Put(ctx, chunks...)
}

func TestAddFileReportsErrorsOfTheStore(t *testing.T) {
	content := keystream(0, 5<<20) // more chunks than fit in a top list, so that the last Put is one of a page
	for left := 0; ; left++ {
		store := &limitedStore{newMapStore(), left}
		_, err := cafs.AddFile(t.Context(), store, bytes.NewReader(content), cafs.AddOptions{})
		goleak.VerifyNone(t)
		if left > 5 && err == nil {
			return
		}
		if !errors.Is(err, errFull) {
			t.Fatalf("after %d Puts: got %v", left, err)
		}
	}
}

func TestAddFileEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := &countingReader{r: endless{}, at: 5 << 20, then: cancel}
	if _, err := cafs.AddFile(ctx, newMapStore(), r, cafs.AddOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	goleak.VerifyNone(t)
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// countingReader calls then when it has read at bytes.
type countingReader struct {
	r    io.Reader
	read atomic.Int64
	at   int64
	then func()
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if now := r.read.Add(int64(n)); r.then != nil && now >= r.at {
		r.then()
	}
	return n, err
}

// Memory does not depend on the size of the content: a slow store stops the reader.
func TestAddFileHoldsLittle(t *testing.T) {
	const heldMax = 6 << 20
	r := &countingReader{r: bytes.NewReader(keystream(0, 24<<20))}
	var stored int64
	store := putFunc(func(chunks []cafs.Chunk) {
		runtime.Gosched()
		if held := r.read.Load() - stored; held > heldMax {
			t.Errorf("%d bytes were read and not stored: want at most %d", held, heldMax)
		}
		for _, c := range chunks {
			stored += int64(len(c.Data()))
		}
	})
	if _, err := cafs.AddFile(t.Context(), store, r, cafs.AddOptions{}); err != nil {
		t.Fatal(err)
	}
}

// putFunc is a Putter that calls itself.
type putFunc func(chunks []cafs.Chunk)

func (f putFunc) Put(_ context.Context, chunks ...cafs.Chunk) error {
	f(chunks)
	return nil
}

func (putFunc) Sync(context.Context) error { return nil }

func BenchmarkAddFile(b *testing.B) {
	content := keystream(0, 64<<20)
	drop := putFunc(func([]cafs.Chunk) {})
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := cafs.AddFile(context.Background(), drop, bytes.NewReader(content), cafs.AddOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// What AddFile is measured by: the same reader, chunker and hasher one after the other, with the results dropped.
func BenchmarkCutAndHash(b *testing.B) {
	content := keystream(0, 64<<20)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		chunker := cafs.NewChunker(bytes.NewReader(content))
		for {
			c, err := chunker.Next()
			if err != nil {
				break
			}
			sha256.Sum256(c)
		}
	}
}
