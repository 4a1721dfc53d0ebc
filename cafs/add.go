package cafs

import (
	"context"
	"fmt"
	"io"
	"sync"
)

// AddOptions are the options of AddFile; the zero value is valid.
type AddOptions struct {
	// Salt is nil or SaltSize random bytes for the root record; see Record.
	Salt []byte
	// Volume, if not nil, is the file that r reads from its beginning: its chunks are referred to there, and only the pages
	// are stored.
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
	stages.Go(func() { a.cutAll(ctx, r) })
	stages.Go(a.hashAll)
	list, err := a.storeAll(ctx, store, opts)
	if err != nil {
		return Record{}, fmt.Errorf("add: %w", err)
	}
	return Record{Kind: KindFile, Salt: append([]byte(nil), opts.Salt...), Data: list}, nil
}

// adder is one call of AddFile: three stages, and the batches that go round between them.
type adder struct {
	free chan *addBatch // from storeAll to cutAll
	cut  chan *addBatch // from cutAll to hashAll
	done chan *addBatch // from hashAll to storeAll
	err  error          // of cutAll; valid once done is closed
}

type addBatch struct {
	data   []byte // the chunks' bytes, one after the other
	sizes  []int
	chunks []Chunk
	err    error
}

// cutAll fills batches until the stream ends, or fails, or ctx is done.
func (a *adder) cutAll(ctx context.Context, r io.Reader) {
	defer close(a.cut)
	chunker := NewChunker(r)
	next, err := chunker.Next()
	for err == nil {
		var b *addBatch
		select {
		case b = <-a.free:
		case <-ctx.Done():
			a.err = ctx.Err()
			return
		}
		b.reset()
		for err == nil && len(b.data)+len(next) <= addBatchBytes {
			b.data = append(b.data, next...)
			b.sizes = append(b.sizes, len(next))
			next, err = chunker.Next()
		}
		a.cut <- b
	}
	if err != io.EOF { //nolint:errorlint // an error that wraps io.EOF is not the end of the stream; see Chunker.Next
		a.err = fmt.Errorf("read content: %w", err)
	}
}

func (b *addBatch) reset() {
	if b.data == nil {
		b.data = make([]byte, 0, addBatchBytes)
	}
	b.data, b.sizes, b.chunks = b.data[:0], b.sizes[:0], b.chunks[:0]
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
func (a *adder) storeAll(ctx context.Context, store Putter, opts AddOptions) (List, error) {
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
		for _, c := range b.chunks {
			if err := list.Add(c.Info()); err != nil {
				return List{}, err
			}
		}
		if opts.Volume != nil {
			if err := opts.Volume.Refer(ctx, b.refs(stored)...); err != nil {
				return List{}, err
			}
			b.chunks = b.chunks[:0]
		}
		if err := putSome(ctx, store, append(b.chunks, pages...)); err != nil {
			return List{}, err
		}
		pages = pages[:0]
		stored += int64(len(b.data))
		if opts.Progress != nil {
			opts.Progress(stored)
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

// refs says where the chunks of the batch stand in a file that the batch's first byte has the given offset in.
func (b *addBatch) refs(offset int64) []ChunkRef {
	refs := make([]ChunkRef, len(b.chunks))
	for i, c := range b.chunks {
		refs[i] = ChunkRef{Chunk: c.Info(), Offset: offset}
		offset += int64(len(c.Data()))
	}
	return refs
}

func putSome(ctx context.Context, store Putter, chunks []Chunk) error {
	if len(chunks) == 0 {
		return nil
	}
	return store.Put(ctx, chunks...)
}
