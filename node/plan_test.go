package node

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

var seedFlag = flag.Uint64("seed", 0, "what random tests are drawn from; 0 means a fresh one")

// random returns a source of randomness whose seed is in the test's log.
func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

var epoch = time.Unix(1_700_000_000, 0)

// testRange makes the chunks of a range: about 28 of 37 KiB.
func testRange(r *rand.Rand, number int64) []cafs.ChunkInfo {
	chunks := make([]cafs.ChunkInfo, 20+r.IntN(16))
	for i := range chunks {
		chunks[i] = cafs.ChunkInfo{Key: cafs.KeyOf(fmt.Append(nil, number, i)), Size: 8192 + r.IntN(60_000)}
	}
	return chunks
}

func allOf(n int) protocol.Bits {
	bits := protocol.NewBits(n)
	for i := range n {
		bits.Set(i)
	}
	return bits
}

// world is a plan with the truth about what is needed, which the tests hold the plan against. Its holders answer one thing
// at a time, in the order in which they were asked.
type world struct {
	t      testing.TB
	random *rand.Rand
	plan   *plan
	size   int64
	needed map[chunkID]int // size of what has to come
	given  map[chunkID][]*wish
	came   map[chunkID]bool
	queues map[*holder][]queued
	// cancels wait for the answer; each is answered after what was queued before it.
	duplicate int64
}

type chunkID struct {
	number int64
	chunk  int
}

// queued is a chunk that a holder is to send, or a CANCEL that it is to answer.
type queued struct {
	wish   *wish
	chunk  int
	cancel protocol.Bits
}

func (q queued) id() chunkID { return chunkID{q.wish.number(), q.chunk} }

func newWorld(t testing.TB, r *rand.Rand, ranges int) *world {
	size := int64(ranges) << 20
	return &world{
		t: t, random: r, size: size,
		plan:   newPlan(shuffle.Order(ranges, [32]byte{byte(r.Uint32())}), size),
		needed: make(map[chunkID]int),
		given:  make(map[chunkID][]*wish),
		came:   make(map[chunkID]bool),
		queues: make(map[*holder][]queued),
	}
}

// prepare answers everything that the plan wants prepared; about one chunk in ten is here already.
func (w *world) prepare() {
	for {
		var numbers []int64
		for number := range w.plan.toPrepare(func(int64) bool { return true }) {
			numbers = append(numbers, number)
		}
		if len(numbers) == 0 {
			return
		}
		for _, number := range numbers {
			chunks := testRange(w.random, number)
			need := allOf(len(chunks))
			for i := range chunks {
				if w.random.IntN(10) == 0 {
					need.Clear(i)
				} else {
					w.needed[chunkID{number, i}] = chunks[i].Size
				}
			}
			w.plan.prepared(number, chunks, need)
		}
	}
}

// ask lets a holder be asked, and checks that nothing is given that is here or that it does not have, nor to two holders
// but for the part that the endgame allows.
func (w *world) ask(h *holder, now time.Time) {
	wishes, cancels := w.plan.next(h, now)
	for _, wish := range wishes {
		if wish.holder != h {
			w.t.Fatalf("a wish of %s is returned for %s", wish.holder.id, h.id)
		}
		for chunk := range wish.bits.Ones() {
			id := chunkID{wish.number(), chunk}
			if _, ok := w.needed[id]; !ok || w.came[id] {
				w.t.Fatalf("chunk %v was given though it is not needed", id)
			}
			if !h.complete && !h.have.has(id.number, id.chunk) {
				w.t.Fatalf("chunk %v was asked of %s, who does not have it", id, h.id)
			}
			if w.given[id] = append(w.given[id], wish); len(w.given[id]) > 1 {
				if w.plan.free > 0 {
					w.t.Fatalf("chunk %v was given to two holders while others were given to nobody", id)
				}
				w.duplicate += wish.size(chunk)
			}
			w.queues[h] = append(w.queues[h], queued{wish: wish, chunk: chunk})
		}
	}
	w.cancel(cancels)
	if w.duplicate > w.size/endgameShare {
		w.t.Fatalf("%d bytes of %d are asked for twice", w.duplicate, w.size)
	}
}

