package swarmtest

import (
	"container/heap"
	"sync"
	"time"
)

// packetMax is how much of a flow is on a link at once: 1.3 ms of 100 Mbit/s.
const packetMax = 16 << 10

// links are all links of a network of streams, and what is under way on them. Everything in them is guarded by mu.
type links struct {
	mu     sync.Mutex
	events eventHeap
	order  int
	wake   *time.Timer
	done   chan struct{}
}

func newLinks() *links {
	l := &links{wake: time.NewTimer(time.Hour), done: make(chan struct{})}
	return l
}

// run lets events happen at their times, until done is closed.
func (l *links) run() {
	for {
		select {
		case <-l.done:
			l.wake.Stop()
			return
		case <-l.wake.C:
		}
		l.mu.Lock()
		for now := time.Now(); len(l.events) > 0 && !l.events[0].at.After(now); {
			heap.Pop(&l.events).(event).happen()
		}
		if len(l.events) > 0 {
			l.wake.Reset(time.Until(l.events[0].at))
		}
		l.mu.Unlock()
	}
}

// after lets something happen, with mu held. The caller holds it too.
func (l *links) after(d time.Duration, happen func()) {
	e := event{time.Now().Add(d), l.order, happen}
	l.order++
	heap.Push(&l.events, e)
	if l.events[0].order == e.order {
		l.wake.Reset(d)
	}
}

// event happens at a time; of several at one time, the one that was entered first.
type event struct {
	at     time.Time
	order  int
	happen func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }

func (h eventHeap) Less(i, j int) bool {
	if !h[i].at.Equal(h[j].at) {
		return h[i].at.Before(h[j].at)
	}
	return h[i].order < h[j].order
}

func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }

func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return last
}

// lane is one direction of a host's link. The flows on it share its rate in proportion to their weights, whenever they
// have something to send: of all packets that wait, the one goes first that would have begun first if all flows had been
// sent side by side (start-time fair queueing).
type lane struct {
	links   *links
	rate    float64 // bytes a second
	busy    bool
	passed  float64 // when the last packet would have begun
	packets packetHeap
	order   int
}

// share is where a flow stands on a lane.
type share struct {
	weight float64
	ends   float64 // when all packets so far would have been sent
}

// packet is bytes of one flow on one lane.
type packet struct {
	bytes  int
	begins float64
	order  int
	sent   func()
}

// send puts a packet on the lane; sent is called when the last byte of it is out.
func (l *lane) send(s *share, bytes int, sent func()) {
	p := packet{bytes: bytes, begins: max(l.passed, s.ends), order: l.order, sent: sent}
	l.order++
	s.ends = p.begins + float64(bytes)/s.weight
	heap.Push(&l.packets, p)
	l.next()
}

func (l *lane) next() {
	if l.busy || len(l.packets) == 0 {
		return
	}
	p := heap.Pop(&l.packets).(packet)
	l.busy, l.passed = true, p.begins
	l.links.after(time.Duration(float64(p.bytes)/l.rate*float64(time.Second)), func() {
		l.busy = false
		p.sent()
		l.next()
	})
}

type packetHeap []packet

func (h packetHeap) Len() int { return len(h) }

func (h packetHeap) Less(i, j int) bool {
	if h[i].begins != h[j].begins {
		return h[i].begins < h[j].begins
	}
	return h[i].order < h[j].order
}

func (h packetHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *packetHeap) Push(x any)   { *h = append(*h, x.(packet)) }

func (h *packetHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = packet{}
	*h = old[:len(old)-1]
	return last
}
