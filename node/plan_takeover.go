package node

import (
	"slices"
	"time"

	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// movesMax is how often a chunk is taken from one holder for another.
	movesMax = 2
	// takeOverFactor and takeOverSlack: what is owed by a holder is taken over if it is expected later than so many times
	// as late as with the new one, and so much. Less makes holders of nearly equal speed take from each other.
	takeOverFactor = 2
	takeOverSlack  = 100 * time.Millisecond
	// endgameSlack is how much earlier the second copy of a chunk must be expected, and endgameShare the part of the
	// content that may be asked for twice: 1/500, or 0.2 %.
	endgameSlack = 50 * time.Millisecond
	endgameShare = 500
	// victimsMax bounds the holders that are looked at for something to take over.
	victimsMax = 8
)

// cancel is what to take back of a wish.
type cancel struct {
	wish *wish
	bits protocol.Bits
}

// cancel enters a CANCEL of some chunks as sent.
func (w *wish) cancel(bits protocol.Bits, now time.Time) cancel {
	if w.holder.answers == 0 {
		w.holder.cancelled = now
	}
	w.holder.answers++
	w.cancels = append(w.cancels, slices.Clone(bits))
	return cancel{w, bits}
}

// cancelling collects what is cancelled of one wish.
type cancelling struct{ list []cancel }

// add marks a chunk of a wish as h's once its holder has confirmed, or as free then if h is nil.
func (c *cancelling) add(w *wish, chunk int, h *holder) {
	i := slices.IndexFunc(c.list, func(other cancel) bool { return other.wish == w })
	if i < 0 {
		i = len(c.list)
		c.list = append(c.list, cancel{w, protocol.NewBits(len(w.from.chunks))})
	}
	c.list[i].bits.Set(chunk)
	place := w.place(chunk)
	place.moves++
	if h == nil {
		place.returning = true
		return
	}
	place.heir = h
	h.reserved += w.size(chunk)
}

// sent enters the cancels as on their way.
func (c *cancelling) sent(now time.Time) []cancel {
	for i, one := range c.list {
		c.list[i] = one.wish.cancel(one.bits, now)
	}
	return c.list
}

// movable reports whether a chunk may be taken from the holder that was asked for it.
func (w *wish) movable(chunk int) bool {
	place := w.place(chunk)
	return w.needed(chunk) && place.asked == w && place.heir == nil && !place.returning && place.second == nil && place.moves < movesMax
}

// move takes chunks of some ranges, which h says it has now, from complete holders that will come to them later. Those that h
// has no room for are taken back if a complete holder can be asked for something rarer instead: what is sent by many need not
// be sent by who has what nobody else has.
func (p *plan) move(h *holder, ranges []*plannedRange, now time.Time) []cancel {
	var c cancelling
	target := h.target()
	rarer := p.freeByRank()
	for _, r := range ranges {
		for chunk := range r.places {
			if h.expected() >= target && rarer == (byRank{}) {
				return c.sent(now)
			}
			w := r.places[chunk].asked
			if w == nil || !w.holder.complete || !w.movable(chunk) || !h.canSend(r.number, chunk) {
				continue
			}
			if h.expected() < target && w.holder.end(now) > h.endWith(w.size(chunk), now) {
				c.add(w, chunk, h)
			} else if rarer.take(p.rank(r, chunk)) {
				c.add(w, chunk, nil)
			}
		}
	}
	return c.sent(now)
}

// byRank counts chunks by their rank.
type byRank [rankMax + 1]int

// freeByRank counts the chunks that nobody was asked for.
func (p *plan) freeByRank() (free byRank) {
	for _, r := range p.open {
		for rank, n := range r.freeOf {
			free[rank] += n
		}
	}
	return free
}

// take counts one chunk less that is rarer than those of a rank, and reports whether there was one.
func (b *byRank) take(rank int) bool {
	for rarer := range rank {
		if b[rarer] > 0 {
			b[rarer]--
			return true
		}
	}
	return false
}

// takeOver takes chunks from the holders that will be done last, as long as they will be done much later than h: the last
// wishes first.
func (p *plan) takeOver(h *holder, target int64, now time.Time) []cancel {
	var c cancelling
	for _, v := range p.victims(h, now) {
		if h.expected() >= target || !muchLater(v.end, h.end(now)) {
			break
		}
		p.takeFrom(v.holder, h, target, &c, now)
	}
	return c.sent(now)
}

// muchLater reports whether one end is so much later than another that something is taken over.
func muchLater(end, than time.Duration) bool { return end > takeOverFactor*than+takeOverSlack }

// victim is a holder that something may be taken over from, and when it is expected to be done.
type victim struct {
	holder *holder
	end    time.Duration
}

