package node

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// endlessStream takes everything, and has as much as anybody reads.
type endlessStream struct {
	network.Stream
	written *atomic.Int64
}

func (s endlessStream) Read(p []byte) (int, error) { return len(p), nil }

func (s endlessStream) Write(p []byte) (int, error) {
	s.written.Add(int64(len(p)))
	return len(p), nil
}

func (endlessStream) SetWriteDeadline(time.Time) error { return nil }
func (endlessStream) Reset() error                     { return nil }

// Limits hold within 3 % in both directions, over all streams, whatever the sizes of reads and writes are.
func TestLimitsHold(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, limit := range []int64{LimitMin, 500 << 10, 10e6, 100e6} {
		for _, streams := range []int{1, 7, 50} {
			t.Run(fmt.Sprintf("%d,%d", limit, streams), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					up, down := newThrottle(limit), newThrottle(limit)
					var read, written atomic.Int64
					var work sync.WaitGroup
					var open []*sessionStream
					for i := range streams {
						s := &sessionStream{stream: endlessStream{written: &written}, up: up, down: down, closed: make(chan struct{})}
						open = append(open, s)
						random := rand.New(rand.NewPCG(seed, uint64(i)))
						sizes := []int{random.IntN(1 << 19), random.IntN(1 << 18)}
						work.Go(func() { useUntilClosed(t, s.Write, 1<<19, sizes[0]) })
						counted := func(p []byte) (int, error) {
							n, err := s.Read(p)
							if err == nil {
								read.Add(int64(n))
							}
							return n, err
						}
						work.Go(func() { useUntilClosed(t, counted, 1<<18, sizes[1]) })
					}
					const seconds = 3
					time.Sleep(seconds * time.Second) // on the bubble's clock
					for what, got := range map[string]int64{"read": read.Load(), "written": written.Load()} {
						if low, high := seconds*float64(limit)*0.97, seconds*float64(limit)*1.03; float64(got) < low || float64(got) > high {
							t.Errorf("%d bytes were %s in %d s, want %.0f to %.0f", got, what, seconds, low, high)
						}
					}
					for _, s := range open {
						if err := s.Close(); err != nil {
							t.Error(err)
						}
					}
					work.Wait()
				})
			})
		}
	}
}

// useUntilClosed moves bytes in rows of two sizes until the stream is closed.
func useUntilClosed(t *testing.T, move func([]byte) (int, error), sizes ...int) {
	for i := 0; ; i++ {
		_, err := move(make([]byte, 2<<10+sizes[i%len(sizes)]))
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// What is small never waits, so that wishes and answers go out between the data; but it counts.
func TestLimitLetsSmallFramesPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := newThrottle(LimitMin)
		began := time.Now()
		for range 128 {
			if err := limit.pass(1<<10, nil); err != nil {
				t.Fatal(err)
			}
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("small writes waited for %v", waited)
		}
		if err := limit.pass(4<<10, nil); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited < 1900*time.Millisecond || waited > 2100*time.Millisecond {
			t.Errorf("128 KiB at 64 KiB a second took %v", waited)
		}
	})
}

func TestLimitsThatAreTooLow(t *testing.T) {
	for _, cfg := range []Config{{UpLimit: LimitMin - 1}, {DownLimit: 1}, {UpLimit: -LimitMin}} {
		if n, err := New(t.Context(), cfg); err == nil {
			t.Errorf("limits %d and %d are taken", cfg.UpLimit, cfg.DownLimit)
			_ = n.Close()
		}
	}
}
