package node

import (
	"fmt"
	"net"
	"time"

	"golang.org/x/time/rate"
)

// LimitMin is the least limit of a node, in bytes a second: with less, 8 sessions would not move a large chunk each
// within protocol.WriteTimeout.
const LimitMin = 64 << 10

const (
	// What goes through a throttle at once is what it lets pass in throttleTime, but not more than throttleMost. With
	// fewer bytes, timers that fire late would cost some of the limit; more would be noticed on the path.
	throttleTime  = 20 * time.Millisecond
	throttleMost  = 64 << 10
	throttleLeast = 4 << 10
	// throttleFree is the size up to which nothing waits, though it counts: wishes and answers are small, and must not
	// stand behind the data of other sessions.
	throttleFree = 1 << 10
)

func (cfg *Config) checkLimits() error {
	for _, limit := range []int64{cfg.UpLimit, cfg.DownLimit} {
		if limit != 0 && limit < LimitMin {
			return fmt.Errorf("limit of %d bytes a second: want at least %d", limit, LimitMin)
		}
	}
	return nil
}

// throttle bounds the bytes a second of all sessions in one direction. Nil is no bound. Who comes first passes first.
type throttle struct {
	limiter *rate.Limiter
}

// newThrottle returns a throttle of so many bytes a second, nil for 0.
func newThrottle(limit int64) *throttle {
	if limit == 0 {
		return nil
	}
	burst := float64(limit) * throttleTime.Seconds()
	return &throttle{rate.NewLimiter(rate.Limit(limit), int(min(max(burst, throttleLeast), throttleMost)))}
}

// piece returns the most that may pass at once, n if there is no bound.
func (t *throttle) piece(n int) int {
	if t == nil {
		return n
	}
	return t.limiter.Burst()
}

// pass waits until n bytes, at most a piece, may pass, or closed is.
func (t *throttle) pass(n int, closed <-chan struct{}) error {
	if t == nil {
		return nil
	}
	now := time.Now()
	taken := t.limiter.ReserveN(now, n)
	wait := taken.DelayFrom(now)
	if wait == 0 || n <= throttleFree {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-closed:
		taken.Cancel()
		return net.ErrClosed
	}
}
