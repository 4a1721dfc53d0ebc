package cafs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// TreeOptions are the options of AddTree; the zero value is valid.
type TreeOptions struct {
	// Salt is nil or SaltSize random bytes for the root record; see Record.
	Salt []byte
	// Times and Perms keep times of modification and permission bits; see Record. What they don't keep is left out of the
	// entries.
	Times, Perms bool
	// Volume, if not nil, is where the files stand: their chunks are referred to there, and only the pages are stored.
	Volume TreeVolume
	// Old is the data stream that SourceEntry.Before is about.
	Old File
	// Progress, if not nil, is called with the content bytes added so far each time that it is about 1 MiB more, and
	// with the last of them. It is called in the goroutine of the caller.
	Progress func(bytes int64)
}

// SourceEntry is an entry of a tree that is added.
type SourceEntry struct {
	Entry
	// Open returns the content of a file, which begins at offset in the data stream: exactly Size bytes. It is not called
	// for empty files. Close fails if the file was changed since Open.
	Open func(offset int64) (io.ReadCloser, error)
	// Before is where the content of the file begins in TreeOptions.Old, if Unchanged tells that it is there, byte for byte.
	// Such a file is read only where it shares a chunk with one that is not.
	Before    int64
	Unchanged bool
	// Keep, if not nil, is called for a file that is Unchanged, with its offset in the new data stream.
	Keep func(offset int64) error
}

// AddTree adds a tree from its entries, which come in the order of ComparePaths, each directory before what is in it. It is
// as AddFile in all else.
func AddTree(ctx context.Context, store Putter, entries iter.Seq2[SourceEntry, error], opts TreeOptions) (Record, error) {
	if opts.Salt != nil && len(opts.Salt) != SaltSize {
		return Record{}, fmt.Errorf("add: salt of %d bytes: want %d", len(opts.Salt), SaltSize)
	}
	rec := Record{Kind: KindTree, Salt: append([]byte(nil), opts.Salt...), Times: opts.Times, Perms: opts.Perms}
	var refer referFunc
	if opts.Volume != nil {
		refer = opts.Volume.Refer
	}
	var err error
	rec.Data, err = addStream(ctx, store, refer, opts.Progress, func(b *batcher) error {
		next, stop := iter.Pull2(entries)
		defer stop()
		c := &treeCutter{out: b, next: next, old: opts.Old, rec: rec}
		c.list = NewEntryListBuilder(rec, func(page Chunk) error {
			c.pages = append(c.pages, page)
			return nil
		})
		c.chunker = NewChunker(c)
		defer c.closeFile()
		err := c.cutTree(b.ctx)
		rec.Entries = c.entries
		return err
	})
	if err != nil {
		return Record{}, fmt.Errorf("add: %w", err)
	}
	return rec, nil
}

// treeCutter cuts the files of a tree, segment by segment. Where files are unchanged it takes over the chunks that they were
// cut into before, and cuts anew only from the last border before a change to the first after it at which both agree.
type treeCutter struct {
	out     *batcher
	next    func() (SourceEntry, error, bool)
	old     File
	rec     Record
	list    *EntryListBuilder
	entries List    // when all were listed
	pages   []Chunk // of the list of entries
	chunker *Chunker

	// ahead is the file that the next segment begins with, if it is known; end tells that there is none.
	ahead *segmentFile
	end   bool

	// files are those of the segment from the one on that the next chunk begins in, as far as they are known; skip is how
	// much of the first of them went into chunks. whole tells that the segment has no more files.
	files []segmentFile
	skip  int64
	whole bool

	// read is which of files is being read, from where on; file is it, if it is open.
	read   int
	readAt int64
	file   io.ReadCloser

	row RangeChunks // last found in the old list

	offset int64 // of the next file in the data stream
}

// segmentFile is a file with content, at an offset of the data stream.
type segmentFile struct {
	SourceEntry
	offset int64
}

func (c *treeCutter) cutTree(ctx context.Context) error {
	for {
		if err := c.beginSegment(); err != nil {
			return err
		}
		if len(c.files) == 0 {
			break
		}
		if err := c.cutSegment(ctx); err != nil {
			return err
		}
	}
	var err error
	if c.entries, err = c.list.Finish(); err != nil {
		return err
	}
	return c.out.addPages(c.takePages())
}

func (c *treeCutter) takePages() []Chunk {
	pages := c.pages
	c.pages = nil
	return pages
}

// pull lists entries up to the next file with content, and returns that; it is nil at the end.
func (c *treeCutter) pull() (*segmentFile, error) {
	for !c.end {
		e, err, ok := c.next()
		if err != nil {
			return nil, err
		}
		if !ok {
			c.end = true
			break
		}
		if !c.rec.Times {
			e.ModTime = 0
		}
		if !c.rec.Perms {
			e.Perm = 0
		}
		if err := c.list.Add(e.Entry); err != nil {
			return nil, err
		}
		if len(c.pages) > 0 {
			if err := c.out.addPages(c.takePages()); err != nil {
				return nil, err
			}
		}
		if e.Size > 0 {
			f := &segmentFile{e, c.offset}
			c.offset += e.Size
			if e.Unchanged && e.Keep != nil {
				return f, e.Keep(f.offset)
			}
			return f, nil
		}
	}
	return nil, nil
}

