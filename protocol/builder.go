package protocol

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/swarmsync/swarmsync/cafs"
)

var (
	// ErrDisposed: the Builder, or the sequence of chunks, was disposed of before it was done.
	ErrDisposed = errors.New("disposed of")
	// ErrUnexpectedChunk: the other side sent something else than the chunk that was its turn.
	ErrUnexpectedChunk = errors.New("unexpected chunk")
)

// Storage is what a Builder needs of a cafs.Store. Its methods may be called concurrently.
type Storage interface {
	cafs.Getter
	cafs.Putter
}

const (
	// wishBatch is how many places of a wishlist are looked up in the store at once: enough that the cost of a batch does
	// not matter, few enough that what comes into the store from elsewhere meanwhile is hardly ever wished. It is a
	// multiple of 8, so that only the last batch ends within a byte.
	wishBatch = 256
	// chunkDataBufferBytes makes the reads of small chunks few; large ones go past it.
	chunkDataBufferBytes = 64 << 10
)

// Builder is the state of one file's reception. Two goroutines run it at the same time, one in WriteWishList and one in
// ReconstructFileFromRequestedChunks; each may be called once. When one of them fails, the other one ends with the same
// error. A Builder starts no goroutine of its own.
type Builder struct {
	storage Storage
	info    SyncInfo
	window  int
	label   string

	// Each has room for one signal and one goroutine that waits for it; a signal says: look again.
	wishesGrew   chan struct{}
	wishesShrank chan struct{}

	// mu guards what follows. It is never held across a call to the store or to the other side.
	mu         sync.Mutex
	wishes     []ChunkInfo // wished and not yet stored, in the order of the wishlist
	wishing    call
	rebuilding call
	err        error // the first failure, which ends both
}

// call is what became of one of the two methods of a Builder.
type call struct {
	begun   bool
	done    bool                    // successfully
	cancel  context.CancelCauseFunc // ends the context of the call; nil before begun
	unwatch func() bool             // stops watching the caller's context
}

// NewBuilder returns a Builder that fetches what storage lacks of the content that info lists. It keeps references to
// both; the lists of info must not be changed from now on. The label stands in the log for this transfer.
//
// At most windowSize chunks, 1 or more, are between their wish and their arrival in storage. The wishes of one byte of
// the wishlist go out together, though, so the first byte after a pause may carry 8 whatever the window. Chunks that are
// present, repeated or empty take no room in the window, however long the permutation.
//
// The error says why info, which may come from the other side, is not valid.
func NewBuilder(storage Storage, info SyncInfo, windowSize int, label string) (*Builder, error) {
	if windowSize < 1 {
		return nil, fmt.Errorf("receive %s: a window of %d chunks: want 1 or more", label, windowSize)
	}
	if err := info.Validate(); err != nil {
		return nil, fmt.Errorf("receive %s: %w", label, err)
	}
	return &Builder{
		storage:      storage,
		info:         info,
		window:       windowSize,
		label:        label,
		wishesGrew:   make(chan struct{}, 1),
		wishesShrank: make(chan struct{}, 1),
	}, nil
}

// Dispose ends the Builder. Calls under way and later ones return ErrDisposed, as soon as they are not in a read or
// write of the connection: whoever wants them to end at once closes that too. It may be called at any time, by any
// goroutine, and more than once. Chunks that have arrived stay in the store, and a File that was returned stays valid.
func (b *Builder) Dispose() { b.fail(ErrDisposed) }

// WriteWishList writes one bit per chunk and blank, in shuffled order: 1 if the chunk is missing in the store and was
// not wished before, 0 otherwise. It looks into the store as it goes, waits while the window is full, and flushes each
// byte. It does not close w; the caller does, because the other side waits for the end of the wishlist.
//
// When ctx ends the whole Builder fails.
func (b *Builder) WriteWishList(ctx context.Context, w FlushWriter) error {
	ctx, err := b.begin(ctx, &b.wishing)
	if err != nil {
		return fmt.Errorf("write the wishlist of %s: %w", b.label, err)
	}
	l := wishlister{builder: b, out: w, wished: make(map[cafs.Key]int)}
	err = b.info.eachShuffled(func(chunk ChunkInfo) error { return l.step(ctx, chunk) })
	if err == nil {
		err = l.writeBatch(ctx)
	}
	if err = b.end(&b.wishing, err); err != nil {
		return fmt.Errorf("write the wishlist of %s: %w", b.label, err)
	}
	signal(b.wishesGrew)
	log.Debugw("wrote a wishlist", "file", b.label, "chunks", len(b.info.Chunks), "wished", len(l.wished))
	return nil
}

