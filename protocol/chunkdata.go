package protocol

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/shuffle"
)

// Chunks is any sequence of chunks that a sender can take what is wished from. It is used by one goroutine at a time.
// Whoever made it calls Dispose.
type Chunks interface {
	// NextChunk returns the next chunk of the sequence, and io.EOF itself behind the last one.
	NextChunk(ctx context.Context) (ChunkInfo, error)

	// ReadChunk returns the bytes of a chunk that NextChunk returned, in buf if they fit there and in new memory if not.
	// Offset is the sum of the sizes of the chunks before it in the sequence. Chunks are read in another order than they
	// are listed, and most perhaps never. It may wait until the chunk is there. The bytes must be what the key says: the
	// other side takes anything else for an attack.
	ReadChunk(ctx context.Context, chunk ChunkInfo, offset int64, buf []byte) ([]byte, error)

	// Dispose releases what the sequence holds. It is the last call but for another Dispose, which does nothing.
	Dispose()
}

// ChunksOfFile returns the chunks of file. The context of the first NextChunk is the one that the list is read under.
// The bytes are hashed on the way, as whatever is read through a cafs.File.
func ChunksOfFile(file cafs.File) Chunks { return &fileChunks{file: file} }

type fileChunks struct {
	file cafs.File
	next func() (ChunkInfo, error, bool) // nil before the first NextChunk
	stop func()
	err  error // what NextChunk returns from now on
}

func (c *fileChunks) NextChunk(ctx context.Context) (ChunkInfo, error) {
	if c.err != nil {
		return ChunkInfo{}, c.err
	}
	if c.next == nil {
		c.next, c.stop = iter.Pull2(c.file.Chunks(ctx))
	}
	chunk, err, ok := c.next()
	if !ok {
		err = io.EOF
	}
	// After an error the list is at its end; it must not look complete.
	c.err = err
	return chunk, err
}

func (c *fileChunks) ReadChunk(ctx context.Context, chunk ChunkInfo, offset int64, buf []byte) ([]byte, error) {
	if cap(buf) < chunk.Size {
		buf = make([]byte, chunk.Size)
	}
	r := c.file.Open(ctx)
	defer r.Close()
	if _, err := r.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	data := buf[:chunk.Size]
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, noEOF(err)
	}
	return data, nil
}

func (c *fileChunks) Dispose() {
	c.err = ErrDisposed
	if c.stop != nil {
		c.stop()
	}
}

// ChunksOfSyncInfo returns the chunks that info lists, read from source, which may still be receiving them: ReadChunk
// waits for a chunk until it is there. It checks each, so that nothing goes out that the list does not say. The list is
// kept a reference to, and must not be changed.
func ChunksOfSyncInfo(info SyncInfo, source ChunkSource) Chunks {
	return &awaitedChunks{rest: info.Chunks, source: source}
}

type awaitedChunks struct {
	rest     []ChunkInfo
	source   ChunkSource
	disposed bool
}

func (c *awaitedChunks) NextChunk(ctx context.Context) (ChunkInfo, error) {
	if c.disposed {
		return ChunkInfo{}, ErrDisposed
	}
	if err := context.Cause(ctx); err != nil {
		return ChunkInfo{}, err
	}
	if len(c.rest) == 0 {
		return ChunkInfo{}, io.EOF
	}
	next := c.rest[0]
	c.rest = c.rest[1:]
	return next, nil
}

func (c *awaitedChunks) ReadChunk(ctx context.Context, chunk ChunkInfo, _ int64, buf []byte) ([]byte, error) {
	if c.disposed {
		return nil, ErrDisposed
	}
	data, err := c.source.AwaitChunk(ctx, chunk.Key, buf)
	if err != nil {
		return nil, err
	}
	if _, err := cafs.VerifyChunk(chunk, data); err != nil {
		return nil, err
	}
	return data, nil
}

func (c *awaitedChunks) Dispose() { c.rest, c.source, c.disposed = nil, nil, true }

// TransferStatusCallback is told the progress of a sender, in its goroutine, after each chunk: how many bytes the whole
// transfer takes as far as is known yet, and how many of them have been written. At the end the two are equal.
type TransferStatusCallback func(bytesToTransfer, bytesTransferred int64)

