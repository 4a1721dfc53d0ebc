package node

import (
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// How much is asked of a holder ahead of what has come, and when it counts as stalled. The figures come from a
// simulation of many receivers and holders; docs/protocol.md, "Scheduling", says what each of them does.
const (
	// outstandingMin is asked of a partial holder whose rate is not known yet, and is the least in any case.
	outstandingMin = 128 << 10
	// outstandingMax is the cap at a complete holder, unless its rate needs more to keep the pipe full.
	outstandingMax = 4 << 20
	// outstandingFirst is asked of a complete holder before its rate is known: 128 KiB leaves a fast short path idle for
	// most of the first window, which is a sixth of the whole time of a 100 MB fetch on loopback.
	outstandingFirst = 2 << 20
	// A complete holder gets so many seconds of wishes, so that it has a choice of what to send first.
	completeAhead = 2 * time.Second
	partialAhead  = 200 * time.Millisecond
	// rateWindowMin is the shortest time that a rate is measured over.
	rateWindowMin = 100 * time.Millisecond

	// missingPause and busyPause are how long a holder is not asked again for what it turned down, unless it tells that it
	// has it: one that is still fetching gets a chunk in some seconds, and one that is busy may have time in one.
	missingPause = 10 * time.Second
	busyPause    = time.Second
	// refusalsMax is how many refusals without a chunk between them end the use of a holder. It is more than one who
	// turns down all that it was asked for at once is likely to send.
	refusalsMax = 64
	// endMax is when the last wish of a holder is expected that sends nothing.
	endMax = time.Hour
)

// holder is what the plan knows of a peer with a session.
type holder struct {
	id       peer.ID
	complete bool
	have     haveMap
	rtt      time.Duration
	suspect  bool // it stalled in an earlier session: until it sends it gets little, and little patience

	wishes      []*wish // that are not over, in their order
	outstanding int64
	claims      map[*plannedRange]protocol.Bits // what it took over and is to be asked for
	reserved    int64                           // bytes of claims, and of what it is the heir of
	answers     int                             // CANCELs that were not answered
	cancelled   time.Time                       // when the first of these was sent

	refused  map[int64]refusal // by range: what it turned down not long ago
	refusals int               // since it last sent a chunk

	rate        float64 // bytes a second, 0 while unknown
	windowStart time.Time
	windowBytes int64
	heard       time.Time // when bytes last came, or wishes were first outstanding

	dry     bool    // could be asked for more than is prepared
	news    []int64 // ranges that it told of lately
	scanned int     // how far in the plan's order ranges were looked for that it has
}

// refusal is what a holder turned down of a range, and is not asked for until then.
type refusal struct {
	bits  protocol.Bits
	until time.Time
}

// refused notes that a holder will not send some chunks of a wish: they go to others, and for a while it is not asked for
// them again.
func (p *plan) refused(w *wish, bits protocol.Bits, reason protocol.DoneReason, now time.Time) {
	h := w.holder
	pause := missingPause
	if reason == protocol.DoneBusy {
		pause = busyPause
	}
	h.refusals++
	if p.ranges[w.number()] == w.from {
		h.refuse(w.number(), bits, now.Add(pause))
	}
	p.takeBack(w, bits)
}

// refuse keeps what h turned down of a range. Refusals of one range end together, with the last of them.
func (h *holder) refuse(number int64, bits protocol.Bits, until time.Time) {
	before := h.refused[number]
	if before.until.After(until) {
		until = before.until
	}
	all := slices.Clone(bits)
	for chunk := range before.bits.Ones() {
		all.Set(chunk)
	}
	h.refused[number] = refusal{all, until}
}

// forgive ends what holders are not asked for since they turned it down long enough ago, and reports whether there was
// any.
func (p *plan) forgive(now time.Time) bool {
	some := false
	for _, h := range p.holders {
		before := len(h.refused)
		maps.DeleteFunc(h.refused, func(_ int64, r refusal) bool { return !now.Before(r.until) })
		if len(h.refused) < before {
			some, h.dry = true, false
		}
	}
	return some
}

// stalled returns the holders that owe chunks, or the answer to a CANCEL, and have sent none for too long; and those that
// turn down whatever they are asked for.
func (p *plan) stalled(now time.Time) []*holder {
	var stalled []*holder
	for _, h := range p.holders {
		silent := h.outstanding > 0 && now.Sub(h.heard) > p.patience(h)
		unanswered := h.answers > 0 && now.Sub(h.cancelled) > p.patience(h)
		if h.refusals >= refusalsMax || silent || unanswered {
			stalled = append(stalled, h)
		}
	}
	return stalled
}

// patience is how long not a byte may come from h while it has wishes. What a slow holder is expected to take for a
// chunk, times a factor, is no measure beyond some point: it would be hours at a few bytes a second.
func (p *plan) patience(h *holder) time.Duration {
	if h.rate == 0 && h.suspect {
		return min(p.stallFirst, protocol.StallTimeout)
	}
	if h.rate == 0 {
		return p.stallFirst
	}
	most := protocol.StallTimeoutFirst
	sending := min(cafs.ChunkSizeMax/h.rate, most.Seconds()) // lest the next line overflows
	expected := h.rtt + time.Duration(sending*float64(time.Second))
	return min(max(protocol.StallTimeout, protocol.StallRateFactor*expected), most)
}

// target is how many bytes h should have been asked for ahead.
func (h *holder) target() int64 {
	if h.rate == 0 {
		if h.complete && !h.suspect {
			return outstandingFirst
		}
		return outstandingMin
	}
	pipe := int64(h.rate * (h.rtt + partialAhead).Seconds())
	if !h.complete {
		return max(outstandingMin, pipe)
	}
	choice := int64(h.rate * (h.rtt + completeAhead).Seconds())
	return max(outstandingMin, min(choice, max(outstandingMax, pipe)))
}

// expected is how many bytes will have come when h has sent all that it was asked for, or will be.
func (h *holder) expected() int64 { return h.outstanding + h.reserved }

// end is how long it takes until h has sent all that it was asked for, or will be.
func (h *holder) end(now time.Time) time.Duration { return h.endOf(h.expected(), now) }

// endWith is how long it takes if h is asked for so many bytes more.
func (h *holder) endWith(bytes int64, now time.Time) time.Duration {
	return h.endOf(h.expected()+bytes, now)
}

// endOf is how long it takes until h has sent so many bytes.
func (h *holder) endOf(bytes int64, now time.Time) time.Duration {
	if bytes == 0 {
		return h.rtt
	}
	if seconds := float64(bytes) / h.speed(now); seconds < endMax.Seconds() {
		return h.rtt + time.Duration(seconds*float64(time.Second))
	}
	return endMax
}

// speed is the rate that h is expected to go on with: what was measured, or less if it has sent less since then.
func (h *holder) speed(now time.Time) float64 {
	elapsed := now.Sub(h.windowStart)
	if h.outstanding == 0 {
		elapsed = 0
	}
	if h.rate > 0 && elapsed < 2*max(rateWindowMin, h.rtt) {
		return h.rate
	}
	// One more chunk may be nearly here.
	lately := float64(h.windowBytes+cafs.ChunkSizeMax) / max(elapsed, rateWindowMin).Seconds()
	if h.rate > 0 {
		return min(h.rate, lately)
	}
	return lately
}

// measure counts size bytes towards the rate: the mean of the old one and that of each new window.
func (h *holder) measure(size int64, now time.Time) {
	h.heard = now
	h.windowBytes += size
	elapsed := now.Sub(h.windowStart)
	if elapsed < max(rateWindowMin, h.rtt) {
		return
	}
	rate := float64(h.windowBytes) / elapsed.Seconds()
	if h.rate > 0 {
		rate = (h.rate + rate) / 2
	}
	h.rate, h.windowStart, h.windowBytes = rate, now, 0
}

func (h *holder) canSend(number int64, chunk int) bool {
	if bits := h.refused[number].bits; chunk < 8*len(bits) && bits.Get(chunk) {
		return false
	}
	return h.complete || h.have.has(number, chunk)
}

func (h *holder) mayHave(number int64) bool { return h.complete || h.have.any(number) }
