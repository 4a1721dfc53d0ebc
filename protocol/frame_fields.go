package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// fields takes a body apart, field by field. The first error sticks, and every later field is then zero; end returns
// it. What it returns points into the body.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) fail(name string, err error) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: %w", name, err)
		f.rest = nil
	}
}

var errTruncated = errors.New("the body ends inside it")

// octet takes one byte, which must not exceed largest.
func (f *fields) octet(name string, largest byte) byte {
	raw := f.fixed(name, 1)
	if raw == nil {
		return 0
	}
	if raw[0] > largest {
		f.fail(name, fmt.Errorf("%d, more than %d", raw[0], largest))
		return 0
	}
	return raw[0]
}

// number takes a uvarint from least to largest.
func (f *fields) number(name string, least, largest int64) int64 {
	if f.err != nil {
		return 0
	}
	value, n := binary.Uvarint(f.rest)
	switch {
	case n == 0:
		f.fail(name, errTruncated)
	case n < 0 || value > uint64(largest):
		f.fail(name, fmt.Errorf("more than %d", largest))
	case n > 1 && f.rest[n-1] == 0:
		f.fail(name, errors.New("not the shortest form of a number"))
	case value < uint64(least):
		f.fail(name, fmt.Errorf("%d, less than %d", value, least))
	default:
		f.rest = f.rest[n:]
		return int64(value)
	}
	return 0
}

// fixed takes exactly n bytes, and returns nil if it fails.
func (f *fields) fixed(name string, n int) []byte {
	if f.err != nil {
		return nil
	}
	if len(f.rest) < n {
		f.fail(name, errTruncated)
		return nil
	}
	taken := f.rest[:n:n]
	f.rest = f.rest[n:]
	return taken
}

// counted takes a length and that many bytes, from least to most.
func (f *fields) counted(name string, least, most int) []byte {
	n := f.number(name+": length", int64(least), int64(most))
	return f.fixed(name, int(n))
}

// tail takes all that is left, from least to most bytes.
func (f *fields) tail(name string, least, most int) []byte {
	if f.err != nil {
		return nil
	}
	if len(f.rest) < least || len(f.rest) > most {
		f.fail(name, fmt.Errorf("%d bytes: want %d to %d", len(f.rest), least, most))
		return nil
	}
	return f.fixed(name, len(f.rest))
}

// more reports whether anything is left to take.
func (f *fields) more() bool { return len(f.rest) > 0 }

// end returns the first error, or one that says that something is left.
func (f *fields) end() error {
	if f.err == nil && len(f.rest) > 0 {
		f.err = fmt.Errorf("%d bytes too many", len(f.rest))
	}
	return f.err
}

func appendNumber(dst []byte, value int64) []byte { return binary.AppendUvarint(dst, uint64(value)) }

func appendCounted(dst, x []byte) []byte { return append(appendNumber(dst, int64(len(x))), x...) }
