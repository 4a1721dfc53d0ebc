package protocol

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// simHolder is a holder in virtual time whose sessions, on one path, all have much to send.
type simHolder struct {
	path     *simPath
	turns    turns[*simSession]
	sessions []*simSession
	latest   time.Duration // the longest time that a chunk waited at the uplink
	timer    time.Time     // when grant is called again; zero: not
}

func newSimHolder(uplink float64) *simHolder { return &simHolder{path: newSimPath(uplink)} }

func (h *simHolder) add(roundTrip time.Duration, downlink float64) *simSession {
	s := &simSession{path: h.path, roundTrip: roundTrip, downlink: downlink, chunk: 37 << 10}
	s.acked = func(bytes, upTo int64) {
		h.turns.acked(s, bytes, upTo, h.path.now)
		h.grant()
		h.try(s)
	}
	h.sessions = append(h.sessions, s)
	h.turns.sessions++
	return s
}

func (h *simHolder) run(d time.Duration) {
	for _, s := range h.sessions {
		h.try(s)
	}
	h.path.run(d)
}

func (h *simHolder) try(s *simSession) {
	for s.window.open(false) {
		if !h.turns.ask(s, 0, h.path.now) {
			h.grant()
			return
		}
		s.send()
		h.latest = max(h.latest, h.path.free.Sub(h.path.now))
		h.turns.begin(s, s.chunk, s.window.written, s.window.roundTrip, h.path.now)
	}
	h.turns.pass(s)
	h.grant()
}

func (h *simHolder) grant() {
	granted, wait := h.turns.grant(h.path.now)
	for _, s := range granted {
		h.path.at(h.path.now, func() { h.try(s) })
	}
	if wait > 0 && h.timer.IsZero() {
		h.timer = h.path.now.Add(wait)
		h.path.at(h.timer, func() {
			h.timer = time.Time{}
			h.grant()
		})
	}
}

// received returns what each session has got, and all of them together.
func (h *simHolder) received() (each []int64, all int64) {
	for _, s := range h.sessions {
		each = append(each, s.received)
		all += s.received
	}
	return each, all
}

// With many sessions chunks leave one after the other: the uplink is used, nobody gets more than the others, and no chunk
// waits as long as it would if all sessions were written to at a time.
func TestTurnsOfManySessions(t *testing.T) {
	const uplink = 12.5e6
	for _, n := range []int{17, 32, 128, 200} {
		for _, roundTrip := range []time.Duration{time.Millisecond, 40 * time.Millisecond, 200 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d,%v", n, roundTrip), func(t *testing.T) {
				h := newSimHolder(uplink)
				for range n {
					h.add(roundTrip, uplink)
				}
				h.run(4 * time.Second)
				each, before := h.received()
				h.latest = 0
				h.path.run(4 * time.Second)
				after, all := h.received()
				for i := range after {
					after[i] -= each[i]
				}
				if got := float64(all-before) / (4 * uplink); got < 0.97 {
					t.Errorf("%.3f of the uplink is used", got)
				}
				// 7 chunks take 21 ms; each of them leaves some room for another before its ACK is here.
				if h.latest > 80*time.Millisecond {
					t.Errorf("a chunk waited for %v", h.latest)
				}
				if least, most := slices.Min(after), slices.Max(after); most > 3*least/2 {
					t.Errorf("sessions got %d to %d bytes", least, most)
				}
			})
		}
	}
}

// Receivers that are slow or do not read take little from the others.
func TestTurnsAreNotHeldBySlowReceivers(t *testing.T) {
	const uplink = 12.5e6
	for _, test := range []struct {
		name       string
		slow       int
		downlink   float64
		uplinkUsed float64 // by the others
	}{{"24 of 32 stall", 24, 0, 0.97}, {"24 of 32 at 1 Mbit/s", 24, 0.125e6, 0.6}, {"4 of 32 at 1 Mbit/s", 4, 0.125e6, 0.85}} {
		t.Run(test.name, func(t *testing.T) {
			h := newSimHolder(uplink)
			for i := range 32 {
				if i < test.slow {
					h.add(time.Millisecond, test.downlink)
				} else {
					h.add(time.Millisecond, uplink)
				}
			}
			h.run(3 * time.Second)
			each, _ := h.received()
			h.path.run(4 * time.Second)
			after, _ := h.received()
			fast := int64(0)
			for i := test.slow; i < 32; i++ {
				fast += after[i] - each[i]
			}
			if got := float64(fast) / (4 * uplink); got < test.uplinkUsed {
				t.Errorf("the others got %.3f of the uplink, want %.2f", got, test.uplinkUsed)
			}
			for i := range test.slow {
				if got := float64(after[i]-each[i]) / 4; got < 0.7*test.downlink {
					t.Errorf("a slow receiver got %.0f bytes a second", got)
				}
			}
		})
	}
}

