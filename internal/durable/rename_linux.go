package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// renameNoReplace renames in one step if the new name is free; done is false if the file system can't do that. At no
// moment has the file two names.
func renameNoReplace(old, path string) (done bool, err error) {
	for {
		err = unix.Renameat2(unix.AT_FDCWD, old, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return false, nil
	default:
		return true, &os.LinkError{Op: "rename", Old: old, New: path, Err: err}
	}
}
