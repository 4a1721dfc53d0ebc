package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// Preallocate gives f exactly size bytes and reserves them on disk where the file system can do that, so that a full
// disk is known before the first write. What f held up to size stays.
func Preallocate(f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil || size == 0 {
		return err
	}
	if copiesOnWrite(f) {
		return nil
	}
	_, err := reserveNative(f, size)
	return err
}

// copiesOnWrite reports whether reserved space is of no use: Btrfs writes elsewhere, and gives nothing of what was reserved
// back before all of it was replaced.
func copiesOnWrite(f *os.File) bool {
	var stat unix.Statfs_t
	err := retryInterrupted(f, "fstatfs", func(fd int) error { return unix.Fstatfs(fd, &stat) })
	return err == nil && stat.Type == unix.BTRFS_SUPER_MAGIC
}
