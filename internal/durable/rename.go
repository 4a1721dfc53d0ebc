package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Rename gives a synced file its final name, and replaces what is there. When it returns nil the new name survives a
// power cut.
func Rename(old, path string) error {
	if err := os.Rename(old, path); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// RenameNew is Rename for a name that is free: it fails with fs.ErrExist if something is there, also if that came into
// being at the same moment, as far as the file system can tell.
func RenameNew(old, path string) error {
	done, err := renameNoReplace(old, path)
	if err != nil {
		return err
	}
	if done {
		return SyncDir(filepath.Dir(path))
	}
	return renameByLink(old, path)
}

// renameByLink is RenameNew where nothing does it in one step.
func renameByLink(old, path string) error {
	err := os.Link(old, path)
	switch {
	case err == nil:
		return errors.Join(os.Remove(old), SyncDir(filepath.Dir(path)))
	case errors.Is(err, fs.ErrExist):
		return err
	}
	// The file system has no hard links: look first.
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("rename to %s: %w", path, fs.ErrExist), err)
	}
	return Rename(old, path)
}

// FreeSpace returns how many bytes a user may still write to the file system that dir is on.
func FreeSpace(dir string) (int64, error) {
	usage, err := vfs.Default.GetDiskUsage(dir)
	if err != nil {
		return 0, err
	}
	return int64(min(usage.AvailBytes, 1<<62)), nil
}
