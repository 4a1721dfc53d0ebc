package shuffle

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// ErrEnded is returned by a stream shuffler that is used after its End.
var ErrEnded = errors.New("the shuffled stream has ended")

// Shuffler is the buffer at the heart of a cyclic permutation: k slots and a place that counts modulo k. It is not safe
// for concurrent use.
type Shuffler[T any] struct {
	perm  Permutation
	blank T
	slots []T
	place int
}

// NewShuffler returns a shuffler at place 0 whose slots hold blank. It keeps no reference to perm. The error wraps
// ErrInvalid if perm is no permutation.
func NewShuffler[T any](perm Permutation, blank T) (*Shuffler[T], error) {
	if err := perm.Validate(); err != nil {
		return nil, fmt.Errorf("make a shuffler: %w", err)
	}
	slots := make([]T, len(perm))
	for i := range slots {
		slots[i] = blank
	}
	return &Shuffler[T]{perm: slices.Clone(perm), blank: blank, slots: slots}, nil
}

// Put makes one step: it stores v in slot perm[place], takes out what slot number place holds, and goes on to the next
// place. What comes out is blank until the slot has been filled for the first time. The shuffler keeps no reference to
// what came out.
func (s *Shuffler[T]) Put(v T) T {
	s.slots[s.perm[s.place]] = v
	out := s.slots[s.place]
	// Each slot is filled once between two times that it is emptied, so nothing is lost here.
	s.slots[s.place] = s.blank
	s.place = (s.place + 1) % len(s.perm)
	return out
}

// StreamShuffler permutes a stream of any length: n elements in, n + k - 1 out, of which k - 1 are blanks. It is not
// safe for concurrent use.
type StreamShuffler[T any] struct {
	shuffler *Shuffler[T]
	emit     func(T) error
	ended    bool
}

// NewStreamShuffler returns a shuffler that calls emit once per Put, and k - 1 times in End, in the goroutine of the
// caller. Blanks come out while the slots fill and at the end; it is up to the caller to choose a blank that no element
// equals. The error wraps ErrInvalid if perm is no permutation.
func NewStreamShuffler[T any](perm Permutation, blank T, emit func(T) error) (*StreamShuffler[T], error) {
	shuffler, err := NewShuffler(perm, blank)
	if err != nil {
		return nil, err
	}
	return &StreamShuffler[T]{shuffler: shuffler, emit: emit}, nil
}

// Put takes the next element of the stream. It returns the error of emit, after which the element that was given to
// emit counts as gone, or ErrEnded after End.
func (s *StreamShuffler[T]) Put(v T) error {
	if s.ended {
		return ErrEnded
	}
	return s.emit(s.shuffler.Put(v))
}

// End flushes what the slots still hold. It returns the first error of emit, and then flushes no more, or ErrEnded if
// it was called before.
func (s *StreamShuffler[T]) End() error {
	if s.ended {
		return ErrEnded
	}
	s.ended = true
	for range len(s.shuffler.perm) - 1 {
		if err := s.emit(s.shuffler.Put(s.shuffler.blank)); err != nil {
			return err
		}
	}
	return nil
}

// InverseStreamShuffler undoes a StreamShuffler: n + k - 1 elements in, blanks included; n out, in their first order.
// It is not safe for concurrent use.
type InverseStreamShuffler[T any] struct {
	shuffler *Shuffler[T]
	emit     func(T) error
	late     int // how many elements are still to come in before the first one comes out
	ended    bool
}

// NewInverseStreamShuffler returns the shuffler that undoes one made with the same perm. It calls emit once per element
// of the first stream, in the goroutine of the caller. The error wraps ErrInvalid if perm is no permutation.
func NewInverseStreamShuffler[T any](perm Permutation, emit func(T) error) (*InverseStreamShuffler[T], error) {
	inverse, err := perm.Inverse()
	if err != nil {
		return nil, fmt.Errorf("make an inverse shuffler: %w", err)
	}
	var none T // comes out only while late > 0, and is dropped then
	shuffler, err := NewShuffler(inverse, none)
	if err != nil {
		return nil, err
	}
	return &InverseStreamShuffler[T]{shuffler: shuffler, emit: emit, late: len(perm) - 1}, nil
}

// Put takes the next element of the shuffled stream, which may be a blank. It returns the error of emit, or ErrEnded
// after End.
func (s *InverseStreamShuffler[T]) Put(v T) error {
	if s.ended {
		return ErrEnded
	}
	out := s.shuffler.Put(v)
	if s.late > 0 {
		s.late--
		return nil
	}
	return s.emit(out)
}

// End ends the stream. Nothing is left to flush: of a stream that was shuffled to its end, all came out. The error is
// io.ErrUnexpectedEOF if fewer than the k - 1 elements came in that even an empty stream has, or ErrEnded if End was
// called before. A stream that is cut off later can't be told from a shorter one.
func (s *InverseStreamShuffler[T]) End() error {
	if s.ended {
		return ErrEnded
	}
	s.ended = true
	if s.late > 0 {
		return io.ErrUnexpectedEOF
	}
	return nil
}
