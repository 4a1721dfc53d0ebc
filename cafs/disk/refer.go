package disk

import (
	"context"
	"fmt"
	"slices"

	"github.com/swarmsync/swarmsync/cafs"
)

// What this file adds to the appender is what happens to file volumes. It shares the appender's lock, because what a
// commit takes along of the volumes must fit to what it takes along of the overlay.

// openVolume returns the volume for a file that was opened at path: the one that is known of it if it has not changed,
// or a new one.
func (a *appender) openVolume(handle *volume, path string) *fileVolume {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	v := a.files.unchangedLocked(handle, path)
	if v == nil {
		v = &fileVolume{id: a.nextVolume, info: fileInfo{identity: handle.opened, hashed: handle.since, path: path}}
		a.nextVolume++
		a.files.addLocked(v)
	}
	v.users++
	if handle.written {
		v.writer = handle.file
	}
	for _, other := range a.files.paths[path] {
		if other != v && other.users == 0 && other.info.root == (cafs.Key{}) {
			a.endVolumeLocked(other, errVolumeReplaced) // of somebody who was cut off; it would never end otherwise
		}
	}
	return v
}

// unchangedLocked returns a volume at path whose file is the one that was opened, and as it was when it was hashed.
// Whoever writes needs a volume of his own that is not sealed.
func (s *fileSet) unchangedLocked(handle *volume, path string) *fileVolume {
	for _, v := range s.paths[path] {
		free := v.writer == nil && (!handle.written || v.users == 0 && v.info.root == cafs.Key{})
		if free && v.info.identity == handle.opened {
			return v
		}
	}
	return nil
}

// refer notes where chunks are in a file. The caller sees to it that there is room in the overlay.
func (a *appender) refer(ctx context.Context, v *fileVolume, refs []cafs.ChunkRef) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	writer, err := a.takes(v)
	if err != nil {
		return err
	}
	a.keys = a.keys[:0]
	for _, ref := range refs {
		a.keys = append(a.keys, ref.Chunk.Key)
	}
	old := make([][]location, len(refs))
	err = a.index.visit(ctx, a.keys, func(i int, locations []location) { old[i] = locations })
	if err != nil {
		return err
	}
	keys := make([]cafs.Key, 0, len(refs))
	lists := make([][]location, 0, len(refs))
	for i, ref := range refs {
		loc := location{volume: v.id, offset: ref.Offset, length: ref.Chunk.Size}
		if list := a.withFile(old[i], loc); !slices.Equal(list, old[i]) {
			keys = append(keys, ref.Chunk.Key)
			lists = append(lists, list)
		}
	}
	a.index.set(keys, lists)
	v.unsynced = v.unsynced || writer != nil
	a.touch(v)
	return nil
}

// takes returns why a volume takes nothing more, or else its writer.
func (a *appender) takes(v *fileVolume) (writer userFile, err error) {
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	if a.failed != nil {
		return nil, a.failed
	}
	return v.writer, v.ended
}

// touch makes the next commit write what is known of a volume.
func (a *appender) touch(v *fileVolume) {
	a.touched[v] = struct{}{}
	a.groups++
}

// withPack returns the locations of a chunk that is now in a pack as well.
func (a *appender) withPack(old []location, loc location) []location {
	list := append(make([]location, 0, 1+len(old)), loc)
	for _, other := range old {
		if a.files.known(other.volume) {
			list = append(list, other)
		}
	}
	return list[:min(len(list), locationsMax)]
}

// withFile returns the locations of a chunk that is now in a file as well: those in packs come first, because reading
// them takes no hashing and nobody else changes them; then those in files, the newest first, each file once.
func (a *appender) withFile(old []location, loc location) []location {
	if len(old) == 0 {
		return []location{loc}
	}
	list := make([]location, 0, 1+len(old))
	for _, other := range old {
		if a.packs.usable(other) {
			list = append(list, other)
		}
	}
	list = append(list, loc)
	for _, other := range old {
		if other.volume != loc.volume && a.files.known(other.volume) {
			list = append(list, other)
		}
	}
	return list[:min(len(list), locationsMax)]
}

// prepareSeal makes the entry of a volume in the index, from the next commit to the seal, that of a file that was renamed.
func (a *appender) prepareSeal(v *fileVolume, moving fileInfo) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.takes(v); err != nil {
		return err
	}
	v.moving = moving
	a.touch(v)
	return nil
}

// finishSeal seals the volumes whose files were renamed when the process ended before it came to that. Those whose files
// were not renamed end: what is in a file of a temporary name is found by hashing.
func (a *appender) finishSeal() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	for _, v := range a.files.volumes {
		if v.info.tree && v.info.root == (cafs.Key{}) {
			a.endVolumeLocked(v, errVolumeRemoved) // what is there of it is found by hashing
			continue
		}
		if v.info.identity.ctime != ctimeUnknown {
			continue
		}
		found, err := a.files.look(v.info)
		renamed := v.info.identity
		renamed.ctime = found.ctime
		if err != nil || found != renamed {
			a.endVolumeLocked(v, errVolumeRemoved)
			continue
		}
		info := v.info
		info.identity = found
		a.sealLocked(v, info)
	}
}

