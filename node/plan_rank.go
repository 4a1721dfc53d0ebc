package node

import (
	"slices"

	"github.com/swarmsync/swarmsync/protocol"
)

// rankMax is the highest rank: that of chunks which so many holders have, or more. Who has what is known late and not
// exactly, so finer ranks say nothing.
const rankMax = 3

// rank is how rare a needed chunk is: how many holders have it, rankMax for all that have more.
func (p *plan) rank(r *plannedRange, chunk int) int {
	return min(rankMax, p.completes+int(r.places[chunk].holds))
}

// setFree makes a chunk one that nobody was asked for.
func (p *plan) setFree(r *plannedRange, chunk int) {
	if r.free.Get(chunk) || !r.need.Get(chunk) {
		return
	}
	r.free.Set(chunk)
	r.freeOf[p.rank(r, chunk)]++
	p.free++
}

func (p *plan) clearFree(r *plannedRange, chunk int) {
	r.free.Clear(chunk)
	r.freeOf[p.rank(r, chunk)]--
	p.free--
	if r.freeOf == [rankMax + 1]int{} {
		if i, found := slices.BinarySearchFunc(p.open, r, p.inOrder); found {
			p.open = slices.Delete(p.open, i, i+1)
		}
	}
}

// freed sees to it that a range with chunks that became free is open, and that holders that were asked for all they had
// are looked at again.
func (p *plan) freed(r *plannedRange) {
	if r.free.Count() == 0 {
		return
	}
	if i, found := slices.BinarySearchFunc(p.open, r, p.inOrder); !found {
		p.open = slices.Insert(p.open, i, r)
	}
	for _, h := range p.holders {
		if h.dry && h.mayHave(r.number) {
			h.dry = false
		}
	}
}

// countHave notes that one more partial holder has some chunks of a range, or one less.
func (p *plan) countHave(r *plannedRange, bits protocol.Bits, by int) {
	for chunk := range bits.Ones() {
		if chunk >= len(r.places) {
			return // told wrongly, and about to be dropped for it
		}
		free := r.free.Get(chunk)
		if free {
			r.freeOf[p.rank(r, chunk)]--
		}
		r.places[chunk].holds += uint16(by)
		if free {
			r.freeOf[p.rank(r, chunk)]++
		}
	}
}

// rankAgain counts the free chunks by rank anew: the number of complete holders is another.
func (p *plan) rankAgain() {
	for _, r := range p.open {
		r.freeOf = [rankMax + 1]int{}
		for chunk := range r.free.Ones() {
			r.freeOf[p.rank(r, chunk)]++
		}
	}
}
