// Package durable holds the few file operations that must survive a power cut, and what the operating systems call them.
//
// Start with WriteFile, for a small file that is there whole or not at all, and SyncData, for a large one that grows.
package durable

import (
	"fmt"
	"os"
	"path/filepath"
)

// tempSuffix ends the name of a file that WriteFile has not finished. Such a file is never read; the next WriteFile of
// the same path takes its place.
const tempSuffix = ".tmp"

// TempName returns the name that WriteFile gives to the unfinished form of the file at path.
func TempName(path string) string { return path + tempSuffix }

// WriteFile replaces the file at path by one with the given content. When it returns nil the new content survives a
// power cut; at any moment before, and after an error, the path holds the old content or the new one, never a mixture,
// and nothing is left beside it, as on a full disk. Calls for the same path must not run at the same time.
func WriteFile(path string, content []byte, perm os.FileMode) error {
	temp := TempName(path)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	err = writeAndSync(f, content)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // if that fails too it is a leftover like that of a process that was killed
		return err
	}
	return SyncDir(filepath.Dir(path))
}

// writeAndSync writes what f shall hold, and closes it.
func writeAndSync(f *os.File, content []byte) error {
	_, err := f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	return err
}

// MkdirAll makes the directory at path, and those above it that are missing. When it returns nil they survive a power
// cut.
func MkdirAll(path string, perm os.FileMode) error {
	if info, err := os.Stat(path); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("make directory %s: there is a file of that name", path)
		}
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, perm); err != nil && !os.IsExist(err) {
		return err
	}
	return SyncDir(parent)
}
