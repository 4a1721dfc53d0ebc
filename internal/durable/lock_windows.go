package durable

import (
	"errors"
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// Lock locks f against every other open file, in this process too, until f is closed. The error wraps ErrLocked if
// somebody else holds the lock, and ErrNoLocks if the file system can't lock.
func Lock(f *os.File) error {
	// A lock keeps others from reading what it covers, so it covers a byte far behind the content.
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	place := windows.Overlapped{OffsetHigh: math.MaxInt32}
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &place)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION):
		return fmt.Errorf("%s: %w", f.Name(), ErrLocked)
	case errors.Is(err, windows.ERROR_NOT_SUPPORTED), errors.Is(err, windows.ERROR_INVALID_FUNCTION):
		return fmt.Errorf("lock %s: %w: %w", f.Name(), ErrNoLocks, err)
	default:
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
}
