package protocol_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/disk"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

// eachStore runs a test with a store of either kind.
func eachStore(t *testing.T, test func(t *testing.T, open func() cafs.Store)) {
	t.Run("memory", func(t *testing.T) { test(t, func() cafs.Store { return memory.New() }) })
	t.Run("disk", func(t *testing.T) {
		test(t, func() cafs.Store {
			store, err := disk.Open(t.TempDir(), disk.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := store.Close(); err != nil {
					t.Error(err)
				}
			})
			return store
		})
	})
}

// countingWriter counts what it passes on.
type countingWriter struct {
	io.Writer
	n int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.n += int64(n)
	return n, err
}

// missing returns what an independent reading of the rules wishes for, in the order of the wishes: the first of each
// chunk that is not there, in shuffled order.
func missing(t testing.TB, info protocol.SyncInfo, present map[cafs.Key]bool) []protocol.ChunkInfo {
	t.Helper()
	k := len(info.Perm)
	slots := make([]*protocol.ChunkInfo, k)
	seen := map[cafs.Key]bool{cafs.KeyOf(nil): true}
	var wished []protocol.ChunkInfo
	for step := range len(info.Chunks) + k - 1 {
		var in *protocol.ChunkInfo
		if step < len(info.Chunks) {
			in = &info.Chunks[step]
		}
		slots[info.Perm[step%k]] = in
		if out := slots[step%k]; out != nil && !seen[out.Key] && !present[out.Key] {
			seen[out.Key] = true
			wished = append(wished, *out)
		}
		slots[step%k] = nil
	}
	if len(wished) > len(info.Chunks) {
		t.Fatal("more wishes than chunks")
	}
	return wished
}

// TestBuilderProperty holds transfers of random content with random permutations, windows, and chunks that are there
// against what is promised: the wishes, the bytes that go over the line, the progress of the sender, the file, and
// what is in the store.
func TestBuilderProperty(t *testing.T) {
	eachStore(t, func(t *testing.T, open func() cafs.Store) {
		r := random(t)
		store := open() // one for all rounds: it fills, as stores do
		present := make(map[cafs.Key]bool)
		for round := range 40 {
			c := propertyContent(t, r, round)
			for i, chunk := range c.info.Chunks {
				if chunk.Size > 0 && r.IntN(3) == 0 {
					put(t, store, c.data(t, i))
					present[chunk.Key] = true
				}
			}
			want := missing(t, c.info, present)
			checkTransfer(t, c, store, 1+r.IntN(1+r.IntN(200)), want)
			for _, chunk := range want {
				present[chunk.Key] = true
			}
		}
	})
}

// propertyContent returns content whose chunks are its own, but for some that earlier rounds had too.
func propertyContent(t testing.TB, r *rand.Rand, round int) *content {
	t.Helper()
	chunks := make([][]byte, r.IntN(1+r.IntN(500)))
	variety := 1 + r.IntN(600)
	for i := range chunks {
		switch which := r.IntN(variety); which % 7 {
		case 0: // an empty chunk
		case 1:
			chunks[i] = fmt.Appendf(nil, "chunk %d of all rounds", which)
		default:
			chunks[i] = bytes.Repeat(fmt.Appendf(nil, "chunk %d of round %d ", which, round), 1+which%50)
		}
	}
	return newContent(t, shuffle.Random(1+r.IntN(1+r.IntN(1000)), r), nil, chunks...)
}

// data returns the bytes of the chunk at a place of the list.
func (c *content) data(t testing.TB, i int) []byte {
	t.Helper()
	data, err := c.sender.Get(t.Context(), c.info.Chunks[i].Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// checkTransfer receives c into store and checks everything that can be seen of it.
func checkTransfer(t *testing.T, c *content, store cafs.Store, window int, want []protocol.ChunkInfo) {
	t.Helper()
	var wantBytes, wantOnLine int64
	for _, chunk := range want {
		wantBytes += int64(chunk.Size)
		wantOnLine += int64(len(binary.AppendVarint(nil, int64(chunk.Size))) + chunk.Size)
	}
	b, err := protocol.NewBuilder(store, c.info, window, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Dispose()
	wishOut, wishIn := io.Pipe()
	dataOut, dataIn := io.Pipe()
	out := &countingWriter{Writer: dataIn}
	var progress lastProgress
	var sides sync.WaitGroup
	sides.Go(func() {
		err := protocol.WriteChunkData(t.Context(), c.chunks(t), int64(len(c.whole)), byteReader{wishOut}, c.info.Perm,
			protocol.NopFlushWriter{Writer: out}, progress.step(t))
		if err != nil {
			t.Errorf("send: %v", err)
		}
		dataIn.CloseWithError(err)
	})
	sides.Go(func() {
		err := b.WriteWishList(t.Context(), protocol.NopFlushWriter{Writer: wishIn})
		if err != nil {
			t.Errorf("wishlist: %v", err)
		}
		wishIn.CloseWithError(err)
	})
	file, err := b.ReconstructFileFromRequestedChunks(t.Context(), dataOut)
	dataOut.CloseWithError(io.ErrClosedPipe)
	sides.Wait()
	received{file: file, err: err}.mustHold(t, c.whole)
	if out.n != wantOnLine {
		t.Errorf("%d bytes on the line, want %d", out.n, wantOnLine)
	}
	if len(c.whole) > 0 && (progress.toTransfer != wantBytes || progress.transferred != wantBytes) {
		t.Errorf("progress ends with %d of %d, want %d", progress.transferred, progress.toTransfer, wantBytes)
	}
	checkStored(t, store, c.info.Chunks)
}

// lastProgress checks that progress only moves as it may, and keeps the last.
type lastProgress struct{ toTransfer, transferred int64 }

func (p *lastProgress) step(t *testing.T) protocol.TransferStatusCallback {
	first := true
	return func(toTransfer, transferred int64) {
		if transferred > toTransfer || transferred < p.transferred || !first && toTransfer > p.toTransfer {
			t.Errorf("progress went from %d of %d to %d of %d", p.transferred, p.toTransfer, transferred, toTransfer)
		}
		p.toTransfer, p.transferred, first = toTransfer, transferred, false
	}
}

// byteReader reads single bytes from a pipe.
type byteReader struct{ io.Reader }

func (r byteReader) ReadByte() (byte, error) {
	var octet [1]byte
	_, err := io.ReadFull(r.Reader, octet[:])
	return octet[0], err
}

func checkStored(t *testing.T, store cafs.Getter, chunks []protocol.ChunkInfo) {
	t.Helper()
	var keys []cafs.Key
	for _, chunk := range chunks {
		if chunk.Size > 0 {
			keys = append(keys, chunk.Key)
		}
	}
	have, err := store.Has(context.WithoutCancel(t.Context()), keys)
	if err != nil {
		t.Fatal(err)
	}
	for i, here := range have {
		if !here {
			t.Errorf("chunk %s is not stored", keys[i])
		}
	}
}