func (c *treeCutter) beginSegment() error {
	first := c.ahead
	if first == nil {
		var err error
		if first, err = c.pull(); err != nil {
			return err
		}
	}
	c.ahead, c.files, c.skip, c.read, c.readAt = nil, c.files[:0], 0, 0, 0
	if first == nil {
		return nil
	}
	c.files = append(c.files, *first)
	c.whole = first.Size >= SegmentBytes
	return nil
}

// grow makes one more file of the segment known; it returns false if there is none.
func (c *treeCutter) grow() (bool, error) {
	if c.whole {
		return false, nil
	}
	f, err := c.pull()
	if err != nil {
		return false, err
	}
	if f == nil || f.Size >= SegmentBytes {
		c.ahead, c.whole = f, true
		return false, nil
	}
	c.files = append(c.files, *f)
	return true, nil
}

func (c *treeCutter) cutSegment(ctx context.Context) error {
	for len(c.files) > 0 {
		known, err := c.takeKnown(ctx)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		if err := c.cutUntilKnown(ctx); err != nil {
			return err
		}
	}
	return nil
}

// takeKnown takes over one chunk of the old list, if the same one begins here.
func (c *treeCutter) takeKnown(ctx context.Context) (bool, error) {
	chunk, ok, err := c.knownChunk(ctx)
	if err != nil || !ok {
		return false, err
	}
	if err := c.out.addKnown(chunk); err != nil {
		return false, err
	}
	return true, c.advance(int64(chunk.Size))
}

// knownChunk returns the chunk that begins here if it was cut here before: where all of it is unchanged, and also the byte
// behind it, for that has a say in the cut, or there is none.
func (c *treeCutter) knownChunk(ctx context.Context) (chunk ChunkInfo, ok bool, err error) {
	if !c.files[0].Unchanged {
		return ChunkInfo{}, false, nil
	}
	at := c.files[0].Before + c.skip
	i, start, found := c.row.find(at)
	if !found {
		if at >= c.old.size || c.old.list == nil {
			return ChunkInfo{}, false, nil
		}
		if c.row, err = c.old.list.rowAt(ctx, at); err != nil {
			if errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
				return ChunkInfo{}, false, nil // it is cut anew
			}
			return ChunkInfo{}, false, err
		}
		i, start, _ = c.row.find(at)
	}
	if start != at {
		return ChunkInfo{}, false, nil
	}
	chunk = c.row.Chunks[i]
	end := at + int64(chunk.Size)
	covered := c.files[0].Before + c.files[0].Size
	for n := 1; covered <= end; n++ {
		if n == len(c.files) {
			if more, err := c.grow(); err != nil {
				return ChunkInfo{}, false, err
			} else if !more {
				return chunk, covered == end, nil
			}
		}
		if f := c.files[n]; !f.Unchanged || f.Before != covered {
			return ChunkInfo{}, false, nil
		}
		covered += c.files[n].Size
	}
	return chunk, true, nil
}

// cutUntilKnown cuts until the segment ends, or a chunk begins that is known.
func (c *treeCutter) cutUntilKnown(ctx context.Context) error {
	c.closeFile()
	c.read, c.readAt = 0, c.skip
	c.chunker.Reset(c)
	for len(c.files) > 0 {
		data, err := c.chunker.Next()
		if err != nil {
			if err == io.EOF { //nolint:errorlint // see Chunker.Next
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read content: %w", err)
		}
		if err := c.out.add(data); err != nil {
			return err
		}
		if err := c.advance(int64(len(data))); err != nil {
			return err
		}
		if len(c.files) == 0 {
			break
		}
		if _, known, err := c.knownChunk(ctx); err != nil || known {
			return err
		}
	}
	return nil
}

// advance goes on behind a chunk of size bytes.
func (c *treeCutter) advance(size int64) error {
	done := 0
	c.skip += size
	for done < len(c.files) && c.skip >= c.files[done].Size {
		c.skip -= c.files[done].Size
		if done++; done == len(c.files) {
			if _, err := c.grow(); err != nil {
				return err
			}
		}
	}
	c.files = append(c.files[:0], c.files[done:]...)
	c.read -= done
	return nil
}

// Read reads the segment, from where cutUntilKnown began.
func (c *treeCutter) Read(p []byte) (int, error) {
	for {
		if c.read == len(c.files) {
			if more, err := c.grow(); err != nil {
				return 0, err
			} else if !more {
				return 0, io.EOF
			}
		}
		f := c.files[c.read]
		if left := f.Size - c.readAt; int64(len(p)) > left {
			p = p[:left]
		}
		if err := c.openFile(f); err != nil {
			return 0, err
		}
		n, err := c.file.Read(p)
		c.readAt += int64(n)
		if c.readAt == f.Size {
			c.read++
			c.readAt = 0
			return n, c.closeFile()
		}
		if err == io.EOF { //nolint:errorlint // an error that wraps io.EOF is not the end
			return n, fmt.Errorf("%s: %w: it became shorter while it was read", f.Path, ErrChanged)
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (c *treeCutter) openFile(f segmentFile) error {
	if c.file != nil {
		return nil
	}
	file, err := f.Open(f.offset)
	if err != nil {
		return err
	}
	if c.readAt > 0 {
		if _, err := io.CopyN(io.Discard, file, c.readAt); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	c.file = file
	return nil
}

func (c *treeCutter) closeFile() error {
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	c.file = nil
	return err
}
