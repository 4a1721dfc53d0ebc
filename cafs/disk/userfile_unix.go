//go:build !windows

package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func openUserFile(path string, written bool) (*os.File, error) {
	flag := os.O_RDONLY
	if written {
		flag = os.O_RDWR
	}
	// Without O_NONBLOCK a pipe in the place of the file would hold the open until somebody writes to it.
	return os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

func identify(f *os.File) (identity, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return identity{}, err
	}
	var stat unix.Stat_t
	var errStat error
	err = raw.Control(func(fd uintptr) {
		errStat = uninterrupted(func() error { return unix.Fstat(int(fd), &stat) })
	})
	if err == nil {
		err = errStat
	}
	if err != nil {
		return identity{}, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return identityOf(f.Name(), &stat)
}

func identifyPath(path string) (identity, error) {
	var stat unix.Stat_t
	if err := uninterrupted(func() error { return unix.Lstat(path, &stat) }); err != nil {
		return identity{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return identityOf(path, &stat)
}

// identifyDirectory returns what tells a directory from others, without following a symbolic link in its place.
func identifyDirectory(path string) (identity, error) {
	var stat unix.Stat_t
	if err := uninterrupted(func() error { return unix.Lstat(path, &stat) }); err != nil {
		return identity{}, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	if stat.Mode&unix.S_IFMT != unix.S_IFDIR {
		return identity{}, &os.PathError{Op: "stat", Path: path, Err: unix.ENOTDIR}
	}
	return identity{device: uint64(stat.Dev), inode: stat.Ino}, nil //nolint:unconvert // the types differ between systems
}

func identityOf(path string, stat *unix.Stat_t) (identity, error) {
	if stat.Mode&unix.S_IFMT != unix.S_IFREG {
		return identity{}, &os.PathError{Op: "stat", Path: path, Err: errNotRegular}
	}
	return identity{
		device: uint64(stat.Dev), //nolint:unconvert // the types differ between systems
		inode:  stat.Ino,
		size:   stat.Size,
		mtime:  stat.Mtim.Nano(),
		ctime:  stat.Ctim.Nano(),
	}, nil
}

// uninterrupted runs a system call until no signal interrupts it, which happens on network file systems.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// isNoFile knows the errors of open and lstat for what is no file: a link, a path through something that is not a
// directory, a pipe that nobody writes to or a device without a driver, a file that a server has forgotten.
func isNoFile(err error) bool {
	for _, errno := range []error{
		unix.ELOOP, unix.EMLINK, unix.ENOTDIR, unix.EISDIR, unix.ENXIO, unix.ENODEV, unix.ESTALE,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}
