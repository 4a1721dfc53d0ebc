package protocol

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// simPath is a way from a holder to receivers in virtual time: all chunks leave through one uplink, first in, first out;
// each receiver is a round trip of its own away, may read slowly, and acknowledges as Receiver does.
type simPath struct {
	now     time.Time
	uplink  float64   // bytes a second
	free    time.Time // when the uplink has sent what it was given
	events  simEvents
	waiting int64 // bytes given to the uplink that have not left
}

type simEvent struct {
	at time.Time
	do func()
}

type simEvents []simEvent

func (e simEvents) Len() int           { return len(e) }
func (e simEvents) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e simEvents) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *simEvents) Push(x any)        { *e = append(*e, x.(simEvent)) }
func (e *simEvents) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

func newSimPath(uplink float64) *simPath {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	return &simPath{now: start, free: start, uplink: uplink}
}

func (p *simPath) at(t time.Time, do func()) { heap.Push(&p.events, simEvent{t, do}) }

// run lets so much time pass.
func (p *simPath) run(d time.Duration) {
	end := p.now.Add(d)
	for len(p.events) > 0 && p.events[0].at.Before(end) {
		next := heap.Pop(&p.events).(simEvent)
		p.now = next.at
		next.do()
	}
	p.now = end
}

// simSession is a session on a path; it always has something to send.
type simSession struct {
	path      *simPath
	window    ackWindow
	roundTrip time.Duration
	downlink  float64 // bytes a second that the receiver reads; 0: nothing
	chunk     int64
	readUntil time.Time
	received  int64
	ackDue    bool
	acked     func(bytes, upTo int64) // called after each ACK
}

// send writes a chunk.
func (s *simSession) send() {
	p, size := s.path, s.chunk
	s.window.written += size
	s.window.wrote(p.now, false)
	p.waiting += size
	p.free = later(p.free, p.now).Add(time.Duration(float64(size) / p.uplink * float64(time.Second)))
	p.at(p.free, func() { p.waiting -= size })
	if s.downlink == 0 {
		return
	}
	p.at(p.free.Add(s.roundTrip/2), func() {
		s.readUntil = later(s.readUntil, p.now).Add(time.Duration(float64(size) / s.downlink * float64(time.Second)))
		p.at(s.readUntil, func() { s.arrive(size) })
	})
}

