package node

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

// plan decides which chunks to ask of which holder next. It is a pure state machine: no lock, no clock, no I/O; time
// comes in with each call. One chunk is given to one holder at a time, so what the holders send is disjoint, but for the
// few that are asked for twice at the end.
//
// Ranges come in twice: their numbers with newPlan, in the order in which they are to be fetched, and their chunks with
// prepared, once it is known which of them have to come from elsewhere. After that
//
//   - next says what to ask of a holder, and what to cancel elsewhere so that this holder gets it,
//   - told takes in what a holder has, and may move chunks to it,
//   - arrived, refused and confirmed take in what came of a wish.
//
// The rules are in docs/protocol.md, "Scheduling"; the figures were found by simulation.
type plan struct {
	order    shuffle.Permutation
	position []int32 // of each range in order
	cursor   int     // everything in order before it was asked for by toPrepare
	unlisted bool    // of what is untouched in order from there on, toPrepare found nothing known
	state    []rangeProgress
	ranges   map[int64]*plannedRange
	open     []*plannedRange // prepared, with free chunks, in the plan's order

	holders   []*holder
	completes int   // of the holders
	preparing int   // ranges handed out by toPrepare and not prepared yet
	finished  int   // ranges without needs
	free      int   // chunks that nobody was asked for, in all prepared ranges
	wished    int64 // bytes outstanding at all holders

	// spare is how many bytes may still be asked for twice.
	spare int64

	stallFirst time.Duration // how long a holder may send nothing before its rate is known
}

type rangeProgress uint8

const (
	rangeUntouched rangeProgress = iota
	rangePreparing
	rangePrepared
)

// plannedRange is a range of which chunks are still needed.
type plannedRange struct {
	number int64
	chunks []cafs.ChunkInfo
	// need has the chunks that are not here yet; free those of them that nobody was asked for.
	need, free protocol.Bits
	places     []chunkPlace // for each chunk
	// freeOf counts the free chunks of each rank.
	freeOf [rankMax + 1]int
}

// chunkPlace is where a needed chunk is expected from.
type chunkPlace struct {
	// asked is the wish that it is part of, nil while it is free; second is that of the same chunk at another holder, in
	// the endgame.
	asked, second *wish
	// heir is who gets it once the holder of asked has confirmed that it will not send it; claimant is who is to be asked
	// for it next, while it is neither free nor asked for.
	heir, claimant *holder
	// returning tells that the holder of asked was told not to send it, and that it is free once that is confirmed.
	returning bool
	// moves is how often it was taken from a holder; holds is how many partial holders have it.
	moves uint8
	holds uint16
}

// wish is what a holder shall be asked for, or was: some chunks of one range.
type wish struct {
	// id is the session's; the plan does not look at it.
	id     uint64
	holder *holder
	from   *plannedRange
	bits   protocol.Bits // what was asked for
	left   protocol.Bits // what is outstanding of it
	bytes  int64         // of bits
	// cancels are the chunks of each CANCEL that has not been answered, in their order.
	cancels []protocol.Bits
}

func (w *wish) number() int64               { return w.from.number }
func (w *wish) chunks() []cafs.ChunkInfo    { return w.from.chunks }
func (w *wish) size(chunk int) int64        { return int64(w.from.chunks[chunk].Size) }
func (w *wish) place(chunk int) *chunkPlace { return &w.from.places[chunk] }

// needed reports whether a chunk is not here yet: what is may still be outstanding, from a second holder.
func (w *wish) needed(chunk int) bool { return w.from.need.Get(chunk) }

// newPlan plans the ranges in the given order, which holds each range number once. size is the content's in bytes.
func newPlan(order shuffle.Permutation, size int64) *plan {
	p := &plan{
		order:    order,
		position: make([]int32, len(order)),
		state:    make([]rangeProgress, len(order)),
		ranges:   make(map[int64]*plannedRange),
		spare:    size / endgameShare,

		stallFirst: protocol.StallTimeoutFirst,
	}
	for i, number := range order {
		p.position[number] = int32(i)
	}
	return p
}

// skipOutside takes ranges out of the plan, all but those from first to last. It comes before anything else.
func (p *plan) skipOutside(first, last int64) {
	for number := range p.state {
		if int64(number) < first || int64(number) > last {
			p.state[number] = rangePrepared
			p.finished++
		}
	}
}