// cancel takes out of the queues what is cancelled, and queues the answers.
func (w *world) cancel(cancels []cancel) {
	for _, c := range cancels {
		h := c.wish.holder
		taken := protocol.NewBits(len(c.wish.chunks()))
		w.queues[h] = slices.DeleteFunc(w.queues[h], func(q queued) bool {
			hit := q.wish == c.wish && q.cancel == nil && c.bits.Get(q.chunk)
			if hit {
				taken.Set(q.chunk)
			}
			return hit
		})
		w.queues[h] = append(w.queues[h], queued{wish: c.wish, cancel: taken})
	}
}

// deliver lets what a holder was asked first come.
func (w *world) deliver(h *holder, now time.Time) {
	queue := w.queues[h]
	if len(queue) == 0 {
		return
	}
	first := queue[0]
	w.queues[h] = queue[1:]
	if first.cancel != nil {
		for chunk := range first.cancel.Ones() {
			w.ungive(first.wish, chunk)
		}
		w.plan.confirmed(first.wish, first.cancel, now)
		return
	}
	id := first.id()
	w.ungive(first.wish, first.chunk)
	needed, cancels := w.plan.arrived(first.wish, first.chunk, now)
	if needed == w.came[id] {
		w.t.Fatalf("chunk %v came, and the plan says needed: %v", id, needed)
	}
	w.came[id] = true
	w.cancel(cancels)
}

// ungive notes that a chunk is not expected from a wish any more.
func (w *world) ungive(from *wish, chunk int) {
	id := chunkID{from.number(), chunk}
	if len(w.given[id]) > 1 && w.came[id] == false && from.holder != nil {
		w.duplicate -= from.size(chunk) // it is asked for once only, again
	}
	w.given[id] = slices.DeleteFunc(w.given[id], func(other *wish) bool { return other == from })
}

// wishesOf is what next asks of h.
func wishesOf(p *plan, h *holder, now time.Time) []*wish {
	wishes, _ := p.next(h, now)
	return wishes
}

func (w *world) assertAllCame() {
	w.t.Helper()
	if !w.plan.done() {
		w.t.Fatalf("the plan is not done; %d of %d chunks came", len(w.came), len(w.needed))
	}
	for id := range w.needed {
		if !w.came[id] {
			w.t.Fatalf("chunk %v never came, and the plan is done", id)
		}
	}
	// What was asked for twice, or cancelled, may still be under way.
	for _, h := range w.plan.holders {
		for len(w.queues[h]) > 0 {
			w.deliver(h, epoch.Add(time.Hour))
		}
		if h.outstanding != 0 || h.reserved != 0 || h.answers != 0 || len(h.wishes)+len(h.claims) > 0 {
			w.t.Errorf("%s is left with %d bytes outstanding, %d reserved, %d answers owed, %d wishes, %d claims",
				h.id, h.outstanding, h.reserved, h.answers, len(h.wishes), len(h.claims))
		}
	}
	if w.plan.wished != 0 || w.plan.free != 0 || len(w.plan.ranges) != 0 || len(w.plan.open) != 0 {
		w.t.Errorf("left behind: %d bytes wished, %d free, %d ranges, %d open",
			w.plan.wished, w.plan.free, len(w.plan.ranges), len(w.plan.open))
	}
}

func TestPlanGivesEightHoldersDisjointShares(t *testing.T) {
	const ranges = 1024
	w := newWorld(t, random(t), ranges)
	var holders []*holder
	for i := range 8 {
		holders = append(holders, w.plan.addHolder(peer.ID(fmt.Sprint(i)), true, haveMap{}, time.Millisecond))
	}
	served := make(map[*holder][]int64)
	now := epoch
	for !w.plan.done() {
		w.prepare()
		for _, h := range holders {
			w.ask(h, now)
			if queue := w.queues[h]; len(queue) > 0 && queue[0].cancel == nil {
				served[h] = append(served[h], queue[0].wish.number())
			}
			w.deliver(h, now)
		}
		now = now.Add(time.Millisecond)
	}
	w.assertAllCame()
	for i, h := range holders {
		numbers := slices.Compact(slices.Sorted(slices.Values(served[h])))
		if len(numbers) < ranges/16 {
			t.Errorf("holder %d served only %d ranges of %d", i, len(numbers), ranges)
		}
		if span := numbers[len(numbers)-1] - numbers[0]; span < ranges/2 {
			t.Errorf("holder %d served ranges %d to %d only: an interval of the file", i, numbers[0], numbers[len(numbers)-1])
		}
	}
}

