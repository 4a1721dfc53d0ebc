package protocol

import (
	"fmt"
	"iter"
	"math/bits"
)

// Bits is a list of bits, the most significant bit of each byte first. The unused bits of the last byte are 0, so that
// two lists of the same bits are the same bytes. It does not know how many bits it was made for: its length is that
// number rounded up to a multiple of 8. A Bits may be read concurrently, but not while it is changed.
type Bits []byte

// NewBits returns a list of n bits, all 0. It panics if n is negative, as make does.
func NewBits(n int) Bits { return make(Bits, BitsLen(n)) }

// BitsLen returns the number of bytes that n bits take.
func BitsLen(n int) int {
	// Not (n+7)/8, which overflows for the largest n.
	if n%8 == 0 {
		return n / 8
	}
	return n/8 + 1
}

// CheckBits returns nil if b can be a list of n bits: it has exactly the right length, and its unused bits are 0.
func CheckBits(b []byte, n int) error {
	if n < 0 || len(b) != BitsLen(n) {
		return fmt.Errorf("list of %d bits: %d bytes", n, len(b))
	}
	if n%8 != 0 && b[len(b)-1]&(0xff>>(n%8)) != 0 {
		return fmt.Errorf("list of %d bits: an unused bit is 1", n)
	}
	return nil
}

// Get reports whether bit i is 1. It panics if i is out of range, as indexing does; so do Set and Clear.
func (b Bits) Get(i int) bool { return b[i/8]&bitMask(i) != 0 }

// Set makes bit i 1.
func (b Bits) Set(i int) { b[i/8] |= bitMask(i) }

// Clear makes bit i 0.
func (b Bits) Clear(i int) { b[i/8] &^= bitMask(i) }

// Count returns how many bits are 1.
func (b Bits) Count() int {
	count := 0
	for _, octet := range b {
		count += bits.OnesCount8(octet)
	}
	return count
}

// Inverted returns the list of n bits that has 1 where b has 0.
func (b Bits) Inverted(n int) Bits {
	inverted := NewBits(n)
	for i := range n {
		if !b.Get(i) {
			inverted.Set(i)
		}
	}
	return inverted
}

// Ones yields the indexes of the bits that are 1, in ascending order. It passes over 0 bytes quickly.
func (b Bits) Ones() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, octet := range b {
			for octet != 0 {
				first := bits.LeadingZeros8(octet)
				if !yield(8*i + first) {
					return
				}
				octet &^= 0x80 >> first
			}
		}
	}
}

func bitMask(i int) byte { return 0x80 >> (i % 8) }
