package cafs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"sort"
)

// File is content in a store: a list of chunks and the store that they are read from. It is a small value that may be
// copied; its methods may be called concurrently. The zero File is empty content.
//
// Everything that is read through a File was hashed on the way and is what the list says, whatever the store does.
type File struct {
	getter Getter
	list   chunkList // nil if there are no chunks
	size   int64
	chunks int64
	err    error // what is wrong with the list; no content is read then
}

// RangeChunks is a row of neighbouring chunks of a stream.
type RangeChunks struct {
	// First is the number of the first chunk of the row, counted from 0 at the start of the stream.
	First int64
	// Offset is where that chunk begins in the stream, in bytes.
	Offset int64
	// Chunks are the chunks, in the order of the stream. They may be shared and must not be changed.
	Chunks []ChunkInfo
}

// Bytes returns the content bytes of the row.
func (r RangeChunks) Bytes() int64 {
	var n int64
	for _, c := range r.Chunks {
		n += int64(c.Size)
	}
	return n
}

// find returns the index of the chunk that holds the byte at off, and where that chunk begins in the stream.
func (r RangeChunks) find(off int64) (index int, start int64, ok bool) {
	start = r.Offset
	if off < start {
		return 0, 0, false
	}
	for i, c := range r.Chunks {
		if end := start + int64(c.Size); off >= end {
			start = end
			continue
		}
		return i, start, true
	}
	return 0, 0, false
}

// chunkList is what a File looks its chunks up in. It may be called concurrently.
type chunkList interface {
	// rowAt returns some neighbouring chunks, one of which holds the byte at off, 0 ≤ off < size of the content.
	rowAt(ctx context.Context, off int64) (RangeChunks, error)
}

// NewFile returns the content that consists of chunks, which it keeps a reference to, read from g. A size that no chunk
// can have makes a File of size 0 whose reads fail; the other sizes are checked when their chunks are read.
func NewFile(g Getter, chunks []ChunkInfo) File {
	starts := make([]int64, len(chunks))
	var size int64
	for i, c := range chunks {
		if err := checkChunkSize(c.Size); err != nil {
			return File{err: fmt.Errorf("chunk list, item %d: %w", i, err)}
		}
		starts[i] = size
		size += int64(c.Size)
	}
	return File{getter: g, list: plainList{chunks, starts}, size: size, chunks: int64(len(chunks))}
}

// Size returns the length of the content in bytes.
func (f File) Size() int64 { return f.size }

// NumChunks returns the number of chunks that the content consists of.
func (f File) NumChunks() int64 { return f.chunks }

// Chunks enumerates the chunks in order, equal ones as often as they occur. It stops after the first error. Whether
// the store has the chunks does not matter, but it must have the pages that list them.
func (f File) Chunks(ctx context.Context) iter.Seq2[ChunkInfo, error] { return f.ChunksFrom(ctx, 0) }

// ChunksFrom is Chunks from the chunk on that holds the byte at off, which is not negative.
func (f File) ChunksFrom(ctx context.Context, off int64) iter.Seq2[ChunkInfo, error] {
	return func(yield func(ChunkInfo, error) bool) {
		if f.err != nil {
			yield(ChunkInfo{}, f.err)
			return
		}
		for off := off; off < f.size; {
			row, err := f.list.rowAt(ctx, off)
			if err != nil {
				yield(ChunkInfo{}, err)
				return
			}
			first, _, _ := row.find(off)
			for _, c := range row.Chunks[first:] {
				if !yield(c, nil) {
					return
				}
			}
			off = row.Offset + row.Bytes()
		}
	}
}

// ChunkAt returns the chunk that has the byte at off, and where it begins.
func (f File) ChunkAt(ctx context.Context, off int64) (chunk ChunkInfo, start int64, err error) {
	if f.err != nil {
		return ChunkInfo{}, 0, f.err
	}
	if off < 0 || off >= f.size {
		return ChunkInfo{}, 0, fmt.Errorf("chunk at offset %d of %d bytes: %w", off, f.size, ErrNotFound)
	}
	row, err := f.list.rowAt(ctx, off)
	if err != nil {
		return ChunkInfo{}, 0, err
	}
	i, start, _ := row.find(off)
	return row.Chunks[i], start, nil
}

