package node

import (
	"testing"

	"github.com/swarmsync/swarmsync/protocol"
)

// What is told piece by piece must add up to what is here, and never say more.
func TestNewsAddUp(t *testing.T) {
	const ranges = 20
	r := random(t)
	var n news
	var told haveMap
	now := epoch
	chunks := make([]int, ranges)
	missing := make(map[chunkID]bool)
	for number := range ranges {
		chunks[number] = 1 + r.IntN(40)
		for chunk := range chunks[number] {
			missing[chunkID{int64(number), chunk}] = true
		}
	}
	same := func(have haveMap) {
		t.Helper()
		for number, count := range chunks {
			for chunk := range count {
				if here := !missing[chunkID{int64(number), chunk}]; have.has(int64(number), chunk) != here {
					t.Fatalf("chunk %d of range %d: told %v, here %v", chunk, number, !here, here)
				}
			}
		}
	}
	for len(missing) > 0 {
		for id := range missing {
			bits := protocol.NewBits(chunks[id.number])
			bits.Set(id.chunk)
			n.add(id.number, bits, chunks[id.number])
			delete(missing, id)
			if r.IntN(5) == 0 {
				break
			}
		}
		if n.due(n.told) {
			t.Fatal("due twice at the same time")
		}
		now = now.Add(protocol.HaveInterval)
		if !n.due(now) {
			t.Fatal("not due though there are news")
		}
		told.apply(n.take(now))
		same(told)
		var whole haveMap
		whole.apply(n.here.items())
		same(whole)
		if left := told.unknownOf(n.here.items()); len(left) > 0 {
			t.Fatalf("of what was told %v counts as unknown", left)
		}
	}
	for number := range int64(ranges) {
		if !told.hasWhole(number) {
			t.Errorf("range %d is whole and was not told so", number)
		}
	}
}
