package protocol

import (
	"errors"
	"fmt"
	"io"
)

// wishReader takes a wishlist apart bit by bit. It reads a byte when its first bit is asked for and not before, because
// the other side may not know it earlier.
type wishReader struct {
	r     io.ByteReader
	octet byte // its unread bits, moved to the top
	left  int  // how many they are
}

// next returns the next bit. The error wraps io.ErrUnexpectedEOF if the wishlist ends before it.
func (w *wishReader) next() (bool, error) {
	if w.left == 0 {
		octet, err := w.r.ReadByte()
		if err != nil {
			return false, fmt.Errorf("read the wishlist: %w", noEOF(err))
		}
		w.octet, w.left = octet, 8
	}
	bit := w.octet&0x80 != 0
	w.octet <<= 1
	w.left--
	return bit, nil
}

// end checks that nothing but 0 bits up to the end of the last byte follows.
func (w *wishReader) end() error {
	if w.octet != 0 {
		return errors.New("read the wishlist: an unused bit of the last byte is 1")
	}
	_, err := w.r.ReadByte()
	if err == nil {
		return errors.New("read the wishlist: data after the last byte")
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the wishlist: %w", err)
	}
	return nil
}
