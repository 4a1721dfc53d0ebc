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

	arrivals rateMeter
	pathTime time.Duration // of half of the chunks started it is longer, of the others shorter; 0 if none is known
	// latency is the time from the start of a chunk to its ACK: of half of the chunks it is longer, of the others shorter.
	latency time.Duration
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
	end     int64     // what the session has written with the chunk
	since   time.Time // when the chunk was started
	until   time.Time
}

const (
	// turnsFree is the number of sessions up to which all of them may be written to at a time.
	turnsFree = 16
	// turnsBytes is what may be on its way out beyond that: 11 chunks of the usual size. With fewer, paths that differ run
	// dry; with more, each hop in a swarm takes longer.
	turnsBytes = 11 * turnBytes
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
func (t *turns[S]) begin(s S, bytes, end int64, pathTime time.Duration, now time.Time) {
	i := t.given(s)
	if i < 0 {
		return // turns were free when it asked
	}
	t.usual(pathTime)
	t.bytes += bytes - t.taken[i].bytes
	t.taken[i] = turn[S]{session: s, started: true, bytes: bytes, end: end, since: now, until: now.Add(t.longest())}
}

// usual takes into account how long a chunk takes at the best, to its receiver and the ACK back.
func (t *turns[S]) usual(pathTime time.Duration) {
	step := t.pathTime/32 + 100*time.Microsecond
	switch {
	case pathTime == 0:
	case t.pathTime == 0:
		t.pathTime = pathTime
	case pathTime > t.pathTime:
		t.pathTime = min(pathTime, t.pathTime+step)
	default:
		t.pathTime = max(pathTime, t.pathTime-step)
	}
}

// took takes into account how long a chunk took, or at least took.
func (t *turns[S]) took(d time.Duration) {
	step := t.latency/16 + time.Millisecond
	if d > t.latency {
		t.latency = min(d, t.latency+step)
	} else {
		t.latency = max(d, t.latency-step)
	}
}

// longest returns how long a chunk counts at most.
func (t *turns[S]) longest() time.Duration {
	rate := t.arrivals.rate()
	if rate == 0 {
		return turnFirst
	}
	leaves := time.Duration(turnsBytes / rate * float64(time.Second))
	should := time.Duration(turnLate * float64(t.pathTime+AckInterval+leaves))
	return min(max(should, turnLateUsual*t.latency), turnLongest)
}

// acked notes that a session's receiver has bytes more, of what was written up to an end.
func (t *turns[S]) acked(s S, bytes, upTo int64, now time.Time) {
	t.arrivals.add(bytes, now)
	t.drop(func(given turn[S]) bool {
		over := given.session == s && given.started && given.end <= upTo
		if over {
			t.took(now.Sub(given.since))
		}
		return over
	})
}

// pass takes a session out of the row, and back the turn that it has not used.
func (t *turns[S]) pass(s S) {
	t.waiting = slices.DeleteFunc(t.waiting, func(w waiter[S]) bool { return w.session == s })
	t.drop(func(given turn[S]) bool { return given.session == s && !given.started })
}

// leave forgets a session.
func (t *turns[S]) leave(s S) {
	t.sessions--
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
	underWay := t.arrivals.rate() * (t.pathTime + AckInterval).Seconds()
	return t.bytes+turnBytes <= turnsBytes+int64(underWay)
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
