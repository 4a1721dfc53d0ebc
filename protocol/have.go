package protocol

import (
	"errors"
	"fmt"
)

// HaveOp is what a HaveItem says of its ranges.
type HaveOp uint8

const (
	// HaveNone: nothing of these ranges is there.
	HaveNone HaveOp = 0
	// HaveAll: every chunk of these ranges is there.
	HaveAll HaveOp = 1
	// HaveAdd: of this one range, the chunks whose bits are set are there, besides those that were.
	HaveAdd HaveOp = 2
	// HaveRemove: of this one range, the chunks whose bits are set are not there any more.
	HaveRemove HaveOp = 3
)

// HaveItem tells what a holder can send of some ranges. A list of them is ascending, and no range is in two items.
type HaveItem struct {
	// First is the number of the first range, and Count how many there are; 1 for HaveAdd and HaveRemove.
	First, Count int64
	Op           HaveOp
	// Bits has one bit for each chunk of the range, at least one of them set, for HaveAdd and HaveRemove; it is nil for
	// the others. A receiver can check its length only when it knows the pages that list the range's chunks: it keeps
	// the bits until then, and CheckBits tells.
	Bits Bits
}

func (it HaveItem) check() error {
	switch it.Op {
	case HaveNone, HaveAll:
		if it.Count < 1 || len(it.Bits) != 0 {
			return fmt.Errorf("%d ranges with %d bytes of bits: want at least 1, and no bits", it.Count, len(it.Bits))
		}
	case HaveAdd, HaveRemove:
		if it.Count != 1 || len(it.Bits) > BitsLen(RangeChunksMax) || it.Bits.Count() == 0 {
			return fmt.Errorf("%d ranges with %d bytes of bits: want 1, and a bit set", it.Count, len(it.Bits))
		}
	default:
		return fmt.Errorf("no such op: %d", it.Op)
	}
	return nil
}

// checkHave checks a list that a caller wants to tell.
func checkHave(items []HaveItem) error {
	next := int64(0)
	for _, it := range items {
		if err := it.check(); err != nil {
			return fmt.Errorf("have item at range %d: %w", it.First, err)
		}
		if it.First < next || it.First > RangesMax-it.Count {
			return fmt.Errorf("have item at range %d: not ascending, or beyond range %d", it.First, RangesMax-1)
		}
		next = it.First + it.Count
	}
	return nil
}

// checkHaveMap checks what ACCEPT is to tell: a have map starts from nothing, so it only tells what is there, and a
// holder that has everything tells just that.
func checkHaveMap(items []HaveItem, complete bool) error {
	if complete && len(items) > 0 {
		return errors.New("have map of a complete holder: want no items")
	}
	for _, it := range items {
		if it.Op != HaveAll && it.Op != HaveAdd {
			return fmt.Errorf("have map: item at range %d takes away what was never told", it.First)
		}
	}
	return nil
}

// appendHave appends as many of the items as fit in most bytes, and returns the rest. Neighbours of the same op become
// one run, so that a list has one encoding. The items have passed checkHave.
func appendHave(dst []byte, items []HaveItem, most int) (encoded []byte, rest []HaveItem) {
	encoded = dst
	next := int64(0)
	for len(items) > 0 {
		it, merged := firstRun(items)
		longer := it.append(encoded, next)
		if len(longer)-len(dst) > most {
			break
		}
		encoded = longer
		next = it.First + it.Count
		items = items[merged:]
	}
	return encoded, items
}

// firstRun merges the first item with those after it that continue it, and returns how many it took.
func firstRun(items []HaveItem) (run HaveItem, merged int) {
	run, merged = items[0], 1
	for merged < len(items) && run.continuedBy(items[merged]) {
		run.Count += items[merged].Count
		merged++
	}
	return run, merged
}

func (it HaveItem) continuedBy(after HaveItem) bool {
	return it.Op <= HaveAll && after.Op == it.Op && after.First == it.First+it.Count
}

// append appends the item to a list whose previous item ended before range next.
func (it HaveItem) append(dst []byte, next int64) []byte {
	dst = append(appendNumber(dst, it.First-next), byte(it.Op))
	if it.Op <= HaveAll {
		return appendNumber(dst, it.Count)
	}
	return appendCounted(dst, it.Bits)
}

// decodeHave decodes a HAVE of a root that has at most the given number of ranges. The bits point into body.
func decodeHave(body []byte, ranges int64) ([]HaveItem, error) {
	if len(body) == 0 {
		return nil, errors.New("no items")
	}
	return decodeHaveList(body, ranges)
}

// decodeHaveMap decodes the have map in ACCEPT.
func decodeHaveMap(body []byte, complete bool, ranges int64) ([]HaveItem, error) {
	items, err := decodeHaveList(body, ranges)
	if err != nil {
		return nil, err
	}
	return items, checkHaveMap(items, complete)
}

func decodeHaveList(body []byte, ranges int64) ([]HaveItem, error) {
	var items []HaveItem
	f := fields{rest: body}
	for next := int64(0); f.more(); {
		it := f.haveItem(next, ranges)
		if n := len(items); f.err == nil && n > 0 && items[n-1].continuedBy(it) {
			f.fail("have item", errors.New("two runs where one would do"))
		}
		items = append(items, it)
		next = it.First + it.Count
	}
	return items, f.end()
}

// haveItem takes an item of a list whose previous item ended before range next.
func (f *fields) haveItem(next, ranges int64) HaveItem {
	if next >= ranges {
		f.fail("have item", fmt.Errorf("beyond the last of %d ranges", ranges))
		return HaveItem{}
	}
	it := HaveItem{
		First: next + f.number("gap", 0, ranges-next-1),
		Count: 1,
		Op:    HaveOp(f.octet("op", byte(HaveRemove))),
	}
	if it.Op <= HaveAll {
		it.Count = f.number("number of ranges", 1, ranges-it.First)
	} else {
		it.Bits = f.someBits()
	}
	return it
}