func TestPlanSurvivesWhateverHappens(t *testing.T) {
	r := random(t)
	for range 20 {
		w := newWorld(t, r, 1+r.IntN(300))
		safe := w.plan.addHolder("safe", true, haveMap{}, time.Millisecond)
		others := make(map[peer.ID]*holder)
		now := epoch
		for step := 0; !w.plan.done(); step++ {
			if step > 1_000_000 {
				t.Fatal("the plan does not end")
			}
			now = now.Add(time.Duration(r.IntN(5)) * time.Millisecond)
			w.prepare()
			w.ask(safe, now)
			w.deliver(safe, now)
			w.disturb(others, now)
		}
		w.assertAllCame()
	}
}

// disturb does one of the things that happen to holders.
func (w *world) disturb(others map[peer.ID]*holder, now time.Time) {
	id := peer.ID(fmt.Sprint("other", w.random.IntN(5)))
	h := others[id]
	switch {
	case h == nil:
		others[id] = w.plan.addHolder(id, false, w.someRanges(), time.Duration(w.random.IntN(100))*time.Millisecond)
	case w.random.IntN(50) == 0:
		w.remove(h)
		delete(others, id)
	case w.random.IntN(20) == 0:
		w.refuse(h, now)
	case w.random.IntN(10) == 0:
		op := protocol.HaveAll
		if w.random.IntN(4) == 0 {
			op = protocol.HaveNone
		}
		cancels, err := w.plan.told(h, []protocol.HaveItem{{First: w.random.Int64N(int64(len(w.plan.order))), Count: 1, Op: op}}, now)
		if err != nil {
			w.t.Fatal(err)
		}
		w.cancel(cancels)
	default:
		w.ask(h, now)
		w.deliver(h, now)
	}
}

func (w *world) someRanges() haveMap {
	var have haveMap
	for number := range int64(len(w.plan.order)) {
		switch w.random.IntN(4) {
		case 0:
			have.addWhole(number, 1)
		case 1:
			bits := protocol.NewBits(36)
			bits.Set(w.random.IntN(36))
			have.addPart(number, bits)
		}
	}
	return have
}

// remove takes a holder out, with all that it owes.
func (w *world) remove(h *holder) {
	w.plan.removeHolder(h)
	for _, q := range w.queues[h] {
		if q.cancel == nil {
			w.ungive(q.wish, q.chunk)
		}
	}
	// What was cancelled is not expected from it either.
	for id, wishes := range w.given {
		w.given[id] = slices.DeleteFunc(wishes, func(other *wish) bool { return other.holder == h })
	}
	delete(w.queues, h)
}

// refuse lets a holder say that what it was to send of its first wish is missing.
func (w *world) refuse(h *holder, now time.Time) {
	queue := w.queues[h]
	if len(queue) == 0 || queue[0].cancel != nil {
		return
	}
	first := queue[0].wish
	missing := protocol.NewBits(len(first.chunks()))
	w.queues[h] = slices.DeleteFunc(queue, func(q queued) bool {
		hit := q.wish == first && q.cancel == nil
		if hit {
			missing.Set(q.chunk)
			w.ungive(q.wish, q.chunk)
		}
		return hit
	})
	w.plan.refused(first, missing, protocol.DoneMissing, now)
	if w.plan.ranges[first.number()] == nil {
		return
	}
	for chunk := range missing.Ones() {
		if h.canSend(first.number(), chunk) {
			w.t.Fatalf("%s is taken to have chunk %d of range %d, which it said is missing", h.id, chunk, first.number())
		}
	}
}

func TestPlanPreparesForAPartialHolderBeyondItsLead(t *testing.T) {
	w := newWorld(t, random(t), 4*prepareAhead)
	w.prepare()
	last := int64(w.plan.order[len(w.plan.order)-1])
	if w.plan.state[last] != rangeUntouched {
		t.Fatal("everything is prepared at once")
	}
	var have haveMap
	have.addWhole(last, 1)
	h := w.plan.addHolder("partial", false, have, time.Millisecond)
	w.ask(h, epoch)
	w.prepare()
	w.ask(h, epoch)
	if len(w.queues[h]) == 0 {
		t.Fatal("the holder of one late range was not asked for it")
	}
}

