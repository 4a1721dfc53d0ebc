package node

import (
	"iter"
	"slices"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// prepareAhead is how many prepared ranges wait to be given away: more than what any one refill can take.
	prepareAhead = 2 * protocol.ReceiverWishedBytesMax / cafs.RangeBytes
	// preparedMax bounds the prepared ranges of which something is needed, whatever holders say they have: else one that
	// never sends what it claims could have the whole list looked up. 1,024 of them take 5 MB, and 60 MB if all chunks
	// are as small as a root may make them.
	preparedMax = 8 * prepareAhead
	// scanMax is how many ranges one call looks at, so that it takes some microseconds however many there are.
	scanMax = 4096
	// newsMax bounds the ranges that a holder told of and that were not looked at since.
	newsMax = 1024
)

// toPrepare yields ranges whose chunks should be looked up now, each of which must come back by prepared: in general in
// the plan's order while too few are prepared, and beyond that for partial holders that have none of those. Ranges for
// which known is false are passed over; in the plan's order they are looked at again after lookAgain.
func (p *plan) toPrepare(known func(number int64) bool) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for p.cursor < len(p.order) && p.state[p.order[p.cursor]] != rangeUntouched {
			p.cursor++
			p.unlisted = false
		}
		for i := p.cursor; !p.unlisted; i++ {
			if i == min(len(p.order), p.cursor+scanMax) {
				p.unlisted = true
				break
			}
			if p.full() || p.preparing+len(p.open) >= prepareAhead {
				break
			}
			if number := int64(p.order[i]); p.fit(number, known) && !p.begin(number, yield) {
				return
			}
		}
		budget := scanMax
		for _, h := range p.holders {
			if number, ok := p.wantedBy(h, known, &budget); ok && !p.begin(number, yield) {
				return
			}
		}
	}
}

// lookAgain says that known may be true for more ranges than before.
func (p *plan) lookAgain() { p.unlisted = false }

// fit reports whether a range can be prepared.
func (p *plan) fit(number int64, known func(int64) bool) bool {
	return p.state[number] == rangeUntouched && known(number)
}

func (p *plan) begin(number int64, yield func(int64) bool) bool {
	p.state[number] = rangePreparing
	p.preparing++
	return yield(number)
}

// full reports whether no more ranges may be prepared until others are finished.
func (p *plan) full() bool { return p.preparing+len(p.ranges) >= preparedMax }

// wantedBy returns a range that a partial holder has, which could be asked for more than is prepared: one that it told of
// lately, or else the first in the plan's order that was not looked at for it.
func (p *plan) wantedBy(h *holder, known func(int64) bool, budget *int) (number int64, ok bool) {
	if !h.dry || h.complete || p.full() {
		return 0, false
	}
	for i, number := range h.news {
		if h.mayHave(number) && p.fit(number, known) {
			h.news = slices.Delete(h.news, 0, i+1)
			return number, true
		}
	}
	h.news = nil
	for ; h.scanned < len(p.order) && *budget > 0; *budget-- {
		number := int64(p.order[h.scanned])
		h.scanned++
		if h.mayHave(number) && p.fit(number, known) {
			return number, true
		}
	}
	return 0, false
}

// unprepared reports whether another call of toPrepare may find more.
func (p *plan) unprepared() bool {
	return slices.ContainsFunc(p.holders, func(h *holder) bool {
		return h.dry && !h.complete && (h.scanned < len(p.order) || len(h.news) > 0)
	})
}

// hear keeps the ranges that a holder tells of, so that they can be prepared for it. If they are too many all ranges are
// looked at again.
func (h *holder) hear(items []protocol.HaveItem) {
	for _, item := range items {
		if item.Op == protocol.HaveNone || item.Op == protocol.HaveRemove {
			continue
		}
		if item.Count > int64(newsMax-len(h.news)) {
			h.news, h.scanned = nil, 0
			return
		}
		for number := item.First; number < item.First+item.Count; number++ {
			if !slices.Contains(h.news, number) {
				h.news = append(h.news, number)
			}
		}
	}
}
