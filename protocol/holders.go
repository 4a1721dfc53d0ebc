package protocol

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// Holders is what the sessions have in common in which a node is the holder: how often each chunk was sent, and who may
// send next. The zero value is ready.
type Holders struct {
	sessions atomic.Int64
	counted  atomic.Int64 // ranges in sent

	compressor compressor

	// buffers holds batches of sessions that write nothing now.
	buffers sync.Pool

	// mu guards what follows. A session may hold its own lock when it takes this one.
	mu    sync.Mutex
	sent  map[cafs.Key]*sentCounts
	turns turns[*Holder]
	timer *time.Timer // gives turns that are over to those who wait
}

// join enters a session, and returns the counts of its root.
func (s *Holders) join(root cafs.Key) *sentCounts {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions.Add(1)
	s.turns.sessions++
	counts := s.sent[root]
	if counts == nil {
		counts = newSentCounts(&s.counted)
		if s.sent == nil {
			s.sent = make(map[cafs.Key]*sentCounts)
		}
		s.sent[root] = counts
	}
	counts.sessions++
	return counts
}

// leave forgets a session, and the counts of a root that has none left.
func (s *Holders) leave(h *Holder, root cafs.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions.Add(-1)
	s.turns.leave(h)
	s.grant(time.Now())
	counts := s.sent[root]
	if counts.sessions--; counts.sessions == 0 {
		counts.forget()
		delete(s.sent, root)
	}
}

// alone reports whether there is only one session.
func (s *Holders) alone() bool { return s.sessions.Load() <= 1 }

// free reports whether there are so few sessions that nobody needs a turn.
func (s *Holders) free() bool { return s.sessions.Load() <= turnsFree }

// mayStart reports whether a session may start its next chunk now; if not, it is signalled when it may. Callers hold h.mu.
func (s *Holders) mayStart(h *Holder, now time.Time) bool {
	if s.free() {
		return true
	}
	sent := h.queue.leastSent()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.turns.ask(h, sent, now) {
		return true
	}
	s.grant(now) // starts the timer, if need be
	return false
}

// started notes that a session has started a chunk, up to which it has written so much.
func (s *Holders) started(h *Holder, bytes, end int64, roundTrip time.Duration) {
	if s.free() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns.begin(h, bytes, end, roundTrip, time.Now())
}

// acked notes that a session's receiver has bytes more.
func (s *Holders) acked(h *Holder, bytes, upTo int64, now time.Time) {
	if s.alone() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns.acked(h, bytes, upTo, now)
	s.grant(now)
}

// pass notes that a session has nothing to start.
func (s *Holders) pass(h *Holder) {
	if s.free() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns.pass(h)
	s.grant(time.Now())
}

// grant gives turns to those who wait. Callers hold s.mu.
func (s *Holders) grant(now time.Time) {
	granted, wait := s.turns.grant(now)
	for _, h := range granted {
		h.signal()
	}
	switch {
	case wait <= 0:
	case s.timer == nil:
		s.timer = time.AfterFunc(wait, s.turnsOver)
	default:
		s.timer.Reset(wait)
	}
}

func (s *Holders) turnsOver() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.grant(time.Now())
}

// buffer returns an empty batch, perhaps with room in it.
func (s *Holders) buffer() batch {
	if b, ok := s.buffers.Get().(*batch); ok {
		return (*b)[:0]
	}
	return nil
}

// reuse takes a batch that its session does not need any more. Small ones would only have to grow.
func (s *Holders) reuse(b batch) {
	if cap(b) >= windowMin {
		s.buffers.Put(&b)
	}
}
