package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// fileInfo is what the index knows of a file volume.
type fileInfo struct {
	identity identity // of the file when it was hashed, as far as it was
	hashed   int64    // when the hashing began, in nanoseconds since 1970, or later: see hashedSince
	root     cafs.Key // whose content the file was when it was sealed; zero if it never was
	path     string
	tree     bool // of files: identity is that of the directory, without size and times
}

// settled reports whether a change of the file since it was hashed must show in its identity. Clocks of files tick
// slowly, so a file that was changed just before it was hashed may be changed again within the same tick.
func (i fileInfo) settled() bool {
	return max(i.identity.mtime, i.identity.ctime) <= i.hashed-int64(racyAge)
}

// hashedSince returns what counts as the time of hashing for a file that was looked at after a time, and then hashed. Where
// a younger change shows as well it is later than that.
func hashedSince(since int64, file userFile, looked identity) int64 {
	const second = int64(time.Second)
	// A file system whose times are whole seconds has no fine ones.
	if since == 0 || !file.eachLookTells() || looked.ctime%second == 0 {
		return since
	}
	return since + int64(racyAge-racyAgeFine)
}

// state compares a volume with a look at its file.
func (i fileInfo) state(now identity, err error) cafs.VolumeState {
	switch {
	case err != nil:
		return cafs.VolumeMissing
	case now != i.identity:
		return cafs.VolumeStale
	case !i.settled():
		return cafs.VolumeRacy
	}
	return cafs.VolumeFresh
}

// fileVolume is a file of the user's that chunks are referred to in.
type fileVolume struct {
	id    uint64
	ahead prefetched
	looks treeLooks // of a tree
	sweep treeSweep // of a tree

	// What follows is guarded by fileSet.mu.

	info fileInfo
	// writer is the file while somebody has the volume open as Written; the identity in info means nothing then, unless
	// the volume is sealed. Reads use it, for its path may change at any time.
	writer userFile
	// stream is the data stream of a tree while that is written.
	stream io.ReaderAt
	// users counts who has the volume open.
	users int
	// ended is why the volume takes nothing more, if so. It is no longer in the set then.
	ended error
	// stored tells that the index has an entry of the volume, or gets one with the commit under way.
	stored bool
	// checked is when the file was last looked at, and intact whether it was as it was when it was hashed.
	checked time.Time
	intact  bool

	// What follows is guarded by appender.mu. unsynced tells that there may be bytes of a writer to be synced, and moving,
	// if it has a path, what the volume is to be when its file was renamed.
	unsynced bool
	moving   fileInfo
}

// written reports whether the identity of the file changes by what the store's own user does.
func (v *fileVolume) written() bool { return v.writer != nil && v.info.root == cafs.Key{} }

// fileSet is the file volumes.
type fileSet struct {
	files  userFiles
	opened *openFiles
	// rows is index.treeRows.
	rows func(volume uint64, from, to int64) ([]treeRow, error)
	now  func() time.Time
	// reading has room for as many reads as may be under way at the same time.
	reading chan struct{}

	// mu guards the fields below, and those of the volumes.
	mu      sync.Mutex
	volumes map[uint64]*fileVolume
	paths   map[string][]*fileVolume // the same volumes; more than one only until a new one is sealed
	ends    uint64                   // volumes that ended since the store was opened
}

func newFileSet(files userFiles, now func() time.Time) *fileSet {
	return &fileSet{
		files:   files,
		opened:  newOpenFiles(files),
		now:     now,
		reading: make(chan struct{}, fileReadsMax),
		volumes: make(map[uint64]*fileVolume),
		paths:   make(map[string][]*fileVolume),
	}
}

// load takes over a volume from the index.
func (s *fileSet) load(id uint64, info fileInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addLocked(&fileVolume{id: id, info: info, stored: true})
}

func (s *fileSet) addLocked(v *fileVolume) {
	s.volumes[v.id] = v
	s.paths[v.info.path] = append(s.paths[v.info.path], v)
}

// endLocked takes a volume out of the set for good.
func (s *fileSet) endLocked(v *fileVolume, why error) {
	v.ended = why
	s.ends++
	delete(s.volumes, v.id)
	s.unlistLocked(v)
}

func (s *fileSet) unlistLocked(v *fileVolume) {
	path := v.info.path
	// A copy, for others may be going through the old one.
	others := slices.DeleteFunc(slices.Clone(s.paths[path]), func(other *fileVolume) bool { return other == v })
	if s.paths[path] = others; len(others) == 0 {
		delete(s.paths, path)
	}
}

// ended returns why a volume takes nothing more, if so.
func (s *fileSet) ended(v *fileVolume) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.ended
}

// endedCount returns how many volumes ended since the store was opened.
func (s *fileSet) endedCount() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ends
}

// known reports whether there is a volume of an id.
func (s *fileSet) known(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.volumes[id] != nil
}

