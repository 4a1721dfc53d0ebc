package durable

import "os"

// Preallocate gives f exactly size bytes and reserves them on disk where the file system can do that, so that a full
// disk is known before the first write. What f held up to size stays.
func Preallocate(f *os.File, size int64) error {
	if err := f.Truncate(size); err != nil || size == 0 {
		return err
	}
	_, err := reserveNative(f, size)
	return err
}
