package protocol

import (
	"slices"
	"time"
)

// turns says which of many sessions may start a chunk, so that chunks leave one after the other and not all of them
// slowly at once. It decides without locks, clocks or I/O. S names a session.
//
// A turn is for one chunk. It lasts until the chunk is acknowledged, because nothing else tells that it has left. So what
// paths of the usual length hold is allowed beside turnsBytes; and the turn of a chunk whose ACK should be here is over,
// because its receiver is far, is slow or does not read, which must not hold up others. Turns go to those first whose next
// chunk was sent least often: within a session the queue sees to that, among sessions nobody else could.
type turns[S comparable] struct {
	sessions int
	taken    []turn[S]
	bytes    int64       // of the turns taken
	waiting  []waiter[S] // in the order in which they came

	arrivals  rateMeter
	roundTrip time.Duration // of half of the chunks started it is longer, of the others shorter; 0 if none is known
	// excess is the time from the start of a chunk to its ACK beyond the round trip: of half of the chunks it is longer, of the
	// others shorter. excessMin is the least that it has been, 0 if it is not known.
	excess, excessMin time.Duration
	// more is what may be on its way out beyond turnsBytes, in bytes, as long as that does not make chunks take longer.
	more int64
}

// waiter is a session that waits for a turn.
type waiter[S comparable] struct {
	session S
	sent    uint8 // how often what it would send was sent before
	since   time.Time
}

// turn is one that was given to a session, which has started a chunk in it or not yet.
type turn[S comparable] struct {
	session S
	sent    uint8 // how often the chunk was sent that the turn was given for
	started bool
	bytes   int64
	end     int64         // what the session has written with the chunk
	since   time.Time     // when the chunk was started
	path    time.Duration // the smallest round trip of the session
	until   time.Time
}

const (
	// turnsFree is the number of sessions up to which all of them may be written to at a time.
	turnsFree = 16
	// turnsBytes is what may be on its way out beyond that, and beyond what paths hold: 7 chunks of the usual size. With
	// fewer, paths that differ run dry; with more, each hop in a swarm takes longer.
	turnsBytes = 7 * turnBytes
	// turnBytes is what a turn counts for until the chunk is known.
	turnBytes = 40 << 10
	// turnUnused is how long a session may leave its turn unused: its writer is blocked, or reads from a slow disk.
	turnUnused = 50 * time.Millisecond
	// turnFirst is how long a chunk counts as long as no rate is known, and turnLongest the longest that any does.
	turnFirst   = 50 * time.Millisecond
	turnLongest = time.Second
	// turnWaitMost is how long a session may be passed over by those with something to send that was sent less often.
	turnWaitMost = 2 * time.Second
	// turnLate is how much longer than it should an ACK may take before the turn is over, and turnLateUsual how much longer
	// than ACKs take of late: where all receivers are busy all are late, and starting more would make them later.
	turnLate      = 1.1
	turnLateUsual = 2
	// turnQueue is how much longer than at the best, and a quarter, chunks may take while more is let out than turnsBytes.
	turnQueue = 5 * time.Millisecond
)

// ask reports whether a session may start a chunk now; sent is how often that was sent before. If not, the session is in the
// row, and grant names it in its time. Who asks with a turn that was given for something rarer gives it back if others wait.
func (t *turns[S]) ask(s S, sent uint8, now time.Time) bool {
	if t.sessions <= turnsFree {
		return true
	}
	t.expire(now)
	if i := t.given(s); i >= 0 {
		if sent <= t.taken[i].sent || len(t.waiting) == 0 {
			return true
		}
		t.drop(func(given turn[S]) bool { return given.session == s && !given.started })
	} else if len(t.waiting) == 0 && t.room() {
		t.give(waiter[S]{s, sent, now}, now)
		return true
	}
	if i := slices.IndexFunc(t.waiting, func(w waiter[S]) bool { return w.session == s }); i >= 0 {
		t.waiting[i].sent = sent
	} else {
		t.waiting = append(t.waiting, waiter[S]{s, sent, now})
	}
	return false
}

// next returns the index of who gets the next turn: the first in the row of those whose chunk was sent least often, unless
// the first of all has waited too long.
func (t *turns[S]) next(now time.Time) int {
	if now.Sub(t.waiting[0].since) >= turnWaitMost {
		return 0
	}
	least := 0
	for i, w := range t.waiting {
		if w.sent < t.waiting[least].sent {
			least = i
		}
	}
	return least
}

// begin notes that a session has started a chunk; end is what it has written with it.
func (t *turns[S]) begin(s S, bytes, end int64, roundTrip time.Duration, now time.Time) {
	i := t.given(s)
	if i < 0 {
		return // turns were free when it asked
	}
	t.usual(roundTrip)
	t.bytes += bytes - t.taken[i].bytes
	t.taken[i] = turn[S]{session: s, started: true, bytes: bytes, end: end, since: now, path: roundTrip, until: now.Add(t.longest())}
}

// usual takes into account how long a chunk takes at the best, to its receiver and the ACK back.
func (t *turns[S]) usual(roundTrip time.Duration) {
	step := t.roundTrip/32 + 100*time.Microsecond
	switch {
	case roundTrip == 0:
	case t.roundTrip == 0:
		t.roundTrip = roundTrip
	case roundTrip > t.roundTrip:
		t.roundTrip = min(roundTrip, t.roundTrip+step)
	default:
		t.roundTrip = max(roundTrip, t.roundTrip-step)
	}
}

