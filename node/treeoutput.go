package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/internal/durable"
)

// treeOutput is the tree of files that a fetch writes. Files are written under their paths in a stage: a directory beside
// the final one, which becomes it when all is complete, or one inside of it if there is something already. Then files
// are moved into their places one by one, and those that are as they should be are not touched.
//
// Whatever the entries say, and whatever links stand in the way, nothing outside of these directories is reached: all work
// goes through an os.Root. And none of it goes through a link inside: a directory is looked at before it is used.
type treeOutput struct {
	fetch   *fetch
	tree    cafs.Tree
	record  cafs.Record
	path    string // the final directory
	lock    *os.File
	stage   *stageDir
	target  *targetDir       // what is there already; nil if nothing is
	volume  cafs.TreeVolume  // nil: the store keeps copies
	old     *oldTree         // what is known of the target; nil if nothing is
	files   []treeOutputFile // with content, in the order of the data stream
	locks   [64]openFile     // of files[i] is locks[i % 64]
	resumed bool
	closed  bool
}

// treeOutputFile is a file with content. What follows its size is guarded by its lock.
type treeOutputFile struct {
	path         string
	offset, size int64 // in the data stream
	executable   bool

	looked   bool        // staged and inTarget are known
	staged   bool        // it is written in the stage
	inTarget bool        // there is a file of its size in its place
	perm     fs.FileMode // of that file
	// kept are the parts of it that the file in its place has already.
	kept []span
}

// span is n bytes of a file from an offset on.
type span struct{ offset, n int64 }

// openFile guards some files, and keeps the one that was used last open.
type openFile struct {
	mu     sync.Mutex
	index  int
	staged bool
	file   *os.File // nil if none is open
}

