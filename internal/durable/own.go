package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ownTries bounds how often OpenOwn loses its file to another process that ends at the same moment.
const ownTries = 10

// OpenOwn opens the file at path for reading and writing, or makes it with the permissions perm, and locks it like Lock;
// where the file system has no locks it is not locked. It is for names that can be foreseen, in directories that others
// may write to: what is there already must be a regular file that belongs to this user and has no other name. Otherwise the
// error wraps fs.ErrExist, and nothing was made or changed: no symbolic link is followed, not even one that leads nowhere,
// and no FIFO or device is opened. The error wraps ErrLocked if somebody else has the lock.
//
// Whoever holds the lock may rename or remove the file: who waits to open it then gets a new one.
func OpenOwn(path string, perm os.FileMode) (*os.File, error) {
	for range ownTries {
		f, err := openOwn(path, perm)
		if errors.Is(err, errVanished) {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch err := lockOwn(f); {
		case err == nil:
			return f, nil
		case !errors.Is(err, errVanished):
			return nil, errors.Join(err, f.Close())
		}
		_ = f.Close()
	}
	return nil, fmt.Errorf("%s comes and goes: %w", path, ErrLocked)
}

// errVanished: a name stands for another file than a moment ago, or for none.
var errVanished = errors.New("it was removed or renamed meanwhile")

// openOwn opens what may be this user's, or makes it. The error wraps errVanished if it was there and is not any more.
func openOwn(path string, perm os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	info, err := os.Lstat(path)
	if err == nil {
		err = checkOwn(path, info)
	}
	if err == nil {
		f, err = os.OpenFile(path, os.O_RDWR|openCareful, 0)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = errVanished
	}
	return f, err
}

// lockOwn locks an open file and checks that it is this user's alone. The error is errVanished if the file has another name
// by now, or none.
func lockOwn(f *os.File) error {
	if err := Lock(f); err != nil && !errors.Is(err, ErrNoLocks) {
		return err
	}
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Lstat(f.Name()); err != nil || !os.SameFile(opened, named) {
		return errVanished
	}
	if err := checkOwn(f.Name(), opened); err != nil {
		return err
	}
	// Only now: somebody who had the lock may have given it a second name for a moment.
	if hasOtherNames(opened) {
		return inTheWay(f.Name(), "it has another name too")
	}
	return nil
}

func checkOwn(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return inTheWay(path, "it is not a regular file")
	}
	if isOthers(info) {
		return inTheWay(path, "it belongs to another user")
	}
	return nil
}

func inTheWay(path, problem string) error {
	return fmt.Errorf("%s is in the way: %s: %w", path, problem, fs.ErrExist)
}

// CheckOwnDir fails with an error that wraps fs.ErrExist unless there is a directory at path, not a link to one, that belongs
// to this user.
func CheckOwnDir(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return inTheWay(path, "it is not a directory")
	}
	if isOthers(info) {
		return inTheWay(path, "it belongs to another user")
	}
	return nil
}