// took takes into account how long a chunk took beyond the round trip, or at least took.
func (t *turns[S]) took(excess time.Duration) {
	step := t.excess/32 + 500*time.Microsecond
	if excess > t.excess {
		t.excess = min(excess, t.excess+step)
		return
	}
	t.excess = max(excess, t.excess-step)
	if t.excessMin == 0 || t.excess < t.excessMin {
		t.excessMin = t.excess
	}
}

// adjust lets more be on its way, or less, after a chunk has arrived: more while others wait and chunks take no longer for it.
// Then it is not this side's uplink that they wait for, but each for its receiver.
func (t *turns[S]) adjust(bytes int64) {
	switch {
	case t.excessMin == 0 || t.excess > t.excessMin+t.excessMin/4+turnQueue:
		t.more = max(0, t.more-bytes/2)
	case len(t.waiting) > 0:
		t.more += bytes / 8
	}
}

// longest returns how long a chunk counts at most.
func (t *turns[S]) longest() time.Duration {
	rate := t.arrivals.rate()
	if rate == 0 {
		return turnFirst
	}
	leaves := time.Duration(float64(turnsBytes+t.more) / rate * float64(time.Second))
	should := time.Duration(turnLate * float64(t.roundTrip+AckInterval+leaves))
	return min(max(should, turnLateUsual*(t.excess+t.roundTrip)), turnLongest)
}

// acked notes that a session's receiver has bytes more, of what was written up to an end.
func (t *turns[S]) acked(s S, bytes, upTo int64, now time.Time) {
	t.arrivals.add(bytes, now)
	t.drop(func(given turn[S]) bool {
		over := given.session == s && given.started && given.end <= upTo
		if over {
			t.took(max(time.Microsecond, now.Sub(given.since)-given.path))
			t.adjust(given.bytes)
		}
		return over
	})
}

// pass takes a session out of the row, and back the turn that it has not used.
func (t *turns[S]) pass(s S) {
	t.waiting = slices.DeleteFunc(t.waiting, func(w waiter[S]) bool { return w.session == s })
	t.drop(func(given turn[S]) bool { return given.session == s && !given.started })
}

// leave forgets a session, and with the last that needed turns what was learned: others come from elsewhere.
func (t *turns[S]) leave(s S) {
	t.sessions--
	if t.sessions <= turnsFree {
		t.excess, t.excessMin, t.more = 0, 0, 0
	}
	t.pass(s)
	t.drop(func(given turn[S]) bool { return given.session == s })
}

// grant gives the turns that are free to those who wait, and names them: they are to ask again. If others go on waiting
// it says how long until a turn may be over without anybody telling; otherwise 0.
func (t *turns[S]) grant(now time.Time) (granted []S, wait time.Duration) {
	if t.sessions <= turnsFree {
		for _, w := range t.waiting {
			granted = append(granted, w.session)
		}
		t.waiting = nil
		return granted, 0
	}
	t.expire(now)
	for len(t.waiting) > 0 && t.room() {
		i := t.next(now)
		granted = append(granted, t.waiting[i].session)
		t.give(t.waiting[i], now)
		t.waiting = slices.Delete(t.waiting, i, i+1)
	}
	if len(t.waiting) == 0 || len(t.taken) == 0 {
		return granted, 0
	}
	first := slices.MinFunc(t.taken, func(a, b turn[S]) int { return a.until.Compare(b.until) })
	return granted, first.until.Sub(now)
}

// room reports whether there is a turn to give.
func (t *turns[S]) room() bool {
	underWay := t.arrivals.rate() * (t.roundTrip + AckInterval).Seconds()
	return t.bytes+turnBytes <= turnsBytes+t.more+int64(underWay)
}

func (t *turns[S]) give(w waiter[S], now time.Time) {
	t.taken = append(t.taken, turn[S]{session: w.session, sent: w.sent, bytes: turnBytes, until: now.Add(turnUnused)})
	t.bytes += turnBytes
}

// given returns the index of a turn that a session has not used, or -1.
func (t *turns[S]) given(s S) int {
	return slices.IndexFunc(t.taken, func(given turn[S]) bool { return given.session == s && !given.started })
}

func (t *turns[S]) expire(now time.Time) {
	t.drop(func(given turn[S]) bool {
		over := !given.until.After(now)
		if over && given.started {
			t.took(turnLongest)
		}
		return over
	})
}

func (t *turns[S]) drop(over func(turn[S]) bool) {
	t.taken = slices.DeleteFunc(t.taken, func(given turn[S]) bool {
		if over(given) {
			t.bytes -= given.bytes
			return true
		}
		return false
	})
}

// rateMeter measures how many bytes a second arrive at the best of the last seconds.
type rateMeter struct {
	slots [10]int64 // bytes in each rateSlot, the current one first
	begun time.Time // the current one
}

const rateSlot = 100 * time.Millisecond

func (m *rateMeter) add(bytes int64, now time.Time) {
	if passed := int(min(now.Sub(m.begun)/rateSlot, time.Duration(len(m.slots)))); passed > 0 {
		copy(m.slots[passed:], m.slots[:])
		clear(m.slots[:passed])
		m.begun = now
	}
	m.slots[0] += bytes
}

// rate returns the rate in bytes a second, 0 if nothing is known.
func (m *rateMeter) rate() float64 {
	return float64(slices.Max(m.slots[1:])) / rateSlot.Seconds()
}
