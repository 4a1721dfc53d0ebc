package cafs

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
)

// AddOptions are the options of AddFile; the zero value is valid.
type AddOptions struct {
	// Salt is nil or SaltSize random bytes for the root record; see Record.
	Salt []byte
	// Volume, if not nil, is the file that r reads from its beginning: its chunks are referred to there, and only the pages
	// are stored. If r is an io.Seeker, holes of the file are not read.
	Volume Volume
	// Progress, if not nil, is called with the content bytes stored so far each time that it is about 1 MiB more, and
	// with the last of them. It is called in the goroutine of the caller.
	Progress func(bytes int64)
}

const (
	// addBatchBytes is how much content goes to the store at once: some 28 chunks, so that a store can write them in one
	// go and needs one transaction for them.
	addBatchBytes = 1 << 20
	// addBatches is the number of batches on their way: one in each stage and one between, which evens out stages that
	// take turns at being the slow one.
	addBatches = 4
)

// AddFile cuts what r has into chunks, stores them and the pages that list them, and returns the record of the new root.
// To be found again the root must be put in the catalog, and to survive a power cut the store must be synced first:
// both are up to the caller, so that one Sync can serve many files.
//
// Reading and cutting, hashing, and storing go on at the same time, at the speed of the slowest; at most 6 MiB are held,
// whatever the size of the content. When AddFile returns, nothing that it started is left, so it cannot return before a
// Read of r under way does. After an error the store may have some of the chunks.
func AddFile(ctx context.Context, store Putter, r io.Reader, opts AddOptions) (Record, error) {
	if opts.Salt != nil && len(opts.Salt) != SaltSize {
		return Record{}, fmt.Errorf("add: salt of %d bytes: want %d", len(opts.Salt), SaltSize)
	}
	var refer referFunc
	cut := func(b *batcher) error { return cutFile(b, r) }
	if opts.Volume != nil {
		refer = opts.Volume.Refer
		if seeker, ok := r.(io.ReadSeeker); ok {
			cut = func(b *batcher) error { return cutVolume(b, opts.Volume, seeker) }
		}
	}
	list, err := addStream(ctx, store, refer, opts.Progress, cut)
	if err != nil {
		return Record{}, fmt.Errorf("add: %w", err)
	}
	return Record{Kind: KindFile, Salt: append([]byte(nil), opts.Salt...), Data: list}, nil
}

// referFunc is Volume.Refer, or nil if chunks are to be stored.
type referFunc func(ctx context.Context, chunks ...ChunkRef) error

// addStream stores, or refers to, the chunks that cut passes to its batcher, and lists them. It returns what cut does, if
// that fails.
func addStream(ctx context.Context, store Putter, refer referFunc, progress func(int64), cut func(*batcher) error) (List, error) {
	ctx, cancel := context.WithCancel(ctx)
	var stages sync.WaitGroup
	defer stages.Wait()
	defer cancel()

	// There are addBatches batches, so that no send ever blocks.
	a := &adder{
		free: make(chan *addBatch, addBatches),
		cut:  make(chan *addBatch, addBatches),
		done: make(chan *addBatch, addBatches),
	}
	for range addBatches {
		a.free <- &addBatch{}
	}
	stages.Go(func() {
		defer close(a.cut)
		b := &batcher{ctx: ctx, free: a.free, cut: a.cut}
		if a.err = cut(b); a.err == nil {
			b.flush()
		}
	})
	stages.Go(a.hashAll)
	return a.storeAll(ctx, store, refer, progress)
}

// adder is one call of addStream: three stages, and the batches that go round between them.
type adder struct {
	free chan *addBatch // from storeAll to the batcher
	cut  chan *addBatch // from the batcher to hashAll
	done chan *addBatch // from hashAll to storeAll
	err  error          // of cutting; valid once done is closed
}

// addBatch is some chunks that were cut, or some that are known, and pages of the list of entries.
type addBatch struct {
	data   []byte // the chunks' bytes, one after the other
	sizes  []int
	chunks []Chunk
	known  []ChunkInfo
	pages  []Chunk
	err    error
}

func (b *addBatch) reset() {
	if b.data == nil {
		b.data = make([]byte, 0, addBatchBytes)
	}
	b.data, b.sizes, b.chunks, b.known, b.pages = b.data[:0], b.sizes[:0], b.chunks[:0], b.known[:0], nil
}

// knownBatch bounds the chunks of a batch that are known.
const knownBatch = 1024

// batcher makes batches of what is cut.
type batcher struct {
	ctx  context.Context //nolint:containedctx // it ends with the call of addStream
	free <-chan *addBatch
	cut  chan<- *addBatch
	b    *addBatch // being filled, or nil
}

