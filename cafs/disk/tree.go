package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/internal/durable"
)

var _ cafs.TreeReferrer = (*Store)(nil)

// treeVolume is a cafs.TreeVolume: a fileVolume of a directory that somebody has open.
type treeVolume struct {
	store  *Store
	volume *fileVolume
	dir    string
	opened identity // of the directory
	// since is when the volume was opened, in nanoseconds since 1970; 0 if files have to be hashed at each read.
	since int64
	// old is the volume that was sealed at the same path, 0 if there is none.
	old uint64

	mu   sync.Mutex // guards rows
	rows []treeRow  // that are not in the index yet

	closeOnce sync.Once
}

// treeRowsMax bounds the rows that wait for the index, some 300 bytes each.
const treeRowsMax = 2048

// OpenTree implements cafs.TreeReferrer. The error wraps errors.ErrUnsupported where directories have no identity.
func (s *Store) OpenTree(ctx context.Context, path string, opts cafs.TreeVolumeOptions) (cafs.TreeVolume, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	if err := checkVolumePath(path); err != nil {
		return nil, err
	}
	opened, err := identifyDirectory(path)
	if err != nil {
		return nil, fmt.Errorf("open tree: %w", err)
	}
	t := &treeVolume{store: s, dir: path, opened: opened, since: s.files.now().UnixNano()}
	// As in OpenVolume: what is there must survive a power cut, and must be on disk for the times of its files to tell.
	if opts.Written == nil && durable.SyncFS(path) != nil {
		t.since = 0
	}
	t.volume, t.old = s.append.openTree(path, fileInfo{identity: opened, hashed: t.since, path: path, tree: true}, opts.Written)
	// The id must be known to be taken before there are rows of it, which are written without the appender.
	if err := s.sync(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// openTree makes a volume for a directory, and returns with it the id of the sealed tree at its path, 0 if there is none.
func (a *appender) openTree(path string, info fileInfo, stream io.ReaderAt) (v *fileVolume, old uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	for _, other := range a.files.paths[path] {
		if other.info.tree && other.info.root != (cafs.Key{}) {
			old = other.id
		}
	}
	v = &fileVolume{id: a.nextVolume, info: info, stream: stream, users: 1}
	a.nextVolume++
	a.files.addLocked(v)
	a.touch(v)
	return v, old
}

// Refer implements cafs.TreeVolume.
func (t *treeVolume) Refer(ctx context.Context, chunks ...cafs.ChunkRef) error {
	return (&volume{store: t.store, volume: t.volume}).Refer(ctx, chunks...)
}

// Open implements cafs.TreeVolume.
func (t *treeVolume) Open(ctx context.Context, path string, offset, size int64) (io.ReadCloser, error) {
	if err := t.store.begin(ctx); err != nil {
		return nil, err
	}
	defer t.store.end()
	full, err := t.path(path)
	if err != nil {
		return nil, err
	}
	file, err := t.store.files.files.open(full, false)
	if err != nil {
		return nil, fmt.Errorf("open file of a tree: %w", err)
	}
	opened, err := file.identity()
	if err == nil && opened.size != size {
		err = fmt.Errorf("%s: %w: it has %d bytes instead of %d", full, cafs.ErrChanged, opened.size, size)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open file of a tree: %w", err), file.Close())
	}
	since := t.since
	if opened.device != t.opened.device || !file.timesTell() {
		since = 0 // the file system may be another, and was not synced
	}
	since = hashedSince(since, file, opened)
	return &treeFile{io.NewSectionReader(file, 0, size), file, t, treeRow{offset + size, opened, since, path}}, nil
}

// path returns where a file of the tree is.
func (t *treeVolume) path(path string) (string, error) {
	local := filepath.FromSlash(path)
	if !filepath.IsLocal(local) || len(path) > cafs.PathSizeMax {
		return "", fmt.Errorf("file %q is in no tree", path)
	}
	return filepath.Join(t.dir, local), nil
}

// treeFile is a file of a tree that is being read.
type treeFile struct {
	io.Reader
	file userFile
	tree *treeVolume
	row  treeRow
}

// Close notes what the file was when it was read.
func (f *treeFile) Close() error {
	now, err := f.file.identity()
	if err == nil && now != f.row.identity {
		err = fmt.Errorf("%s: %w while it was read", f.row.path, cafs.ErrChanged)
	}
	if err == nil {
		err = f.tree.add(f.row)
	}
	return errors.Join(err, f.file.Close())
}

// Place implements cafs.TreeVolume.
func (t *treeVolume) Place(ctx context.Context, path string, offset, size int64) error {
	if err := t.store.begin(ctx); err != nil {
		return err
	}
	defer t.store.end()
	full, err := t.path(path)
	if err != nil {
		return err
	}
	found, err := t.store.files.files.identity(full)
	if err != nil {
		return fmt.Errorf("place file of a tree: %w", err)
	}
	if found.size != size {
		return fmt.Errorf("%s: %w: it has %d bytes instead of %d", full, cafs.ErrChanged, found.size, size)
	}
	// What stays of the user's own was hashed before it was synced, and the rest was written just now: both are hashed once more
	// when the node is idle.
	return t.add(treeRow{offset + size, found, 0, path})
}

// Keep implements cafs.TreeVolume.
func (t *treeVolume) Keep(ctx context.Context, file cafs.TreeFile, offset int64) error {
	if err := t.store.begin(ctx); err != nil {
		return err
	}
	defer t.store.end()
	rows, err := t.store.index.treeRows(t.old, file.Offset, file.Offset+file.Size)
	if err != nil {
		return err
	}
	if len(rows) != 1 || rows[0].path != file.Path || rows[0].start() != file.Offset {
		return fmt.Errorf("keep file %q of a tree: %w", file.Path, cafs.ErrNotFound)
	}
	row := rows[0]
	row.end = offset + file.Size
	return t.add(row)
}

func (t *treeVolume) add(row treeRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, row)
	if len(t.rows) < treeRowsMax {
		return nil
	}
	return t.flushLocked()
}

// flushLocked writes the rows to the index, where they survive a power cut from the next commit on.
func (t *treeVolume) flushLocked() error {
	batch := t.store.index.db.NewBatch()
	defer func() { _ = batch.Close() }()
	for _, row := range t.rows {
		key, value := encodeTreeRow(t.volume.id, row)
		if err := batch.Set(key, value, nil); err != nil {
			return err
		}
	}
	if err := batch.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	t.rows = t.rows[:0]
	return nil
}

func (t *treeVolume) flush(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	release, err := t.store.reserve(ctx, int64(len(t.rows))*indexEntryBytes)
	if err != nil {
		return err
	}
	defer release()
	return t.flushLocked()
}

// PrepareSeal implements cafs.TreeVolume.
func (t *treeVolume) PrepareSeal(ctx context.Context, path string, root cafs.Key) error {
	if err := t.store.begin(ctx); err != nil {
		return err
	}
	defer t.store.end()
	if err := checkSeal(path, root); err != nil {
		return err
	}
	if err := t.flush(ctx); err != nil {
		return fmt.Errorf("prepare to seal tree %s: %w", path, err)
	}
	moving := fileInfo{identity: t.opened, hashed: t.since, root: root, path: path, tree: true}
	moving.identity.ctime = ctimeUnknown
	if err := t.store.append.prepareSeal(t.volume, moving); err != nil {
		return fmt.Errorf("prepare to seal tree %s: %w", path, err)
	}
	return t.store.sync(ctx)
}

// Seal implements cafs.TreeVolume.
func (t *treeVolume) Seal(ctx context.Context, path string, root cafs.Key) error {
	if err := t.store.begin(ctx); err != nil {
		return err
	}
	defer t.store.end()
	if err := checkSeal(path, root); err != nil {
		return err
	}
	there, err := identifyDirectory(path)
	if err == nil && there != t.opened {
		err = fmt.Errorf("%s: %w: it is another directory", path, cafs.ErrChanged)
	}
	if err == nil {
		err = t.flush(ctx)
	}
	if err == nil {
		info := fileInfo{identity: t.opened, hashed: t.since, root: root, path: path, tree: true}
		err = t.store.append.seal(t.volume, info)
	}
	if err != nil {
		return fmt.Errorf("seal tree: %w", err)
	}
	return nil
}

// Close implements cafs.TreeVolume.
func (t *treeVolume) Close() error {
	t.closeOnce.Do(func() { t.store.append.closeTree(t.volume) })
	return nil
}

// closeTree notes that the user of a volume has gone, and forgets one that was not sealed.
func (a *appender) closeTree(v *fileVolume) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	v.users--
	v.stream = nil
	if v.ended == nil && v.info.root == (cafs.Key{}) {
		a.endVolumeLocked(v, errVolumeRemoved)
	}
}

