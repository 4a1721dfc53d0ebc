package durable

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Clone makes n bytes of dst at an offset the same as those of src at another one, sharing their space on the disk. All
// three numbers are multiples of the file system's blocks. The error wraps errors.ErrUnsupported where that can't be done.
func Clone(dst *os.File, dstOffset int64, src *os.File, srcOffset, n int64) error {
	raw, err := src.SyscallConn()
	if err != nil {
		return err
	}
	var errClone error
	err = raw.Control(func(fd uintptr) {
		errClone = retryInterrupted(dst, "clone", func(to int) error {
			return unix.IoctlFileCloneRange(to, &unix.FileCloneRange{
				Src_fd: int64(fd), Src_offset: uint64(srcOffset), Src_length: uint64(n), Dest_offset: uint64(dstOffset),
			})
		})
	})
	for _, unable := range []error{unix.EOPNOTSUPP, unix.ENOTTY, unix.EXDEV, unix.EINVAL, unix.ENOSYS, unix.EPERM, unix.ETXTBSY} {
		if errors.Is(errClone, unable) {
			return fmt.Errorf("%w: %w", errors.ErrUnsupported, errClone)
		}
	}
	return errors.Join(err, errClone)
}

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
