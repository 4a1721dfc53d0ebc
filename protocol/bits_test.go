package protocol_test

import (
	"math/bits"
	"slices"
	"testing"

	"github.com/swarmsync/swarmsync/protocol"
)

func TestBitsOrder(t *testing.T) {
	b := protocol.NewBits(18)
	for _, i := range []int{0, 7, 8, 10, 17} {
		b.Set(i)
	}
	if want := []byte{0x81, 0xa0, 0x40}; !slices.Equal([]byte(b), want) {
		t.Fatalf("bits are %x, want %x", []byte(b), want)
	}
	if got := slices.Collect(b.Ones()); !slices.Equal(got, []int{0, 7, 8, 10, 17}) {
		t.Errorf("Ones yields %v", got)
	}
	if b.Count() != 5 {
		t.Errorf("Count is %d, want 5", b.Count())
	}
	b.Clear(8)
	if b.Get(8) || !b.Get(10) || b.Count() != 4 {
		t.Errorf("after Clear(8) the bits are %x", []byte(b))
	}
}

func TestBitsOnesStops(t *testing.T) {
	var got []int
	for i := range (protocol.Bits{0x30, 0x01}).Ones() {
		got = append(got, i)
		if len(got) == 2 {
			break
		}
	}
	if !slices.Equal(got, []int{2, 3}) {
		t.Errorf("got %v, want [2 3]", got)
	}
}

func TestBitsLen(t *testing.T) {
	const largest = 1<<(bits.UintSize-1) - 1
	for n, want := range map[int]int{0: 0, 1: 1, 7: 1, 8: 1, 9: 2, 16: 2, 17: 3, largest: largest/8 + 1} {
		if got := protocol.BitsLen(n); got != want {
			t.Errorf("BitsLen(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestCheckBits(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		n    int
		ok   bool
	}{
		{"empty", nil, 0, true},
		{"full byte", []byte{0xff}, 8, true},
		{"zero padding", []byte{0xff, 0xe0}, 11, true},
		{"last used bit", []byte{0x80}, 1, true},
		{"padding bit", []byte{0xff, 0xf0}, 11, false},
		{"last padding bit", []byte{0x81}, 7, false},
		{"first padding bit", []byte{0x40}, 1, false},
		{"too short", []byte{0xff}, 9, false},
		{"too long", []byte{0xff, 0}, 8, false},
		{"none wanted", []byte{0}, 0, false},
		{"negative", nil, -1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := protocol.CheckBits(c.b, c.n); (err == nil) != c.ok {
				t.Errorf("CheckBits(%x, %d) = %v", c.b, c.n, err)
			}
		})
	}
}

// FuzzBits holds the operations against a list of bools.
func FuzzBits(f *testing.F) {
	f.Add([]byte{0x80, 0x00, 0x01}, uint16(24))
	f.Add([]byte{0xff, 0xe0}, uint16(11))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, raw []byte, count uint16) {
		n := int(count)
		if protocol.CheckBits(raw, n) != nil {
			return
		}
		given, copied := protocol.Bits(raw), protocol.NewBits(n)
		var ones []int
		for i := range n {
			if given.Get(i) {
				copied.Set(i)
				ones = append(ones, i)
			}
		}
		if !slices.Equal(given, copied) {
			t.Fatalf("%x copied bit by bit is %x", raw, []byte(copied))
		}
		if got := slices.Collect(given.Ones()); !slices.Equal(got, ones) || given.Count() != len(ones) {
			t.Fatalf("Ones of %x yields %v, Count %d, want %v", raw, got, given.Count(), ones)
		}
		for _, i := range ones {
			copied.Clear(i)
		}
		if copied.Count() != 0 {
			t.Fatalf("cleared bits are %x", []byte(copied))
		}
	})
}