// usable reports whether the file of a volume is, by its metadata, as it was when it was hashed. It looks at the file,
// unless it did so less than checkInterval before now.
func (s *fileSet) usable(id uint64, now time.Time) bool {
	s.mu.Lock()
	v := s.volumes[id]
	if v == nil || v.written() {
		defer s.mu.Unlock()
		return v != nil
	}
	if age := now.Sub(v.checked); age >= 0 && age < checkInterval {
		defer s.mu.Unlock()
		return v.intact
	}
	info := v.info
	s.mu.Unlock()
	found, err := s.look(info)
	intact := err == nil && found == info.identity
	s.note(v, info, intact, now)
	return intact
}

// look returns what is at the path of a volume now.
func (s *fileSet) look(info fileInfo) (identity, error) {
	if info.tree {
		return identifyDirectory(info.path)
	}
	return s.files.identity(info.path)
}

// note keeps what a look at a file showed, if that is still the file that the volume is about.
func (s *fileSet) note(v *fileVolume, info fileInfo, intact bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.info == info {
		v.checked, v.intact = now, intact
	}
}

// read returns the bytes of a chunk at a location, in buf if they fit. They were hashed, now or, if the file cannot have
// changed since, when the chunk was referred to. The error wraps cafs.ErrCorrupt if other bytes are there, and
// cafs.ErrNotFound if there is no file or no volume; others are those of the operating system.
func (s *fileSet) read(ctx context.Context, key cafs.Key, loc location, buf []byte) ([]byte, error) {
	path, buf, unchanged, err := s.fill(ctx, loc, buf)
	switch {
	case errors.Is(err, io.EOF):
		return nil, fmt.Errorf("chunk %s: %w: %w", key, err, cafs.ErrCorrupt)
	case err != nil:
		return nil, fmt.Errorf("chunk %s: %w", key, err)
	case !unchanged && cafs.KeyOf(buf) != key:
		return nil, fmt.Errorf("chunk %s: other bytes in %s at %d: %w", key, path, loc.offset, cafs.ErrCorrupt)
	}
	return buf, nil
}

// fill reads whatever is at a location, into buf or, if that has no room, into new memory. It waits until there is a place
// for one more read.
func (s *fileSet) fill(ctx context.Context, loc location, buf []byte) (path string, data []byte, unchanged bool, err error) {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return "", nil, false, ctx.Err()
	}
	if cap(buf) < loc.length {
		buf = make([]byte, loc.length)
	}
	buf = buf[:loc.length]
	path, unchanged, err = s.readAt(loc, buf)
	return path, buf, unchanged, err
}

// readAt fills buf with whatever is at a location of a file, and returns its path. unchanged tells that it is what was
// there when the file was hashed.
func (s *fileSet) readAt(loc location, buf []byte) (path string, unchanged bool, err error) {
	v, info, writer := s.get(loc.volume)
	if v == nil {
		return "", false, fmt.Errorf("its volume was removed: %w", cafs.ErrNotFound)
	}
	if info.tree {
		return s.readTree(v, info, loc.offset, buf)
	}
	if writer != nil {
		if _, err = writer.ReadAt(buf, loc.offset); !errors.Is(err, os.ErrClosed) {
			return info.path, false, err
		}
		// It was closed just now; the volume may have a new path.
		if v, info, _ = s.get(loc.volume); v == nil {
			return "", false, fmt.Errorf("its volume was removed: %w", cafs.ErrNotFound)
		}
	}
	intact, unchanged, err := s.readFile(info, loc.offset, buf, func(file prefetcher) { v.ahead.before(file, loc.offset) })
	if !intact {
		s.note(v, info, false, s.now())
	}
	if err != nil && isAbsent(err) {
		err = fmt.Errorf("%w: %w", err, cafs.ErrNotFound)
	}
	return info.path, unchanged, err
}

// readFile fills buf from a file, after a call of ahead. intact tells that it looks as it did when it was hashed, and
// unchanged that it is. A look after the bytes were read is enough: a change before that would show as well.
func (s *fileSet) readFile(
	info fileInfo, offset int64, buf []byte, ahead func(prefetcher),
) (intact, unchanged bool, err error) {
	for {
		file, known, err := s.opened.get(info.path)
		if err != nil {
			return !isAbsent(err), false, err
		}
		if !known {
			if _, err := file.identity(); err != nil { // what is no file must not be read
				s.opened.put(file, false)
				return !isAbsent(err), false, err
			}
		}
		ahead(file)
		_, errRead := file.ReadAt(buf, offset)
		now, errLook := file.identity()
		intact := errLook == nil && now == info.identity
		unchanged := errRead == nil && intact && info.settled() && file.timesTell()
		// A file of one chunk is read once, as a rule.
		s.opened.put(file, errRead == nil && intact && int64(len(buf)) < now.size)
		switch {
		case known && (errRead != nil || !intact):
			continue // what is at the path now may be something else
		case errLook != nil:
			return !isAbsent(errLook), false, errLook
		}
		return intact, unchanged, errRead
	}
}

// get returns a volume with what is known of it, or nil.
func (s *fileSet) get(id uint64) (v *fileVolume, info fileInfo, writer userFile) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v = s.volumes[id]; v == nil {
		return nil, fileInfo{}, nil
	}
	return v, v.info, v.writer
}
