package node

import (
	"sync"
	"time"
)

const (
	// meterTick and meterTicks make the 5 s that a rate is the mean of: long enough to be read, and short enough to show
	// what happens.
	meterTick  = 500 * time.Millisecond
	meterTicks = 10
)

// meter measures the rate of what has passed lately. The zero value is ready. Its methods may be called concurrently.
type meter struct {
	// mu guards what follows.
	mu     sync.Mutex
	began  time.Time         // when the first bytes passed
	latest int64             // number of the latest tick since then
	ticks  [meterTicks]int64 // bytes, the one of tick n at n modulo meterTicks
}

// add notes that bytes have passed.
func (m *meter) add(now time.Time, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.began.IsZero() {
		m.began = now
	}
	m.advance(now)
	m.ticks[m.latest%meterTicks] += int64(bytes)
}

// rate returns the bytes a second of the last seconds; of what began just now, as if it had gone on for one tick.
func (m *meter) rate(now time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.began.IsZero() {
		return 0
	}
	m.advance(now)
	total := int64(0)
	for _, bytes := range m.ticks {
		total += bytes
	}
	since := now.Sub(m.began)
	span := min(max(since, meterTick), (meterTicks-1)*meterTick+since%meterTick)
	return int64(float64(total) / span.Seconds())
}

// advance forgets the ticks that are over for long enough. Callers hold m.mu.
func (m *meter) advance(now time.Time) {
	tick := int64(now.Sub(m.began) / meterTick)
	for n := max(m.latest+1, tick-meterTicks+1); n <= tick; n++ {
		m.ticks[n%meterTicks] = 0
	}
	m.latest = max(m.latest, tick)
}
