package protocol_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

// transfer runs a Builder against a sender over two pipes that hold back every byte until it is read.
func transfer(t testing.TB, c *content, b *protocol.Builder) received {
	t.Helper()
	return transferFrom(t, c, c.chunks(t), b)
}

// transferFrom is transfer with the chunks from anywhere.
func transferFrom(t testing.TB, c *content, chunks protocol.Chunks, b *protocol.Builder) received {
	t.Helper()
	wishOut, wishIn := io.Pipe()
	dataOut, dataIn := io.Pipe()
	sent := make(chan error)
	go func() {
		err := protocol.WriteChunkData(t.Context(), chunks, int64(len(c.whole)), bufio.NewReader(wishOut),
			c.info.Perm, protocol.NopFlushWriter{Writer: dataIn}, nil)
		dataIn.CloseWithError(err)
		wishOut.Close()
		sent <- err
	}()
	var result received
	wished := make(chan error)
	go func() {
		err := b.WriteWishList(t.Context(), protocol.NopFlushWriter{Writer: wishIn})
		wishIn.CloseWithError(err)
		wished <- err
	}()
	result.file, result.err = b.ReconstructFileFromRequestedChunks(t.Context(), dataOut)
	dataOut.CloseWithError(errors.New("the receiver is done"))
	result.wishErr = <-wished
	if err := <-sent; err != nil && result.err == nil {
		t.Errorf("the sender failed: %v", err)
	}
	return result
}

// TestTransferRandom covers what the golden vectors can't: windows smaller than the permutation, both sides at the
// same time, empty chunks, repetitions of everything.
func TestTransferRandom(t *testing.T) {
	r := random(t)
	for range 150 {
		c := randomContent(t, r)
		window := windows[r.IntN(len(windows))]
		got := transfer(t, c, c.builder(t, window))
		if got.err != nil || got.wishErr != nil {
			t.Fatalf("%d chunks, permutation %v, window %d: %v; %v", len(c.info.Chunks), c.info.Perm, window, got.err, got.wishErr)
		}
		got.mustHold(t, c.whole)
	}
}

// randomContent returns up to 600 chunks, some equal and some empty, some of which the receiver has.
func randomContent(t testing.TB, r *rand.Rand) *content {
	t.Helper()
	chunks := make([][]byte, r.IntN(1+r.IntN(600)))
	variety := 1 + r.IntN(1000)
	var has []int
	share := r.Float64() * r.Float64()
	for i := range chunks {
		if which := r.IntN(variety); which > 0 {
			chunks[i] = fmt.Appendf(nil, "chunk number %d", which)
		}
		if r.Float64() < share {
			has = append(has, i)
		}
	}
	return newContent(t, shuffle.Random(1+r.IntN(1+r.IntN(200)), r), has, chunks...)
}

func TestTransferLargestChunks(t *testing.T) {
	r := random(t)
	var chunks [][]byte
	for range 20 {
		chunk := make([]byte, cafs.ChunkSizeMax)
		for i := range chunk {
			chunk[i] = byte(r.Uint32())
		}
		chunks = append(chunks, chunk)
	}
	c := newContent(t, shuffle.Permutation{2, 1, 0}, nil, chunks...)
	transfer(t, c, c.builder(t, 8)).mustHold(t, c.whole)
}

// TestTransferZeroPermutation: a SyncInfo that was never given a permutation is one in plain order, on both sides.
func TestTransferZeroPermutation(t *testing.T) {
	c := newContent(t, nil, []int{1}, []byte("a"), []byte("b"), []byte("c"))
	transfer(t, c, c.builder(t, 1)).mustHold(t, []byte("abc"))
}

func TestBuilderEmptyChunkIsNeverWished(t *testing.T) {
	c := newContent(t, shuffle.Trivial(), nil, nil, []byte("a"), nil)
	got := receive(t, c.builder(t, 1), discard, bytes.NewReader([]byte{2, 'a'}))
	got.mustHold(t, []byte("a"))
	if !bytes.Equal(got.wishList, []byte{0x40}) {
		t.Errorf("wishlist is %x, want 40", got.wishList)
	}
}

