package durable

import (
	"math/rand/v2"
	"os"
)

// Reserve makes the file at path take up n bytes of the disk, so that removing it later sets them free. It replaces
// what is there. After an error there is no file.
func Reserve(path string, n int64, perm os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	done, err := reserveNative(f, n)
	if err == nil && !done {
		err = fill(f, n)
	}
	if errClose := f.Close(); err == nil {
		err = errClose
	}
	if err != nil {
		_ = os.Remove(path)
	}
	return err
}

// fill writes n bytes that no file system can compress away.
func fill(f *os.File, n int64) error {
	noise := rand.NewChaCha8([32]byte{})
	block := make([]byte, 1<<20)
	for n > 0 {
		part := block[:min(n, int64(len(block)))]
		_, _ = noise.Read(part) // never fails
		if _, err := f.Write(part); err != nil {
			return err
		}
		n -= int64(len(part))
	}
	return nil
}
