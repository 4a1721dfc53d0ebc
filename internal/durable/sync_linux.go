package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SyncData returns when the bytes of f, and the length that is needed to read them back, survive a power cut. After an
// error some of the bytes may be lost for good, although reading may still show them: the kernel drops what it could
// not write, and a second call says nothing about it.
func SyncData(f *os.File) error {
	return retryInterrupted(f, "fdatasync", func(fd int) error { return unix.Fdatasync(fd) })
}

// StartWriteback asks the kernel to begin writing n bytes of f from offset to the disk, so that a later SyncData finds
// little left to do. It promises nothing, and reports no error: it is a hint.
func StartWriteback(f *os.File, offset, n int64) {
	// A file system that doesn't know the call gets its bytes written by SyncData, only later.
	_ = retryInterrupted(f, "sync_file_range", func(fd int) error {
		return unix.SyncFileRange(fd, offset, n, unix.SYNC_FILE_RANGE_WRITE)
	})
}

// Prefetch asks the kernel to read n bytes of f from offset into its cache. It is a hint, like StartWriteback.
func Prefetch(f *os.File, offset, n int64) {
	_ = retryInterrupted(f, "fadvise", func(fd int) error { return unix.Fadvise(fd, offset, n, unix.FADV_WILLNEED) })
}

// SyncDir returns when the names in the directory at path survive a power cut.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errClose := dir.Close(); err == nil {
		err = errClose
	}
	return err
}

// reserveNative makes room on the disk for n bytes of the empty file f; done is false if the file system cannot.
func reserveNative(f *os.File, n int64) (done bool, err error) {
	err = retryInterrupted(f, "fallocate", func(fd int) error { return unix.Fallocate(fd, 0, 0, n) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return false, nil
	}
	return err == nil, err
}

// retryInterrupted runs the system call on f until no signal interrupts it, and adds the path to its error.
func retryInterrupted(f *os.File, name string, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errCall error
	err = raw.Control(func(fd uintptr) {
		for {
			if errCall = call(int(fd)); !errors.Is(errCall, unix.EINTR) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if errCall != nil {
		return &os.PathError{Op: name, Path: f.Name(), Err: errCall}
	}
	return nil
}