// open returns the batch to fill, after waiting for one if there is none.
func (b *batcher) open() (*addBatch, error) {
	if b.b != nil {
		return b.b, nil
	}
	select {
	case b.b = <-b.free:
		b.b.reset()
		return b.b, nil
	case <-b.ctx.Done():
		return nil, b.ctx.Err()
	}
}

// flush passes on the batch that is being filled.
func (b *batcher) flush() {
	if b.b != nil {
		b.cut <- b.b
		b.b = nil
	}
}

// add takes the bytes of a chunk.
func (b *batcher) add(data []byte) error {
	if b.b != nil && (len(b.b.data)+len(data) > addBatchBytes || len(b.b.known) > 0) {
		b.flush()
	}
	batch, err := b.open()
	if err != nil {
		return err
	}
	batch.data = append(batch.data, data...)
	batch.sizes = append(batch.sizes, len(data))
	return nil
}

// addKnown takes a chunk that was hashed before.
func (b *batcher) addKnown(c ChunkInfo) error {
	if b.b != nil && (len(b.b.sizes) > 0 || len(b.b.known) >= knownBatch) {
		b.flush()
	}
	batch, err := b.open()
	if err != nil {
		return err
	}
	batch.known = append(batch.known, c)
	return nil
}

// addPages takes pages to store.
func (b *batcher) addPages(pages []Chunk) error {
	batch, err := b.open()
	if err != nil {
		return err
	}
	batch.pages = append(batch.pages, pages...)
	return nil
}

// cutFile cuts a stream until it ends or fails.
func cutFile(b *batcher, r io.Reader) error {
	chunker := NewChunker(r)
	for {
		next, err := chunker.Next()
		switch {
		case err == io.EOF: //nolint:errorlint // an error that wraps io.EOF is not the end of the stream; see Chunker.Next
			return nil
		case err != nil:
			return fmt.Errorf("read content: %w", err)
		}
		if err := b.add(next); err != nil {
			return err
		}
	}
}

// hashAll makes chunks of what was cut.
func (a *adder) hashAll() {
	defer close(a.done)
	for b := range a.cut {
		rest := b.data
		for _, size := range b.sizes {
			var c Chunk
			if c, b.err = NewChunk(rest[:size:size]); b.err != nil {
				break
			}
			b.chunks = append(b.chunks, c)
			rest = rest[size:]
		}
		a.done <- b
	}
}

// storeAll lists the chunks, and stores or refers to them, each batch with the pages that it completes.
func (a *adder) storeAll(ctx context.Context, store Putter, refer referFunc, progress func(int64)) (List, error) {
	var pages []Chunk
	list := NewListBuilder(func(page Chunk) error {
		pages = append(pages, page)
		return nil
	})
	var stored int64
	for b := range a.done {
		if b.err != nil {
			return List{}, b.err
		}
		refs := b.refs(stored)
		for _, ref := range refs {
			if err := list.Add(ref.Chunk); err != nil {
				return List{}, err
			}
			stored += int64(ref.Chunk.Size)
		}
		// Of a row of equal chunks, which holes are, one is enough to have them.
		refs = slices.CompactFunc(refs, func(a, b ChunkRef) bool { return a.Chunk == b.Chunk })
		if refer != nil && len(refs) > 0 {
			if err := refer(ctx, refs...); err != nil {
				return List{}, err
			}
			b.chunks = b.chunks[:0]
		}
		if err := putSome(ctx, store, append(append(b.chunks, pages...), b.pages...)); err != nil {
			return List{}, err
		}
		pages = pages[:0]
		if progress != nil {
			progress(stored)
		}
		a.free <- b
	}
	if a.err != nil {
		return List{}, a.err
	}
	top, err := list.Finish()
	if err != nil {
		return List{}, err
	}
	return top, putSome(ctx, store, pages)
}

// refs says where the chunks of the batch stand in a stream that the batch's first byte has the given offset in.
func (b *addBatch) refs(offset int64) []ChunkRef {
	refs := make([]ChunkRef, 0, len(b.chunks)+len(b.known))
	for _, c := range b.chunks {
		refs = append(refs, ChunkRef{Chunk: c.Info()})
	}
	for _, c := range b.known {
		refs = append(refs, ChunkRef{Chunk: c})
	}
	for i := range refs {
		refs[i].Offset = offset
		offset += int64(refs[i].Chunk.Size)
	}
	return refs
}

func putSome(ctx context.Context, store Putter, chunks []Chunk) error {
	if len(chunks) == 0 {
		return nil
	}
	return store.Put(ctx, chunks...)
}