// countingStore counts the chunks that were put.
type countingStore struct {
	*memory.Store
	puts atomic.Int64
}

func (s *countingStore) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	err := s.Store.Put(ctx, chunks...)
	s.puts.Add(int64(len(chunks)))
	return err
}

// windowWriter checks each byte of a wishlist against the window.
type windowWriter struct {
	t      *testing.T
	next   io.Writer
	store  *countingStore
	window int
	wished int
}

func (w *windowWriter) Write(p []byte) (int, error) {
	for _, octet := range p {
		outstanding := w.wished - int(w.store.puts.Load())
		wishes := bits.OnesCount8(octet)
		if wishes > 0 && outstanding > 0 && outstanding+wishes > w.window {
			w.t.Errorf("window %d: %d wishes on top of %d", w.window, wishes, outstanding)
		}
		w.wished += wishes
	}
	return w.next.Write(p)
}

func TestBuilderKeepsToTheWindow(t *testing.T) {
	r := random(t)
	for _, window := range windows {
		var chunks [][]byte
		for i := range 300 {
			chunks = append(chunks, fmt.Appendf(nil, "chunk %d", i))
		}
		c := newContent(t, shuffle.Random(50, r), []int{3, 4, 5, 77, 200}, chunks...)
		store := &countingStore{Store: c.receiver}
		b, err := protocol.NewBuilder(store, c.info, window, "test")
		if err != nil {
			t.Fatal(err)
		}
		wishOut, wishIn := io.Pipe()
		dataOut, dataIn := io.Pipe()
		go func() {
			dataIn.CloseWithError(protocol.WriteChunkData(t.Context(), c.chunks(t), 0, bufio.NewReader(wishOut),
				c.info.Perm, protocol.NopFlushWriter{Writer: dataIn}, nil))
			wishOut.Close()
		}()
		out := &windowWriter{t: t, next: wishIn, store: store, window: window}
		wished := make(chan error)
		go func() {
			err := b.WriteWishList(t.Context(), protocol.NopFlushWriter{Writer: out})
			wishIn.CloseWithError(err)
			wished <- err
		}()
		file, err := b.ReconstructFileFromRequestedChunks(t.Context(), dataOut)
		received{file: file, err: err, wishErr: <-wished}.mustHold(t, c.whole)
		if out.wished != 295 {
			t.Errorf("window %d: %d wishes, want 295", window, out.wished)
		}
	}
}

