package node

import (
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	var m meter
	check := func(seconds float64, low, high int64) {
		t.Helper()
		if rate := m.rate(at(seconds)); rate < low || rate > high {
			t.Errorf("after %.1f s the rate is %d, want %d to %d", seconds, rate, low, high)
		}
	}
	check(0, 0, 0)
	m.add(at(0), 100)
	check(0.1, 200, 200) // no more than in one tick
	for i := range 200 {
		m.add(at(float64(i)/10), 100) // 1,000 a second for 20 s
		if i >= 10 {
			check(float64(i)/10, 900, 1250)
		}
	}
	for i := 200; i < 300; i++ {
		m.add(at(float64(i)/10), 300) // three times as much
	}
	check(29.9, 2700, 3100)
	check(32, 1300, 2200) // and then nothing
	check(36, 0, 0)
	check(100_000, 0, 0)
	m.add(at(100_001), 1000)
	check(100_001, 190, 250)
	m.add(at(50), 1000) // a clock that goes back does no harm
	check(50, 0, 500)
}
