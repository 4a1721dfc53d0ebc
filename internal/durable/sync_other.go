//go:build !linux

package durable

import (
	"os"
	"runtime"
)

// SyncData returns when the bytes of f, and the length that is needed to read them back, survive a power cut. After an
// error some of the bytes may be lost for good, although reading may still show them.
func SyncData(f *os.File) error { return f.Sync() }

// StartWriteback is a hint that only Linux takes.
func StartWriteback(*os.File, int64, int64) {}

// Prefetch is a hint that only Linux takes.
func Prefetch(*os.File, int64, int64) {}

// SyncDir returns when the names in the directory at path survive a power cut.
func SyncDir(path string) error {
	if runtime.GOOS == "windows" {
		// Windows cannot sync a directory, and orders changes of names in its own journal.
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errClose := dir.Close(); err == nil {
		err = errClose
	}
	return err
}

func reserveNative(*os.File, int64) (done bool, err error) { return false, nil }