// victims returns the holders that will be done much later than h, the last first, and victimsMax of them at most.
func (p *plan) victims(h *holder, now time.Time) []victim {
	var victims []victim
	own := h.end(now)
	for _, other := range p.holders {
		if other == h || other.outstanding == 0 {
			continue
		}
		end := other.end(now)
		if !muchLater(end, own) {
			continue
		}
		i := len(victims)
		for i > 0 && victims[i-1].end < end {
			i--
		}
		if i < victimsMax {
			victims = slices.Insert(victims[:min(len(victims), victimsMax-1)], i, victim{other, end})
		}
	}
	return victims
}

// takeFrom takes over from victim what h can send, from the end of its wishes.
func (p *plan) takeFrom(victim, h *holder, target int64, c *cancelling, now time.Time) {
	left := victim.outstanding
	for _, w := range slices.Backward(victim.wishes) {
		if !h.mayHave(w.number()) {
			continue
		}
		for chunk := len(w.from.chunks) - 1; chunk >= 0; chunk-- {
			if !w.left.Get(chunk) || !w.movable(chunk) || !h.canSend(w.number(), chunk) {
				continue
			}
			if h.expected() >= target || !muchLater(victim.endOf(left, now), h.endWith(w.size(chunk), now)) {
				return
			}
			c.add(w, chunk, h)
			left -= w.size(chunk)
		}
	}
}

// ending reports whether there is nothing left to give away.
func (p *plan) ending() bool {
	return p.free == 0 && p.preparing == 0 && p.finished+len(p.ranges) == len(p.order)
}

// giveSecond asks h for chunks that another holder was asked for and will send later: in the endgame, and for a small part
// of the content in all.
func (p *plan) giveSecond(h *holder, target int64, now time.Time) (given []*wish) {
	for _, victim := range p.holders {
		if victim == h || victim.outstanding == 0 {
			continue
		}
		// The first wishes first: what of the last ones was not sent is taken over, what of these was will come late.
		for _, w := range slices.Clone(victim.wishes) {
			if h.expected() >= target || !p.hasRoom(h) {
				return given
			}
			if second := p.secondOf(w, h, target, now); second != nil {
				given = append(given, second)
			}
		}
	}
	return given
}

// secondOf makes a wish at h for chunks that are outstanding of another's; nil if there are none, or they are too much.
func (p *plan) secondOf(w *wish, h *holder, target int64, now time.Time) *wish {
	bits := protocol.NewBits(len(w.from.chunks))
	room := min(p.spare, target-h.expected(), protocol.ReceiverWishedBytesMax-p.wished)
	some := false
	own, end := int64(0), w.holder.end(now)
	for chunk := range w.left.Ones() {
		place, size := w.place(chunk), w.size(chunk)
		if !w.needed(chunk) || place.asked != w || place.second != nil || size > room || !h.canSend(w.number(), chunk) {
			continue
		}
		if (place.heir != nil || place.returning) && now.Sub(w.holder.cancelled) < endgameSlack+2*w.holder.rtt {
			continue // that it is not coming may be confirmed at any moment
		}
		if end <= h.endWith(own+size, now)+endgameSlack {
			break
		}
		bits.Set(chunk)
		room -= size
		own += size
		some = true
	}
	if !some {
		return nil
	}
	second := p.ask(w.from, h, bits, now)
	p.spare -= second.bytes
	p.kept(w, bits)
	for chunk := range bits.Ones() {
		w.place(chunk).second = second
	}
	return second
}

// confirmed takes in the answer to the oldest CANCEL of a wish: what bits has is not coming and goes to its heirs, the
// rest had been sent before. It returns how many bytes were taken from the holder.
func (p *plan) confirmed(w *wish, bits protocol.Bits, now time.Time) (taken int64) {
	asked := w.cancels[0]
	w.cancels = w.cancels[1:]
	w.holder.answers--
	w.holder.cancelled = now // those after it were answered late for its sake
	for chunk := range bits.Ones() {
		if !w.left.Get(chunk) {
			continue
		}
		if !w.from.need.Get(chunk) {
			p.spare += w.size(chunk)
		} else if w.place(chunk).asked == w {
			taken += w.size(chunk)
		}
		p.release(w, chunk)
		asked.Clear(chunk)
	}
	p.kept(w, asked)
	p.freed(w.from)
	return taken
}

// uncancelled takes a CANCEL back that could not be sent.
func (p *plan) uncancelled(c cancel) {
	w := c.wish
	w.holder.answers--
	w.cancels = w.cancels[:len(w.cancels)-1]
	p.kept(w, c.bits)
}

// kept ends the reservations for chunks that are not waited for any more.
func (p *plan) kept(w *wish, bits protocol.Bits) {
	for chunk := range bits.Ones() {
		place := w.place(chunk)
		if place.asked != w {
			continue
		}
		place.returning = false
		if place.heir != nil {
			place.heir.reserved -= w.size(chunk)
			place.heir = nil
		}
	}
}
