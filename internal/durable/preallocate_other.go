//go:build !linux

package durable

import "os"

// Preallocate gives file exactly size bytes. What the file held up to size stays.
func Preallocate(file *os.File, size int64) error { return file.Truncate(size) }
