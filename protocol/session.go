package protocol

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// meteredStream counts what goes through a stream.
type meteredStream struct {
	io.ReadWriteCloser
	read, written atomic.Int64
}

func (s *meteredStream) Read(p []byte) (int, error) {
	n, err := s.ReadWriteCloser.Read(p)
	s.read.Add(int64(n))
	return n, err
}

func (s *meteredStream) Write(p []byte) (int, error) {
	n, err := s.ReadWriteCloser.Write(p)
	s.written.Add(int64(n))
	return n, err
}

func (s *meteredStream) traffic() (read, written int64) {
	return s.read.Load(), s.written.Load()
}

// laterFrames are made when it is their turn, because that takes time.
type laterFrames struct {
	before int // how much of what is queued goes out before them
	make   func() []byte
}

// outbox writes small frames to a stream without making anybody wait: what comes while a write is under way goes out
// together after it. Its goroutine lives only as long as there is something to write.
type outbox struct {
	w io.Writer

	// mu guards what follows. It is not held during a write.
	mu      sync.Mutex
	queued  []byte
	later   []laterFrames // in queued, in their order
	spare   []byte
	writing sync.WaitGroup
	active  bool
	err     error // why nothing is written any more
}

// add queues a frame. It fails with ErrLimit when ControlQueueMax bytes wait already, and with the reason when the
// outbox was closed or a write has failed.
func (o *outbox) add(frame []byte) error { return o.addAfter(nil, frame) }

// addAfter queues a frame, and before it, unless it is nil, what make returns when it is called for them to go out. That is
// not counted: it waits for nobody.
func (o *outbox) addAfter(make func() []byte, frame []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return o.err
	}
	if len(o.queued)+len(frame) > ControlQueueMax {
		return fmt.Errorf("%d bytes wait for the stream: %w", len(o.queued), ErrLimit)
	}
	if make != nil {
		o.later = append(o.later, laterFrames{len(o.queued), make})
	}
	o.queued = append(o.queued, frame...)
	if !o.active {
		o.active = true
		o.writing.Go(o.drain)
	}
	return nil
}

func (o *outbox) drain() {
	for {
		batch, later := o.take()
		if batch == nil {
			return
		}
		if err := o.write(batch, later); err != nil {
			o.fail(fmt.Errorf("write to the stream: %w", err))
		}
	}
}

// write writes a batch, and what is to be made on the way.
func (o *outbox) write(batch []byte, later []laterFrames) error {
	if len(later) == 0 {
		_, err := o.w.Write(batch)
		return err
	}
	if before := later[0].before; before > 0 { // it does not wait for what is to be made
		if _, err := o.w.Write(batch[:before]); err != nil {
			return err
		}
	}
	for i, l := range later {
		end := len(batch)
		if i+1 < len(later) {
			end = later[i+1].before
		}
		if _, err := o.w.Write(append(l.make(), batch[l.before:end]...)); err != nil {
			return err
		}
	}
	return nil
}

// take returns what is queued, or nil after which the goroutine must end.
func (o *outbox) take() ([]byte, []laterFrames) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil || len(o.queued) == 0 {
		o.active = false
		return nil, nil
	}
	batch, later := o.queued, o.later
	o.queued, o.spare, o.later = o.spare[:0], batch, nil
	return batch, later
}

func (o *outbox) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
}

// close drops what is queued. It returns when no write is under way any more, so the stream must be closed before.
func (o *outbox) close() {
	o.fail(ErrClosed)
	o.writing.Wait()
}

// budget counts what may happen at a rate: burst at once, and then one per interval.
type budget struct {
	start    time.Time
	interval time.Duration
	burst    int64
	// hoards lets unused allowance add up. The receiving side must: frames that were held up arrive together.
	hoards bool
	used   int64
}

func newBudget(burst int64, interval time.Duration) budget {
	return budget{start: time.Now(), interval: interval, burst: burst}
}

// newTolerantBudget returns the budget that a peer is held to which keeps newBudget(burst, interval).
func newTolerantBudget(burst int64, interval time.Duration) budget {
	return budget{start: time.Now(), interval: interval, burst: 2 * burst, hoards: true}
}

// take uses n of what there is now, and reports whether there was enough.
func (b *budget) take(n int64, now time.Time) bool {
	if b.wait(n, now) > 0 {
		return false
	}
	b.used += n
	return true
}

// wait returns how long it takes until n, at most burst, can be taken.
func (b *budget) wait(n int64, now time.Time) time.Duration {
	earned := int64(now.Sub(b.start) / b.interval)
	if !b.hoards {
		b.used = max(b.used, earned)
	}
	if b.used+n <= b.burst+earned {
		return 0
	}
	return b.start.Add(time.Duration(b.used+n-b.burst) * b.interval).Sub(now)
}

const (
	haveEvery   = time.Second / HavesPerSecond
	memberEvery = PeersInterval / PeersMax
)