// A holder that could be asked for more, but for nothing of what is prepared, once had all ranges of the content prepared.
func TestPlanPreparesOnlySoMuchAtOnce(t *testing.T) {
	const ranges = 2 * preparedMax
	w := newWorld(t, random(t), ranges)
	var all haveMap
	all.addWhole(0, ranges)
	idle := w.plan.addHolder("idle", false, all, time.Millisecond)
	for range 2 * ranges {
		idle.dry = true
		w.prepare()
	}
	if len(w.plan.ranges) != preparedMax {
		t.Fatalf("%d of %d ranges are prepared, want %d", len(w.plan.ranges), ranges, preparedMax)
	}
	helper := w.plan.addHolder("helper", true, haveMap{}, time.Millisecond)
	for now := epoch; !w.plan.done(); now = now.Add(time.Millisecond) {
		w.ask(helper, now)
		for len(w.queues[helper]) > 0 {
			w.deliver(helper, now)
		}
		idle.dry = true
		w.prepare()
		if len(w.plan.ranges) > preparedMax {
			t.Fatalf("%d ranges are prepared", len(w.plan.ranges))
		}
	}
	w.assertAllCame()
}

func TestHolderTarget(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		complete bool
		rate     float64
		rtt      time.Duration
		want     int64
	}{
		"partial, rate unknown":       {false, 0, 0, outstandingMin},
		"complete, rate unknown":      {true, 0, 0, outstandingFirst},
		"partial, slow":               {false, 1000, 0, outstandingMin},
		"partial, 10 MiB/s":           {false, 10 * mib, 50 * time.Millisecond, 10 * mib / 4},
		"complete, 1 MiB/s":           {true, mib, 0, 2 * mib},
		"complete, 10 MiB/s":          {true, 10 * mib, 0, outstandingMax},
		"complete, long and fat pipe": {true, 100 * mib, 200 * time.Millisecond, 40 * mib},
	} {
		h := &holder{complete: c.complete, rate: c.rate, rtt: c.rtt}
		if got := h.target(); got != c.want {
			t.Errorf("%s: %d bytes ahead, want %d", name, got, c.want)
		}
	}
}

func TestPlanNamesStalledHolders(t *testing.T) {
	w := newWorld(t, random(t), 8)
	silent := w.plan.addHolder("silent", true, haveMap{}, time.Millisecond)
	w.prepare()
	w.ask(silent, epoch)
	if stalled := w.plan.stalled(epoch.Add(protocol.StallTimeoutFirst)); len(stalled) > 0 {
		t.Error("stalled before its time")
	}
	if stalled := w.plan.stalled(epoch.Add(protocol.StallTimeoutFirst + 1)); !slices.Equal(stalled, []*holder{silent}) {
		t.Errorf("stalled: %v", stalled)
	}
	// Once it sends, and its rate is known, silence is noticed sooner.
	now := epoch.Add(100 * time.Millisecond)
	w.deliver(silent, now)
	if stalled := w.plan.stalled(now.Add(protocol.StallTimeout)); len(stalled) > 0 {
		t.Error("stalled right after a chunk")
	}
	if stalled := w.plan.stalled(now.Add(protocol.StallTimeoutFirst)); len(stalled) != 1 {
		t.Error("not stalled though it stopped")
	}
}

