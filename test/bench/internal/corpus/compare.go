package corpus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Same returns nil if two files are equal byte for byte, or if two trees have the same names with equal files behind
// them. The error names the first difference.
func Same(a, b string) error {
	info, err := os.Stat(a)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return sameTree(a, b)
	}
	return sameFile(a, b)
}

func sameTree(a, b string) error {
	countA, countB := 0, 0
	err := filepath.WalkDir(a, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		countA++
		if !entry.Type().IsRegular() {
			return nil
		}
		relative, err := filepath.Rel(a, path)
		if err != nil {
			return err
		}
		return sameFile(path, filepath.Join(b, relative))
	})
	if err != nil {
		return err
	}
	err = filepath.WalkDir(b, func(_ string, _ fs.DirEntry, err error) error {
		countB++
		return err
	})
	if err == nil && countA != countB {
		err = fmt.Errorf("%s has %d names, %s has %d", a, countA, b, countB)
	}
	return err
}

func sameFile(a, b string) error {
	fileA, err := os.Open(a)
	if err != nil {
		return err
	}
	defer func() { _ = fileA.Close() }() // read only
	fileB, err := os.Open(b)
	if err != nil {
		return err
	}
	defer func() { _ = fileB.Close() }()
	info, err := fileA.Stat()
	if err != nil {
		return err
	}
	size := min(bufferSize, info.Size()+1) // most files of a tree are small
	blockA, blockB := make([]byte, size), make([]byte, size)
	for at := int64(0); ; at += size {
		nA, errA := io.ReadFull(fileA, blockA)
		nB, errB := io.ReadFull(fileB, blockB)
		if !bytes.Equal(blockA[:nA], blockB[:nB]) {
			return fmt.Errorf("%s and %s differ in the MiB at %d", a, b, at)
		}
		if errA != nil || errB != nil {
			if isEnd(errA) && isEnd(errB) {
				return nil
			}
			return errors.Join(errA, errB)
		}
	}
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
