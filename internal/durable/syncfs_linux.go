package durable

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SyncFS returns when everything that was written to the file system with the directory at path survives a power cut.
func SyncFS(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = retryInterrupted(dir, "syncfs", unix.Syncfs)
	return errors.Join(err, dir.Close())
}