// chunkBytes is about how large a chunk is.
const chunkBytes = 37 << 10

// rareBytes returns about how many bytes nobody was asked for that only complete holders have, of the ranges that are prepared.
func (p *plan) rareBytes() int64 {
	chunks := 0
	for _, r := range p.open {
		for rank := range 1 + min(rankMax, p.completes) {
			chunks += r.freeOf[rank]
		}
	}
	return int64(chunks) * chunkBytes
}

// done reports whether every range is prepared and nothing is needed any more.
func (p *plan) done() bool { return p.finished == len(p.order) }

// addHolder brings in a peer with a session. Later calls name the holder that it returns.
func (p *plan) addHolder(id peer.ID, complete bool, have haveMap, rtt time.Duration) *holder {
	h := &holder{id: id, complete: complete, have: have, rtt: rtt, refused: make(map[int64]refusal)}
	p.holders = append(p.holders, h)
	if complete {
		p.completes++
		p.rankAgain()
		return h
	}
	for _, r := range p.ranges {
		p.countHave(r, h.have.bits(r.number, len(r.chunks)), 1)
	}
	return h
}

// removeHolder takes a holder out; what it was asked for goes to others.
func (p *plan) removeHolder(h *holder) {
	p.holders = slices.DeleteFunc(p.holders, func(other *holder) bool { return other == h })
	for _, w := range slices.Clone(h.wishes) {
		p.takeBack(w, w.left)
	}
	for _, r := range p.ranges {
		for i := range r.places {
			if r.places[i].heir == h {
				r.places[i].heir = nil
			}
		}
	}
	for r, bits := range h.claims {
		for chunk := range bits.Ones() {
			r.places[chunk].claimant = nil
			p.setFree(r, chunk)
		}
		p.freed(r)
	}
	if h.complete {
		p.completes--
		p.rankAgain()
		return
	}
	for _, r := range p.ranges {
		p.countHave(r, h.have.bits(r.number, len(r.chunks)), -1)
	}
}

// prepared says what a range that toPrepare yielded consists of, and which of its chunks have to come from holders. It
// returns the holders that told of bits which can't be those of its chunks.
func (p *plan) prepared(number int64, chunks []cafs.ChunkInfo, need protocol.Bits) (wrong []*holder) {
	p.preparing--
	p.state[number] = rangePrepared
	for _, h := range p.holders {
		if h.have.check(number, len(chunks)) != nil {
			wrong = append(wrong, h)
		}
	}
	if need.Count() == 0 {
		p.finished++
		return wrong
	}
	r := &plannedRange{
		number: number,
		chunks: chunks,
		need:   slices.Clone(need),
		free:   protocol.NewBits(len(chunks)),
		places: make([]chunkPlace, len(chunks)),
	}
	p.ranges[number] = r
	for _, h := range p.holders {
		if !h.complete {
			p.countHave(r, h.have.bits(number, len(chunks)), 1)
		}
	}
	for chunk := range need.Ones() {
		p.setFree(r, chunk)
	}
	p.freed(r)
	return wrong
}

// told takes in what a holder says it has, beside what it said before: it may be asked again for what it turned down of
// these ranges, and gets what waits at a complete holder that will come to it later. The error is for bits that can't be
// those of a range's chunks, and nothing is taken in then. Ranges whose chunks are not known yet are checked by prepared.
func (p *plan) told(h *holder, items []protocol.HaveItem, now time.Time) ([]cancel, error) {
	for _, item := range items {
		if r := p.ranges[item.First]; r != nil && item.Bits != nil {
			if err := protocol.CheckBits(item.Bits, len(r.chunks)); err != nil {
				return nil, fmt.Errorf("range %d: %w", item.First, err)
			}
		}
	}
	if h.complete && slices.ContainsFunc(items, takesAway) {
		p.incomplete(h)
	}
	var named []*plannedRange
	for number, r := range p.ranges {
		if names(items, number) {
			named = append(named, r)
			delete(h.refused, number)
			if !h.complete {
				p.countHave(r, h.have.bits(number, len(r.chunks)), -1)
			}
		}
	}
	h.have.apply(items)
	h.hear(items)
	h.dry = false
	if h.complete {
		return nil, nil
	}
	for _, r := range named {
		p.countHave(r, h.have.bits(r.number, len(r.chunks)), 1)
	}
	if len(items) == 1 && items[0].Op == protocol.HaveAll && items[0].Count == int64(len(p.order)) {
		p.completed(h)
	}
	slices.SortFunc(named, p.inOrder)
	return p.move(h, named, now), nil
}

