package disk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/swarmsync/swarmsync/cafs"
)

var _ cafs.Referrer = (*Store)(nil)

var (
	errVolumeReplaced = errors.New("volume was replaced by another one of the same path")
	errVolumeRemoved  = errors.New("volume was removed")
)

// volume is a cafs.Volume: a fileVolume that somebody has open.
type volume struct {
	store   *Store
	volume  *fileVolume
	file    userFile
	written bool
	// opened is what the file was when the volume was opened, and since when that was, in nanoseconds since 1970.
	opened identity
	since  int64

	closeOnce sync.Once
	closeErr  error
}

// checkVolumePath refuses paths that no volume can have.
func checkVolumePath(path string) error {
	switch {
	case !filepath.IsAbs(path) || filepath.Clean(path) != path:
		return fmt.Errorf("volume %q: the path is not absolute and clean", path)
	case len(path) > volumePathMax:
		return fmt.Errorf("volume: path of %d bytes: want at most %d", len(path), volumePathMax)
	case strings.ContainsRune(path, 0):
		return fmt.Errorf("volume %q: the path has a NUL", path)
	}
	return nil
}

// OpenVolume implements cafs.Referrer. The error wraps that of the operating system if there is no regular file that may
// be opened.
func (s *Store) OpenVolume(ctx context.Context, path string, opts cafs.VolumeOptions) (cafs.Volume, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	if err := checkVolumePath(path); err != nil {
		return nil, err
	}
	since := s.files.now().UnixNano()
	file, err := s.files.files.open(path, opts.Written)
	if err != nil {
		return nil, fmt.Errorf("open volume: %w", err)
	}
	// What the user's file has must survive a power cut as a copy would, and only what is on disk sets the times of the file
	// when it is changed through a mapping. A file that can't be synced is read and hashed all the same, each time.
	if !opts.Written && file.SyncData() != nil && file.timesTell() {
		since = 0
	}
	opened, err := file.identity()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open volume: %w", err), file.Close())
	}
	if !opts.Written {
		since = hashedSince(since, file, opened)
	}
	handle := &volume{store: s, file: file, written: opts.Written, opened: opened, since: since}
	handle.volume = s.append.openVolume(handle, path)
	return handle, nil
}

// ReadAt implements cafs.Volume.
func (v *volume) ReadAt(p []byte, off int64) (int, error) { return v.file.ReadAt(p, off) }

// HoleAt implements cafs.Volume.
func (v *volume) HoleAt(offset int64) int64 {
	now, err := v.file.identity()
	if err != nil {
		return 0
	}
	return v.file.holeAt(offset, now.size)
}

// Refer implements cafs.Volume. It is at its best with a row of chunks.
func (v *volume) Refer(ctx context.Context, chunks ...cafs.ChunkRef) error {
	if err := v.store.begin(ctx); err != nil {
		return err
	}
	defer v.store.end()
	for _, ref := range chunks {
		size := ref.Chunk.Size
		if size < cafs.ChunkSizeMin || size > cafs.ChunkSizeMax || ref.Offset < 0 || ref.Offset > offsetMax {
			return fmt.Errorf("refer to chunk %s: no file has one of %d bytes at %d", ref.Chunk.Key, size, ref.Offset)
		}
	}
	for group := range slices.Chunk(chunks, groupChunksMax) {
		if err := v.refer(ctx, group); err != nil {
			return fmt.Errorf("refer to chunks: %w", err)
		}
	}
	return nil
}

func (v *volume) refer(ctx context.Context, group []cafs.ChunkRef) error {
	release, err := v.store.reserve(ctx, int64(len(group))*indexEntryBytes)
	if err != nil {
		return err
	}
	defer release()
	if err := v.store.readyToAppend(ctx); err != nil {
		return err
	}
	return v.store.append.refer(ctx, v.volume, group)
}

// Sync implements cafs.Volume.
func (v *volume) Sync(ctx context.Context) error {
	if err := v.store.Sync(ctx); err != nil {
		return err
	}
	return v.store.files.ended(v.volume)
}

// PrepareSeal implements cafs.Volume.
func (v *volume) PrepareSeal(ctx context.Context, path string, root cafs.Key) error {
	if !v.written {
		return fmt.Errorf("prepare to seal volume %s: it is not Written", path)
	}
	if err := checkSeal(path, root); err != nil {
		return err
	}
	if err := v.Sync(ctx); err != nil {
		return err
	}
	now, err := v.file.identity()
	if err != nil {
		return fmt.Errorf("prepare to seal volume %s: %w", path, err)
	}
	now.ctime = ctimeUnknown
	// Without a time of hashing the file is hashed at each read until it is sealed anew.
	if err := v.store.append.prepareSeal(v.volume, fileInfo{identity: now, root: root, path: path}); err != nil {
		return fmt.Errorf("prepare to seal volume %s: %w", path, err)
	}
	return v.Sync(ctx)
}

// checkSeal refuses what no volume can be sealed as.
func checkSeal(path string, root cafs.Key) error {
	if err := checkVolumePath(path); err != nil {
		return err
	}
	if root == (cafs.Key{}) {
		return fmt.Errorf("seal volume %s: the root is the zero key", path)
	}
	return nil
}

// Seal implements cafs.Volume.
func (v *volume) Seal(ctx context.Context, path string, root cafs.Key) error {
	if err := v.store.begin(ctx); err != nil {
		return err
	}
	defer v.store.end()
	if err := checkSeal(path, root); err != nil {
		return err
	}
	info, err := v.look(path)
	if err != nil {
		return fmt.Errorf("seal volume: %w", err)
	}
	info.root = root
	if err := v.store.append.seal(v.volume, info); err != nil {
		return fmt.Errorf("seal volume %s: %w", path, err)
	}
	return nil
}