// createTreeOutput makes the output of a tree whose entries were checked.
func createTreeOutput(ctx context.Context, f *fetch, tree cafs.Tree, record cafs.Record) (_ *treeOutput, err error) {
	o := &treeOutput{fetch: f, tree: tree, record: record, path: f.outPath}
	for e, err := range o.entries(ctx) {
		if err != nil {
			return nil, err
		}
		if !filepath.IsLocal(filepath.FromSlash(e.Path)) {
			return nil, fmt.Errorf("output: this system can't have a file called %q: %w", e.Path, ErrUnsupported)
		}
		if e.Size > 0 {
			o.files = append(o.files, treeOutputFile{
				path: e.Path, offset: e.Offset, size: e.Size, executable: e.Type == cafs.TypeExecutable,
			})
		}
	}
	dir, name := filepath.Split(o.path)
	own := "." + shortName(name) + "." + f.key.Short()
	o.lock, err = durable.OpenOwn(filepath.Join(dir, own+".lock"), 0o600)
	if errors.Is(err, durable.ErrLocked) {
		return nil, fmt.Errorf("output %s is being written by another fetch: %w", o.path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	if err := o.open(ctx, dir, own+".partial"); err != nil {
		end := o.close
		if o.stage != nil && !o.stage.found {
			end = o.discard
		}
		return nil, errors.Join(fmt.Errorf("output %s: %w", o.path, err), end())
	}
	return o, nil
}

func (o *treeOutput) open(ctx context.Context, dir, stageName string) error {
	there, err := os.Lstat(o.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		o.stage, err = openStage(filepath.Join(dir, stageName))
	case err != nil:
		return err
	case !there.IsDir():
		return fmt.Errorf("it is no directory: %w", ErrExists)
	default:
		err = o.openTarget(ctx)
	}
	if err != nil {
		return err
	}
	o.resumed = o.stage.found
	if n := len(o.files); o.target == nil && !o.resumed && n > 0 {
		if err := checkSpace(dir, o.files[n-1].offset+o.files[n-1].size-o.files[0].offset); err != nil {
			return err
		}
	}
	return o.openVolume(ctx)
}

// openTarget opens a directory that is there.
func (o *treeOutput) openTarget(ctx context.Context) error {
	found, err := os.ReadDir(o.path)
	if err != nil {
		return err
	}
	if len(found) > 0 && !o.fetch.opts.Force {
		return fmt.Errorf("the directory is not empty: %w", ErrExists)
	}
	if o.target, err = openTarget(o.path); err != nil {
		return err
	}
	if o.stage, err = openStage(filepath.Join(o.path, ownPrefix+o.fetch.key.Short()+ownSuffix)); err != nil {
		return err
	}
	o.old = o.fetch.node.openOldTree(ctx, o.path)
	return nil
}

// Directories of these names are the stages of fetches.
const (
	ownPrefix = ".swarmsync-"
	ownSuffix = ".partial"
)

func (o *treeOutput) openVolume(ctx context.Context) error {
	referrer, ok := o.fetch.node.store.(cafs.TreeReferrer)
	if !ok || o.fetch.opts.Path != "" {
		return nil
	}
	path := o.stage.path
	if o.target != nil {
		path = o.path
	}
	volume, err := referrer.OpenTree(ctx, path, cafs.TreeVolumeOptions{Written: o})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	o.volume = volume
	return err
}

func (o *treeOutput) keeps() bool                     { return o.volume != nil }
func (o *treeOutput) wasResumed() bool                { return o.resumed }
func (o *treeOutput) startWriteback(cafs.RangeChunks) {} // of many small files it would only be a call for each

// entries enumerates what is written.
func (o *treeOutput) entries(ctx context.Context) iter.Seq2[cafs.TreeEntry, error] {
	return o.tree.Below(ctx, o.fetch.opts.Path)
}

// eachPiece calls do with the parts of the files that n bytes of the data stream from an offset on are, as far as they are
// in files that are written.
func (o *treeOutput) eachPiece(offset, n int64, do func(index int, file *treeOutputFile, part span) error) error {
	if len(o.files) == 0 {
		return nil
	}
	if before := o.files[0].offset - offset; before > 0 {
		offset, n = offset+before, n-before
	}
	last := &o.files[len(o.files)-1]
	n = min(n, last.offset+last.size-offset)
	i := sort.Search(len(o.files), func(i int) bool { return o.files[i].offset > offset }) - 1
	for ; n > 0; i++ {
		file := &o.files[i]
		part := span{offset - file.offset, min(n, file.offset+file.size-offset)}
		if err := do(i, file, part); err != nil {
			return fmt.Errorf("%s: %w", file.path, err)
		}
		offset += part.n
		n -= part.n
	}
	return nil
}

// look knows chunks to be in their places without reading them, where the files of the target were hashed and have not
// changed since.
func (o *treeOutput) look(ctx context.Context, _ cafs.Store, row cafs.RangeChunks) (inPlace, likely []bool, err error) {
	inPlace, likely = make([]bool, len(row.Chunks)), make([]bool, len(row.Chunks))
	if o.target == nil && !o.resumed {
		return inPlace, likely, nil
	}
	var refs []cafs.ChunkRef
	offset := row.Offset
	for i, chunk := range row.Chunks {
		size := int64(chunk.Size)
		known, err := o.known(ctx, chunk, offset)
		if err != nil {
			return nil, nil, err
		}
		if inPlace[i] = known; known {
			refs = append(refs, cafs.ChunkRef{Chunk: chunk, Offset: offset})
			if err := o.keepParts(offset, size); err != nil {
				return nil, nil, err
			}
		} else if likely[i], err = o.maybeThere(offset, size); err != nil {
			return nil, nil, err
		}
		offset += size
	}
	return inPlace, likely, o.refer(ctx, refs)
}

// keepParts notes that a chunk is where it should be.
func (o *treeOutput) keepParts(offset, n int64) error {
	return o.eachPiece(offset, n, func(index int, file *treeOutputFile, part span) error {
		return o.withFile(index, func(*openFile) error {
			file.keep(part)
			return nil
		})
	})
}

// known reports whether a chunk is known to stand where it should.
func (o *treeOutput) known(ctx context.Context, chunk cafs.ChunkInfo, offset int64) (bool, error) {
	if o.old == nil {
		return false, nil
	}
	at, end := int64(-1), int64(-1) // in the old data stream
	errOther := errors.New("other")
	err := o.eachPiece(offset, int64(chunk.Size), func(index int, file *treeOutputFile, part span) error {
		before, ok := o.old.files[file.path]
		if !ok || before.State != cafs.VolumeFresh || before.Size != file.size {
			return errOther
		}
		start := before.Offset + part.offset
		if at < 0 {
			at = start
		} else if start != end {
			return errOther
		}
		end = start + part.n
		return o.withFile(index, func(*openFile) error {
			if file.staged || !file.inTarget {
				return errOther
			}
			return nil
		})
	})
	if errors.Is(err, errOther) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	stood, start, err := o.old.data.ChunkAt(ctx, at)
	if isDamage(err) {
		return false, nil
	}
	return err == nil && start == at && stood == chunk, err
}

// maybeThere reports whether all parts of a chunk may be in the stage or in the target.
func (o *treeOutput) maybeThere(offset, n int64) (bool, error) {
	errNo := errors.New("no")
	err := o.eachPiece(offset, n, func(index int, file *treeOutputFile, _ span) error {
		return o.withFile(index, func(*openFile) error {
			if file.staged || file.inTarget {
				return nil
			}
			return errNo
		})
	})
	if errors.Is(err, errNo) {
		return false, nil
	}
	return err == nil, err
}

// withFile calls do with the lock of a file held, after a look at what is there of it.
func (o *treeOutput) withFile(index int, do func(open *openFile) error) error {
	open := &o.locks[index%len(o.locks)]
	open.mu.Lock()
	defer open.mu.Unlock()
	file := &o.files[index]
	if !file.looked {
		file.looked = true
		if o.resumed {
			info, err := o.stage.root.Lstat(file.path)
			file.staged = err == nil && info.Mode().IsRegular() && info.Size() == file.size
		}
		if o.target != nil {
			file.perm, file.inTarget = o.target.hasFile(file.path, file.size)
		}
	}
	return do(open)
}

// handle returns the file to read or write it: that in the stage, or that in its place. Callers hold its lock.
func (o *treeOutput) handle(open *openFile, index int) (*os.File, error) {
	file := &o.files[index]
	if open.file != nil && open.index == index && open.staged == file.staged {
		return open.file, nil
	}
	if err := open.close(); err != nil {
		return nil, err
	}
	var err error
	switch {
	case file.staged:
		open.file, err = o.stage.root.OpenFile(file.path, os.O_RDWR|openNoFollow, 0)
	case file.inTarget:
		open.file, err = o.target.root.OpenFile(file.path, os.O_RDONLY|openNoFollow, 0)
	default:
		err = fmt.Errorf("not written yet: %w", cafs.ErrNotFound)
	}
	open.index, open.staged = index, file.staged
	return open.file, err
}

func (f *openFile) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// ReadAt reads the data stream as far as it is written, or in its place already.
func (o *treeOutput) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > o.record.Data.Bytes {
		return 0, io.EOF
	}
	read := 0
	err := o.eachPiece(off, int64(len(p)), func(index int, _ *treeOutputFile, part span) error {
		return o.withFile(index, func(open *openFile) error {
			from, err := o.handle(open, index)
			if err != nil {
				return err
			}
			n, err := from.ReadAt(p[read:read+int(part.n)], part.offset)
			read += n
			if int64(n) == part.n {
				err = nil
			}
			return err
		})
	})
	if err == nil && read < len(p) {
		err = io.ErrUnexpectedEOF // the rest is in files that are not written
	}
	return read, err
}

func (o *treeOutput) reread(ctx context.Context, info cafs.ChunkInfo, offset int64, buf []byte) (found bool, err error) {
	data := buf[:info.Size]
	if _, err := o.ReadAt(data, offset); err != nil {
		return false, nil // somebody changes what is there; it is written anew
	}
	chunk, err := cafs.VerifyChunk(info, data)
	if err != nil {
		return false, nil // something else, or nothing yet
	}
	if err := o.keepParts(offset, int64(info.Size)); err != nil {
		return false, err
	}
	return true, o.refer(ctx, []cafs.ChunkRef{{Chunk: chunk.Info(), Offset: offset}})
}

// keep notes that a part is in the file that is in its place, unless it is written in the stage.
func (f *treeOutputFile) keep(part span) {
	if f.staged {
		return
	}
	if n := len(f.kept); n > 0 && f.kept[n-1].offset+f.kept[n-1].n == part.offset {
		f.kept[n-1].n += part.n
		return
	}
	f.kept = append(f.kept, part)
}

func (o *treeOutput) write(ctx context.Context, placements ...placement) error {
	for _, p := range placements {
		data := p.chunk.Data()
		err := o.eachPiece(p.offset, int64(len(data)), func(index int, file *treeOutputFile, part span) error {
			at := file.offset + part.offset - p.offset
			piece := data[at : at+part.n]
			return o.withFile(index, func(open *openFile) error { return o.writePiece(open, index, part, piece) })
		})
		if err != nil {
			return fmt.Errorf("write output %s: %w", o.path, err)
		}
	}
	return o.refer(ctx, refsOf(placements))
}

// writePiece writes a part of a file in the stage, unless the file in its place has it already. Callers hold its lock.
func (o *treeOutput) writePiece(open *openFile, index int, part span, data []byte) error {
	file := &o.files[index]
	if !file.staged {
		same, err := o.sameInTarget(open, index, part, data)
		if err != nil {
			return err
		}
		if same {
			file.keep(part)
			return nil
		}
	}
	if part.n == file.size {
		if err := open.close(); err != nil {
			return err
		}
		made, err := o.stage.create(file.path, file.executable)
		if err != nil {
			return err
		}
		file.staged, file.kept = true, nil
		_, err = made.WriteAt(data, 0)
		return errors.Join(err, made.Close())
	}
	if !file.staged {
		if err := o.stageFile(open, index); err != nil {
			return err
		}
	}
	to, err := o.handle(open, index)
	if err != nil {
		return err
	}
	if isZero(data) {
		return durable.WriteZeros(to, part.offset, part.n)
	}
	_, err = to.WriteAt(data, part.offset)
	return err
}

// stageFile makes a file in the stage, with what the file in its place has of it. Callers hold its lock.
func (o *treeOutput) stageFile(open *openFile, index int) error {
	file := &o.files[index]
	var from *os.File
	if len(file.kept) > 0 {
		var err error
		if from, err = o.handle(open, index); err != nil {
			return err
		}
	}
	made, err := o.stage.create(file.path, file.executable)
	if err != nil {
		return err
	}
	if err := durable.Preallocate(made, file.size); err != nil {
		return errors.Join(fmt.Errorf("reserve %d bytes: %w", file.size, err), made.Close())
	}
	for _, part := range file.kept {
		to := io.NewOffsetWriter(made, part.offset)
		if _, err := io.Copy(to, io.NewSectionReader(from, part.offset, part.n)); err != nil {
			return errors.Join(err, made.Close())
		}
	}
	if err := open.close(); err != nil {
		return errors.Join(err, made.Close())
	}
	open.file, open.index, open.staged = made, index, true
	file.staged, file.kept = true, nil
	return nil
}

// sameInTarget reports whether the file in its place has a part already. Callers hold its lock.
func (o *treeOutput) sameInTarget(open *openFile, index int, part span, data []byte) (bool, error) {
	if !o.files[index].inTarget {
		return false, nil
	}
	from, err := o.handle(open, index)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	there := make([]byte, len(data))
	if _, err := from.ReadAt(there, part.offset); err != nil {
		return false, nil // it became shorter
	}
	return bytes.Equal(there, data), nil
}

func (o *treeOutput) refer(ctx context.Context, refs []cafs.ChunkRef) error {
	if o.volume == nil || len(refs) == 0 {
		return nil
	}
	if err := o.volume.Refer(ctx, refs...); err != nil {
		return fmt.Errorf("keep chunks of output %s: %w", o.path, err)
	}
	return nil
}

// discard removes the stage.
func (o *treeOutput) discard() error {
	if o.stage == nil {
		return o.close()
	}
	return errors.Join(o.closeFiles(), o.stage.remove(), o.close())
}

func (o *treeOutput) closeFiles() error {
	var errs []error
	for i := range o.locks {
		open := &o.locks[i]
		open.mu.Lock()
		errs = append(errs, open.close())
		open.mu.Unlock()
	}
	return errors.Join(errs...)
}

func (o *treeOutput) close() error {
	if o.closed {
		return nil
	}
	o.closed = true
	errs := []error{o.closeFiles()}
	if o.volume != nil {
		errs = append(errs, o.volume.Close())
	}
	if o.stage != nil {
		errs = append(errs, o.stage.close())
	}
	if o.target != nil {
		errs = append(errs, o.target.root.Close())
	}
	if o.lock != nil {
		errs = append(errs, os.Remove(o.lock.Name()), o.lock.Close())
	}
	return errors.Join(errs...)
}

// covers reports whether parts are all of a file.
func covers(parts []span, size int64) bool {
	slices.SortFunc(parts, func(a, b span) int { return cmp.Compare(a.offset, b.offset) })
	end := int64(0)
	for _, part := range parts {
		if part.offset > end {
			return false
		}
		end = max(end, part.offset+part.n)
	}
	return end == size
}
