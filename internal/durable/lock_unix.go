//go:build !windows

package durable

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Lock locks f against every other open file, in this process too, until f is closed. The error wraps ErrLocked if
// somebody else holds the lock, and ErrNoLocks if the file system can't lock.
func Lock(f *os.File) error { return lockBy(unix.Flock, f) }

func lockBy(flock func(fd, how int) error, f *os.File) error {
	for {
		err := flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
			continue // network file systems may wait for their server
		case errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("%s: %w", f.Name(), ErrLocked)
		case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOSYS),
			errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EOPNOTSUPP):
			return fmt.Errorf("lock %s: %w: %w", f.Name(), ErrNoLocks, err)
		default:
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}
