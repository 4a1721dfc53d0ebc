package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/swarmsync/swarmsync/cafs"
)

// Part is a part of a root's content.
type Part struct {
	Root cafs.Key `json:"root"`
	// Path is that of a file in a tree, and empty for a root that is a file.
	Path string `json:"path,omitempty"`
	// From and To are the bytes of the file that are meant; To 0 is its end.
	From int64 `json:"from,omitempty"`
	To   int64 `json:"to,omitempty"`
}

// PartReader reads a part of a file. It is an io.ReadSeekCloser, for one goroutine at a time, and an io.ReaderAt, for any
// number of them, but for Close. Nothing is read any more when the context is over that it was opened with.
type PartReader struct {
	ctx         context.Context //nolint:containedctx // io.Reader has no parameter for it
	file        cafs.File
	start, size int64 // in the file

	// fetch gets the bytes from one offset of the part to before another; nil if only what is here is read.
	fetch func(from, to int64) error

	at     int64             // of the next Read
	reader io.ReadSeekCloser // of the file, for Read; nil before the first, and after an error
}

// OpenPart returns a reader of a part of a file. The root need not be complete: a read fails with cafs.ErrNotFound where
// something is missing; a Fetch with the same Path, From and To gets it, and so do the reads of OpenLink. The error wraps
// ErrUnsupported if the part is no file.
func (n *Node) OpenPart(ctx context.Context, part Part) (*PartReader, error) {
	info, err := n.store.Root(ctx, part.Root)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	record, err := cafs.ParseRecord(info.Record)
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	store := cafs.Getter(n.store)
	if info.Complete {
		store = watchedGetter{n.store, n, part.Root}
	}
	var data cafs.File
	start, size := int64(0), record.Data.Bytes
	switch {
	case part.Path != "":
		data, start, size, err = fileOf(ctx, store, record, part.Path)
	case record.Kind == cafs.KindFile:
		data, err = cafs.OpenFile(store, record)
	default:
		err = fmt.Errorf("the root is a tree; say which of its files is meant: %w", ErrUnsupported)
	}
	if err != nil {
		return nil, fmt.Errorf("open root: %w", err)
	}
	to := part.To
	if to == 0 || to > size {
		to = size
	}
	from := min(part.From, to)
	return &PartReader{ctx: ctx, file: data, start: start + from, size: to - from}, nil
}

// readAhead is how much a PartReader of OpenLink fetches at least, so that a row of small reads does not ask for each.
const readAhead = 4 << 20

// OpenLink returns a reader of the file of a link, or of the one at opts.Path in its tree, that fetches what is read and is
// not here, and some of what follows. Of the options, Path, From, To, Wait, WebSeeds and Events count. It fetches the list
// before it returns; its errors, and those of reads, are those of Fetch.
func (n *Node) OpenLink(ctx context.Context, link Link, opts FetchOptions) (*PartReader, error) {
	if err := (FetchOptions{From: opts.From, To: opts.To}).check(); err != nil {
		return nil, err
	}
	fetch := func(from, to int64) error {
		opts := FetchOptions{Path: opts.Path, From: from, To: to, Wait: opts.Wait, WebSeeds: opts.WebSeeds, Events: opts.Events}
		_, err := n.Fetch(ctx, link, opts)
		return err
	}
	// The first byte brings all that is needed to find the others.
	if err := fetch(opts.From, opts.From+1); err != nil {
		return nil, err
	}
	reader, err := n.OpenPart(ctx, Part{link.Root, opts.Path, opts.From, opts.To})
	if err != nil {
		return nil, err
	}
	reader.fetch = func(from, to int64) error { return fetch(opts.From+from, opts.From+to) }
	return reader, nil
}

// Size returns the number of bytes of the part.
func (r *PartReader) Size() int64 { return r.size }

// Read implements io.Reader.
func (r *PartReader) Read(p []byte) (int, error) {
	if r.at >= r.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.size-r.at)]
	n, err := r.readFrom(p)
	if n == 0 && r.mayFetch(err) {
		if err := r.get(r.at, len(p)); err != nil {
			return 0, err
		}
		n, err = r.readFrom(p)
	}
	if n > 0 {
		err = nil // it comes again if it is still so
	}
	return n, err
}

func (r *PartReader) readFrom(p []byte) (int, error) {
	if r.reader == nil {
		r.reader = r.file.Open(r.ctx)
	}
	if _, err := r.reader.Seek(r.start+r.at, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := r.reader.Read(p)
	r.at += int64(n)
	if err != nil {
		r.reader = nil
	}
	return n, err
}

// mayFetch reports whether a read failed because something is not here that can be fetched.
func (r *PartReader) mayFetch(err error) bool {
	return r.fetch != nil && (errors.Is(err, cafs.ErrNotFound) || errors.Is(err, cafs.ErrCorrupt))
}

func (r *PartReader) get(from int64, n int) error {
	return r.fetch(from, min(r.size, from+max(int64(n), readAhead)))
}

// ReadAt implements io.ReaderAt. It reads whole chunks, so that many small reads in a row are better done with Read.
func (r *PartReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read content at offset %d: negative offset", off)
	}
	once := PartReader{ctx: r.ctx, file: r.file, start: r.start, size: r.size, fetch: r.fetch, at: off}
	n, err := io.ReadFull(&once, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *PartReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return r.at, fmt.Errorf("seek to offset %d: %w", offset, fs.ErrInvalid)
	}
	r.at = offset
	return offset, nil
}

// Close implements io.Closer. What was read stays valid.
func (r *PartReader) Close() error {
	r.reader = nil
	return nil
}

// fileOf returns the data of a tree, and where in it a file is.
func fileOf(ctx context.Context, store cafs.Getter, record cafs.Record, path string) (data cafs.File, start, size int64, err error) {
	if record.Kind != cafs.KindTree {
		return data, 0, 0, fmt.Errorf("path %q: the root is a file, and no tree: %w", path, cafs.ErrNotFound)
	}
	tree, err := cafs.OpenTree(store, record)
	if err != nil {
		return data, 0, 0, err
	}
	e, err := tree.Lookup(ctx, path)
	if err != nil {
		return data, 0, 0, err
	}
	if !e.IsFile() {
		return data, 0, 0, fmt.Errorf("%s is a %v, and no file: %w", path, e.Type, ErrUnsupported)
	}
	return tree.Data(), e.Offset, e.Size, nil
}