// A fast uplink is not held up by many receivers that are slower than their share of it.
func TestTurnsOfManySlowReceivers(t *testing.T) {
	for _, downlink := range []float64{1e6, 250e3} {
		h := newSimHolder(125e6)
		for range 100 {
			h.add(20*time.Millisecond, downlink).window.answered(20 * time.Millisecond) // as the first frame tells
		}
		h.run(4 * time.Second)
		_, before := h.received()
		h.path.run(4 * time.Second)
		_, after := h.received()
		if got := float64(after-before) / 4 / (100 * downlink); got < 0.9 {
			t.Errorf("receivers of %.0f bytes/s use %.3f of their downlinks", downlink, got)
		}
	}
}

// Receivers near and far share the uplink, whichever are the most. Where they are as many, chunks of near ones may wait in
// the place of those that are under way to far ones: a long round trip at most.
func TestTurnsOfNearAndFarReceivers(t *testing.T) {
	const uplink = 12.5e6
	for _, test := range []struct {
		far    int // of 32
		used   float64
		latest time.Duration
	}{{1, 0.97, 80 * time.Millisecond}, {16, 0.9, 250 * time.Millisecond}, {31, 0.9, 150 * time.Millisecond}} {
		t.Run(fmt.Sprint(test.far), func(t *testing.T) {
			h := newSimHolder(uplink)
			for i := range 32 {
				if i < test.far {
					h.add(200*time.Millisecond, uplink)
				} else {
					h.add(100*time.Microsecond, uplink)
				}
			}
			h.run(4 * time.Second)
			_, before := h.received()
			h.latest = 0
			h.path.run(4 * time.Second)
			_, after := h.received()
			if got := float64(after-before) / (4 * uplink); got < test.used {
				t.Errorf("%.3f of the uplink is used", got)
			}
			if h.latest > test.latest {
				t.Errorf("a chunk waited for %v", h.latest)
			}
		})
	}
}

// Of those who wait, who has something that nobody got goes first; but nobody is passed over for ever.
func TestTurnsGoToWhatIsRare(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	table := turns[int]{sessions: 100}
	full := 0
	for ; table.ask(full, 0, now); full++ {
		table.begin(full, turnBytes, turnBytes, 0, now)
	}
	table.pass(full)
	table.ask(50, 2, now)
	table.ask(51, 1, now)
	table.ask(52, 0, now)
	table.ask(53, 0, now)
	table.ask(51, 3, now) // others got what it was to send
	// after lets time pass, with all turns but one taken, and returns who gets that one.
	after := func(d time.Duration) int {
		now = now.Add(d)
		table.taken, table.bytes = nil, 0
		for s := 1; s < full; s++ {
			table.give(waiter[int]{session: s}, now)
		}
		granted, _ := table.grant(now)
		if len(granted) != 1 {
			t.Fatalf("%v get a turn", granted)
		}
		return granted[0]
	}
	if got := after(time.Millisecond); got != 52 {
		t.Fatalf("session %d goes first, not one with something that nobody got", got)
	}
	if table.ask(52, 1, now) || table.given(52) >= 0 {
		t.Fatal("the turn stays with a session that has nothing rare any more")
	}
	for _, want := range []int{53, 52} {
		if got := after(time.Millisecond); got != want {
			t.Fatalf("session %d goes next, want %d", got, want)
		}
		if !table.ask(want, 1, now) && want == 52 {
			t.Fatal("the turn is gone though what is to be sent is as rare as before")
		}
		table.pass(want)
	}
	table.ask(54, 0, now)
	if got := after(turnWaitMost); got != 50 {
		t.Fatalf("session %d goes first, not the one that has waited for %v", got, turnWaitMost)
	}
}

// Turns add up, and nobody waits while one is free, whatever sessions do.
func TestTurnsUnderAnyUse(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	var table turns[int]
	in := make(map[int]bool)
	written := make(map[int]int64)
	for range 50_000 {
		now = now.Add(time.Duration(random.Int64N(1 << random.IntN(28))))
		s := random.IntN(40)
		switch action := random.IntN(20); {
		case !in[s]:
			in[s] = true
			table.sessions++
		case action == 0:
			delete(in, s)
			table.leave(s)
		case action < 4:
			table.pass(s)
		case action < 10:
			table.acked(s, 1+random.Int64N(100_000), random.Int64N(written[s]+1), now)
		case table.ask(s, uint8(random.IntN(4)), now):
			bytes := 1 + random.Int64N(131_072)
			written[s] += bytes
			table.begin(s, bytes, written[s], time.Duration(random.Int64N(1e8)), now)
		}
		_, wait := table.grant(now)
		bytes := int64(0)
		for _, taken := range table.taken {
			bytes += taken.bytes
			if !in[taken.session] {
				t.Fatalf("session %d left and has a turn", taken.session)
			}
		}
		if bytes != table.bytes {
			t.Fatalf("the turns taken have %d bytes, not %d", bytes, table.bytes)
		}
		if len(table.waiting) > 0 && (table.room() || wait <= 0) {
			t.Fatalf("%d sessions wait for %v with %d bytes taken", len(table.waiting), wait, bytes)
		}
		waiting := make(map[int]bool)
		for _, w := range table.waiting {
			if waiting[w.session] {
				t.Fatalf("a session waits twice: %v", table.waiting)
			}
			waiting[w.session] = true
		}
	}
}