// TestBuilderFlushesEachByte: a byte that is held back would never be answered.
func TestBuilderFlushesEachByte(t *testing.T) {
	c := originCases(t)[9].content(t)
	written, flushed := 0, 0
	out := protocol.SimpleFlushWriter{
		Writer: writerFunc(func(p []byte) (int, error) {
			if written != flushed || len(p) != 1 {
				t.Errorf("%d bytes written when %d were and %d are flushed", len(p), written, flushed)
			}
			written++
			return len(p), nil
		}),
		FlushFunc: func() error { flushed++; return nil },
	}
	got := receive(t, c.builder(t, 1<<20), out, bytes.NewReader(originCases(t)[9].ChunkData))
	got.mustHold(t, c.whole)
	if written != flushed {
		t.Errorf("%d bytes written, %d flushes", written, flushed)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// item returns the length of a chunk and its bytes as they stand in chunk data.
func item(data string) []byte {
	return append(binary.AppendVarint(nil, int64(len(data))), data...)
}

func TestBuilderRefusesChunkData(t *testing.T) {
	chunkA, chunkB := item("the first chunk"), item("second")
	whole := slices.Concat(chunkA, chunkB)
	for _, c := range []struct {
		name string
		data []byte
		want error // nil: any
	}{
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"ends in the length", slices.Concat(chunkA, []byte{0x80}), io.ErrUnexpectedEOF},
		{"ends after the length", slices.Concat(chunkA, chunkB[:1]), io.ErrUnexpectedEOF},
		{"ends in the bytes", whole[:len(whole)-1], io.ErrUnexpectedEOF},
		{"one chunk is missing", chunkA, io.ErrUnexpectedEOF},
		{"data after the last chunk", append(slices.Clone(whole), 0), nil},
		{"other order", slices.Concat(chunkB, chunkA), protocol.ErrUnexpectedChunk},
		{"other bytes", slices.Concat(item("the FIRST chunk"), chunkB), protocol.ErrUnexpectedChunk},
		{"a longer chunk", slices.Concat(item("the first chunk!"), chunkB), protocol.ErrUnexpectedChunk},
		{"an empty chunk", slices.Concat(chunkA, []byte{0}), protocol.ErrUnexpectedChunk},
		{"a chunk of 131,072 bytes", binary.AppendVarint(nil, cafs.ChunkSizeMax), protocol.ErrUnexpectedChunk},
		{"a chunk of 131,073 bytes", binary.AppendVarint(nil, cafs.ChunkSizeMax+1), nil},
		{"a huge length", binary.AppendVarint(nil, 1<<62), nil},
		{"a negative length", binary.AppendVarint(nil, -1), nil},
		{"a length without end", bytes.Repeat([]byte{0xff}, 20), nil},
		{"a length with a byte too many", slices.Concat([]byte{0x9e, 0}, chunkA[1:], chunkB), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			content := newContent(t, shuffle.Trivial(), nil, []byte("the first chunk"), []byte("second"))
			got := receive(t, content.builder(t, 8), discard, bytes.NewReader(c.data))
			if got.err == nil || c.want != nil && !errors.Is(got.err, c.want) {
				t.Errorf("error %v, want %v", got.err, c.want)
			}
			if got.file.NumChunks() != 0 {
				t.Error("there is a file beside the error")
			}
			for _, chunk := range []protocol.ChunkInfo{content.info.Chunks[0], content.info.Chunks[1]} {
				data, err := content.receiver.Get(t.Context(), chunk.Key, nil)
				if err == nil && cafs.KeyOf(data) != chunk.Key {
					t.Errorf("%q is stored as %s", data, chunk.Key)
				}
			}
		})
	}
}

// TestBuilderFailsAsOne: when the data is wrong, the other half, which waits for room in the window, ends too and with
// the same error.
func TestBuilderFailsAsOne(t *testing.T) {
	var chunks [][]byte
	for i := range 20 {
		chunks = append(chunks, fmt.Appendf(nil, "chunk %d", i))
	}
	c := newContent(t, shuffle.Trivial(), nil, chunks...)
	got := receive(t, c.builder(t, 8), discard, bytes.NewReader(item("wrong")))
	if !errors.Is(got.err, protocol.ErrUnexpectedChunk) || !errors.Is(got.wishErr, protocol.ErrUnexpectedChunk) {
		t.Errorf("errors %v and %v, want ErrUnexpectedChunk twice", got.err, got.wishErr)
	}
	if len(got.wishList) != 1 {
		t.Errorf("wishlist %x, want the byte that fills the window", got.wishList)
	}
}

func TestBuilderWishListCannotBeWritten(t *testing.T) {
	wrong := errors.New("no way")
	for name, out := range map[string]protocol.FlushWriter{
		"write": protocol.NopFlushWriter{Writer: writerFunc(func([]byte) (int, error) { return 0, wrong })},
		"flush": protocol.SimpleFlushWriter{Writer: io.Discard, FlushFunc: func() error { return wrong }},
	} {
		t.Run(name, func(t *testing.T) {
			c := newContent(t, shuffle.Trivial(), []int{0}, []byte("a")) // no wish, so the other half waits
			b := c.builder(t, 1)
			wished := make(chan error)
			go func() { wished <- b.WriteWishList(t.Context(), out) }()
			_, err := b.ReconstructFileFromRequestedChunks(t.Context(), bytes.NewReader(nil))
			if wishErr := <-wished; !errors.Is(err, wrong) || !errors.Is(wishErr, wrong) {
				t.Errorf("errors %v and %v, want %v twice", err, wishErr, wrong)
			}
		})
	}
}