// The patience with a slow holder once had no end: at a KiB a second it was a quarter of an hour, at a byte a second ten
// days.
func TestPlanPatience(t *testing.T) {
	const kib = 1 << 10
	p := newPlan(nil, 0)
	for name, c := range map[string]struct {
		rate float64
		rtt  time.Duration
		want time.Duration
	}{
		"unknown":             {0, 0, protocol.StallTimeoutFirst},
		"fast":                {10 << 20, time.Millisecond, protocol.StallTimeout},
		"fast, but far away":  {1 << 30, time.Second, protocol.StallRateFactor * (time.Second + time.Second/(8<<10))},
		"64 KiB a second":     {64 * kib, 0, 2 * protocol.StallRateFactor * time.Second},
		"a KiB a second":      {kib, 0, protocol.StallTimeoutFirst},
		"a byte a second":     {1, 0, protocol.StallTimeoutFirst},
		"a byte now and then": {1e-9, 0, protocol.StallTimeoutFirst},
	} {
		if got := p.patience(&holder{rate: c.rate, rtt: c.rtt}); got.Round(time.Millisecond) != c.want.Round(time.Millisecond) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A holder that turned down every wish was once asked again at once, for ever.
func TestPlanGivesUpAHolderThatTurnsEverythingDown(t *testing.T) {
	for _, reason := range []protocol.DoneReason{protocol.DoneMissing, protocol.DoneBusy} {
		w := newWorld(t, random(t), 4*refusalsMax)
		h := w.plan.addHolder("unwilling", true, haveMap{}, time.Millisecond)
		now, asked := epoch, 0
		for range 100 * refusalsMax {
			w.prepare()
			for _, wish := range wishesOf(w.plan, h, now) {
				asked++
				w.plan.refused(wish, wish.bits, reason, now)
			}
			now = now.Add(time.Second)
			w.plan.forgive(now)
		}
		if asked < refusalsMax || asked > 2*refusalsMax {
			t.Errorf("reason %d: asked %d times", reason, asked)
		}
		if stalled := w.plan.stalled(now); !slices.Equal(stalled, []*holder{h}) || w.plan.expecting() {
			t.Errorf("reason %d: stalled are %v, expecting %v", reason, stalled, w.plan.expecting())
		}
		if len(w.plan.ranges) > prepareAhead+asked {
			t.Errorf("reason %d: %d ranges were prepared for %d wishes", reason, len(w.plan.ranges), asked)
		}
	}
}

// askedAndRefused is a plan of one range all of whose chunks a partial holder turned down.
func askedAndRefused(t *testing.T, reason protocol.DoneReason) (*plan, *holder) {
	t.Helper()
	p := newPlan(shuffle.Permutation{0}, 1<<20)
	chunks := testRange(random(t), 0)[:2]
	for range p.toPrepare(func(int64) bool { return true }) {
		p.prepared(0, chunks, allOf(len(chunks)))
	}
	var have haveMap
	have.addWhole(0, 1)
	h := p.addHolder("holder", false, have, time.Millisecond)
	wishes := wishesOf(p, h, epoch)
	if len(wishes) != 1 {
		t.Fatalf("%d wishes, want one", len(wishes))
	}
	p.refused(wishes[0], wishes[0].bits, reason, epoch)
	if again := wishesOf(p, h, epoch); len(again) > 0 {
		t.Fatalf("asked again at once: %v", again)
	}
	return p, h
}

func TestPlanAsksAgainAfterAPause(t *testing.T) {
	for reason, pause := range map[protocol.DoneReason]time.Duration{
		protocol.DoneMissing: missingPause,
		protocol.DoneBusy:    busyPause,
	} {
		p, h := askedAndRefused(t, reason)
		early, late := epoch.Add(pause-1), epoch.Add(pause)
		if p.forgive(early) || len(wishesOf(p, h, early)) > 0 {
			t.Errorf("reason %d: asked again before %v", reason, pause)
		}
		if !p.forgive(late) || len(wishesOf(p, h, late)) != 1 {
			t.Errorf("reason %d: not asked again after %v", reason, pause)
		}
	}
}

// A holder that was still fetching when it was asked for a chunk was once never asked for it again.
func TestPlanAsksAgainWhenAHolderTells(t *testing.T) {
	for name, c := range map[string]struct {
		items []protocol.HaveItem
		again int
	}{
		"the range":        {[]protocol.HaveItem{{First: 0, Count: 1, Op: protocol.HaveAll}}, 1},
		"chunks of it":     {[]protocol.HaveItem{{First: 0, Count: 1, Op: protocol.HaveAdd, Bits: protocol.Bits{0x80}}}, 1},
		"many ranges":      {[]protocol.HaveItem{{First: 0, Count: 9, Op: protocol.HaveAll}, {First: 12, Count: 1, Op: protocol.HaveAll}}, 1},
		"another range":    {[]protocol.HaveItem{{First: 1, Count: 9, Op: protocol.HaveAll}}, 0},
		"that it has none": {[]protocol.HaveItem{{First: 0, Count: 1, Op: protocol.HaveNone}}, 0},
	} {
		p, h := askedAndRefused(t, protocol.DoneMissing)
		if _, err := p.told(h, c.items, epoch); err != nil {
			t.Fatal(err)
		}
		if wishes := wishesOf(p, h, epoch); len(wishes) != c.again {
			t.Errorf("told of %s: %d wishes, want %d", name, len(wishes), c.again)
		}
	}
}

func TestPlanGivesAtOnceToOthersWhatAHolderTurnedDownOrOwes(t *testing.T) {
	w := newWorld(t, random(t), 1)
	w.prepare()
	first := w.plan.addHolder("first", true, haveMap{}, time.Millisecond)
	second := w.plan.addHolder("second", true, haveMap{}, time.Millisecond)
	third := w.plan.addHolder("third", true, haveMap{}, time.Millisecond)
	asked := wishesOf(w.plan, first, epoch)
	if len(asked) != 1 || len(wishesOf(w.plan, second, epoch)) != 0 {
		t.Fatalf("first was asked %v, want all", asked)
	}
	w.plan.refused(asked[0], asked[0].bits, protocol.DoneBusy, epoch)
	if moved := wishesOf(w.plan, second, epoch); !slices.Equal(union(moved), asked[0].bits) {
		t.Fatalf("what was turned down: %v, want %v", union(moved), asked[0].bits)
	}
	w.plan.removeHolder(second)
	if moved := wishesOf(w.plan, third, epoch); !slices.Equal(union(moved), asked[0].bits) {
		t.Fatalf("what was owed: %v, want %v", union(moved), asked[0].bits)
	}
}

// union is all that some wishes of one range ask for.
func union(wishes []*wish) protocol.Bits {
	var all protocol.Bits
	for _, w := range wishes {
		if all == nil {
			all = make(protocol.Bits, len(w.bits))
		}
		for chunk := range w.bits.Ones() {
			all.Set(chunk)
		}
	}
	return all
}

func TestPlanCountsDuplicates(t *testing.T) {
	p := newPlan(shuffle.Permutation{0}, 1<<20)
	chunks := testRange(random(t), 0)
	for range p.toPrepare(func(int64) bool { return true }) {
		p.prepared(0, chunks, allOf(len(chunks)))
	}
	h := p.addHolder("h", true, haveMap{}, 0)
	wish := wishesOf(p, h, epoch)[0]
	if needed, _ := p.arrived(wish, 3, epoch); !needed {
		t.Fatal("the first copy was not needed")
	}
	if needed, _ := p.arrived(wish, 3, epoch); needed {
		t.Fatal("a second copy was needed")
	}
}

// TestPlanWishesWholeRangesOfTheFast has a holder so fast that the bound of what may be outstanding is what stops wishes.
func TestPlanWishesWholeRangesOfTheFast(t *testing.T) {
	const ranges = 1024
	w := newWorld(t, random(t), ranges)
	h := w.plan.addHolder("fast", true, haveMap{}, time.Millisecond)
	wishes, now := 0, epoch
	for len(w.came) < len(w.needed) || len(w.needed) == 0 {
		w.prepare()
		before := len(h.wishes)
		w.ask(h, now)
		wishes += len(h.wishes) - before
		now = now.Add(100 * time.Microsecond)
		w.deliver(h, now)
	}
	w.assertAllCame()
	if wishes > 2*ranges {
		t.Errorf("%d wishes for %d ranges", wishes, ranges)
	}
}

// TestPlanStarvesNobodyAtTheBound has more holders than may all have their targets outstanding, of which some are ten times as
// fast as others: none may be without a wish for longer than it takes until all are looked at again.
func TestPlanStarvesNobodyAtTheBound(t *testing.T) {
	const holders, ranges = 40, 2000
	w := newWorld(t, random(t), ranges)
	for i := range holders {
		w.plan.addHolder(peer.ID(fmt.Sprint("holder ", i)), true, haveMap{}, time.Millisecond)
	}
	now, credit, starved, full := epoch, make(map[*holder]float64), 0, 0
	w.prepare()
	for w.plan.finished < ranges/2 {
		for _, h := range w.plan.holders { // every 25 ms
			w.ask(h, now)
			if len(w.queues[h]) == 0 && now.Sub(epoch) > time.Second { // at first not all find room
				starved++
			}
		}
		if w.plan.wished > protocol.ReceiverWishedBytesMax-2*rangeMost {
			full++
		}
		for range 25 {
			now = now.Add(time.Millisecond)
			for i, h := range w.plan.holders {
				credit[h] += 4e3 * float64(1+9*(i%2)) // bytes a millisecond
				for len(w.queues[h]) > 0 && credit[h] > 0 {
					credit[h] -= float64(w.queues[h][0].wish.size(w.queues[h][0].chunk))
					w.deliver(h, now)
					w.ask(h, now)
				}
				credit[h] = min(credit[h], 0)
			}
			w.prepare()
		}
	}
	if full < 10 {
		t.Fatalf("the bound was reached %d times only", full)
	}
	if starved > 0 {
		t.Errorf("holders were without a wish %d times", starved)
	}
}

// TestPlanLooksOnceForWhatIsNotListed counts how many ranges are looked at while their pages are not here.
func TestPlanLooksOnceForWhatIsNotListed(t *testing.T) {
	const ranges = 100
	p := newPlan(shuffle.Order(ranges, [32]byte{}), ranges<<20)
	looks, listed := 0, int64(0) // ranges below listed are
	known := func(number int64) bool {
		looks++
		return number < listed
	}
	prepare := func() (prepared []int64) {
		for number := range p.toPrepare(known) {
			prepared = append(prepared, number)
			chunks := testRange(random(t), number)
			p.prepared(number, chunks, allOf(len(chunks)))
		}
		return prepared
	}
	for range 10 {
		if got := prepare(); len(got) > 0 {
			t.Fatalf("ranges %v are prepared, want none", got)
		}
	}
	if looks != ranges {
		t.Errorf("%d ranges were looked at, want each of %d once", looks, ranges)
	}
	for _, listed = range []int64{1, 50, ranges} {
		p.lookAgain()
		prepare()
		if got := int64(len(p.ranges)); got != listed {
			t.Errorf("%d ranges are prepared, want %d", got, listed)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, peers := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			r := random(b)
			chunks := testRange(r, 0)
			order := shuffle.Order(1<<20, [32]byte{})
			p := newPlan(order, 1<<40)
			for i := range peers {
				p.addHolder(peer.ID(fmt.Sprint(i)), true, haveMap{}, time.Millisecond)
			}
			known := func(int64) bool { return true }
			now := epoch
			decisions := 0
			for b.Loop() {
				if p.done() {
					p.state, p.cursor, p.finished = make([]rangeProgress, len(order)), 0, 0
					p.lookAgain()
				}
				for number := range p.toPrepare(known) {
					p.prepared(number, chunks, allOf(len(chunks)))
				}
				h := p.holders[decisions%peers]
				for _, w := range wishesOf(p, h, now) {
					for chunk := range w.bits.Ones() {
						p.arrived(w, chunk, now)
					}
				}
				decisions++
				now = now.Add(time.Microsecond)
			}
		})
	}
}

func TestPlanChecksWhatHoldersTell(t *testing.T) {
	p := newPlan(shuffle.Permutation{0, 1}, 2<<20)
	chunks := testRange(random(t), 0)
	right, wrong := allOf(len(chunks)), allOf(len(chunks)+8)
	tell := func(h *holder, bits protocol.Bits) error {
		_, err := p.told(h, []protocol.HaveItem{{First: 0, Count: 1, Op: protocol.HaveAdd, Bits: bits}}, epoch)
		return err
	}
	honest, liar := p.addHolder("honest", false, haveMap{}, 0), p.addHolder("liar", false, haveMap{}, 0)
	for range p.toPrepare(func(number int64) bool { return number == 0 }) {
		if err := errors.Join(tell(honest, right), tell(liar, wrong)); err != nil {
			t.Fatalf("before the chunks are known: %v", err)
		}
		if found := p.prepared(0, chunks, allOf(len(chunks))); !slices.Equal(found, []*holder{liar}) {
			t.Fatalf("told wrongly: %v, want the liar", found)
		}
	}
	if p.checkHave(honest) != nil || p.checkHave(liar) == nil {
		t.Errorf("have map of the honest holder: %v; of the liar: %v", p.checkHave(honest), p.checkHave(liar))
	}
	late := p.addHolder("late", false, haveMap{}, 0)
	if err := tell(late, wrong); err == nil || late.have.any(0) {
		t.Errorf("wrong bits of a range that is known: %v, and taken in: %v", err, late.have.any(0))
	}
	if err := tell(late, right); err != nil || !late.have.has(0, 0) {
		t.Errorf("right bits of a range that is known: %v", err)
	}
}
