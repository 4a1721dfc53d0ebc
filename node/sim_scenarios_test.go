package node_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/swarmsync/swarmsync/internal/swarmtest"
)

// simScenario is a swarm to simulate, and the figures that it must reach.
type simScenario struct {
	name    string
	wire    simWire
	size    int64
	short   bool   // runs with all other tests
	series  string // of the plot that it is a point of
	members func(rnd *rand.Rand) []*simMember
	// bound is what a member's time, from when it joined, is compared with: what its links allow. Nil: boundOwnLink.
	bound func(s *simSwarm, m *simMember, bare simBarer) time.Duration
	// ratioMax and copiesMax are the most that a member's time may be as a multiple of its bound, and the most copies that
	// those who hold the content may send; 0: they are not bounded.
	ratioMax, copiesMax float64
	// listsMax is the same for how often they may send the list.
	listsMax float64
}

// simGrowthMax is how much longer a crowd of 128 may take for 64 MiB than one of 8.
const simGrowthMax = 1.25

// simTwiceMax is the largest share of the bytes that may come twice, in any scenario.
const simTwiceMax = 0.004

// simBarer returns how long one bare stream takes in the scenario's network.
type simBarer func(from, to swarmtest.Link, size int64) time.Duration

// mbit is a link with the same rate in both directions, such that a round trip between two of them takes so long.
func mbit(rate int, roundTrip time.Duration) swarmtest.Link {
	return swarmtest.Link{Up: rate * swarmtest.Mbit, Down: rate * swarmtest.Mbit, Latency: roundTrip / 4}
}

// near is a round trip in one building, far one across a continent, and farthest one around half of the world.
const (
	near     = time.Millisecond
	far      = 50 * time.Millisecond
	farthest = 200 * time.Millisecond
)

// crowd is receivers that begin to fetch within 50 ms, from one source.
func crowd(source, receiver swarmtest.Link, receivers int) func(*rand.Rand) []*simMember {
	return func(rnd *rand.Rand) []*simMember {
		members := []*simMember{{link: source, holds: true}}
		for range receivers {
			members = append(members, &simMember{link: receiver, joins: upTo(rnd, 50*time.Millisecond)})
		}
		return members
	}
}

func upTo(rnd *rand.Rand, d time.Duration) time.Duration { return time.Duration(rnd.Int64N(int64(d))) }

// with changes the members that another function made.
func with(members func(*rand.Rand) []*simMember, change func(rnd *rand.Rand, i int, m *simMember)) func(*rand.Rand) []*simMember {
	return func(rnd *rand.Rand) []*simMember {
		all := members(rnd)
		for i, m := range all {
			change(rnd, i, m)
		}
		return all
	}
}

// holders are nodes with the content, and one receiver whose link does not matter.
func holders(links ...swarmtest.Link) func(*rand.Rand) []*simMember {
	return func(*rand.Rand) []*simMember {
		total := 0
		var members []*simMember
		for _, link := range links {
			members = append(members, &simMember{link: link, holds: true})
			total += link.Up / swarmtest.Mbit
		}
		receiver := mbit(2*total, 0)
		receiver.Latency = links[0].Latency
		return append(members, &simMember{link: receiver})
	}
}

// boundOwnLink: one bare stream brings the content from the source.
func boundOwnLink(s *simSwarm, m *simMember, bare simBarer) time.Duration {
	return bare(s.members[0].link, m.link, s.size)
}

// boundAllHolders: from each holder a bare stream brings the part that its rate allows.
func boundAllHolders(s *simSwarm, m *simMember, bare simBarer) time.Duration {
	total := 0
	for _, h := range s.members {
		if h.holds {
			total += h.link.Up
		}
	}
	rate := 0.0
	for _, h := range s.members {
		if h.holds {
			part := int64(float64(s.size) * float64(h.link.Up) / float64(total))
			rate += float64(part) / bare(h.link, m.link, part).Seconds()
		}
	}
	return time.Duration(float64(s.size) / rate * float64(time.Second))
}

// boundFaults: all holders send until the faults, and then the healthy ones, after 3 s to find out.
func boundFaults(s *simSwarm, m *simMember, bare simBarer) time.Duration {
	rate := float64(s.size) / boundAllHolders(s, m, bare).Seconds()
	all, healthy, until := 0, 0, time.Duration(math.MaxInt64)
	for _, h := range s.members {
		if !h.holds {
			continue
		}
		all++
		if fault := max(h.leavesAt, h.lies, h.freezes); fault > 0 {
			until = min(until, fault)
		} else {
			healthy++
		}
	}
	rest := float64(s.size) - rate*until.Seconds()
	return until + time.Duration(rest/(rate*float64(healthy)/float64(all))*float64(time.Second)) + 3*time.Second
}

