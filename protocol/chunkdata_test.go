package protocol_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	logging "github.com/ipfs/go-log/v2"
	"go.uber.org/goleak"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

// send runs the sender over a wishlist and returns what it wrote.
func send(t testing.TB, chunks protocol.Chunks, perm shuffle.Permutation, wishList []byte) ([]byte, error) {
	t.Helper()
	var data bytes.Buffer
	err := protocol.WriteChunkData(t.Context(), chunks, 0, bytes.NewReader(wishList), perm,
		protocol.NopFlushWriter{Writer: &data}, nil)
	return data.Bytes(), err
}

func TestWriteChunkDataWishLists(t *testing.T) {
	three := shuffle.Permutation{2, 0, 1} // two blanks, then the chunks in order
	for _, c := range []struct {
		name     string
		perm     shuffle.Permutation
		wishList []byte
		want     string // of the chunks "a", nothing, "c"
		wantErr  error  // with want "": nil is any error
	}{
		{"all", shuffle.Trivial(), []byte{0xa0}, "\x02a\x02c", nil},
		{"one", shuffle.Trivial(), []byte{0x20}, "\x02c", nil},
		{"all behind blanks", three, []byte{0x28}, "\x02a\x02c", nil},
		{"empty permutation", nil, []byte{0x80}, "\x02a", nil},
		{"nothing", shuffle.Trivial(), nil, "", io.ErrUnexpectedEOF},
		{"the empty chunk", shuffle.Trivial(), []byte{0x40}, "", nil},
		{"the first blank", three, []byte{0x80}, "", nil},
		{"the second blank", three, []byte{0x40}, "", nil},
		{"a bit behind the end", shuffle.Trivial(), []byte{0x10}, "", nil},
		{"the last bit", shuffle.Trivial(), []byte{0x01}, "", nil},
		{"data behind the end", shuffle.Trivial(), []byte{0, 0}, "", nil},
		{"invalid permutation", shuffle.Permutation{1}, []byte{0x80}, "", shuffle.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := newContent(t, c.perm, nil, []byte("a"), nil, []byte("c"))
			data, err := send(t, content.chunks(t), c.perm, c.wishList)
			if (err == nil) != (c.want != "") || c.wantErr != nil && !errors.Is(err, c.wantErr) {
				t.Fatalf("error %v, want %v", err, c.wantErr)
			}
			if string(data) != c.want {
				t.Errorf("chunk data %q, want %q", data, c.want)
			}
		})
	}
}

func TestWriteChunkDataCutWishList(t *testing.T) {
	for _, c := range originCases(t) {
		for n := range c.WishList {
			if _, err := send(t, c.content(t).chunks(t), c.Perm, c.WishList[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s: cut after %d bytes: %v, want io.ErrUnexpectedEOF", c.Name, n, err)
			}
		}
	}
}

// TestWriteChunkDataAnswersAtOnce: the other side may wait for each wish of a byte before it sends the next byte.
func TestWriteChunkDataAnswersAtOnce(t *testing.T) {
	c := originCases(t)[1] // ten chunks, all wished
	flushed := 0
	out := protocol.SimpleFlushWriter{Writer: io.Discard, FlushFunc: func() error { flushed++; return nil }}
	wishes := bytes.NewReader(c.WishList)
	octets := byteReaderFunc(func() (byte, error) {
		if read := len(c.WishList) - wishes.Len(); flushed != min(8*read, 10) {
			t.Errorf("byte %d is read after %d flushed chunks", read, flushed)
		}
		return wishes.ReadByte()
	})
	if err := protocol.WriteChunkData(t.Context(), c.content(t).chunks(t), 0, octets, c.Perm, out, nil); err != nil {
		t.Fatal(err)
	}
}

type byteReaderFunc func() (byte, error)

func (f byteReaderFunc) ReadByte() (byte, error) { return f() }

func TestTransferStatus(t *testing.T) {
	c := newContent(t, nil, nil, []byte("four"), []byte("fifth"), nil, []byte("sixths"))
	var got [][2]int64
	err := protocol.WriteChunkData(t.Context(), c.chunks(t), 15, bytes.NewReader([]byte{0x90}), nil, discard,
		func(toTransfer, transferred int64) { got = append(got, [2]int64{toTransfer, transferred}) })
	if want := [][2]int64{{15, 4}, {10, 4}, {10, 10}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("progress is %v, %v, want %v", got, err, want)
	}
}

// TestWriteChunkDataReadsOnlyWhatIsWished: what is not wished may not even be there.
func TestWriteChunkDataReadsOnlyWhatIsWished(t *testing.T) {
	c := newContent(t, nil, nil, []byte("a"), []byte("b"), []byte("c"))
	chunks := &listedChunks{store: c.sender, list: c.info.Chunks}
	if _, err := send(t, chunks, nil, []byte{0x40}); err != nil || chunks.reads != 1 {
		t.Errorf("%d chunks were read, error %v", chunks.reads, err)
	}
}

func TestWriteChunkDataErrors(t *testing.T) {
	c := newContent(t, nil, nil, []byte("a"), []byte("b"))
	wrong := errors.New("no way")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tc := range []struct {
		name   string
		ctx    context.Context
		chunks protocol.Chunks
		out    protocol.FlushWriter
		want   error
	}{
		{"missing chunk", t.Context(), &listedChunks{store: memory.New(), list: c.info.Chunks}, discard, cafs.ErrNotFound},
		{"list", t.Context(), failingChunks{err: wrong}, discard, wrong},
		{
			"chunk of another size", t.Context(),
			&listedChunks{store: c.sender, list: []protocol.ChunkInfo{{Key: c.info.Chunks[0].Key, Size: 2}}},
			discard, cafs.ErrCorrupt,
		},
		{
			"write", t.Context(), c.chunks(t),
			protocol.NopFlushWriter{Writer: writerFunc(func([]byte) (int, error) { return 0, wrong })},
			wrong,
		},
		{
			"flush", t.Context(), c.chunks(t),
			protocol.SimpleFlushWriter{Writer: io.Discard, FlushFunc: func() error { return wrong }},
			wrong,
		},
		{"cancelled", ended, c.chunks(t), discard, context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wishes := bytes.NewReader([]byte{0xc0})
			err := protocol.WriteChunkData(tc.ctx, tc.chunks, 0, wishes, nil, tc.out, nil)
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v, want %v", err, tc.want)
			}
		})
	}
	bad := &listedChunks{store: c.sender, list: []protocol.ChunkInfo{{Size: 131073}}}
	if _, err := send(t, bad, nil, []byte{0x80}); err == nil {
		t.Error("a chunk over 131,072 bytes is sent")
	}
}

