package node

import (
	"testing"

	"github.com/swarmsync/swarmsync/protocol"
)

// TestHaveMapIsWhatWasTold holds a have map against one of plain bools, all through what a holder may tell.
func TestHaveMapIsWhatWasTold(t *testing.T) {
	const ranges, chunks = 40, 11
	r := random(t)
	for range 100 {
		var have haveMap
		var want [ranges][chunks]bool
		for range 50 {
			item := protocol.HaveItem{First: r.Int64N(ranges), Count: 1, Op: protocol.HaveOp(r.IntN(4))}
			if item.Op == protocol.HaveAll || item.Op == protocol.HaveNone {
				item.Count = 1 + r.Int64N(ranges-item.First)
			} else {
				item.Bits = protocol.NewBits(chunks)
				for range 1 + r.IntN(2*chunks) {
					item.Bits.Set(r.IntN(chunks))
				}
			}
			have.apply([]protocol.HaveItem{item})
			for number := item.First; number < item.First+item.Count; number++ {
				for chunk := range chunks {
					if item.Bits == nil || item.Bits.Get(chunk) {
						want[number][chunk] = item.Op == protocol.HaveAll || item.Op == protocol.HaveAdd
					}
				}
			}
			for number := range int64(ranges) {
				if err := have.check(number, chunks); err != nil {
					t.Fatalf("after %+v: range %d: %v", item, number, err)
				}
				some := false
				for chunk := range chunks {
					if have.has(number, chunk) != want[number][chunk] {
						t.Fatalf("after %+v: chunk %d of range %d is there: %v", item, chunk, number, !want[number][chunk])
					}
					some = some || want[number][chunk]
				}
				if some && !have.any(number) {
					t.Fatalf("after %+v: range %d is taken to have nothing", item, number)
				}
			}
		}
	}
}

func TestHaveMapCheck(t *testing.T) {
	var have haveMap
	have.addWhole(0, 3)
	have.removePart(1, protocol.Bits{0x80, 0x00})
	have.addPart(5, protocol.Bits{0x80, 0x10})
	for _, c := range []struct {
		number int64
		chunks int
		ok     bool
	}{
		{0, 1, true}, // told as a whole, whatever that is
		{1, 9, true},
		{1, 16, true},
		{1, 8, false},
		{1, 17, false},
		{4, 7, true}, // never told
		{5, 12, true},
		{5, 11, false}, // its last bit stands for no chunk
		{5, 0, false},
	} {
		if err := have.check(c.number, c.chunks); (err == nil) != c.ok {
			t.Errorf("range %d of %d chunks: %v", c.number, c.chunks, err)
		}
	}
}