const mib = 1 << 20

func simScenarios() []simScenario {
	home := mbit(100, near)
	scenarios := []simScenario{
		{name: "one holder", wire: overQUIC, size: 4 * mib, short: true, members: holders(home), bound: boundAllHolders, ratioMax: 1 / 0.97},
	}
	for _, rtt := range []time.Duration{near, far, farthest} {
		for _, rate := range []int{1, 10, 100} {
			// As long as the start of the congestion control matters little.
			size := int64(rate) * mib * 3 / 2
			if rtt == farthest {
				size = min(size*4, 256*mib)
			}
			scenarios = append(scenarios, simScenario{
				name: fmt.Sprintf("one holder at %d Mbit/s, %v away", rate, rtt), wire: overQUIC, size: size,
				members: holders(mbit(rate, rtt)), bound: boundAllHolders, ratioMax: 1 / 0.92,
			})
		}
	}
	for _, wire := range []simWire{overQUIC, overStreams} {
		scenarios = append(scenarios,
			simScenario{
				name: "holders at 100 and 1 Mbit/s", wire: wire, size: 256 * mib,
				members: holders(home, mbit(1, near)), bound: boundAllHolders, ratioMax: 1 / 0.96,
			},
			simScenario{
				name: "holders at 100, 10 and 1 Mbit/s", wire: wire, size: 128 * mib,
				members: holders(home, mbit(10, near), mbit(1, near)), bound: boundAllHolders, ratioMax: 1 / 0.92,
			},
			simScenario{
				name: "of 4 holders one leaves, one freezes, one lies", wire: wire, size: 256 * mib,
				members: with(holders(home, home, home, home), fail), bound: boundFaults, ratioMax: 1.15,
			},
		)
	}
	for _, n := range []int{2, 4, 8} {
		links := make([]swarmtest.Link, n)
		for i := range links {
			links[i] = home
		}
		scenarios = append(scenarios, simScenario{
			name: fmt.Sprintf("%d holders", n), wire: overQUIC, size: int64(n) * 16 * mib, short: n == 4,
			members: holders(links...), bound: boundAllHolders, ratioMax: 1 / 0.97,
		})
	}
	return append(scenarios, simCrowds()...)
}

// fail lets the members 1 to 3 fail at half the time that four holders take for 256 MiB.
func fail(_ *rand.Rand, i int, m *simMember) {
	const at = 2750 * time.Millisecond
	switch i {
	case 1:
		m.leavesAt = at
	case 2:
		m.freezes = at
	case 3:
		m.lies = at
	}
}

