package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/internal/durable"
	"github.com/swarmsync/swarmsync/protocol"
)

// destination is what a fetch writes: a file, a tree of files, or nothing, a nil *output. Its methods may be called
// concurrently, but for the last three, each of which is the last call.
type destination interface {
	// keeps reports whether chunks that are written here need no copy in the store.
	keeps() bool
	// wasResumed tells that there may be chunks of an earlier fetch.
	wasResumed() bool
	// look says for each chunk of a row whether it is at its place already, and else whether it may be.
	look(ctx context.Context, store cafs.Store, row cafs.RangeChunks) (inPlace, likely []bool, err error)
	// reread hashes what is at the place of a chunk, and keeps it if it is the chunk. buf is room for its bytes.
	reread(ctx context.Context, info cafs.ChunkInfo, offset int64, buf []byte) (found bool, err error)
	// write writes chunks at their places. When it returns they are kept, if this destination keeps any.
	write(ctx context.Context, placements ...placement) error
	// startWriteback lets the disk begin with a row of chunks that is complete, so that publish has little left to wait for.
	startWriteback(row cafs.RangeChunks)

	// publish gives what is complete its final name. When it returns nil it survives a power cut there, and what is kept
	// does after the next sync of the store.
	publish(ctx context.Context, root cafs.Key) error
	// discard removes what was written and not published.
	discard() error
	// close ends the writing of what was published, or that a later fetch shall go on with. A second call does nothing.
	close() error
}

// output is the file that a fetch writes. It has a temporary name beside the final one until it is complete. If the store
// can refer to chunks in files, it is where they are kept, so that each byte is written once.
type output struct {
	file   *os.File
	volume cafs.Volume // nil: the store keeps copies
	path   string      // the final one
	force  bool
	// resumed tells that the file was there: it may hold chunks that only hashing finds.
	resumed bool
	closed  bool
	// part is what of the content is written, all of it if n is 0.
	part span
	// unshared tells that it can't share space with other files.
	unshared atomic.Bool

	// writing is held while chunks are written. The kernel lets one write to a file at a time, and who waits for that there
	// keeps a processor busy: a tenth of what a fetch over loopback takes.
	writing sync.Mutex
	flusher flusher
}

func newOutput(file *os.File, path string, force bool) *output {
	return &output{file: file, path: path, force: force, flusher: flusher{sync: func() error { return durable.SyncData(file) }}}
}

// placement is a chunk, and where it stands in the content.
type placement struct {
	chunk  cafs.Chunk
	offset int64
}

func refsOf(placements []placement) []cafs.ChunkRef {
	refs := make([]cafs.ChunkRef, len(placements))
	for i, p := range placements {
		refs[i] = cafs.ChunkRef{Chunk: p.chunk.Info(), Offset: p.offset}
	}
	return refs
}

// checkOutput refuses early what would fail at the end: an output that is there already, or a place that can't be
// written. It returns the absolute path, also with ErrExists.
func checkOutput(path string, force bool) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("output %s: %w", path, err)
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err = os.Stat(filepath.Dir(path)); err == nil {
			return path, nil
		}
	}
	switch {
	case err != nil:
		return "", fmt.Errorf("output: %w", err)
	case info.IsDir():
		return path, nil // it may be to be updated, or to get a file; see fitOutput
	case !force:
		return path, fmt.Errorf("output %s: %w", path, ErrExists)
	case !info.Mode().IsRegular():
		return path, fmt.Errorf("output %s is not a regular file: %w", path, ErrExists)
	}
	return path, nil
}

