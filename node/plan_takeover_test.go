package node

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

// paced runs a world whose holders send at given rates until the plan is done, and returns how long that took. What was
// cancelled is confirmed when the holder comes to it.
func (w *world) paced(rates map[*holder]float64, each func(now time.Time)) time.Duration {
	const step = time.Millisecond
	credit := make(map[*holder]float64)
	now := epoch
	for !w.plan.done() {
		if now.Sub(epoch) > time.Hour {
			w.t.Fatal("the plan does not end")
		}
		w.prepare()
		for _, h := range w.plan.holders {
			w.ask(h, now)
			if len(w.queues[h]) == 0 {
				credit[h] = 0
				continue
			}
			for credit[h] += rates[h] * step.Seconds(); len(w.queues[h]) > 0; {
				first := w.queues[h][0]
				cost := 0.0
				if first.cancel == nil {
					cost = float64(first.wish.size(first.chunk))
				}
				if credit[h] < cost {
					break
				}
				credit[h] -= cost
				w.deliver(h, now)
			}
		}
		if each != nil {
			each(now)
		}
		now = now.Add(step)
	}
	w.assertAllCame()
	return now.Sub(epoch)
}

// A slow holder once kept what it was asked for, and everybody waited for it at the end.
func TestPlanTakesOverFromASlowHolder(t *testing.T) {
	for name, rates := range map[string][2]float64{
		"100 and 1":  {12.5e6, 125e3},
		"100 and 10": {12.5e6, 1.25e6},
		"equal":      {12.5e6, 12.5e6},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, random(t), 64)
			fast := w.plan.addHolder("fast", true, haveMap{}, time.Millisecond)
			slow := w.plan.addHolder("slow", true, haveMap{}, time.Millisecond)
			took := w.paced(map[*holder]float64{fast: rates[0], slow: rates[1]}, nil)
			total := 0
			for _, size := range w.needed {
				total += size
			}
			bound := float64(total) / (rates[0] + rates[1])
			// A chunk of the slow one may be nearly there.
			if most := 1.04*bound + float64(128<<10)/rates[1]*0.2; took.Seconds() > most {
				t.Errorf("took %.2f s; both together need %.2f s, and at most %.2f s are allowed", took.Seconds(), bound, most)
			}
		})
	}
}

func TestPlanVictimsAreTheLast(t *testing.T) {
	r := random(t)
	p := newPlan(shuffle.Order(1, [32]byte{}), 1)
	h := p.addHolder("new", true, haveMap{}, time.Millisecond)
	p.addHolder("idle", true, haveMap{}, time.Hour)
	var ends []time.Duration
	for i := range 5 * victimsMax {
		end := time.Duration(r.IntN(20)) * takeOverSlack / 10 // some are equal, and half of them not late enough
		other := p.addHolder(peer.ID(fmt.Sprint(i)), true, haveMap{}, end)
		other.outstanding, other.rate, other.windowStart = 1, math.MaxFloat64, epoch
		if muchLater(end, h.rtt) {
			ends = append(ends, end)
		}
	}
	slices.SortFunc(ends, func(a, b time.Duration) int { return cmp.Compare(b, a) })
	victims := p.victims(h, epoch)
	if len(victims) != min(victimsMax, len(ends)) {
		t.Fatalf("%d victims of %d that are late", len(victims), len(ends))
	}
	for i, v := range victims {
		if v.end != ends[i] || v.holder.rtt != v.end {
			t.Errorf("victim %d ends after %v, want %v", i, v.end, ends[i])
		}
	}
}

// A holder that stops is bypassed long before it counts as stalled, as far as it answers.
func TestPlanMovesAtMostTwice(t *testing.T) {
	r := random(t)
	w := newWorld(t, r, 32)
	rates := make(map[*holder]float64)
	for _, id := range []string{"a", "b", "c", "d"} {
		rates[w.plan.addHolder(peer.ID(id), true, haveMap{}, time.Millisecond)] = 1e6
	}
	w.paced(rates, func(now time.Time) {
		for _, h := range w.plan.holders { // rates change all the time, so that everybody seems slow now and then
			if r.IntN(50) == 0 {
				rates[h] = math.Pow(10, 4+3*r.Float64())
			}
		}
		for _, row := range w.plan.ranges {
			for i := range row.places {
				if row.places[i].moves > movesMax {
					t.Fatalf("chunk %d of range %d was moved %d times", i, row.number, row.places[i].moves)
				}
			}
		}
	})
}

