package node_test

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/swarmsync/swarmsync/internal/swarmtest"
)

var simResults = flag.String("sim", "", "run all simulations, and write their results to this file")

// TestSimulation lets swarms do their work in virtual time. What they are drawn from is the flag -seed.
func TestSimulation(t *testing.T) {
	all := *simResults != ""
	if testing.Short() && !all {
		t.Skip("it takes some seconds of the processor")
	}
	seed := simSeed(t)
	results := swarmtest.Results{Started: time.Now(), Commit: simCommit(), Seed: seed, Go: runtime.Version()}
	bares := make(map[string]time.Duration)
	for _, scenario := range simScenarios() {
		if !scenario.short && !all {
			continue
		}
		t.Run(scenario.wire.name+": "+scenario.name, func(t *testing.T) {
			results.Runs = append(results.Runs, scenario.run(t, seed, bares))
		})
		if !all {
			continue
		}
		if err := results.Write(*simResults); err != nil { // each time: the last ones take long, and may be given up
			t.Fatal(err)
		}
	}
	checkGrowth(t, results.Runs)
}

// checkGrowth compares crowds of 8 and of 128, if both were simulated.
func checkGrowth(t *testing.T, runs []swarmtest.Result) {
	t.Helper()
	last := make(map[int]time.Duration)
	for _, r := range runs {
		if r.Series != "" && r.Bytes == 64*mib {
			last[r.Receivers] = r.Last
		}
	}
	if last[8] == 0 || last[128] == 0 {
		return
	}
	growth := float64(last[128]) / float64(last[8])
	t.Logf("128 receivers take %.3f of the time of 8", growth)
	if growth > simGrowthMax {
		t.Errorf("128 receivers take %.3f of the time of 8, want at most %.2f", growth, simGrowthMax)
	}
}

// simSeed is what the flag -seed says, or else a fresh seed; a failing test tells it.
func simSeed(t *testing.T) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(flag.Lookup("seed").Value.String(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	seed = cmp.Or(seed, rand.Uint64())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("to run it again: -seed=%d", seed)
		}
	})
	return seed
}

func simCommit() string {
	commit, err := exec.Command("git", "describe", "--always", "--dirty=+").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(commit))
}

// run simulates the scenario and compares what came out with its figures.
func (c simScenario) run(t *testing.T, seed uint64, bares map[string]time.Duration) swarmtest.Result {
	t.Helper()
	began := time.Now()
	bare := func(from, to swarmtest.Link, size int64) time.Duration {
		key := fmt.Sprint(c.wire.name, from, to, size)
		if bares[key] == 0 {
			bares[key] = simBare(t, c.wire, from, to, size)
		}
		return bares[key]
	}
	cryptotest.SetGlobalRandom(t, seed) // the orders in which members fetch, among others
	if c.bound == nil {
		c.bound = boundOwnLink
	}
	s := &simSwarm{wire: c.wire, size: c.size, members: c.members(rand.New(rand.NewPCG(seed, 1)))}
	bounds := make(map[*simMember]time.Duration)
	var longest time.Duration
	for _, m := range s.members {
		if !m.holds {
			bounds[m] = c.bound(s, m, bare)
			longest = max(longest, bounds[m])
		}
	}
	var chacha [32]byte
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)}).Read(chacha[:])
	s.run(t, rand.NewChaCha8(chacha), 20*longest+time.Minute)

	r := swarmtest.Result{
		Scenario: c.name, Network: c.wire.name, Series: c.series, Seed: seed, Receivers: len(bounds), Bytes: c.size,
		Copies: s.copies(), Twice: s.twice(),
	}
	var times []string
	for _, m := range s.members {
		if m.holds || m.err != nil {
			continue
		}
		ratio := float64(m.done-m.joins) / float64(bounds[m])
		r.Last, r.Ratio = max(r.Last, m.done), max(r.Ratio, ratio)
		times = append(times, fmt.Sprintf("%.3f", ratio))
	}
	r.Took = time.Since(began)
	t.Logf("last %.3f s, at worst %.3f of the bound, %.3f copies, %.3f %% twice; took %.1f s",
		r.Last.Seconds(), r.Ratio, r.Copies, 100*r.Twice, r.Took.Seconds())
	if len(times) <= 16 {
		t.Logf("each: %s", strings.Join(times, " "))
	}
	c.check(t, r)
	if lists := s.listsSent(); c.listsMax > 0 && lists > c.listsMax {
		t.Errorf("the list was sent %.2f times by those who had it, want at most %.2f", lists, c.listsMax)
	}
	s.checkLiars(t)
	return r
}

func (c simScenario) check(t *testing.T, r swarmtest.Result) {
	t.Helper()
	if c.ratioMax > 0 && r.Ratio > c.ratioMax {
		t.Errorf("somebody took %.3f of what its links allow, want at most %.3f", r.Ratio, c.ratioMax)
	}
	if c.copiesMax > 0 && r.Copies > c.copiesMax {
		t.Errorf("the content was sent %.3f times by those who had it, want at most %.3f", r.Copies, c.copiesMax)
	}
	if r.Twice > simTwiceMax {
		t.Errorf("%.3f %% of the bytes came twice, want at most %.3f %%", 100*r.Twice, 100*simTwiceMax)
	}
}