// TreeFiles implements cafs.TreeReferrer.
func (s *Store) TreeFiles(ctx context.Context, path string) iter.Seq2[cafs.TreeFile, error] {
	return func(yield func(cafs.TreeFile, error) bool) {
		if err := s.begin(ctx); err != nil {
			yield(cafs.TreeFile{}, err)
			return
		}
		defer s.end()
		v := s.files.sealedTree(path)
		if v == nil {
			yield(cafs.TreeFile{}, fmt.Errorf("tree %s: %w", path, cafs.ErrNotFound))
			return
		}
		for row, err := range s.index.treeRowsFrom(ctx, v.id, 0) {
			file := cafs.TreeFile{Path: row.path, Offset: row.start(), Size: row.identity.size}
			if err == nil {
				info := row.info(path)
				file.State = info.state(s.files.files.identity(info.path))
			}
			if !yield(file, err) || err != nil {
				return
			}
		}
	}
}

// sealedTree returns the sealed tree at a path, or nil.
func (s *fileSet) sealedTree(path string) *fileVolume {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.paths[path], func(v *fileVolume) bool { return v.info.tree && v.info.root != cafs.Key{} })
	if i < 0 {
		return nil
	}
	return s.paths[path][i]
}

// info returns the file as a volume of its own would have it.
func (r treeRow) info(dir string) fileInfo {
	return fileInfo{identity: r.identity, hashed: r.hashed, path: filepath.Join(dir, filepath.FromSlash(r.path))}
}

