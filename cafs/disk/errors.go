package disk

import (
	"errors"
	"fmt"
)

// What Open fails with when the directory is not a store that it may work on. It has written nothing then. The errors
// wrap these and name the directory; classify with errors.Is.
var (
	// ErrForeign: the directory holds something, but no store.
	ErrForeign = errors.New("directory is not empty and holds no store")
	// ErrNewerFormat: the store was written by a later release, in a format that this one does not know.
	ErrNewerFormat = errors.New("store has a newer format")
	// ErrBadVersion: the version file is damaged: it is not one that any release writes.
	ErrBadVersion = errors.New("version file of the store is damaged")
)

// ErrUnsynced: an earlier sync failed, so what was put since the one before may be lost in a power cut, although it can
// still be read. The store takes nothing more, until it is closed and opened again: that reads the packs anew and keeps
// what is whole. The error wraps the cause as well.
var ErrUnsynced = errors.New("store could not be synced and takes no more until it is opened again")

// LockedError is what Open fails with when the store is open already, in this or another process. The home that a store
// is in fails the same way.
type LockedError struct {
	// Dir is the directory of the store, or of the home.
	Dir string
	// PID is the process that has it open, 0 if that could not be found out.
	PID int
	// Err is what the operating system said of the lock.
	Err error
}

// Error implements error.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s is in use by another process: %v", e.Dir, e.Err)
	}
	return fmt.Sprintf("%s is in use by process %d: %v", e.Dir, e.PID, e.Err)
}

// Unwrap returns what the operating system said.
func (e *LockedError) Unwrap() error { return e.Err }
