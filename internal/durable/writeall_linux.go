package durable

import (
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// writeAllMax bounds the pieces of one system call; the system takes 1,024.
const writeAllMax = 512

// WriteAllAt writes pieces of bytes, none of them empty, one behind the other from an offset of f on, in one system call
// where it can: the larger a write, the larger the pages that the system makes for it. It keeps no reference to pieces.
func WriteAllAt(f *os.File, pieces [][]byte, offset int64) error {
	if len(pieces) == 1 {
		_, err := f.WriteAt(pieces[0], offset)
		return err
	}
	left := slices.Clone(pieces)
	for len(left) > 0 {
		var n int
		err := retryInterrupted(f, "pwritev", func(fd int) (err error) {
			n, err = unix.Pwritev(fd, left[:min(len(left), writeAllMax)], offset)
			return err
		})
		if err == nil && n == 0 {
			err = &os.PathError{Op: "pwritev", Path: f.Name(), Err: io.ErrUnexpectedEOF}
		}
		if err != nil {
			return err
		}
		offset += int64(n)
		for ; len(left) > 0 && n >= len(left[0]); left = left[1:] {
			n -= len(left[0])
		}
		if n > 0 {
			left[0] = left[0][n:]
		}
	}
	return nil
}