// brokenStore fails in one of its methods.
type brokenStore struct {
	*memory.Store
	has, put, sync error
}

func (s brokenStore) Has(ctx context.Context, keys []cafs.Key) ([]bool, error) {
	if s.has != nil {
		return nil, s.has
	}
	return s.Store.Has(ctx, keys)
}

func (s brokenStore) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	if s.put != nil {
		return s.put
	}
	return s.Store.Put(ctx, chunks...)
}

func (s brokenStore) Sync(ctx context.Context) error {
	if s.sync != nil {
		return s.sync
	}
	return s.Store.Sync(ctx)
}

func TestBuilderBrokenStore(t *testing.T) {
	wrong := errors.New("disk on fire")
	for name, store := range map[string]brokenStore{
		"has":  {has: wrong},
		"put":  {put: wrong},
		"sync": {sync: wrong},
	} {
		t.Run(name, func(t *testing.T) {
			store.Store = memory.New()
			c := newContent(t, shuffle.Trivial(), nil, []byte("a"))
			b, err := protocol.NewBuilder(store, c.info, 1, "test")
			if err != nil {
				t.Fatal(err)
			}
			if got := receive(t, b, discard, bytes.NewReader(item("a"))); !errors.Is(got.err, wrong) {
				t.Errorf("error %v, want %v", got.err, wrong)
			}
		})
	}
}

func TestNewBuilderRefuses(t *testing.T) {
	good := newContent(t, shuffle.Trivial(), nil, []byte("a")).info
	for _, c := range []struct {
		name   string
		change func(*protocol.SyncInfo)
		window int
	}{
		{"window of 0", func(*protocol.SyncInfo) {}, 0},
		{"negative window", func(*protocol.SyncInfo) {}, -1},
		{"permutation", func(s *protocol.SyncInfo) { s.Perm = shuffle.Permutation{1, 1} }, 1},
		{"negative size", func(s *protocol.SyncInfo) { s.Chunks[0].Size = -1 }, 1},
		{"size over 131,072", func(s *protocol.SyncInfo) { s.Chunks[0].Size = 131073 }, 1},
		{"size 0", func(s *protocol.SyncInfo) { s.Chunks[0].Size = 0 }, 1},
		{"size of the empty chunk", func(s *protocol.SyncInfo) { s.Chunks[0].Key = cafs.KeyOf(nil) }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			info := good
			info.Chunks = slices.Clone(good.Chunks)
			c.change(&info)
			if _, err := protocol.NewBuilder(memory.New(), info, c.window, "test"); err == nil {
				t.Error("it is taken")
			}
		})
	}
}

// TestBuilderTwoSizesOfOneChunk: a list that contradicts itself can't be fulfilled, so it is refused early.
func TestBuilderTwoSizesOfOneChunk(t *testing.T) {
	c := newContent(t, shuffle.Trivial(), nil, []byte("abc"))
	c.info.Chunks = append(c.info.Chunks, protocol.ChunkInfo{Key: c.info.Chunks[0].Key, Size: 2})
	got := receive(t, c.builder(t, 8), discard, bytes.NewReader(item("abc")))
	if got.err == nil || got.wishErr == nil {
		t.Errorf("errors %v and %v, want two", got.err, got.wishErr)
	}
}

