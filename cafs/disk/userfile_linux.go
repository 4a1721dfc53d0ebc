package disk

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// timesTell implements userFile. Linux sets the times of a file in a write before the bytes are there, and for a mapping
// at the first write to a page since that page was last written to disk. That holds for the file systems below, which make
// pages read-only while they write them. It does not for those in memory, which never write them, nor for those of other
// machines, whose times are kept here for some seconds.
func timesTell(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	var stat unix.Statfs_t
	var errStat error
	err = raw.Control(func(fd uintptr) {
		errStat = uninterrupted(func() error { return unix.Fstatfs(int(fd), &stat) })
	})
	if err != nil || errStat != nil {
		return false
	}
	switch int64(stat.Type) { //nolint:unconvert // the types differ between systems
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
		return true
	}
	return false
}

// eachLookTells reports whether the kernel gives files whose times were looked at a time from a fine clock at their next
// change: 6.13 and later do, for all file systems that timesTell knows.
var eachLookTells = sync.OnceValue(func() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return err == nil && (major > 6 || major == 6 && minor >= 13)
})

// holeAt implements userFile. It moves the offset of f, which nothing here uses.
func holeAt(f *os.File, offset, size int64) int64 {
	data, err := f.Seek(offset, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		data, err = size, nil // all that follows is a hole
	}
	if err != nil {
		return 0
	}
	return max(0, data-offset)
}
