package protocol

import "time"

// ackWindow is the account of a session's chunk bytes that were written and not acknowledged, and says how many these
// may be: what is on its way can be neither reordered nor cancelled. It decides without locks, clocks or I/O.
//
// Each ACK tells how long bytes took, and at which rate they arrived meanwhile. The window is what the best rate of late
// carries in the smallest round trip and a little more, so that nearly nothing waits on this side. Because what arrives
// is bounded by the window, it must be larger than that by a factor, or it would never grow.
type ackWindow struct {
	written int64 // bytes of chunk data, from when they are on their way to the stream
	acked   int64 // of these, what the receiver says it has

	flushed   int64         // of written, what has gone out
	marks     []mark        // writes that were not acknowledged, the oldest first
	steppedAt time.Time     // when acked rose last, or when bytes were written with none on their way
	roundTrip time.Duration // the smallest, without the time for which the receiver holds its ACK back; 0: not known

	// best is the largest rate, in bytes a second, of the current time of rateKept, and of the one before.
	best      [2]float64
	bestSince time.Time

	// The rate is not settled as long as it rises by a quarter in each round trip in which the window was shut.
	settled  bool
	shut     bool    // in this round trip
	roundEnd int64   // what must be acknowledged when a write is made that begins the next one
	full     float64 // the rate that the last rise led to
	level    int     // round trips without a rise since
}

// mark is a write, and where the account stood then.
type mark struct {
	end       int64 // of the bytes written
	at        time.Time
	acked     int64
	steppedAt time.Time
	last      bool // nothing was left to send, so that the rate tells what was wished and not what the path carries
}

const (
	// windowMin is the smallest window: two chunks, one that arrives and one that is on its way.
	windowMin = 64 << 10
	// windowFirstAlone is the window of a session that has the holder for itself, before a rate is known.
	windowFirstAlone = 1 << 20
	// windowLead is the time beyond a round trip that the window covers: as long as an ACK may be held back.
	windowLead = AckInterval
	// windowLeadAlone is the same for a session that has the holder for itself: nobody else waits for what is written
	// ahead, and a processor that is busy elsewhere for some milliseconds leaves no gap.
	windowLeadAlone = 100 * time.Millisecond
	// growSettled and growFirst are the factors by which the window may grow in a round trip.
	growSettled = 1.25
	growFirst   = 2
	// settleRounds is how many round trips without a rise settle the rate.
	settleRounds = 3
	// rateKept is how long the best rate is believed at least.
	rateKept = time.Second
	// marksMax bounds the marks of a session. At 64 KiB a write they cover 16 MiB; what is written with all of them in use
	// is not measured.
	marksMax = 256
)

// out returns the bytes that are written and not acknowledged.
func (w *ackWindow) out() int64 { return w.written - w.acked }

// open reports whether a chunk may be started; alone: the holder has no other session.
func (w *ackWindow) open(alone bool) bool {
	if w.out() < w.size(alone) {
		return true
	}
	w.shut = true
	return false
}

// size returns the window in bytes.
func (w *ackWindow) size(alone bool) int64 {
	lead := windowLead
	if alone {
		lead = windowLeadAlone
	}
	rate := max(w.best[0], w.best[1])
	if rate == 0 && alone {
		return windowFirstAlone
	}
	factor := growSettled
	if !w.settled {
		factor = growFirst
	}
	return max(windowMin, int64(factor*rate*(w.roundTrip+lead).Seconds()))
}

// wrote notes that all bytes that were counted as written so far go out in one write now, and reports whether there are
// any that had not; last: nothing is left to send.
func (w *ackWindow) wrote(now time.Time, last bool) bool {
	if w.written == w.flushed {
		return false
	}
	if w.flushed == w.acked {
		w.steppedAt = now
	}
	w.flushed = w.written
	if len(w.marks) < marksMax {
		w.marks = append(w.marks, mark{w.written, now, w.acked, w.steppedAt, last})
	}
	return true
}

// ack enters what the receiver has; it is more than before, and not more than was written.
func (w *ackWindow) ack(received int64, now time.Time) {
	arrived := 0
	for arrived < len(w.marks) && w.marks[arrived].end <= received {
		arrived++
	}
	if arrived > 0 {
		w.measure(w.marks[0], w.marks[arrived-1], received, now)
		w.marks = w.marks[:copy(w.marks, w.marks[arrived:])]
	}
	w.acked, w.steppedAt = received, now
}

// answered enters how long the receiver took to answer something. For something small that is closer to a round trip than
// what chunks take, even when nothing is before them.
func (w *ackWindow) answered(took time.Duration) {
	if took = max(took, time.Microsecond); w.roundTrip == 0 || took < w.roundTrip {
		w.roundTrip = took
	}
}

// measure takes the round trip and the rate from the first and the last of the writes that have arrived with an ACK.
func (w *ackWindow) measure(first, m mark, received int64, now time.Time) {
	// The ACK waited for AckInterval since the first of its chunks came.
	w.answered(now.Sub(first.at) - AckInterval)
	rate := float64(received-m.acked) / max(now.Sub(m.steppedAt), time.Microsecond).Seconds()
	if !m.last && now.Sub(w.bestSince) > max(rateKept, 4*w.roundTrip) {
		w.best = [2]float64{0, w.best[0]}
		w.bestSince = now
	}
	if !m.last || rate > max(w.best[0], w.best[1]) {
		w.best[0] = max(w.best[0], rate)
	}
	if m.acked >= w.roundEnd {
		w.roundEnd = received
		w.endRound()
	}
}

// endRound sees whether the rate still rises when the window allows it.
func (w *ackWindow) endRound() {
	rate := max(w.best[0], w.best[1])
	switch {
	case rate >= growSettled*w.full:
		w.full, w.level = rate, 0
	case w.shut:
		w.level++
	}
	w.shut = false
	if w.level >= settleRounds {
		w.settled = true
	}
}
