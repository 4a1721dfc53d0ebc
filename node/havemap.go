package node

import (
	"maps"

	"github.com/swarmsync/swarmsync/protocol"
)

// haveMap is what a partial holder said it has. The zero value has nothing. It is a few bytes for most holders, and at
// most what the frames that filled it had.
type haveMap struct {
	// whole has a bit for each range up to the last that was told as a whole.
	whole protocol.Bits
	// parts has, for ranges that were told chunk by chunk, the chunks that are not as the range's bit in whole says. So the
	// number of a range's chunks need not be known to take some out of a whole one.
	parts map[int64]protocol.Bits
}

func (m *haveMap) hasWhole(number int64) bool {
	return number < int64(8*len(m.whole)) && m.whole.Get(int(number))
}

func (m *haveMap) has(number int64, chunk int) bool {
	part := m.parts[number]
	differs := chunk < 8*len(part) && part.Get(chunk)
	return m.hasWhole(number) != differs
}

// bits returns what is there of a range that has so many chunks.
func (m *haveMap) bits(number int64, chunks int) protocol.Bits {
	bits := protocol.NewBits(chunks)
	if !m.any(number) {
		return bits
	}
	for chunk := range chunks {
		if m.has(number, chunk) {
			bits.Set(chunk)
		}
	}
	return bits
}

// any reports whether some chunk of a range may be there.
func (m *haveMap) any(number int64) bool { return m.hasWhole(number) || m.parts[number] != nil }

// check returns an error if what was told of a range chunk by chunk can't be for one that has so many chunks.
func (m *haveMap) check(number int64, chunks int) error {
	part := m.parts[number]
	if part == nil {
		return nil
	}
	return protocol.CheckBits(part, chunks)
}

// addWhole adds ranges from first, n of them.
func (m *haveMap) addWhole(first, n int64) {
	if size := protocol.BitsLen(int(first + n)); size > len(m.whole) {
		m.whole = append(m.whole, make(protocol.Bits, size-len(m.whole))...)
	}
	for number := first; number < first+n; number++ {
		m.whole.Set(int(number))
	}
	m.forgetParts(first, n)
}

// removeWhole takes ranges out from first, n of them.
func (m *haveMap) removeWhole(first, n int64) {
	for number := first; number < min(first+n, int64(8*len(m.whole))); number++ {
		m.whole.Clear(int(number))
	}
	m.forgetParts(first, n)
}

// forgetParts takes as long as there are parts, or ranges if they are fewer: a frame of a few bytes names millions.
func (m *haveMap) forgetParts(first, n int64) {
	if n > int64(len(m.parts)) {
		maps.DeleteFunc(m.parts, func(number int64, _ protocol.Bits) bool { return number >= first && number < first+n })
		return
	}
	for number := first; number < first+n; number++ {
		delete(m.parts, number)
	}
}

// addPart adds some chunks of one range.
func (m *haveMap) addPart(number int64, bits protocol.Bits) {
	m.tell(number, bits, !m.hasWhole(number))
}

// removePart takes some chunks of one range out.
func (m *haveMap) removePart(number int64, bits protocol.Bits) {
	m.tell(number, bits, m.hasWhole(number))
}

// tell notes whether some chunks of a range differ from its bit in whole.
func (m *haveMap) tell(number int64, bits protocol.Bits, differ bool) {
	part := m.parts[number]
	if part == nil && !differ {
		return
	}
	if len(part) < len(bits) {
		part = append(part, make(protocol.Bits, len(bits)-len(part))...)
	}
	for chunk := range bits.Ones() {
		if differ {
			part.Set(chunk)
		} else {
			part.Clear(chunk)
		}
	}
	if part.Count() == 0 {
		delete(m.parts, number)
		return
	}
	if m.parts == nil {
		m.parts = make(map[int64]protocol.Bits)
	}
	m.parts[number] = part
}

// apply takes in a list that the holder sent.
func (m *haveMap) apply(items []protocol.HaveItem) {
	for _, item := range items {
		switch item.Op {
		case protocol.HaveAll:
			m.addWhole(item.First, item.Count)
		case protocol.HaveNone:
			m.removeWhole(item.First, item.Count)
		case protocol.HaveAdd:
			m.addPart(item.First, item.Bits)
		case protocol.HaveRemove:
			m.removePart(item.First, item.Bits)
		}
	}
}