// seal gives a volume its final place and content, and ends the others at that place.
func (a *appender) seal(v *fileVolume, info fileInfo) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, err := a.takes(v); err != nil {
		return err
	}
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	a.sealLocked(v, info)
	return nil
}

// sealLocked is seal for callers that hold a.mu and a.files.mu.
func (a *appender) sealLocked(v *fileVolume, info fileInfo) {
	for _, other := range a.files.paths[info.path] {
		if other != v {
			a.endVolumeLocked(other, errVolumeReplaced)
		}
	}
	a.files.replaceLocked(v, info)
	v.moving = fileInfo{}
	a.touch(v)
}

// replaceLocked changes what is known of a volume.
func (s *fileSet) replaceLocked(v *fileVolume, info fileInfo) {
	s.unlistLocked(v)
	v.info = info
	v.intact, v.checked = true, s.now()
	s.addLocked(v)
}

// endVolumeLocked removes a volume from the set, and from the index with the next commit. Locations in it are left to
// whoever meets them: its id is never used again. The caller holds a.mu and a.files.mu.
func (a *appender) endVolumeLocked(v *fileVolume, why error) {
	a.files.endLocked(v, why)
	delete(a.touched, v)
	a.gone = append(a.gone, v.id)
	if v.info.tree {
		a.goneTrees = append(a.goneTrees, v.id)
	}
	a.groups++
}

// removeVolumes ends all volumes at a path.
func (a *appender) removeVolumes(path string) (removed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed != nil {
		return false, a.failed
	}
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	for _, v := range a.files.paths[path] {
		a.endVolumeLocked(v, errVolumeRemoved)
		removed = true
	}
	return removed, nil
}

// failVolume ends a volume whose bytes could not be synced: they may be lost although they can be read.
func (a *appender) failVolume(v *fileVolume, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	if v.ended == nil {
		a.endVolumeLocked(v, fmt.Errorf("sync volume %s: %w", v.info.path, err))
	}
}

// closeVolume notes that a user of a volume has gone. A volume that nothing was referred to in goes with the last.
func (a *appender) closeVolume(handle *volume) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	v := handle.volume
	v.users--
	if handle.written {
		v.writer = nil
		if v.moving.path != "" && v.ended == nil { // it was not renamed after all
			v.moving = fileInfo{}
			a.touch(v)
		}
	}
	if _, touched := a.touched[v]; v.users == 0 && v.ended == nil && !touched && !v.stored {
		a.files.endLocked(v, errVolumeRemoved)
	}
}

// unsyncedFile is a file that a sync has to write.
type unsyncedFile struct {
	volume *fileVolume
	file   userFile
}

// cutVolumes takes along in a part what happened to volumes since the last cut.
func (a *appender) cutVolumes(part *unsyncedPart) {
	part.commit.files = make(map[uint64]fileInfo, len(a.touched))
	for v := range a.touched {
		info, writer := a.files.refresh(v)
		if v.moving.path != "" {
			info = v.moving
		}
		part.commit.files[v.id] = info
		if v.unsynced && writer != nil {
			part.files = append(part.files, unsyncedFile{v, writer})
		}
		v.unsynced = false
	}
	part.commit.gone, part.commit.goneTrees = a.gone, a.goneTrees
	a.gone, a.goneTrees = nil, nil
	clear(a.touched)
}

// refresh returns what is to be written of a volume. If it is being written, that is what the file is at the moment, so
// that it counts as changed if the process ends before the next sync but not if nothing happens to it any more.
func (s *fileSet) refresh(v *fileVolume) (fileInfo, userFile) {
	s.mu.Lock()
	v.stored = true
	info, writer, written := v.info, v.writer, v.written()
	s.mu.Unlock()
	if !written {
		return info, writer
	}
	found, err := writer.identity()
	if err != nil {
		return info, writer // the old identity makes it a changed file, which is the safe side
	}
	info.identity = found
	info.hashed = s.now().UnixNano()
	s.mu.Lock()
	defer s.mu.Unlock()
	v.info = info
	return info, writer
}

// syncFiles syncs the files of a part. A volume whose file can't be synced ends, and is not in the commit; it is up to
// its users to notice. The store itself goes on, for what is wrong may be a disk that is none of its own.
func (a *appender) syncFiles(part *unsyncedPart) {
	for _, unsynced := range part.files {
		err := unsynced.file.SyncData()
		if err == nil {
			continue
		}
		a.failVolume(unsynced.volume, err)
		part.commit.gone = append(part.commit.gone, unsynced.volume.id)
	}
}
