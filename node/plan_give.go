package node

import (
	"slices"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// next returns what to ask of h now, and takes it as asked; and what to cancel at others, so that h is asked for it when
// they have confirmed. Of what h has and nobody was asked for, the rarest comes first, and then the plan's order.
func (p *plan) next(h *holder, now time.Time) (given []*wish, cancels []cancel) {
	if h.refusals >= refusalsMax {
		return nil, nil
	}
	given = p.giveClaims(h, now)
	target := h.target()
	if !h.dry && h.expected() < target {
		given = append(given, p.giveFree(h, target, now)...)
	}
	if h.dry && h.expected() < target && p.hasRoom(h) && p.exhausted(h) {
		cancels = p.takeOver(h, target, now)
		if p.ending() {
			given = append(given, p.giveSecond(h, target, now)...)
		}
	}
	return given, cancels
}

// exhausted reports whether there is nothing unassigned that h could be asked for, prepared or not.
func (p *plan) exhausted(h *holder) bool {
	if p.preparing > 0 {
		return false
	}
	return p.finished+len(p.ranges) == len(p.order) || !h.complete && h.scanned == len(p.order) && len(h.news) == 0
}

// hasRoom reports whether h may be given another wish.
func (p *plan) hasRoom(h *holder) bool {
	return len(h.wishes) < protocol.WishesMax && p.wished <= protocol.ReceiverWishedBytesMax-cafs.ChunkSizeMax
}

// cramped reports whether h has enough to do until there is room for a wish of a whole range: each chunk that comes from a
// fast holder would make a wish of its own else.
func (p *plan) cramped(h *holder) bool {
	return h.expected() >= rangeMost && p.wished > protocol.ReceiverWishedBytesMax-rangeMost
}

// giveFree gives h free chunks until it has its target.
func (p *plan) giveFree(h *holder, target int64, now time.Time) (given []*wish) {
	for rank := 1; rank <= rankMax && p.free > 0; rank++ {
		for i := 0; i < len(p.open); {
			if h.expected() >= target || !p.hasRoom(h) || p.cramped(h) {
				return given
			}
			r := p.open[i]
			if r.freeOf[rank] > 0 && h.mayHave(r.number) {
				if bits := p.take(r, h, rank, max(target-h.expected(), h.wishMost())); bits != nil {
					given = append(given, p.give(r, h, bits, now))
				}
			}
			if i < len(p.open) && p.open[i] == r { // it was not closed
				i++
			}
		}
	}
	h.dry = h.expected() < target && p.hasRoom(h)
	return given
}

// wishShare bounds a wish to a part of what its holder should be asked for: all free chunks of a range are ten seconds' work
// for a slow one, for which everybody would wait at the end.
const wishShare = 4

// wishMost returns how many bytes a wish of h may be that goes beyond its target. Who gets through a range in that time may
// have a whole one, and so may a complete holder whose rate is not known: what is left of a range is one more end.
func (h *holder) wishMost() int64 {
	if share := h.target() / wishShare; share < cafs.RangeBytes && (h.rate > 0 || !h.complete) {
		return share
	}
	return 2 * cafs.RangeBytes
}

// take chooses free chunks of a rank in r that h can send, until they are so many bytes; nil if there are none, or no room
// for them.
func (p *plan) take(r *plannedRange, h *holder, rank int, bytes int64) protocol.Bits {
	bits := protocol.NewBits(len(r.chunks))
	room := protocol.ReceiverWishedBytesMax - p.wished
	some := false
	for chunk := range r.free.Ones() {
		if bytes <= 0 {
			break
		}
		size := int64(r.chunks[chunk].Size)
		if size <= room && p.rank(r, chunk) == rank && h.canSend(r.number, chunk) {
			bits.Set(chunk)
			room -= size
			bytes -= size
			some = true
		}
	}
	if !some {
		return nil
	}
	return bits
}

// give notes that h is asked for chunks of r, which are free.
func (p *plan) give(r *plannedRange, h *holder, bits protocol.Bits, now time.Time) *wish {
	w := p.ask(r, h, bits, now)
	for chunk := range bits.Ones() {
		if r.free.Get(chunk) {
			p.clearFree(r, chunk)
		}
		r.places[chunk].asked = w
	}
	return w
}

// ask makes a wish of chunks at h.
func (p *plan) ask(r *plannedRange, h *holder, bits protocol.Bits, now time.Time) *wish {
	w := &wish{holder: h, from: r, bits: bits, left: slices.Clone(bits)}
	for chunk := range bits.Ones() {
		w.bytes += w.size(chunk)
	}
	if h.outstanding == 0 {
		h.heard, h.windowStart, h.windowBytes = now, now, 0
	}
	h.outstanding += w.bytes
	p.wished += w.bytes
	h.wishes = append(h.wishes, w)
	return w
}

// takeBack makes free what was asked for by a wish, as far as bits say: its holder is gone, or was never asked.
func (p *plan) takeBack(w *wish, bits protocol.Bits) {
	for chunk := range slices.Clone(bits).Ones() {
		if w.left.Get(chunk) {
			p.release(w, chunk)
		}
	}
	p.freed(w.from)
}

// release ends a wish for one chunk. It is free then, unless its heir or another wish waits for it.
func (p *plan) release(w *wish, chunk int) {
	p.settle(w, chunk)
	r, place := w.from, w.place(chunk)
	if place.second == w {
		place.second = nil
		return
	}
	if place.asked != w {
		return
	}
	place.asked, place.second = place.second, nil
	heir := place.heir
	place.heir, place.returning = nil, false
	if heir != nil {
		heir.reserved -= w.size(chunk)
	}
	switch {
	case place.asked != nil || !r.need.Get(chunk):
	case heir != nil && heir.canSend(r.number, chunk):
		p.claim(heir, r, chunk)
	default:
		p.setFree(r, chunk)
	}
}

// claim lets h, and nobody else, be asked for a chunk.
func (p *plan) claim(h *holder, r *plannedRange, chunk int) {
	if h.claims == nil {
		h.claims = make(map[*plannedRange]protocol.Bits)
	}
	if h.claims[r] == nil {
		h.claims[r] = protocol.NewBits(len(r.chunks))
	}
	h.claims[r].Set(chunk)
	r.places[chunk].claimant = h
	h.reserved += int64(r.chunks[chunk].Size)
}

func (p *plan) unclaim(r *plannedRange, chunk int) {
	h := r.places[chunk].claimant
	r.places[chunk].claimant = nil
	h.claims[r].Clear(chunk)
	h.reserved -= int64(r.chunks[chunk].Size)
	if h.claims[r].Count() == 0 {
		delete(h.claims, r)
	}
}

// giveClaims asks h for what it took over.
func (p *plan) giveClaims(h *holder, now time.Time) (given []*wish) {
	if len(h.claims) == 0 {
		return nil
	}
	rows := make([]*plannedRange, 0, len(h.claims))
	for r := range h.claims {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, p.inOrder)
	for _, r := range rows {
		if !p.hasRoom(h) {
			return given
		}
		bits := slices.Clone(h.claims[r])
		for chunk := range h.claims[r].Ones() {
			r.places[chunk].claimant = nil
			if h.reserved -= int64(r.chunks[chunk].Size); !h.canSend(r.number, chunk) {
				bits.Clear(chunk)
				p.setFree(r, chunk)
			}
		}
		delete(h.claims, r)
		p.freed(r)
		if bits.Count() > 0 {
			given = append(given, p.give(r, h, bits, now))
		}
	}
	return given
}