// WriteChunkData is the sender: it reads a wishlist, and for each wish at once writes and flushes the chunk's data to w.
// It returns nil when all that was wished is written and the wishlist is at its end.
//
// Chunks and perm are those of the SyncInfo that the wishlist is for; an empty perm stands for the trivial one.
// BytesToTransfer is the size of the whole content; the callback, which may be nil, is told that minus the bytes that
// turned out not to be wished.
//
// A wishlist that ends too early gives an error that wraps io.ErrUnexpectedEOF; one that wishes for a blank or for the
// empty chunk, or goes on after the last byte, gives an error too. A cancelled ctx is noticed between two chunks; a
// wishlist or a w that blocks must be closed by the caller.
func WriteChunkData(ctx context.Context, chunks Chunks, bytesToTransfer int64, wishlist io.ByteReader,
	perm shuffle.Permutation, w FlushWriter, callback TransferStatusCallback,
) error {
	s := chunkSender{
		chunks: chunks, wishes: wishReader{r: wishlist}, out: w,
		buf:      make([]byte, cafs.ChunkSizeMax),
		progress: callback, toTransfer: bytesToTransfer,
	}
	step := func(chunk placedChunk) error { return s.step(ctx, chunk) }
	shuffled, err := shuffle.NewStreamShuffler(SyncInfo{Perm: perm}.perm(), placedChunk{}, step)
	if err != nil {
		return fmt.Errorf("send chunks: %w", err)
	}
	if err := s.putAll(ctx, shuffled); err != nil {
		return fmt.Errorf("send chunks: %w", err)
	}
	if err := s.wishes.end(); err != nil {
		return fmt.Errorf("send chunks: %w", err)
	}
	log.Debugw("sent the chunks of a wishlist", "bytes", s.transferred)
	return nil
}

// placedChunk is a chunk and the sum of the sizes of those before it. The zero placedChunk is a blank.
type placedChunk struct {
	ChunkInfo
	offset int64
}

// chunkSender is the state of one WriteChunkData.
type chunkSender struct {
	chunks Chunks
	wishes wishReader
	out    FlushWriter
	buf    []byte // for the bytes of one chunk
	header []byte // for the length of one chunk

	progress    TransferStatusCallback
	toTransfer  int64
	transferred int64
}

// putAll puts all chunks into shuffled.
func (s *chunkSender) putAll(ctx context.Context, shuffled *shuffle.StreamShuffler[placedChunk]) error {
	var offset int64
	for {
		chunk, err := s.chunks.NextChunk(ctx)
		if errors.Is(err, io.EOF) {
			return shuffled.End()
		}
		if err != nil {
			return fmt.Errorf("list the chunks: %w", err)
		}
		if err := checkChunkInfo(chunk); err != nil {
			return err
		}
		if err := shuffled.Put(placedChunk{chunk, offset}); err != nil {
			return err
		}
		offset += int64(chunk.Size)
	}
}

// step reads the wish for one place in shuffled order and fulfils it.
func (s *chunkSender) step(ctx context.Context, chunk placedChunk) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	wished, err := s.wishes.next()
	if err != nil {
		return err
	}
	switch {
	case wished && chunk.Size == 0:
		return errors.New("read the wishlist: a bit is 1 where there is nothing to wish for")
	case chunk.Size == 0:
		return nil
	case wished:
		if err := s.send(ctx, chunk); err != nil {
			return fmt.Errorf("chunk %s: %w", chunk.Key, err)
		}
		s.transferred += int64(chunk.Size)
	default:
		s.toTransfer -= int64(chunk.Size)
	}
	if s.progress != nil {
		s.progress(s.toTransfer, s.transferred)
	}
	return nil
}

// send writes one chunk and flushes, because the other side may wait for just this one before it wishes for more.
func (s *chunkSender) send(ctx context.Context, chunk placedChunk) error {
	data, err := s.chunks.ReadChunk(ctx, chunk.ChunkInfo, chunk.offset, s.buf)
	if err != nil {
		return err
	}
	if len(data) != chunk.Size {
		return fmt.Errorf("%d bytes instead of %d: %w", len(data), chunk.Size, cafs.ErrCorrupt)
	}
	s.header = binary.AppendVarint(s.header[:0], int64(len(data)))
	if _, err := s.out.Write(s.header); err != nil {
		return err
	}
	if _, err := s.out.Write(data); err != nil {
		return err
	}
	return s.out.Flush()
}