func TestBuilderIsUsedOnce(t *testing.T) {
	c := newContent(t, shuffle.Trivial(), []int{0}, []byte("a"))
	b := c.builder(t, 1)
	receive(t, b, discard, bytes.NewReader(nil)).mustHold(t, c.whole)
	if err := b.WriteWishList(t.Context(), discard); err == nil || errors.Is(err, protocol.ErrDisposed) {
		t.Errorf("second WriteWishList: %v", err)
	}
	if _, err := b.ReconstructFileFromRequestedChunks(t.Context(), bytes.NewReader(nil)); err == nil {
		t.Error("second ReconstructFileFromRequestedChunks: no error")
	}
}

func TestDisposeBefore(t *testing.T) {
	b := newContent(t, shuffle.Trivial(), nil, []byte("a")).builder(t, 1)
	b.Dispose()
	b.Dispose()
	got := receive(t, b, discard, bytes.NewReader(item("a")))
	if !errors.Is(got.err, protocol.ErrDisposed) || !errors.Is(got.wishErr, protocol.ErrDisposed) {
		t.Errorf("errors %v and %v, want ErrDisposed twice", got.err, got.wishErr)
	}
	if len(got.wishList) != 0 {
		t.Errorf("wishlist %x was written", got.wishList)
	}
}

func TestDisposeAfter(t *testing.T) {
	c := newContent(t, shuffle.Trivial(), nil, []byte("a"))
	b := c.builder(t, 1)
	got := receive(t, b, discard, bytes.NewReader(item("a")))
	b.Dispose()
	got.mustHold(t, c.whole)
}

// ends are the ways to end a Builder from outside, and the error that both halves then return.
var ends = map[string]struct {
	end  func(*protocol.Builder, context.CancelFunc)
	want error
}{
	"dispose": {func(b *protocol.Builder, _ context.CancelFunc) { b.Dispose() }, protocol.ErrDisposed},
	"cancel":  {func(_ *protocol.Builder, cancel context.CancelFunc) { cancel() }, context.Canceled},
}

// TestEndWhileWindowIsFull ends a Builder whose wishlist waits for room, and whose data never comes.
func TestEndWhileWindowIsFull(t *testing.T) {
	for name, way := range ends {
		t.Run(name, func(t *testing.T) {
			var chunks [][]byte
			for i := range 9 {
				chunks = append(chunks, []byte{byte(i)})
			}
			b := newContent(t, shuffle.Trivial(), nil, chunks...).builder(t, 8)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			written := make(chan struct{}, 2)
			out := protocol.SimpleFlushWriter{Writer: io.Discard, FlushFunc: func() error {
				written <- struct{}{}
				return nil
			}}
			wished := make(chan error)
			go func() { wished <- b.WriteWishList(ctx, out) }()
			<-written
			way.end(b, cancel)
			if err := <-wished; !errors.Is(err, way.want) {
				t.Errorf("error %v, want %v", err, way.want)
			}
			if len(written) != 0 {
				t.Error("wishes were written over a full window")
			}
		})
	}
}