// look returns what the volume's file at path is now; the error wraps cafs.ErrChanged if it is not the file to be sealed.
func (v *volume) look(path string) (fileInfo, error) {
	hashed := v.since
	if v.written {
		hashed = v.store.files.now().UnixNano()
	}
	found, err := v.file.identity()
	if err != nil {
		return fileInfo{}, err
	}
	if !v.written && found != v.opened {
		return fileInfo{}, fmt.Errorf("%s: %w while it was read", path, cafs.ErrChanged)
	}
	there, err := v.store.files.files.identity(path)
	switch {
	case err != nil && isAbsent(err):
		return fileInfo{}, fmt.Errorf("%w: %w", err, cafs.ErrChanged)
	case err != nil:
		return fileInfo{}, err
	case there != found:
		return fileInfo{}, fmt.Errorf("%s: %w: it is another file", path, cafs.ErrChanged)
	}
	return fileInfo{identity: found, hashed: hashed, path: path}, nil
}

// Close implements cafs.Volume.
func (v *volume) Close() error {
	v.closeOnce.Do(func() {
		var errSync error
		if v.written {
			// What was referred to is synced through the file, so it must be open until then. A store that was closed has
			// synced everything.
			if errSync = v.Sync(context.Background()); errors.Is(errSync, cafs.ErrClosed) {
				errSync = nil
			}
		}
		v.store.append.closeVolume(v)
		v.closeErr = errors.Join(errSync, v.file.Close())
	})
	return v.closeErr
}

// Volume implements cafs.Referrer.
func (s *Store) Volume(ctx context.Context, path string) (cafs.VolumeInfo, error) {
	if err := s.begin(ctx); err != nil {
		return cafs.VolumeInfo{}, err
	}
	defer s.end()
	infos := s.files.list(path)
	if len(infos) == 0 {
		return cafs.VolumeInfo{}, fmt.Errorf("volume %s: %w", path, cafs.ErrNotFound)
	}
	return s.describe(infos[0]), nil
}

// HasElsewhere implements cafs.Referrer.
func (s *Store) HasElsewhere(ctx context.Context, path string, keys []cafs.Key) ([]bool, error) {
	there := make(map[uint64]bool)
	for _, v := range s.files.list(path) {
		there[v.id] = true
	}
	return s.has(ctx, keys, func(volume uint64) bool { return there[volume] })
}

// Locate implements cafs.Referrer.
func (s *Store) Locate(ctx context.Context, keys []cafs.Key) ([]cafs.Location, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.end()
	found := make([]cafs.Location, len(keys))
	err := s.index.visit(ctx, keys, func(i int, locations []location) {
		for _, loc := range locations {
			if !s.files.usableAt(loc) {
				continue
			}
			if place, ok := s.files.placeOf(loc); ok {
				found[i] = place
				return
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Volumes implements cafs.Referrer.
func (s *Store) Volumes(ctx context.Context) iter.Seq2[cafs.VolumeInfo, error] {
	return func(yield func(cafs.VolumeInfo, error) bool) {
		if err := s.begin(ctx); err != nil {
			yield(cafs.VolumeInfo{}, err)
			return
		}
		defer s.end()
		last := ""
		for _, info := range s.files.list("") {
			if info.path == last {
				continue
			}
			last = info.path
			if err := ctx.Err(); err != nil {
				yield(cafs.VolumeInfo{}, err)
				return
			}
			if !yield(s.describe(info), nil) {
				return
			}
		}
	}
}

// RemoveVolume implements cafs.Referrer.
func (s *Store) RemoveVolume(ctx context.Context, path string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.end()
	removed, err := s.append.removeVolumes(path)
	if err != nil {
		return fmt.Errorf("remove volume %s: %w", path, err)
	}
	if !removed {
		return fmt.Errorf("remove volume %s: %w", path, cafs.ErrNotFound)
	}
	return s.sync(ctx)
}

// listed is a volume as it was when a list was made.
type listed struct {
	fileInfo
	id      uint64
	written bool
}

// list returns the volumes at a path, or all if that is empty, in the order of their paths; of those with the same path
// the sealed ones come first, and newer ones before older ones.
func (s *fileSet) list(path string) []listed {
	s.mu.Lock()
	defer s.mu.Unlock()
	var infos []listed
	if path != "" {
		for _, v := range s.paths[path] {
			infos = append(infos, listed{v.info, v.id, v.written()})
		}
	} else {
		for _, v := range s.volumes {
			infos = append(infos, listed{v.info, v.id, v.written()})
		}
	}
	unsealed := func(l listed) int {
		if l.root == (cafs.Key{}) {
			return 1
		}
		return 0
	}
	slices.SortFunc(infos, func(a, b listed) int {
		return cmp.Or(strings.Compare(a.path, b.path), unsealed(a)-unsealed(b), cmp.Compare(b.id, a.id))
	})
	return infos
}

// describe looks at the file of a volume and tells what is known of it.
func (s *Store) describe(l listed) cafs.VolumeInfo {
	info := cafs.VolumeInfo{Path: l.path, Size: l.identity.size, Root: l.root, Tree: l.tree}
	found, err := s.files.look(l.fileInfo)
	switch info.State = l.state(found, err); {
	case l.written && err == nil:
		info.State = cafs.VolumeRacy
	case l.tree && err == nil && found == l.identity && l.root != cafs.Key{}:
		info.State = s.treeState(l)
	}
	return info
}