// ReconstructFileFromRequestedChunks reads the chunks that were wished from r, stores each as soon as it is verified,
// and returns the file when all of them are there, r is at its end and the store is synced. It reads some bytes ahead of
// what it has wished for, but takes nothing for a chunk that was not.
//
// The error wraps io.ErrUnexpectedEOF if r ends too early, ErrUnexpectedChunk if a chunk's length or bytes are not what
// was wished. When ctx ends the whole Builder fails.
//
// The file has no root and nothing pins its chunks: what was in the store before may be gone, or be of another size than
// a lying list says. Reading the file tells.
func (b *Builder) ReconstructFileFromRequestedChunks(ctx context.Context, r io.Reader) (cafs.File, error) {
	ctx, err := b.begin(ctx, &b.rebuilding)
	if err == nil {
		err = b.end(&b.rebuilding, b.receiveAll(ctx, r))
	}
	if err != nil {
		return cafs.File{}, fmt.Errorf("receive %s: %w", b.label, err)
	}
	return b.file(), nil
}

// begin marks a call as begun and returns the context that it runs under, which also ends when the Builder fails.
func (b *Builder) begin(ctx context.Context, c *call) (context.Context, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return nil, b.err
	}
	if c.begun {
		return nil, errors.New("called a second time")
	}
	c.begun = true
	// The other call must end too, even while this one is in a read or write that does not know ctx.
	c.unwatch = context.AfterFunc(ctx, func() { b.fail(context.Cause(ctx)) })
	callCtx, cancel := context.WithCancelCause(ctx)
	c.cancel = cancel
	return callCtx, nil
}

// end marks a call as done, or ends the Builder with its error. It returns the error that the call is to report: the
// first one of the Builder, of which the others are but consequences.
func (b *Builder) end(c *call, err error) error {
	c.unwatch()
	if err != nil {
		b.fail(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c.cancel(nil)
	if err != nil {
		return b.err
	}
	c.done = true
	return nil
}

// fail ends the Builder with err, unless it has failed before.
func (b *Builder) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return
	}
	b.err = err
	for _, c := range []*call{&b.wishing, &b.rebuilding} {
		if c.cancel != nil {
			c.cancel(err)
		}
	}
}

