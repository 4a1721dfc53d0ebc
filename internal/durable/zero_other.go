//go:build !linux

package durable

import "os"

// WriteZeros makes n bytes of f at an offset, which are inside of it, read as zeros.
func WriteZeros(f *os.File, offset, n int64) error { return writeZeros(f, offset, n) }
