package protocol

import (
	"io"
	"testing"
	"testing/iotest"
)

func TestWaitReturnsForAFrameAndForTheEnd(t *testing.T) {
	in, out := io.Pipe()
	r := newFrameReader(in, 16)
	go func() {
		_, _ = out.Write(appendFrame(nil, frameDone, doneBody{id: 1}.append(nil)))
		_ = out.CloseWithError(io.EOF)
	}()
	r.wait()
	if r.in.Buffered() == 0 {
		t.Fatal("returned before anything arrived")
	}
	if _, _, err := r.next(nil); err != nil {
		t.Fatalf("the frame after waiting: %v", err)
	}
	r.wait()
	if _, _, err := r.next(nil); err != io.EOF {
		t.Fatalf("at the end: %v, want io.EOF", err)
	}
}

func TestWaitLeavesTheErrorToNext(t *testing.T) {
	r := newFrameReader(iotest.ErrReader(io.ErrClosedPipe), 16)
	r.wait()
	if _, _, err := r.next(nil); err == nil {
		t.Fatal("the error is lost")
	}
}