// await returns nil when ready, which is called with mu held, returns true. It looks again after each signal on changed.
func (b *Builder) await(ctx context.Context, changed <-chan struct{}, ready func() bool) error {
	for {
		b.mu.Lock()
		ok := ready()
		b.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func signal(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default: // the one before was not taken yet and serves as well
	}
}

// wish waits for room in the window and counts chunks as wished. It comes before the wish is written, since the answer
// may be faster than the return from the write. A full window always drains: all that is in it was flushed to the other
// side. That is why more than fit go out when it is empty.
func (b *Builder) wish(ctx context.Context, chunks []ChunkInfo) error {
	err := b.await(ctx, b.wishesShrank, func() bool {
		room := len(b.wishes) == 0 || len(b.wishes)+len(chunks) <= b.window
		if room {
			b.wishes = append(b.wishes, chunks...)
		}
		return room
	})
	signal(b.wishesGrew)
	return err
}

// nextWish waits for the chunk whose turn it is to arrive. It returns false when there is none left.
func (b *Builder) nextWish(ctx context.Context) (chunk ChunkInfo, ok bool, err error) {
	err = b.await(ctx, b.wishesGrew, func() bool {
		ok = len(b.wishes) > 0
		if ok {
			chunk = b.wishes[0]
		}
		return ok || b.wishing.done
	})
	return chunk, ok, err
}

// arrived takes the chunk of the last nextWish out of the window.
func (b *Builder) arrived() {
	b.mu.Lock()
	b.wishes = b.wishes[1:]
	b.mu.Unlock()
	signal(b.wishesShrank)
}

func (b *Builder) receiveAll(ctx context.Context, r io.Reader) error {
	in := bufio.NewReaderSize(r, chunkDataBufferBytes)
	buf := make([]byte, cafs.ChunkSizeMax)
	for {
		want, ok, err := b.nextWish(ctx)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := b.receive(ctx, in, want, buf); err != nil {
			return fmt.Errorf("chunk %s: %w", want.Key, err)
		}
		b.arrived()
	}
	if err := expectEnd(in); err != nil {
		return err
	}
	if err := b.storage.Sync(ctx); err != nil {
		return fmt.Errorf("sync the store: %w", err)
	}
	return nil
}

// receive reads one chunk, checks that it is want and stores it. Buf has room for any chunk.
func (b *Builder) receive(ctx context.Context, in *bufio.Reader, want ChunkInfo, buf []byte) error {
	chunk, err := readChunk(in, want, buf)
	if err != nil {
		return err
	}
	// The read may have taken long, and stores need not look at the context.
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return b.storage.Put(ctx, chunk)
}

// readChunk is where bytes from the other side become a chunk.
func readChunk(in *bufio.Reader, want ChunkInfo, buf []byte) (cafs.Chunk, error) {
	size, err := readSize(in)
	if err != nil {
		return cafs.Chunk{}, noEOF(err)
	}
	if size != want.Size {
		return cafs.Chunk{}, fmt.Errorf("%d bytes instead of %d: %w", size, want.Size, ErrUnexpectedChunk)
	}
	data := buf[:size]
	if _, err := io.ReadFull(in, data); err != nil {
		return cafs.Chunk{}, noEOF(err)
	}
	chunk, err := cafs.VerifyChunk(want, data)
	if err != nil {
		return cafs.Chunk{}, fmt.Errorf("%w: %w", ErrUnexpectedChunk, err)
	}
	return chunk, nil
}

func expectEnd(in *bufio.Reader) error {
	_, err := in.ReadByte()
	if err == nil {
		return errors.New("data after the last chunk")
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// file returns the content, without the empty chunks, which add nothing to it and which no store holds.
func (b *Builder) file() cafs.File {
	chunks := make([]ChunkInfo, 0, len(b.info.Chunks))
	for _, chunk := range b.info.Chunks {
		if chunk.Size > 0 {
			chunks = append(chunks, chunk)
		}
	}
	return cafs.NewFile(b.storage, chunks)
}

// wishlister is the state of one WriteWishList.
type wishlister struct {
	builder *Builder
	out     FlushWriter
	wished  map[cafs.Key]int // the size of each chunk wished so far
	batch   []ChunkInfo      // places whose bits are not written yet, blanks included
}

// step takes the next place in shuffled order.
func (l *wishlister) step(ctx context.Context, chunk ChunkInfo) error {
	l.batch = append(l.batch, chunk)
	if len(l.batch) < wishBatch {
		return nil
	}
	return l.writeBatch(ctx)
}

// writeBatch writes the bits of the batch, and 0 bits up to the end of the last byte.
func (l *wishlister) writeBatch(ctx context.Context) error {
	if len(l.batch) == 0 {
		return nil
	}
	bits, err := l.choose(ctx)
	if err != nil {
		return err
	}
	for i, octet := range bits {
		var wishes []ChunkInfo
		for one := range bits[i : i+1].Ones() {
			wishes = append(wishes, l.batch[8*i+one])
		}
		if err := l.write(ctx, octet, wishes); err != nil {
			return err
		}
	}
	l.batch = l.batch[:0]
	return nil
}

// choose returns the bits of the batch: 1 for what is neither in the store nor wished before.
func (l *wishlister) choose(ctx context.Context) (Bits, error) {
	keys := make([]cafs.Key, len(l.batch))
	for i, chunk := range l.batch {
		keys[i] = chunk.Key
	}
	have, err := l.builder.storage.Has(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("look for chunks in the store: %w", err)
	}
	bits := NewBits(len(l.batch))
	for i, chunk := range l.batch {
		if chunk.Size == 0 { // a blank, or the empty chunk
			continue
		}
		size, again := l.wished[chunk.Key]
		if again && size != chunk.Size {
			return nil, fmt.Errorf("chunk %s is listed with %d bytes and with %d", chunk.Key, size, chunk.Size)
		}
		if !again && !have[i] {
			l.wished[chunk.Key] = chunk.Size
			bits.Set(i)
		}
	}
	return bits, nil
}

// write sends one byte of the wishlist as soon as the window has room for its wishes.
func (l *wishlister) write(ctx context.Context, octet byte, wishes []ChunkInfo) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if len(wishes) > 0 {
		if err := l.builder.wish(ctx, wishes); err != nil {
			return err
		}
	}
	if _, err := l.out.Write([]byte{octet}); err != nil {
		return err
	}
	return l.out.Flush()
}
