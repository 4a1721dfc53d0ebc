package durable

import "os"

// writeZeros is WriteZeros for file systems without holes.
func writeZeros(f *os.File, offset, n int64) error {
	zeros := make([]byte, min(n, 1<<20))
	for end := offset + n; offset < end; {
		written, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-offset)], offset)
		if err != nil {
			return err
		}
		offset += int64(written)
	}
	return nil
}