// treeRowsFrom enumerates the files of a tree in the order of the data stream, from the one on that has the byte at an
// offset. It stops after the first error.
func (x *index) treeRowsFrom(ctx context.Context, volume uint64, offset int64) iter.Seq2[treeRow, error] {
	return func(yield func(treeRow, error) bool) {
		it, err := x.db.NewIterWithContext(ctx, &pebble.IterOptions{
			LowerBound: treeFileKey(volume, offset+1),
			UpperBound: treeFileKey(volume+1, 0),
		})
		if err != nil {
			yield(treeRow{}, err)
			return
		}
		defer it.Close()
		for it.First(); it.Valid(); it.Next() {
			row, err := decodeTreeRow(it.Key(), it.Value())
			if err != nil {
				x.damaged(err)
			}
			if err == nil {
				err = ctx.Err()
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(treeRow{}, fmt.Errorf("read index: %w", err))
		}
	}
}

// treeRows returns the files of a tree that have the bytes from one offset to another; the error wraps cafs.ErrNotFound if
// there is a gap.
func (x *index) treeRows(volume uint64, from, to int64) ([]treeRow, error) {
	var rows []treeRow
	at := from
	for row, err := range x.treeRowsFrom(context.Background(), volume, from) {
		if err != nil {
			return nil, err
		}
		if row.start() > at {
			break
		}
		rows = append(rows, row)
		if at = row.end; at >= to {
			return rows, nil
		}
	}
	return nil, fmt.Errorf("bytes from %d to %d of a tree: %w", from, to, cafs.ErrNotFound)
}

// readTree fills buf with what the files of a tree have at an offset of its data stream. unchanged tells that it is what
// was there when they were hashed; path is that of one of them.
func (s *fileSet) readTree(v *fileVolume, info fileInfo, offset int64, buf []byte) (path string, unchanged bool, err error) {
	s.mu.Lock()
	stream := v.stream
	s.mu.Unlock()
	if stream != nil && info.root == (cafs.Key{}) {
		_, err := stream.ReadAt(buf, offset)
		return info.path, false, err
	}
	rows, err := s.rows(v.id, offset, offset+int64(len(buf)))
	if err != nil {
		return info.path, false, err
	}
	unchanged = info.hashed != 0
	for _, row := range rows {
		file := row.info(info.path)
		piece := buf[:min(int64(len(buf)), row.end-offset)]
		intact, same, err := s.readFile(file, offset-row.start(), piece, func(file prefetcher) {
			if offset+int64(len(piece)) < row.end {
				v.ahead.before(fileOfTree{file, row.start()}, offset)
			}
		})
		if err != nil || !intact {
			v.looks.note(row.end, false, s.now())
		}
		if err != nil && isAbsent(err) {
			err = fmt.Errorf("%w: %w", err, cafs.ErrNotFound)
		}
		if err != nil {
			return file.path, false, err
		}
		path = file.path
		unchanged = unchanged && same
		buf, offset = buf[len(piece):], offset+int64(len(piece))
	}
	return path, unchanged, nil
}

// usableAt reports whether the file that a chunk stands in is, by its metadata, as it was when it was hashed; all of them
// if it is a tree.
func (s *fileSet) usableAt(loc location) bool {
	now := s.now()
	if !s.usable(loc.volume, now) {
		return false
	}
	v, info, _ := s.get(loc.volume)
	if v == nil || !info.tree {
		return v != nil
	}
	if info.root == (cafs.Key{}) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return v.stream != nil
	}
	rows, err := s.rows(v.id, loc.offset, loc.offset+int64(loc.length))
	if err != nil {
		return false
	}
	for _, row := range rows {
		intact, known := v.looks.get(row.end, now)
		if !known {
			found, err := s.files.identity(row.info(info.path).path)
			intact = err == nil && found == row.identity
			v.looks.note(row.end, intact, now)
		}
		if !intact {
			return false
		}
	}
	return true
}