// failingChunks is a sequence that breaks off.
type failingChunks struct {
	protocol.Chunks
	err error
}

func (c failingChunks) NextChunk(context.Context) (protocol.ChunkInfo, error) {
	return protocol.ChunkInfo{}, c.err
}

func TestChunksOfFile(t *testing.T) {
	c := newContent(t, shuffle.Permutation{2, 1, 0}, nil, []byte("first"), []byte("second"), []byte("first"), []byte("last"))
	chunks := protocol.ChunksOfFile(cafs.NewFile(c.sender, c.info.Chunks))
	defer chunks.Dispose()
	viaList, err := send(t, c.chunks(t), c.info.Perm, []byte{0x74})
	if err != nil {
		t.Fatal(err)
	}
	viaFile, err := send(t, chunks, c.info.Perm, []byte{0x74})
	if err != nil || !bytes.Equal(viaFile, viaList) || len(viaFile) == 0 {
		t.Errorf("the file gives %q, %v, its chunks %q", viaFile, err, viaList)
	}
	if _, err := chunks.NextChunk(t.Context()); err != io.EOF { //nolint:errorlint // io.EOF itself is promised
		t.Errorf("behind the end: %v", err)
	}
	// A buffer that is too small is not an error.
	data, err := chunks.ReadChunk(t.Context(), c.info.Chunks[1], 5, make([]byte, 2))
	if err != nil || string(data) != "second" {
		t.Errorf("ReadChunk gives %q, %v", data, err)
	}
}

func TestChunksOfFileDisposed(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent()) // the list is enumerated in a coroutine
	c := newContent(t, nil, nil, []byte("a"), []byte("b"))
	for _, before := range []int{0, 1} {
		chunks := protocol.ChunksOfFile(cafs.NewFile(c.sender, c.info.Chunks))
		for range before {
			if _, err := chunks.NextChunk(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		chunks.Dispose()
		chunks.Dispose()
		if _, err := chunks.NextChunk(t.Context()); !errors.Is(err, protocol.ErrDisposed) {
			t.Errorf("after %d chunks and Dispose: %v, want ErrDisposed", before, err)
		}
	}
}

// TestChunksOfFileKeepsItsError: a list that broke off must not look complete when it is read on.
func TestChunksOfFileKeepsItsError(t *testing.T) {
	chunks := protocol.ChunksOfFile(cafs.NewFile(memory.New(), []protocol.ChunkInfo{{Size: -1}}))
	defer chunks.Dispose()
	for range 2 {
		if _, err := chunks.NextChunk(t.Context()); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("error %v", err)
		}
	}
}

func TestSetLoggingEnabled(t *testing.T) {
	defer protocol.SetLoggingEnabled(false)
	level := func() string {
		name, err := logging.SubsystemLevelName(protocol.LogSubsystem)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	before := logging.DefaultLevel().String()
	if protocol.SetLoggingEnabled(true); level() != "debug" {
		t.Errorf("enabled, the level is %s", level())
	}
	if protocol.SetLoggingEnabled(false); level() != before {
		t.Errorf("disabled, the level is %s, want %s", level(), before)
	}
}

// FuzzWriteChunkData feeds arbitrary wishlists to the sender: what it takes is what a receiver could have written.
func FuzzWriteChunkData(f *testing.F) {
	cases := originCases(f)
	for i, c := range cases {
		f.Add(uint8(i), []byte(c.WishList))
	}
	f.Add(uint8(4), []byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, which uint8, wishList []byte) {
		c := cases[int(which)%len(cases)]
		content := c.content(t)
		data, err := send(t, content.chunks(t), c.Perm, wishList)
		if err != nil {
			return
		}
		places := len(c.Chunks) + len(c.Perm) - 1
		if err := protocol.CheckBits(wishList, places); err != nil {
			t.Fatalf("%s: %x is taken: %v", c.Name, wishList, err)
		}
		sent := 0
		for in := bufio.NewReader(bytes.NewReader(data)); ; sent++ {
			size, err := in.ReadByte() // the chunks of the vectors are below 64 bytes
			if errors.Is(err, io.EOF) {
				break
			}
			if _, err := in.Discard(int(size) / 2); err != nil {
				t.Fatal(err)
			}
		}
		if wished := protocol.Bits(wishList).Count(); sent != wished {
			t.Fatalf("%s: %d chunks for %d wishes of %x", c.Name, sent, wished, wishList)
		}
	})
}
