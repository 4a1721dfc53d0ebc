package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/shuffle"
)

// BenchmarkPlanWhole plans a whole fetch, from the first range to the last chunk, with complete holders that take turns.
func BenchmarkPlanWhole(b *testing.B) {
	for _, ranges := range []int{1, 1000, 1_000_000} {
		for _, peers := range []int{1, 1000} {
			b.Run(fmt.Sprintf("ranges=%d/peers=%d", ranges, peers), func(b *testing.B) {
				if testing.Short() && ranges == 1_000_000 {
					b.Skip("ten seconds a run")
				}
				chunks := testRange(random(b), 0)
				order := shuffle.Order(ranges, [32]byte{})
				for b.Loop() {
					p := newPlan(order, int64(ranges)<<20)
					for i := range peers {
						p.addHolder(peer.ID(fmt.Sprint(i)), true, haveMap{}, time.Millisecond)
					}
					now := epoch
					for turn := 0; !p.done(); turn++ {
						for number := range p.toPrepare(func(int64) bool { return true }) {
							p.prepared(number, chunks, allOf(len(chunks)))
						}
						h := p.holders[turn%peers]
						for _, w := range wishesOf(p, h, now) {
							for chunk := range w.bits.Ones() {
								p.arrived(w, chunk, now)
							}
						}
						now = now.Add(time.Microsecond)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(ranges), "ns/range")
			})
		}
	}
}