// placeOf returns the file of a volume that a chunk stands in, and where in that; ok is false if there is none, or more.
func (s *fileSet) placeOf(loc location) (place cafs.Location, ok bool) {
	v, info, _ := s.get(loc.volume)
	if v == nil {
		return cafs.Location{}, false
	}
	if !info.tree {
		return cafs.Location{Path: info.path, Offset: loc.offset}, true
	}
	rows, err := s.rows(v.id, loc.offset, loc.offset+int64(loc.length))
	if err != nil || len(rows) != 1 {
		return cafs.Location{}, false
	}
	return cafs.Location{Path: rows[0].info(info.path).path, Offset: loc.offset - rows[0].start()}, true
}

// treeLooks keeps what looks at the files of a tree showed lately, by where they end in the data stream. Its zero value is
// empty. It may be used concurrently.
type treeLooks struct {
	mu    sync.Mutex
	looks map[int64]treeLook
}

type treeLook struct {
	at     int64
	intact bool
}

// treeLooksMax bounds the looks that are kept, to some hundred KiB.
const treeLooksMax = 4096

func (l *treeLooks) get(end int64, now time.Time) (intact, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	look, ok := l.looks[end]
	age := now.UnixNano() - look.at
	return look.intact, ok && age >= 0 && age < int64(checkInterval)
}

func (l *treeLooks) note(end int64, intact bool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.looks) >= treeLooksMax || l.looks == nil {
		l.looks = make(map[int64]treeLook)
	}
	l.looks[end] = treeLook{now.UnixNano(), intact}
}

// treeSweep is what the last look at all files of a tree showed.
type treeSweep struct {
	mu       sync.Mutex // held for the look
	ended    time.Time
	validFor time.Duration
	state    cafs.VolumeState
}

// treeState looks at all files of a tree, unless that was done just now.
func (s *Store) treeState(l listed) cafs.VolumeState {
	s.files.mu.Lock()
	v := s.files.volumes[l.id]
	s.files.mu.Unlock()
	if v == nil {
		return cafs.VolumeMissing
	}
	sweep := &v.sweep
	sweep.mu.Lock()
	defer sweep.mu.Unlock()
	now := s.files.now()
	if age := now.Sub(sweep.ended); age >= 0 && age < sweep.validFor {
		return sweep.state
	}
	sweep.state = cafs.VolumeFresh
	for row, err := range s.index.treeRowsFrom(context.Background(), l.id, 0) {
		state := cafs.VolumeStale
		if err == nil {
			info := row.info(l.path)
			if state = info.state(s.files.files.identity(info.path)); state == cafs.VolumeMissing {
				state = cafs.VolumeStale
			}
		}
		if sweep.state = max(sweep.state, state); sweep.state == cafs.VolumeStale {
			break
		}
	}
	sweep.ended = s.files.now()
	sweep.validFor = max(checkInterval, sweepShare*sweep.ended.Sub(now))
	return sweep.state
}

// sweepShare is how many times as long as it took the look at all files of a tree serves.
const sweepShare = 100
