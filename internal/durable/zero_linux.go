package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// WriteZeros makes n bytes of f at an offset, which are inside of it, read as zeros. Where the file system can do that they
// take no space on the disk afterwards.
func WriteZeros(f *os.File, offset, n int64) error {
	err := retryInterrupted(f, "fallocate", func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, n)
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return writeZeros(f, offset, n)
	}
	return err
}
