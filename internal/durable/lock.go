package durable

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

var (
	// ErrLocked is what Lock returns for a file that somebody else has locked.
	ErrLocked = errors.New("locked by somebody else")
	// ErrNoLocks is what Lock returns for a file on a file system that has no locks, as some network ones.
	ErrNoLocks = errors.New("the file system has no locks")
)

// LockedError is what LockPath returns when somebody else has the lock. It wraps ErrLocked.
type LockedError struct {
	Path string
	PID  int // the process that has it, 0 if that could not be found out
}

// Error implements error.
func (e *LockedError) Error() string { return fmt.Sprintf("%s: %v", e.Path, ErrLocked) }

// Unwrap returns ErrLocked.
func (e *LockedError) Unwrap() error { return ErrLocked }

// LockPath makes the file at path if it is missing, locks it like Lock, and notes in it which process has it. Closing the
// file unlocks it. It must never be removed: whoever opened it before would then lock a file that nobody else sees. The
// error is a *LockedError if somebody else has the lock.
func LockPath(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := Lock(f); err != nil {
		if errors.Is(err, ErrLocked) {
			err = &LockedError{Path: path, PID: notedPID(f)}
		}
		_ = f.Close()
		return nil, err
	}
	// The number is for the message of whoever comes next; who can't note it has the lock all the same.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return f, nil
}

// notedPID returns the process that a lock file names, or 0.
func notedPID(f *os.File) int {
	content := make([]byte, 32)
	n, _ := f.ReadAt(content, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(content[:n])))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}
