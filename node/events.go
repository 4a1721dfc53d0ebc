package node

import (
	"sync"
	"time"
)

// rateSpan is how far back the rate in progress events looks.
const rateSpan = 3 * time.Second

// events hands events to a callback, one at a time, and works out rates. A nil callback is fine.
type events struct {
	send func(Event)

	// mu is held while the callback runs, so that calls don't overlap.
	mu      sync.Mutex
	samples []sample
}

type sample struct {
	at   time.Time
	done int64
}

// now sends e, with the rate of the last seconds if it is progress.
func (e *events) now(event Event) {
	if e.send == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if event.Kind == EventProgress {
		event.Rate = e.rate(time.Now(), event.Reused+event.Fetched)
	}
	e.send(event)
}

// reading returns a function that tells how many bytes were read of a total, 0 if that is not known, but not too often.
func (e *events) reading(total int64) func(read int64) {
	var last time.Time
	return func(read int64) {
		if now := time.Now(); now.Sub(last) >= tickInterval {
			last = now
			e.now(Event{Kind: EventProgress, Total: total, Reused: read})
		}
	}
}

func (e *events) rate(now time.Time, done int64) int64 {
	for len(e.samples) > 1 && now.Sub(e.samples[0].at) > rateSpan {
		e.samples = e.samples[1:]
	}
	e.samples = append(e.samples, sample{now, done})
	first := e.samples[0]
	elapsed := now.Sub(first.at)
	if elapsed <= 0 {
		return 0
	}
	return int64(float64(done-first.done) / elapsed.Seconds())
}
