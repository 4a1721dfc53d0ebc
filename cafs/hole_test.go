package cafs_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

// sparseFile is a volume of content that is zero but for some stretches.
type sparseFile struct {
	cafs.Volume
	size  int64
	data  []stretch
	read  int64
	place map[cafs.Key]int64
}

type stretch struct {
	offset int64
	bytes  []byte
}

func (f *sparseFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= f.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), f.size-off)]
	clear(p)
	for _, s := range f.data {
		if at := s.offset - off; at < 0 {
			copy(p, s.bytes[min(-at, int64(len(s.bytes))):])
		} else if at < int64(len(p)) {
			copy(p[at:], s.bytes)
		}
	}
	f.read += int64(len(p))
	return len(p), nil
}

func (f *sparseFile) HoleAt(offset int64) int64 {
	end := f.size
	for _, s := range f.data {
		if s.offset+int64(len(s.bytes)) > offset {
			end = min(end, s.offset)
		}
	}
	return max(0, end-offset)
}

func (f *sparseFile) Refer(_ context.Context, chunks ...cafs.ChunkRef) error {
	for _, ref := range chunks {
		f.place[ref.Chunk.Key] = ref.Offset
	}
	return nil
}

func (f *sparseFile) reader() *io.SectionReader { return io.NewSectionReader(f, 0, f.size) }

// Holes give the root that zeros do, wherever they begin and end.
func TestHolesAreAddedAsZeros(t *testing.T) {
	r := newRand(t)
	for range 20 {
		f := &sparseFile{place: make(map[cafs.Key]int64), size: r.Int64N(20 << 20)}
		dataBytes := int64(0)
		for range r.IntN(5) {
			data := keystream(byte(r.IntN(256)), 1+r.IntN(300_000))
			f.data = append(f.data, stretch{r.Int64N(20 << 20), data})
			dataBytes += int64(len(data))
		}
		want, err := cafs.AddFile(t.Context(), newMapStore(), onlyReader{f.reader()}, cafs.AddOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f.read = 0
		got, err := cafs.AddFile(t.Context(), newMapStore(), f.reader(), cafs.AddOptions{Volume: f})
		if err != nil {
			t.Fatal(err)
		}
		if got.Root() != want.Root() {
			t.Fatalf("root %s of %d bytes, want %s; data at %v", got.Root(), f.size, want.Root(), f.data)
		}
		for key, offset := range f.place {
			data := make([]byte, min(cafs.ChunkSizeMax, f.size-offset))
			_, _ = f.ReadAt(data, offset)
			if found := chunkAt(t, data); cafs.KeyOf(found) != key {
				t.Fatalf("at %d there is another chunk than was referred to", offset)
			}
		}
	}
}

// What a hole costs does not depend on its size.
func TestHolesAreNotRead(t *testing.T) {
	f := &sparseFile{place: make(map[cafs.Key]int64), size: 32 << 30, data: []stretch{{1 << 30, keystream(1, 100_000)}}}
	rec, err := cafs.AddFile(t.Context(), newMapStore(), f.reader(), cafs.AddOptions{Volume: f})
	if err != nil {
		t.Fatal(err)
	}
	if rec.Data.Bytes != f.size || f.read > 4<<20 {
		t.Errorf("of %d bytes %d were read", rec.Data.Bytes, f.read)
	}
}

type onlyReader struct{ io.Reader }

func chunkAt(t *testing.T, data []byte) []byte {
	t.Helper()
	chunk, err := cafs.NewChunker(bytes.NewReader(data)).Next()
	if err != nil {
		t.Fatal(err)
	}
	return chunk
}