// ReadAt implements io.ReaderAt. It reads whole chunks, so many small reads in a row are better done with Open.
func (f File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read content at offset %d: negative offset", off)
	}
	r := fileReader{ctx: context.Background(), file: f, off: off}
	n, err := io.ReadFull(&r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// Open returns a reader at the start of the content that is valid as long as ctx. It also implements io.WriterTo. It
// holds the bytes of one chunk and is not safe for concurrent use; any number may be open. A read of many bytes is
// filled from as many chunks as it takes, without a copy of those that fit.
func (f File) Open(ctx context.Context) io.ReadSeekCloser {
	return &fileReader{ctx: ctx, file: f}
}

// copyBytes is the size of the writes of WriteTo: large enough that the cost of a call does not matter.
const copyBytes = 1 << 20

type fileReader struct {
	ctx  context.Context //nolint:containedctx // io.Reader has no parameter for it
	file File
	off  int64       // of the next byte to read
	row  RangeChunks // last found in the list

	data  []byte // the chunk last read in part, in buf
	start int64  // where data begins in the content
	buf   []byte

	closed bool
}

// Read implements io.Reader. It returns less than len(p) bytes only at the end of the content or with an error.
func (r *fileReader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, fs.ErrClosed
	}
	if r.file.err != nil {
		return 0, r.file.err
	}
	n := 0
	for n < len(p) {
		if r.off >= r.file.size {
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		}
		m, err := r.readChunk(p[n:])
		n += m
		r.off += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// readChunk reads from the chunk at r.off: at least one byte if it returns no error.
func (r *fileReader) readChunk(p []byte) (int, error) {
	if in := r.off - r.start; in >= 0 && in < int64(len(r.data)) {
		return copy(p, r.data[in:]), nil
	}
	info, start, err := r.locate()
	if err != nil {
		return 0, err
	}
	if r.off == start && len(p) >= info.Size {
		data, err := r.get(info, p[:info.Size:info.Size])
		return copy(p, data), err
	}
	if r.buf == nil {
		r.buf = make([]byte, ChunkSizeMax)
	}
	r.data = nil
	if r.data, err = r.get(info, r.buf); err != nil {
		return 0, err
	}
	r.start = start
	return copy(p, r.data[r.off-start:]), nil
}

// locate returns the chunk that holds the byte at r.off and where it begins.
func (r *fileReader) locate() (ChunkInfo, int64, error) {
	i, start, ok := r.row.find(r.off)
	if !ok {
		row, err := r.file.list.rowAt(r.ctx, r.off)
		if err != nil {
			return ChunkInfo{}, 0, err
		}
		if i, start, ok = row.find(r.off); !ok {
			panic("cafs: a chunk list returned a row that does not hold the offset")
		}
		r.row = row
	}
	return r.row.Chunks[i], start, nil
}

// get reads a chunk into buf, if the store does, and checks it.
func (r *fileReader) get(info ChunkInfo, buf []byte) ([]byte, error) {
	chunk, err := ReadChunk(r.ctx, r.file.getter, info, buf)
	return chunk.Data(), err
}

// WriteTo implements io.WriterTo: it writes what has not been read yet.
func (r *fileReader) WriteTo(w io.Writer) (int64, error) {
	buf := make([]byte, max(1, min(copyBytes, r.file.size-r.off)))
	var written int64
	for {
		n, err := r.Read(buf)
		if n > 0 {
			m, werr := w.Write(buf[:n])
			written += int64(m)
			if werr != nil {
				return written, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, err
		}
	}
}

// Seek implements io.Seeker. An offset behind the end is allowed, reads there return io.EOF.
func (r *fileReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.file.size
	default:
		return 0, fmt.Errorf("seek in content: unknown whence %d", whence)
	}
	if offset < 0 {
		return 0, fmt.Errorf("seek in content to offset %d: negative offset", offset)
	}
	r.off = offset
	return offset, nil
}

// Close implements io.Closer. Later reads fail with fs.ErrClosed; a second call does nothing.
func (r *fileReader) Close() error {
	r.closed, r.data, r.buf = true, nil, nil
	return nil
}

// plainList is a chunk list that is wholly in memory.
type plainList struct {
	chunks []ChunkInfo
	starts []int64 // where each chunk begins in the content
}

// plainRow bounds the rows of a plainList, because readers look through them one by one.
const plainRow = 256

func (l plainList) rowAt(_ context.Context, off int64) (RangeChunks, error) {
	i := sort.Search(len(l.starts), func(i int) bool { return l.starts[i] > off }) - 1
	end := min(i+plainRow, len(l.chunks))
	return RangeChunks{First: int64(i), Offset: l.starts[i], Chunks: l.chunks[i:end]}, nil
}
