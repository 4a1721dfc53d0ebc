//go:build !linux

package durable

import "os"

// WriteAllAt writes pieces of bytes, none of them empty, one behind the other from an offset of f on. It keeps no reference
// to pieces.
func WriteAllAt(f *os.File, pieces [][]byte, offset int64) error {
	for _, piece := range pieces {
		if _, err := f.WriteAt(piece, offset); err != nil {
			return err
		}
		offset += int64(len(piece))
	}
	return nil
}
