//go:build !linux

package durable

import (
	"errors"
	"os"
)

// Clone is not there: the error is errors.ErrUnsupported.
func Clone(*os.File, int64, *os.File, int64, int64) error { return errors.ErrUnsupported }

// WriteZeros makes n bytes of f at an offset, which are inside of it, read as zeros.
func WriteZeros(f *os.File, offset, n int64) error { return writeZeros(f, offset, n) }
