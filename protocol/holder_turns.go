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
// because its receiver is far, is slow or does not read, which must not hold up others.
type turns[S comparable] struct {
	sessions int
	taken    []turn[S]
	bytes    int64 // of the turns taken
	waiting  []S   // in the order in which they get their turns

	arrivals  rateMeter
	roundTrip time.Duration // of half of the chunks started it is longer, of the others shorter; 0 if none is known
}

// turn is one that was given to a session, which has started a chunk in it or not yet.
type turn[S comparable] struct {
	session S
	started bool
	bytes   int64
	end     int64 // what the session has written with the chunk
	until   time.Time
}

const (
	// turnsFree is the number of sessions up to which all of them may be written to at a time.
	turnsFree = 16
	// turnsBytes is what may be on its way out beyond that: 8 chunks of the usual size. With fewer, paths that differ run
	// dry; with more, each hop in a swarm takes longer.
	turnsBytes = 8 * turnBytes
	// turnBytes is what a turn counts for until the chunk is known.
	turnBytes = 40 << 10
	// turnUnused is how long a session may leave its turn unused: its writer is blocked, or reads from a slow disk.
	turnUnused = 50 * time.Millisecond
	// turnFirst is how long a chunk counts as long as no rate is known, and turnLongest the longest that any does.
	turnFirst   = 50 * time.Millisecond
	turnLongest = time.Second
	// turnLate is how much longer than it should an ACK may take before the turn is over. With 1, chunks whose ACKs never
	// come in time would be started exactly as fast as chunks arrive, and what once was too fast would stay so.
	turnLate = 1.1
)

// ask reports whether a session may start a chunk now. If not, it is in the row, and grant names it in its time.
func (t *turns[S]) ask(s S, now time.Time) bool {
	if t.sessions <= turnsFree {
		return true
	}
	t.expire(now)
	if t.given(s) >= 0 {
		return true
	}
	if len(t.waiting) == 0 && t.room() {
		t.give(s, now)
		return true
	}
	if !slices.Contains(t.waiting, s) {
		t.waiting = append(t.waiting, s)
	}
	return false
}

// begin notes that a session has started a chunk; end is what it has written with it.
func (t *turns[S]) begin(s S, bytes, end int64, roundTrip time.Duration, now time.Time) {
	i := t.given(s)
	if i < 0 {
		return // turns were free when it asked
	}
	t.usual(roundTrip)
	t.bytes += bytes - t.taken[i].bytes
	t.taken[i] = turn[S]{s, true, bytes, end, now.Add(t.longest())}
}

// usual takes the round trip of a chunk into account.
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

// longest returns how long a chunk counts at most.
func (t *turns[S]) longest() time.Duration {
	rate := t.arrivals.rate()
	if rate == 0 {
		return turnFirst
	}
	leaves := time.Duration(turnsBytes / rate * float64(time.Second))
	return min(time.Duration(turnLate*float64(t.roundTrip+AckInterval+leaves)), turnLongest)
}

// acked notes that a session's receiver has bytes more, of what was written up to an end.
func (t *turns[S]) acked(s S, bytes, upTo int64, now time.Time) {
	t.arrivals.add(bytes, now)
	t.drop(func(given turn[S]) bool { return given.session == s && given.started && given.end <= upTo })
}

// pass takes a session out of the row, and back the turn that it has not used.
func (t *turns[S]) pass(s S) {
	t.waiting = slices.DeleteFunc(t.waiting, func(waiting S) bool { return waiting == s })
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
		granted, t.waiting = t.waiting, nil
		return granted, 0
	}
	t.expire(now)
	for len(t.waiting) > 0 && t.room() {
		granted = append(granted, t.waiting[0])
		t.give(t.waiting[0], now)
		t.waiting = slices.Delete(t.waiting, 0, 1)
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
	return t.bytes+turnBytes <= turnsBytes+int64(underWay)
}

func (t *turns[S]) give(s S, now time.Time) {
	t.taken = append(t.taken, turn[S]{session: s, bytes: turnBytes, until: now.Add(turnUnused)})
	t.bytes += turnBytes
}

// given returns the index of a turn that a session has not used, or -1.
func (t *turns[S]) given(s S) int {
	return slices.IndexFunc(t.taken, func(given turn[S]) bool { return given.session == s && !given.started })
}

func (t *turns[S]) expire(now time.Time) {
	t.drop(func(given turn[S]) bool { return !given.until.After(now) })
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