// createOutput makes the temporary file for size bytes of a root at path. Its name is the same each time, so that what
// a killed fetch left behind is taken over and not piled up; it is locked against other fetches.
func createOutput(ctx context.Context, store cafs.Store, path string, key protocol.DiscoveryKey, size int64, force bool) (*output, error) {
	dir := filepath.Dir(path)
	file, err := durable.OpenOwn(filepath.Join(dir, "."+shortName(filepath.Base(path))+"."+key.Short()+".partial"), 0o666)
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("output %s is being written by another fetch: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	out := newOutput(file, path, force)
	referrer, refers := store.(cafs.Referrer)
	refers = refers && runtime.GOOS != "windows" // a file that is open in the store can't be renamed there
	if err := out.reserve(dir, size, refers); err != nil {
		return nil, errors.Join(err, out.discard())
	}
	if refers {
		if out.volume, err = referrer.OpenVolume(ctx, file.Name(), cafs.VolumeOptions{Written: true}); err != nil {
			return nil, errors.Join(fmt.Errorf("output %s: %w", path, err), out.discard())
		}
	}
	return out, nil
}

// createPartOutput makes the temporary file for a part of a root's content, whose chunks are kept in the store.
func createPartOutput(f *fetch, part span) (*output, error) {
	path := f.outPath
	if isDir(path) {
		return nil, fmt.Errorf("output %s is a directory: %w", path, ErrExists)
	}
	name := "." + shortName(filepath.Base(path)) + "." + f.key.Short() + ".part.partial"
	file, err := durable.OpenOwn(filepath.Join(filepath.Dir(path), name), 0o666)
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("output %s is being written by another fetch: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	out := newOutput(file, path, f.opts.Force)
	out.part = part
	if err := out.reserve(filepath.Dir(path), part.n, false); err != nil {
		return nil, errors.Join(err, out.discard())
	}
	return out, nil
}

// reserve gives the file its size, and takes the space for it. What an earlier fetch of the same content has left there
// stays if resume is set.
func (o *output) reserve(dir string, size int64, resume bool) error {
	info, err := o.file.Stat()
	if err != nil {
		return fmt.Errorf("output %s: %w", o.path, err)
	}
	o.resumed = resume && size > 0 && info.Size() == size
	if !o.resumed {
		if err := o.file.Truncate(0); err != nil {
			return fmt.Errorf("output %s: %w", o.path, err)
		}
		if err := checkSpace(dir, size); err != nil {
			return err
		}
	}
	if err := durable.Preallocate(o.file, size); err != nil {
		return fmt.Errorf("output %s: reserve %d bytes: %w", o.path, size, err)
	}
	return nil
}

// shortName leaves room in a file name for what createOutput puts around it.
func shortName(name string) string {
	const most = 200
	if len(name) <= most {
		return name
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut]
}

// checkStoreSpace says in time that the store has no room for size bytes. Of a store in memory, or one that the node was
// given, that is not known.
func (n *Node) checkStoreSpace(size int64) error {
	if n.home.dir == "" || !n.home.ownStore {
		return nil
	}
	return checkSpace(n.home.dir, size)
}

// checkSpace says in time what the disk will not hold.
func checkSpace(dir string, size int64) error {
	free, err := durable.FreeSpace(dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free < size {
		return fmt.Errorf("%s has %d bytes free, %d are needed: %w", dir, free, size, ErrNoSpace)
	}
	return nil
}

func (o *output) keeps() bool { return o != nil && o.volume != nil }

func (o *output) wasResumed() bool { return o != nil && o.resumed }

// look clones what it can: where it did, or an earlier fetch has left something, chunks are likely to be.
func (o *output) look(ctx context.Context, store cafs.Store, row cafs.RangeChunks) (inPlace, likely []bool, err error) {
	likely, err = o.clone(ctx, store, row)
	if o.keeps() && o.resumed {
		likely = slices.Repeat([]bool{true}, len(row.Chunks))
	}
	return make([]bool, len(row.Chunks)), likely, err
}

func (o *output) write(ctx context.Context, placements ...placement) error {
	if o == nil {
		return nil
	}
	if err := o.writeAll(placements); err != nil {
		return fmt.Errorf("write output %s: %w", o.path, err)
	}
	return o.refer(ctx, placements)
}

func (o *output) writeAll(placements []placement) error {
	o.writing.Lock()
	defer o.writing.Unlock()
	var row [][]byte // of neighbours, which are written together
	var start, end int64
	write := func() error {
		if len(row) == 0 {
			return nil
		}
		err := durable.WriteAllAt(o.file, row, start)
		row = row[:0]
		return err
	}
	for _, p := range placements {
		data, offset := o.within(p)
		if len(data) == 0 {
			continue
		}
		zero := isZero(data)
		if zero || offset != end {
			if err := write(); err != nil {
				return err
			}
		}
		if zero {
			if err := durable.WriteZeros(o.file, offset, int64(len(data))); err != nil {
				return err
			}
			continue
		}
		if len(row) == 0 {
			start = offset
		}
		row = append(row, data)
		end = offset + int64(len(data))
	}
	return write()
}

// within returns what of a chunk goes into the file, and where.
func (o *output) within(p placement) (data []byte, offset int64) {
	data = p.chunk.Data()
	if o.part.n == 0 {
		return data, p.offset
	}
	if before := o.part.offset - p.offset; before > 0 {
		data = data[min(before, int64(len(data))):]
		p.offset += before
	}
	left := max(0, o.part.offset+o.part.n-p.offset)
	return data[:min(left, int64(len(data)))], p.offset - o.part.offset
}

// isZero reports whether data is all zeros. Nearly always the first byte tells.
func isZero(data []byte) bool {
	return data[0] == 0 && bytes.Equal(data[1:], data[:len(data)-1])
}

func (o *output) refer(ctx context.Context, placements []placement) error {
	if o.volume == nil || len(placements) == 0 {
		return nil
	}
	if err := o.volume.Refer(ctx, refsOf(placements)...); err != nil {
		return fmt.Errorf("keep chunks of output %s: %w", o.path, err)
	}
	return nil
}

func (o *output) reread(ctx context.Context, info cafs.ChunkInfo, offset int64, buf []byte) (found bool, err error) {
	data := buf[:info.Size]
	if _, err := o.file.ReadAt(data, offset); err != nil {
		return false, fmt.Errorf("read output %s: %w", o.path, err)
	}
	chunk, err := cafs.VerifyChunk(info, data)
	if err != nil {
		return false, nil // something else, or nothing yet
	}
	return true, o.refer(ctx, []placement{{chunk, offset}})
}

func (o *output) startWriteback(row cafs.RangeChunks) {
	if o != nil && o.part.n == 0 {
		durable.StartWriteback(o.file, row.Offset, row.Bytes())
		o.flusher.wrote(row.Bytes())
	}
}

func (o *output) publish(ctx context.Context, root cafs.Key) error {
	if err := o.sync(ctx, root); err != nil {
		return fmt.Errorf("write output %s: %w", o.path, err)
	}
	if err := o.end(o.rename); err != nil {
		return err
	}
	if o.volume == nil {
		return nil
	}
	if err := o.volume.Seal(ctx, o.path, root); err != nil {
		return fmt.Errorf("keep output %s: %w", o.path, err)
	}
	return nil
}

func (o *output) sync(ctx context.Context, root cafs.Key) error {
	if err := o.flusher.wait(); err != nil {
		return err
	}
	if o.volume != nil {
		return o.volume.PrepareSeal(ctx, o.path, root)
	}
	return o.file.Sync()
}

func (o *output) rename() error {
	rename := durable.RenameNew
	if o.force {
		rename = durable.Rename
	}
	err := rename(o.file.Name(), o.path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("output %s came into being meanwhile: %w", o.path, ErrExists)
	}
	return err
}

func (o *output) discard() error {
	if o == nil {
		return nil
	}
	return errors.Join(o.end(func() error { return os.Remove(o.file.Name()) }), o.close())
}

// end ends the temporary name. The file stays open, and so locked: another fetch could take it over before that and have
// it renamed under its hands. Windows does not rename or remove what is open.
func (o *output) end(end func() error) error {
	if runtime.GOOS == "windows" {
		return errors.Join(o.close(), end())
	}
	return end()
}

func (o *output) close() error {
	if o == nil || o.closed {
		return nil
	}
	o.closed = true
	// The sync that is running has to end before its file is closed. What was published is synced, and nothing else has to be.
	_ = o.flusher.wait()
	var err error
	if o.volume != nil {
		err = o.volume.Close()
	}
	return errors.Join(err, o.file.Close())
}