// TestEndWhileWaitingForWishes ends a Builder whose wishlist was never begun.
func TestEndWhileWaitingForWishes(t *testing.T) {
	for name, way := range ends {
		t.Run(name, func(t *testing.T) {
			b := newContent(t, shuffle.Trivial(), nil, []byte("a")).builder(t, 1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			rebuilt := make(chan error)
			go func() {
				_, err := b.ReconstructFileFromRequestedChunks(ctx, bytes.NewReader(item("a")))
				rebuilt <- err
			}()
			way.end(b, cancel)
			if err := <-rebuilt; !errors.Is(err, way.want) {
				t.Errorf("error %v, want %v", err, way.want)
			}
		})
	}
}

// TestEndWhileReading ends a Builder that is in a read, which lasts until the connection is closed, and whose other half
// waits. The other half ends at once.
func TestEndWhileReading(t *testing.T) {
	for name, way := range ends {
		t.Run(name, func(t *testing.T) {
			var chunks [][]byte
			for i := range 9 {
				chunks = append(chunks, []byte{byte(i)})
			}
			b := newContent(t, shuffle.Trivial(), nil, chunks...).builder(t, 8)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			dataOut, dataIn := io.Pipe()
			rebuilt := make(chan error)
			go func() {
				_, err := b.ReconstructFileFromRequestedChunks(ctx, dataOut)
				rebuilt <- err
			}()
			wished := make(chan error)
			go func() { wished <- b.WriteWishList(t.Context(), discard) }()
			// The write returns when the read has taken it; the next read blocks.
			if _, err := dataIn.Write([]byte{2}); err != nil {
				t.Fatal(err)
			}
			way.end(b, cancel)
			if err := <-wished; !errors.Is(err, way.want) {
				t.Errorf("wishlist: error %v, want %v", err, way.want)
			}
			dataIn.CloseWithError(errors.New("connection closed"))
			if err := <-rebuilt; !errors.Is(err, way.want) {
				t.Errorf("reconstruct: error %v, want %v", err, way.want)
			}
		})
	}
}

// TestDisposeAtAnyMoment disposes of Builders from several goroutines during transfers: whatever the moment, both halves
// end, with success or with ErrDisposed.
func TestDisposeAtAnyMoment(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	r := random(t)
	for range 100 {
		c := randomContent(t, r)
		b := c.builder(t, 1+r.IntN(20))
		stopAt := r.IntN(1 + len(c.info.Chunks)/4)
		var disposing sync.WaitGroup
		wishOut, wishIn := io.Pipe()
		dataOut, dataIn := io.Pipe()
		go func() {
			dataIn.CloseWithError(protocol.WriteChunkData(t.Context(), c.chunks(t), 0, bufio.NewReader(wishOut),
				c.info.Perm, protocol.NopFlushWriter{Writer: dataIn}, nil))
			wishOut.Close()
		}()
		out := protocol.NopFlushWriter{Writer: writerFunc(func(p []byte) (int, error) {
			if stopAt--; stopAt == 0 {
				for range 3 {
					disposing.Go(b.Dispose)
				}
			}
			return wishIn.Write(p)
		})}
		wished := make(chan error)
		go func() {
			err := b.WriteWishList(t.Context(), out)
			wishIn.CloseWithError(err)
			wished <- err
		}()
		file, err := b.ReconstructFileFromRequestedChunks(t.Context(), dataOut)
		dataOut.Close()
		wishErr := <-wished
		disposing.Wait()
		if err == nil {
			received{file: file, wishErr: wishErr}.mustHold(t, c.whole)
		} else if !errors.Is(err, protocol.ErrDisposed) {
			t.Errorf("error %v, want ErrDisposed", err)
		}
		if wishErr != nil && !errors.Is(wishErr, protocol.ErrDisposed) {
			t.Errorf("wishlist: error %v, want ErrDisposed", wishErr)
		}
	}
}

// FuzzBuilder feeds arbitrary chunk data: only the right data gives a file, and nothing wrong is ever stored.
func FuzzBuilder(f *testing.F) {
	cases := originCases(f)
	for i, c := range cases {
		f.Add(uint8(i), []byte(c.ChunkData))
	}
	f.Add(uint8(1), append(slices.Clone([]byte(cases[1].ChunkData)), 0))
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		c := cases[int(which)%len(cases)]
		content := c.content(t)
		got := receive(t, content.builder(t, 8), discard, bytes.NewReader(data))
		if (got.err == nil) != bytes.Equal(data, c.ChunkData) {
			t.Fatalf("%s: error %v for %x", c.Name, got.err, data)
		}
		if got.err == nil {
			got.mustHold(t, content.whole)
		}
		for _, chunk := range content.info.Chunks {
			if data, err := content.receiver.Get(t.Context(), chunk.Key, nil); err == nil && cafs.KeyOf(data) != chunk.Key {
				t.Fatalf("%q is stored as %s", data, chunk.Key)
			}
		}
	})
}