// completed notes that a partial holder has everything now.
func (p *plan) completed(h *holder) {
	for _, r := range p.ranges {
		p.countHave(r, h.have.bits(r.number, len(r.chunks)), -1)
	}
	h.complete = true
	clear(h.refused)
	p.completes++
	p.rankAgain()
}

// incomplete notes that a holder which had everything is about to say what it has not any more.
func (p *plan) incomplete(h *holder) {
	h.complete = false
	h.have = haveMap{}
	h.have.addWhole(0, int64(len(p.order)))
	p.completes--
	p.rankAgain()
	for _, r := range p.ranges {
		p.countHave(r, h.have.bits(r.number, len(r.chunks)), 1)
	}
}

func takesAway(item protocol.HaveItem) bool {
	return item.Op == protocol.HaveNone || item.Op == protocol.HaveRemove
}

// names reports whether an ascending list is about a range.
func names(items []protocol.HaveItem, number int64) bool {
	i, found := slices.BinarySearchFunc(items, number, func(item protocol.HaveItem, number int64) int {
		return cmp.Compare(item.First, number)
	})
	return found || i > 0 && number < items[i-1].First+items[i-1].Count
}

// checkHave does for the have map that a holder began with what told does for what came later.
func (p *plan) checkHave(h *holder) error {
	for number, r := range p.ranges {
		if err := h.have.check(number, len(r.chunks)); err != nil {
			return fmt.Errorf("range %d: %w", number, err)
		}
	}
	return nil
}

// arrived notes that a verified chunk of a wish came. It reports whether it was still needed, and what to cancel because
// it is not any more.
func (p *plan) arrived(w *wish, chunk int, now time.Time) (needed bool, cancels []cancel) {
	h, r := w.holder, w.from
	h.measure(w.size(chunk), now)
	h.refusals = 0
	place := w.place(chunk)
	p.settle(w, chunk)
	if !r.need.Get(chunk) {
		return false, nil
	}
	if place.asked == w {
		place.asked = nil
	} else if place.second == w {
		place.second = nil
	}
	for _, other := range []*wish{place.asked, place.second} {
		if other != nil && other.left.Get(chunk) {
			bits := protocol.NewBits(len(r.chunks))
			bits.Set(chunk)
			cancels = append(cancels, other.cancel(bits, now))
		}
	}
	p.drop(r, chunk)
	return true, cancels
}

// drop forgets a chunk that is here, and its range if that was the last.
func (p *plan) drop(r *plannedRange, chunk int) {
	place := &r.places[chunk]
	if place.heir != nil {
		place.heir.reserved -= int64(r.chunks[chunk].Size)
		place.heir = nil
	}
	if r.free.Get(chunk) {
		p.clearFree(r, chunk)
	}
	if place.claimant != nil {
		p.unclaim(r, chunk)
	}
	r.need.Clear(chunk)
	if r.need.Count() == 0 {
		p.close(r)
	}
}

func (p *plan) close(r *plannedRange) {
	delete(p.ranges, r.number)
	for _, h := range p.holders {
		delete(h.refused, r.number)
	}
	p.finished++
}

// settle takes a chunk off what is outstanding of a wish, if it is.
func (p *plan) settle(w *wish, chunk int) {
	if !w.left.Get(chunk) {
		return
	}
	w.left.Clear(chunk)
	size := w.size(chunk)
	w.holder.outstanding -= size
	p.wished -= size
	if w.left.Count() == 0 {
		w.holder.wishes = slices.DeleteFunc(w.holder.wishes, func(other *wish) bool { return other == w })
	}
}

// expecting reports whether something is under way that may bring the plan on. Holders that turned down what they were
// asked for last don't count: they could keep a fetch waiting for ever.
func (p *plan) expecting() bool {
	return p.preparing > 0 || slices.ContainsFunc(p.holders, func(h *holder) bool { return h.outstanding > 0 && h.refusals == 0 })
}

// inOrder compares two ranges by the plan's order.
func (p *plan) inOrder(a, b *plannedRange) int {
	return cmp.Compare(p.position[a.number], p.position[b.number])
}
