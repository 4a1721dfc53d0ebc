package cafs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc"

	"github.com/swarmsync/swarmsync/cafs"
)

// cutAll returns the chunks of content, and fails if they are not exactly content.
func cutAll(t testing.TB, content []byte) [][]byte {
	t.Helper()
	chunks, err := readChunks(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.Join(chunks, nil), content) {
		t.Fatal("the chunks together are not the content")
	}
	return chunks
}

func readChunks(r io.Reader) ([][]byte, error) {
	var chunks [][]byte
	chunker := cafs.NewChunker(r)
	for {
		c, err := chunker.Next()
		if err == io.EOF { //nolint:errorlint // the contract of Next
			return chunks, nil
		}
		if err != nil {
			return chunks, err
		}
		chunks = append(chunks, bytes.Clone(c))
	}
}

func sizesOf(chunks [][]byte) []int {
	var sizes []int
	for _, c := range chunks {
		sizes = append(sizes, len(c))
	}
	return sizes
}

func TestChunkerFollowsTheText(t *testing.T) {
	rng := newRand(t)
	for _, size := range []int{0, 1, 8191, 8192, 8193, 32767, 32768, 32769, 131071, 131072, 131073, 3 << 20} {
		content := keystream(byte(rng.Uint32()), size)
		if got, want := sizesOf(cutAll(t, content)), refChunkSizes(content); !slices.Equal(got, want) {
			t.Errorf("%d bytes are cut into %v: want %v", size, got, want)
		}
		zeros := make([]byte, size)
		if got, want := sizesOf(cutAll(t, zeros)), refChunkSizes(zeros); !slices.Equal(got, want) {
			t.Errorf("%d zeros are cut into %v: want %v", size, got, want)
		}
	}
}

func TestGearTableIsThatOfTheText(t *testing.T) {
	text, err := os.ReadFile("testdata/gear.txt")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, v := range fastcdc.G {
		fmt.Fprintf(&want, "%016x\n", v)
	}
	if string(text) != want.String() {
		t.Error("testdata/gear.txt is not the table that chunks are cut with")
	}
}

func TestChunkerTakesNoNoticeOfHowReadersRead(t *testing.T) {
	content := keystream(0, 400_000)
	want := cutAll(t, content)
	for name, r := range map[string]io.Reader{
		"one byte at a time": iotest.OneByteReader(bytes.NewReader(content)),
		"half of it":         iotest.HalfReader(bytes.NewReader(content)),
		"data with EOF":      iotest.DataErrReader(bytes.NewReader(content)),
	} {
		got, err := readChunks(r)
		if err != nil || !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("%s: other chunks (error %v)", name, err)
		}
	}
}

// An error must never look like the end: what follows would be missing from the root without a word.
func TestChunkerReportsErrorsOfTheReader(t *testing.T) {
	broken := errors.New("broken")
	for _, failure := range []error{broken, io.ErrUnexpectedEOF, fmt.Errorf("connection lost: %w", io.EOF)} {
		for _, size := range []int{0, 100, 10_000, 200_000} {
			r := io.MultiReader(bytes.NewReader(keystream(0, size)), iotest.ErrReader(failure))
			if _, err := readChunks(r); !errors.Is(err, failure) {
				t.Errorf("error %v after %d bytes: got %v", failure, size, err)
			}
		}
	}
}

func TestChunkerStaysAtTheEnd(t *testing.T) {
	chunker := cafs.NewChunker(strings.NewReader("short"))
	if c, err := chunker.Next(); string(c) != "short" || err != nil {
		t.Fatalf("got %q, %v", c, err)
	}
	for range 3 {
		if c, err := chunker.Next(); len(c) != 0 || err != io.EOF { //nolint:errorlint // the contract of Next
			t.Fatalf("at the end: got %q, %v", c, err)
		}
	}
}

func TestEqualStretchesAreCutEqually(t *testing.T) {
	same := keystream(1, 2<<20)
	a := cutAll(t, append(keystream(2, 100_000), same...))
	b := cutAll(t, append(keystream(3, 543_210), same...))
	equal := 0
	for equal < min(len(a), len(b)) && bytes.Equal(a[len(a)-1-equal], b[len(b)-1-equal]) {
		equal++
	}
	bytesEqual := len(bytes.Join(a[len(a)-equal:], nil))
	if lost := len(same) - bytesEqual; lost > 4*cafs.ChunkSizeMax {
		t.Errorf("%d of %d equal bytes are in other chunks", lost, len(same))
	}
}

func FuzzChunker(f *testing.F) {
	f.Add([]byte(nil), uint32(0), uint16(0))
	f.Add([]byte{0}, uint32(1<<20), uint16(0))
	f.Add(keystream(0, 8193), uint32(8193), uint16(1))
	f.Add(keystream(0, 40_000), uint32(300_000), uint16(4097))
	f.Fuzz(func(t *testing.T, pattern []byte, size uint32, readSize uint16) {
		var content []byte
		if len(pattern) > 0 {
			n := int(size % (512 << 10))
			content = bytes.Repeat(pattern, n/len(pattern)+1)[:n]
		}
		var r io.Reader = bytes.NewReader(content)
		if readSize > 0 {
			r = limitedReads{r, int(readSize)}
		}
		chunks, err := readChunks(r)
		if err != nil || !bytes.Equal(bytes.Join(chunks, nil), content) {
			t.Fatalf("the chunks together are not the content (error %v)", err)
		}
		if got, want := sizesOf(chunks), refChunkSizes(content); !slices.Equal(got, want) {
			t.Fatalf("cut into %v: want %v", got, want)
		}
	})
}

// limitedReads returns at most max bytes a read.
type limitedReads struct {
	r   io.Reader
	max int
}

func (l limitedReads) Read(p []byte) (int, error) { return l.r.Read(p[:min(len(p), l.max)]) }

func BenchmarkChunker(b *testing.B) {
	content := keystream(0, 64<<20)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		chunker := cafs.NewChunker(bytes.NewReader(content))
		for {
			if _, err := chunker.Next(); err != nil {
				break
			}
		}
	}
}

func BenchmarkHash(b *testing.B) {
	content := keystream(0, 37<<10)
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := cafs.NewChunk(content); err != nil {
			b.Fatal(err)
		}
	}
}
