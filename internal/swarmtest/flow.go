package swarmtest

import (
	"io"
	"os"
	"sync"
	"time"
)

// windowLeast is what a flow may have under way beyond the twofold of what its path carries in a round trip.
const windowLeast = 64 << 10

// flow is one direction of a stream. It has under way what two round trips carry at the rate at which bytes were taken
// from its end of late, and windowLeast: as a congestion control does that finds out what its path carries.
type flow struct {
	links    *links
	up, down *lane
	onUp     share
	onDown   share
	latency  time.Duration

	changed  *sync.Cond
	underWay int // written, and not known to be taken
	window   int
	// taken is what was taken since measured; blocked tells that the window was full meanwhile.
	taken    int
	measured time.Time
	blocked  bool

	arrived  [][]byte
	closed   bool  // by the writer
	ended    bool  // closed by the writer, and all has arrived
	readErr  error // what the reader is told from now on; what arrives is thrown away
	writeErr error // what the writer is told from now on
	readBy   time.Time
	writeBy  time.Time
	watching time.Time // the earliest deadline that somebody will be woken for
}

func newFlow(l *links, from, to *port, weight float64) *flow {
	return &flow{
		links: l, up: &from.up, down: &to.down,
		onUp: share{weight: weight}, onDown: share{weight: weight},
		latency: from.link.Latency + to.link.Latency,
		changed: sync.NewCond(&l.mu), window: windowLeast, measured: time.Now(),
	}
}

func (f *flow) write(data []byte) (n int, err error) {
	f.links.mu.Lock()
	defer f.links.mu.Unlock()
	for len(data) > 0 {
		for f.writeErr == nil && !f.closed && f.underWay >= f.window {
			f.blocked = true
			if err := f.wait(f.writeBy); err != nil {
				return n, err
			}
		}
		switch {
		case f.writeErr != nil:
			return n, f.writeErr
		case f.closed:
			return n, io.ErrClosedPipe
		}
		piece := append([]byte(nil), data[:min(len(data), packetMax)]...)
		f.send(piece)
		data, n = data[len(piece):], n+len(piece)
	}
	return n, nil
}

// send lets a piece of the stream go its way.
func (f *flow) send(piece []byte) {
	f.underWay += len(piece)
	f.travel(len(piece), func() {
		if f.readErr == nil {
			f.arrived = append(f.arrived, piece)
			f.changed.Broadcast()
		}
	})
}

// travel lets bytes go through both links, in order with all others of the flow.
func (f *flow) travel(bytes int, arrive func()) {
	f.up.send(&f.onUp, bytes, func() {
		f.links.after(f.latency, func() { f.down.send(&f.onDown, bytes, arrive) })
	})
}

func (f *flow) read(buf []byte) (int, error) {
	f.links.mu.Lock()
	defer f.links.mu.Unlock()
	for f.readErr == nil && len(f.arrived) == 0 && !f.ended {
		if err := f.wait(f.readBy); err != nil {
			return 0, err
		}
	}
	switch {
	case f.readErr != nil:
		return 0, f.readErr
	case len(f.arrived) == 0:
		return 0, io.EOF
	}
	n := 0
	for n < len(buf) && len(f.arrived) > 0 {
		copied := copy(buf[n:], f.arrived[0])
		n += copied
		if f.arrived[0] = f.arrived[0][copied:]; len(f.arrived[0]) == 0 {
			f.arrived = f.arrived[1:]
		}
	}
	f.links.after(f.latency, func() { f.acknowledge(n) })
	return n, nil
}

// acknowledge tells the writer that bytes were taken.
func (f *flow) acknowledge(n int) {
	f.underWay -= n
	f.taken += n
	roundTrip := 2 * f.latency
	if since := time.Since(f.measured); since >= max(roundTrip, 10*time.Millisecond) {
		if f.blocked {
			rate := float64(f.taken) / since.Seconds()
			f.window = windowLeast + int(2*rate*roundTrip.Seconds())
		}
		f.taken, f.measured, f.blocked = 0, time.Now(), false
	}
	f.changed.Broadcast()
}

// end is the writer's end of the stream.
func (f *flow) end() {
	if f.closed || f.writeErr != nil {
		return
	}
	f.closed = true
	f.travel(1, func() {
		f.ended = true
		f.changed.Broadcast()
	})
}

// failReader and failWriter end one side of the flow; the first error counts.
func (f *flow) failReader(err error) {
	if f.readErr == nil {
		f.readErr, f.arrived = err, nil
		f.changed.Broadcast()
	}
}

func (f *flow) failWriter(err error) {
	if f.writeErr == nil {
		f.writeErr = err
		f.changed.Broadcast()
	}
}

// wait waits for a change, or until a deadline, which may be moved meanwhile.
func (f *flow) wait(deadline time.Time) error {
	if !deadline.IsZero() {
		left := time.Until(deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		if f.watching.IsZero() || deadline.Before(f.watching) {
			f.watching = deadline
			f.links.after(left, func() {
				f.watching = time.Time{}
				f.changed.Broadcast()
			})
		}
	}
	f.changed.Wait()
	return nil
}
