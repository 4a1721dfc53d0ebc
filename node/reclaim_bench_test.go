package node_test

import (
	"context"
	"flag"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

var benchCacheGiB = flag.Int("cache", 1, "GiB of cache that BenchmarkFetchWhileReclaiming frees")

// watchedPuts is a store that notes the longest time between two Puts.
type watchedPuts struct {
	cafs.Store
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (w *watchedPuts) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	w.mu.Lock()
	now := time.Now()
	if !w.last.IsZero() {
		w.longest = max(w.longest, now.Sub(w.last))
	}
	w.last = now
	w.mu.Unlock()
	return w.Store.Put(ctx, chunks...)
}

// BenchmarkFetchWhileReclaiming fetches 256 MiB again and again over loopback, for some seconds without and then as long as
// the holder frees cache, and reports the longest time between two chunks of a fetch in both.
func BenchmarkFetchWhileReclaiming(b *testing.B) {
	const size = 256 << 20
	for b.Loop() {
		b.StopTimer()
		holder := start(b, node.Config{Home: b.TempDir(), DisableDHT: true})
		for i := range *benchCacheGiB {
			status, err := holder.AddReader(b.Context(), io.LimitReader(rand.NewChaCha8([32]byte{byte(i)}), 1<<30), node.AddOptions{})
			if err != nil {
				b.Fatal(err)
			}
			if err := holder.Remove(b.Context(), status.Root); err != nil {
				b.Fatal(err)
			}
		}
		link := add(b, holder, noise(size, 200))
		link.Peers = []peer.AddrInfo{at(b, holder)}
		longest := func(ctx context.Context) (gap time.Duration) {
			for ctx.Err() == nil {
				store := &watchedPuts{Store: memory.New()}
				receiver, err := node.New(b.Context(), loopback(node.Config{Store: store, DisableDHT: true}))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := receiver.Fetch(b.Context(), link, node.FetchOptions{}); err != nil {
					b.Fatal(err)
				}
				if err := receiver.Close(); err != nil {
					b.Fatal(err)
				}
				gap = max(gap, store.longest)
			}
			return gap
		}
		idle, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		without := longest(idle)
		cancel()
		reclaiming, done := context.WithCancel(b.Context())
		var freed node.ReclaimResult
		b.StartTimer()
		go func() {
			defer done()
			var err error
			if freed, err = holder.Reclaim(b.Context(), node.ReclaimOptions{}); err != nil {
				b.Error(err)
			}
		}()
		with := longest(reclaiming)
		b.StopTimer()
		b.ReportMetric(float64(without.Microseconds())/1000, "gap-ms")
		b.ReportMetric(float64(with.Microseconds())/1000, "gap-reclaiming-ms")
		b.ReportMetric(float64(freed.Freed)/(1<<30), "GiB-freed")
		if err := holder.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