func simCrowds() []simScenario {
	home := mbit(100, near)
	scenarios := []simScenario{
		{
			name: "small crowd of 2", wire: overQUIC, size: 16 * mib, short: true, members: crowd(home, home, 2),
			ratioMax: 1.25, copiesMax: 1.25,
		},
		{
			name: "small crowd of 8", wire: overUnevenStreams, size: 16 * mib, short: true, members: crowd(home, home, 8),
			ratioMax: 1.25, copiesMax: 1.14, listsMax: 9,
		},
	}
	for _, series := range []struct {
		wire      simWire
		size      int64
		receivers []int
	}{
		{overQUIC, 16 * mib, []int{1, 2, 8, 32, 128}},
		{overUnevenStreams, 16 * mib, []int{1, 2, 8, 32, 128}},
		{overUnevenStreams, 64 * mib, []int{8, 32, 128}},
	} {
		for _, n := range series.receivers {
			scenario := simScenario{
				name: fmt.Sprintf("crowd of %d", n), wire: series.wire, size: series.size, members: crowd(home, home, n),
				series: fmt.Sprintf("%d MiB, %s", series.size/mib, series.wire.name),
			}
			if n == 8 && series.size == 64*mib {
				scenario.ratioMax, scenario.copiesMax = 1.10, 1.06 // with half of the content, ends weigh twice
			}
			scenarios = append(scenarios, scenario)
		}
	}
	big := mbit(800, near)
	for _, rtt := range []time.Duration{near, 40 * time.Millisecond} {
		at, strong := mbit(100, rtt), mbit(800, rtt)
		strong.Weight = 4 // as TCP gives flows that are not held up at both ends
		copiesMax := 1.03
		if rtt > near {
			copiesMax = 1.04 // what one has is known later
		}
		scenarios = append(scenarios,
			simScenario{name: fmt.Sprintf("A: crowd of 8, %v away", rtt), wire: overUnevenStreams, size: 128 * mib, members: crowd(at, at, 8), ratioMax: 1.10, copiesMax: copiesMax},
			simScenario{name: fmt.Sprintf("B: crowd of 8, source at 800 Mbit/s, %v away", rtt), wire: overUnevenStreams, size: 128 * mib, members: crowd(mbit(800, rtt), at, 8), ratioMax: 1.06, copiesMax: 1.5},
			simScenario{name: fmt.Sprintf("B: the same, the source's flows 4 times as strong, %v away", rtt), wire: overUnevenStreams, size: 128 * mib, members: crowd(strong, at, 8), ratioMax: 1.06},
		)
	}
	mixed := func(_ *rand.Rand, i int, m *simMember) {
		if i > 0 {
			m.link = mbit([]int{1, 10, 100}[i%3], near)
		}
	}
	slowHalf := func(_ *rand.Rand, i int, m *simMember) {
		if i > 0 && i%2 == 0 {
			m.link = mbit(10, near)
		}
	}
	staggered := func(_ *rand.Rand, i int, m *simMember) { m.joins = time.Duration(max(i-1, 0)) * time.Second }
	churn := func(size int64) func(*rand.Rand, int, *simMember) {
		whole := time.Duration(size*8/100) * time.Microsecond // at 100 Mbit/s
		return func(rnd *rand.Rand, i int, m *simMember) {
			if i%3 == 2 {
				m.leavesAt = whole/4 + upTo(rnd, whole/2)
			}
		}
	}
	// It leaves when 1.01 copies have arrived. What is on its way when a node vanishes is lost.
	sourceLeaves := func(size int64) func(*rand.Rand, int, *simMember) {
		const underWay = 8 * 128 << 10
		return func(_ *rand.Rand, i int, m *simMember) {
			if i == 0 {
				m.leavesAfter = size + size/100 + underWay
			}
		}
	}
	misbehave := func(rnd *rand.Rand, i int, m *simMember) {
		switch i {
		case 3:
			m.lies = time.Second
		case 5:
			m.freezes = 2 * time.Second
		}
	}
	for _, wire := range []simWire{overQUIC, overUnevenStreams} {
		size := int64(128 * mib)
		if wire.name == overQUIC.name {
			size = 64 * mib
		}
		scenarios = append(scenarios,
			simScenario{name: "D: 8 holders", wire: wire, size: 128 * mib, members: holders(home, home, home, home, home, home, home, home), bound: boundAllHolders, ratioMax: 1 / 0.97},
			simScenario{name: "F: joins 0, 1, … 7 s", wire: wire, size: size, members: with(crowd(home, home, 8), staggered), ratioMax: 1.10},
			simScenario{name: "G: source leaves after 1.01 copies", wire: wire, size: size, members: with(crowd(home, home, 8), sourceLeaves(size))},
			simScenario{name: "H: 4 at 10, 4 at 100 Mbit/s", wire: wire, size: size, members: with(crowd(home, home, 8), slowHalf), ratioMax: 1.10},
			simScenario{name: "1, 10 and 100 Mbit/s", wire: wire, size: 16 * mib, members: with(crowd(big, home, 9), mixed)},
			simScenario{name: "a third leaves midway", wire: wire, size: size, members: with(crowd(home, home, 9), churn(size))},
			simScenario{name: "one lies and one freezes", wire: wire, size: size, members: with(crowd(home, home, 8), misbehave)},
		)
		for _, rtt := range []time.Duration{far, farthest} {
			scenarios = append(scenarios, simScenario{
				name: fmt.Sprintf("crowd of 8, %v away", rtt), wire: wire, size: size, members: crowd(mbit(100, rtt), mbit(100, rtt), 8),
			})
		}
	}
	return append(scenarios, simScenario{
		name: "crowd of 1000", wire: overUnevenStreams, size: 4 * mib, members: crowd(home, home, 1000),
		series: "4 MiB, uneven streams", // 16 MiB were given up after an hour
	})
}