func (s *simSession) arrive(size int64) {
	s.received += size
	if s.ackDue {
		return
	}
	s.ackDue = true
	s.path.at(s.path.now.Add(AckInterval), func() {
		s.ackDue = false
		received := s.received
		s.path.at(s.path.now.Add(s.roundTrip/2), func() {
			bytes := received - s.window.acked
			s.window.ack(received, s.path.now)
			s.acked(bytes, received)
		})
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// The window of one of two sessions lets a path be filled, whatever its length, and leaves little waiting in front of it.
func TestWindowFillsThePathAndNoMore(t *testing.T) {
	for _, rate := range []float64{0.125e6, 1.25e6, 12.5e6, 125e6} {
		for _, roundTrip := range []time.Duration{100 * time.Microsecond, time.Millisecond, 40 * time.Millisecond, 200 * time.Millisecond} {
			t.Run(fmt.Sprintf("%.0fkB/s,%v", rate/1e3, roundTrip), func(t *testing.T) {
				p := newSimPath(rate)
				s := &simSession{path: p, roundTrip: roundTrip, downlink: 10 * rate, chunk: 37 << 10}
				fill := func() {
					for s.window.open(false) {
						s.send()
					}
				}
				s.acked = func(int64, int64) { fill() }
				fill()
				p.run(4 * time.Second) // twenty round trips of the longest path
				before, waited, looks := s.received, int64(0), int64(0)
				for range 3000 {
					p.run(time.Millisecond)
					waited += p.waiting
					looks++
				}
				got := float64(s.received-before) / 3
				lead := windowLead + time.Duration(float64(s.chunk)/rate*float64(time.Second))
				most := max(windowMin+s.chunk, int64(rate*(growSettled*(roundTrip+lead).Seconds()-roundTrip.Seconds()))+s.chunk)
				if got < 0.97*rate && rate*(roundTrip+windowLead).Seconds() > windowMin || waited/looks > most {
					t.Errorf("%.3f of the rate, %d KiB wait on average, want at most %d", got/rate, waited/looks>>10, most>>10)
				}
			})
		}
	}
}

// A session that is alone has a window that never closes on a path that is fast and short, and one of a fraction of a
// second on a slow one.
func TestWindowAlone(t *testing.T) {
	for _, test := range []struct {
		rate float64
		most time.Duration // that the bytes on their way take
	}{{500e6, 250 * time.Millisecond}, {12.5e6, 250 * time.Millisecond}, {1.25e6, 250 * time.Millisecond}} {
		p := newSimPath(test.rate)
		s := &simSession{path: p, roundTrip: 200 * time.Microsecond, downlink: 10 * test.rate, chunk: 37 << 10}
		idle := time.Duration(0)
		fill := func() {
			if p.waiting == 0 {
				idle += p.now.Sub(p.free)
			}
			for s.window.open(true) {
				s.send()
			}
		}
		s.acked = func(int64, int64) { fill() }
		fill()
		p.run(5 * time.Second)
		if idle > 10*time.Millisecond {
			t.Errorf("%.0f kB/s: the path was idle for %v", test.rate/1e3, idle)
		}
		if takes := time.Duration(float64(s.window.out()) / test.rate * float64(time.Second)); takes > test.most {
			t.Errorf("%.0f kB/s: what is on its way takes %v", test.rate/1e3, takes)
		}
	}
}

// A path that gets slower is believed within some seconds.
func TestWindowFollowsThePath(t *testing.T) {
	p := newSimPath(12.5e6)
	s := &simSession{path: p, roundTrip: 40 * time.Millisecond, downlink: 125e6, chunk: 37 << 10}
	fill := func() {
		for s.window.open(false) {
			s.send()
		}
	}
	s.acked = func(int64, int64) { fill() }
	fill()
	p.run(3 * time.Second)
	if s.window.size(false) < 500<<10 {
		t.Errorf("the window is %d at first", s.window.size(false))
	}
	p.uplink = 1.25e6
	p.run(5 * time.Second)
	if s.window.size(false) > 100<<10 {
		t.Errorf("the window is %d on a slow path", s.window.size(false))
	}
	p.uplink = 12.5e6
	p.run(5 * time.Second)
	if s.window.size(false) < 500<<10 {
		t.Errorf("the window is %d at the end", s.window.size(false))
	}
}

// What was asked for says nothing about the path.
func TestWindowIgnoresPauses(t *testing.T) {
	var w ackWindow
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	step := func(bytes int64, last bool, takes time.Duration) {
		w.written += bytes
		w.wrote(now, last)
		now = now.Add(takes)
		w.ack(w.written, now)
	}
	for range 20 {
		step(1<<20, false, 50*time.Millisecond)
	}
	before := w.size(false)
	for range 100 {
		step(10<<10, true, 50*time.Millisecond)
		now = now.Add(time.Second)
	}
	if w.size(false) != before {
		t.Errorf("after small wishes the window is %d instead of %d", w.size(false), before)
	}
}

// Whatever a receiver acknowledges, the account stays small and the window at least windowMin.
func TestWindowUnderAnyAcks(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var w ackWindow
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 100_000 {
		now = now.Add(time.Duration(random.Int64N(1 << random.IntN(36))))
		switch random.IntN(5) {
		case 0:
			if out := w.out(); out > 0 {
				w.ack(w.acked+1+random.Int64N(out), now)
			}
		default:
			w.written += random.Int64N(200_000)
			w.wrote(now, random.IntN(2) == 0)
		}
		for _, alone := range []bool{false, true} {
			if size := w.size(alone); size < windowMin {
				t.Fatalf("the window is %d", size)
			}
		}
		if len(w.marks) > marksMax || w.out() < 0 {
			t.Fatalf("%d marks, %d out", len(w.marks), w.out())
		}
	}
}