func TestPlanMovesToAPartialHolder(t *testing.T) {
	w := newWorld(t, random(t), 8)
	w.prepare()
	source := w.plan.addHolder("source", true, haveMap{}, time.Millisecond)
	w.ask(source, epoch)
	member := w.plan.addHolder("member", false, haveMap{}, time.Millisecond)
	w.ask(member, epoch)
	last := source.wishes[len(source.wishes)-1]
	cancels, err := w.plan.told(member, []protocol.HaveItem{{First: last.number(), Count: 1, Op: protocol.HaveAll}}, epoch)
	if err != nil || len(cancels) != 1 || cancels[0].wish != last {
		t.Fatalf("the member has what waits at the source, and %d wishes are cancelled (error %v)", len(cancels), err)
	}
	if wishes := wishesOf(w.plan, member, epoch); len(wishes) != 0 {
		t.Fatal("the member is asked before the source has confirmed")
	}
	moved := 0
	for chunk := range cancels[0].bits.Ones() {
		if last.place(chunk).heir == member {
			moved++
		}
	}
	w.plan.confirmed(last, cancels[0].bits, epoch)
	wishes := wishesOf(w.plan, member, epoch)
	if len(wishes) == 0 || wishes[0].number() != last.number() || wishes[0].bits.Count() != moved {
		t.Fatalf("asked of the member: %v, not the %d chunks that it has room for", wishes, moved)
	}
}

// What waits at the source and a member has now makes place for what only the source has, also if the member has no room.
func TestPlanTakesBackWhatIsNotRareAnyMore(t *testing.T) {
	w := newWorld(t, random(t), 64)
	w.prepare()
	source := w.plan.addHolder("source", true, haveMap{}, time.Millisecond)
	w.ask(source, epoch)
	var own haveMap
	own.addWhole(int64(w.plan.order[len(w.plan.order)-1]), 1) // keeps it busy
	member := w.plan.addHolder("member", false, own, time.Millisecond)
	w.ask(member, epoch)
	last := source.wishes[len(source.wishes)-1]
	had := w.plan.ranges[last.number()]
	tell := []protocol.HaveItem{{First: last.number(), Count: 1, Op: protocol.HaveAll}}
	cancels, err := w.plan.told(member, tell, epoch)
	if err != nil || len(cancels) != 1 || cancels[0].wish != last || cancels[0].bits.Count() != last.left.Count() {
		t.Fatalf("%d wishes are cancelled (error %v)", len(cancels), err)
	}
	if again, err := w.plan.told(member, tell, epoch); err != nil || len(again) > 0 {
		t.Fatalf("before the source has answered %d more wishes are cancelled (error %v)", len(again), err)
	}
	w.plan.confirmed(last, cancels[0].bits, epoch)
	for chunk := range cancels[0].bits.Ones() {
		if !had.free.Get(chunk) {
			t.Fatalf("chunk %d is not free", chunk)
		}
	}
	wishes := wishesOf(w.plan, source, epoch)
	if len(wishes) == 0 {
		t.Fatal("the source is asked for nothing instead")
	}
	for _, wish := range wishes {
		for chunk := range wish.bits.Ones() {
			if rank := w.plan.rank(wish.from, chunk); rank > 1 {
				t.Fatalf("the source is asked for a chunk that %d have", rank)
			}
		}
	}
}

// What is rare comes first, and after that the plan's order.
func TestPlanGivesTheRarestFirst(t *testing.T) {
	w := newWorld(t, random(t), 8)
	w.prepare()
	order := w.plan.order
	rare := int64(order[len(order)-1])
	for _, id := range []string{"one", "two"} {
		var most haveMap
		most.addWhole(0, int64(len(order)))
		most.removeWhole(rare, 1)
		w.plan.addHolder(peer.ID(id), false, most, time.Millisecond)
	}
	source := w.plan.addHolder("source", true, haveMap{}, time.Millisecond)
	wishes := wishesOf(w.plan, source, epoch)
	if len(wishes) < 2 || wishes[0].number() != rare || wishes[1].number() != int64(order[0]) {
		t.Fatalf("first wishes: ranges %d and %d, want %d and %d", wishes[0].number(), wishes[1].number(), rare, order[0])
	}
}

func TestPlanTakesAwayWhatACompleteHolderLost(t *testing.T) {
	w := newWorld(t, random(t), 8)
	w.prepare()
	h := w.plan.addHolder("edited", true, haveMap{}, time.Millisecond)
	gone := int64(w.plan.order[0])
	if _, err := w.plan.told(h, []protocol.HaveItem{{First: gone, Count: 1, Op: protocol.HaveNone}}, epoch); err != nil {
		t.Fatal(err)
	}
	for _, wish := range wishesOf(w.plan, h, epoch) {
		if wish.number() == gone {
			t.Fatal("asked for what it said it has not any more")
		}
	}
	everything := protocol.HaveItem{First: 0, Count: int64(len(w.plan.order)), Op: protocol.HaveAll}
	if _, err := w.plan.told(h, []protocol.HaveItem{everything}, epoch); err != nil || !h.complete {
		t.Fatalf("told that it has all again: complete %v, error %v", h.complete, err)
	}
}
