package protocol

import "io"

// FlushWriter is a writer that may hold back what was written until it is flushed. A *bufio.Writer is one.
type FlushWriter interface {
	io.Writer

	// Flush sends on everything that was written before.
	Flush() error
}

// NopFlushWriter makes a FlushWriter of a writer that holds nothing back.
type NopFlushWriter struct {
	io.Writer
}

// Flush does nothing.
func (NopFlushWriter) Flush() error { return nil }

// SimpleFlushWriter makes a FlushWriter of a writer and a function that flushes it, such as an http.ResponseWriter and
// the Flush of its http.ResponseController.
type SimpleFlushWriter struct {
	io.Writer
	// FlushFunc must not be nil.
	FlushFunc func() error
}

// Flush calls FlushFunc.
func (w SimpleFlushWriter) Flush() error { return w.FlushFunc() }
