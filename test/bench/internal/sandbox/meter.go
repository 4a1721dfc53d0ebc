package sandbox

import (
	"runtime"
	"sync"
	"time"
)

// Processes are looked at often while they are young, since some end soon, and then seldom: each look takes a
// millisecond of a processor, which must not count among what is measured. What a process allocates in its last moments
// may be missed; how much of a processor it used is not.
const (
	sampleYoung = 25 * time.Millisecond
	youngFor    = 40 // samples
	sampleOld   = 250 * time.Millisecond
)

// Use is what one side used while it was metered.
type Use struct {
	// CPU is the time on processors, of user and system, of all processes of the side.
	CPU time.Duration
	// Peak is the largest resident memory in bytes of one process with its children, 0 if it is not known.
	Peak int64
}

// Machine is what the whole machine did meanwhile, as shares of all its processors' time, 0 to 1.
type Machine struct {
	// Busy is the share that was used by anybody, time taken by the host of a virtual machine included.
	Busy float64
	// Foreign is the share of it that was not used by the processes of the sandbox or by this one.
	Foreign float64
	// Known is false where the machine does not tell.
	Known bool
}

// Meter watches the processes of a sandbox from its start to its stop.
type Meter struct {
	box   *Sandbox
	began time.Time
	start ticks
	self  time.Duration
	over  chan struct{}
	work  sync.WaitGroup

	// seen is owned by the sampling goroutine until work is done.
	seen map[*Process]*account
}

// account is what is known of one process.
type account struct {
	before, after time.Duration
	peaks         map[int]int64 // of the process and its children
	peak          int64         // largest sum of those that lived at the same time
}

// NewMeter begins to watch: peaks start anew from what processes have now.
func (s *Sandbox) NewMeter() *Meter {
	m := &Meter{box: s, over: make(chan struct{}), seen: make(map[*Process]*account)}
	now := readProcesses()
	for _, p := range s.running() {
		a := &account{peaks: make(map[int]int64)}
		m.seen[p] = a
		if used, ended := p.finalCPU(); ended {
			a.before = used
			continue
		}
		tree := now.tree(p.cmd.Process.Pid)
		a.before = now.cpu(tree)
		for _, pid := range tree {
			resetPeak(pid)
		}
	}
	m.start, m.self, m.began = machineTicks(), ownCPU(), time.Now()
	m.work.Go(m.run)
	return m
}

func (s *Sandbox) running() []*Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Process
	for p := range s.processes {
		all = append(all, p)
	}
	return all
}

func (m *Meter) run() {
	tick := time.NewTicker(sampleYoung)
	defer tick.Stop()
	for samples := 1; ; samples++ {
		select {
		case <-tick.C:
			m.sample()
			if samples == youngFor {
				tick.Reset(sampleOld)
			}
		case <-m.over:
			m.sample()
			return
		}
	}
}

func (m *Meter) sample() {
	now := readProcesses()
	for _, p := range m.box.running() {
		a := m.seen[p]
		if a == nil {
			a = &account{peaks: make(map[int]int64)}
			m.seen[p] = a
		}
		if _, ended := p.finalCPU(); ended {
			continue // Stop asks for it
		}
		tree := now.tree(p.cmd.Process.Pid)
		a.after = max(a.after, now.cpu(tree))
		var sum int64
		for _, pid := range tree {
			a.peaks[pid] = max(a.peaks[pid], peakOf(pid))
			sum += a.peaks[pid]
		}
		a.peak = max(a.peak, sum)
	}
}

// finalCPU is what the process and the children that it waited for used, once it has ended.
func (p *Process) finalCPU() (used time.Duration, ended bool) {
	select {
	case <-p.ended:
	default:
		return 0, false
	}
	if state := p.cmd.ProcessState; state != nil {
		used = state.UserTime() + state.SystemTime()
	}
	return used, true
}

// Stop ends the watching and returns what each side used, and how busy the machine was.
func (m *Meter) Stop() (map[Side]Use, Machine) {
	close(m.over)
	m.work.Wait()
	elapsed := time.Since(m.began)
	end, own := machineTicks(), ownCPU()-m.self
	uses := make(map[Side]Use)
	var ours time.Duration
	for p, a := range m.seen {
		if final, ended := p.finalCPU(); ended {
			a.after = max(a.after, final)
		}
		used := max(0, a.after-a.before)
		ours += used
		use := uses[p.side]
		uses[p.side] = Use{CPU: use.CPU + used, Peak: max(use.Peak, a.peak)}
	}
	return uses, machine(m.start, end, ours+own, elapsed)
}

func machine(start, end ticks, ours, elapsed time.Duration) Machine {
	capacity := elapsed * time.Duration(runtime.NumCPU())
	if !start.known || !end.known || capacity <= 0 {
		return Machine{}
	}
	share := func(d time.Duration) float64 { return min(1, max(0, d.Seconds()/capacity.Seconds())) }
	busy := end.busy - start.busy
	return Machine{Busy: share(busy), Foreign: share(busy - ours), Known: true}
}

// processes are those of the whole machine at one moment; the zero value is where it does not tell.
type processes struct {
	stats    map[int]processStat
	children map[int][]int
}

type processStat struct {
	parent int
	cpu    time.Duration // its own and that of children that it has waited for
}

// tree returns a process and all its descendants.
func (p processes) tree(root int) []int {
	tree := []int{root}
	for i := 0; i < len(tree); i++ {
		tree = append(tree, p.children[tree[i]]...)
	}
	return tree
}

// cpu is the time on processors of the processes of a tree. One that is gone was waited for, and is in its parent's.
func (p processes) cpu(tree []int) time.Duration {
	var sum time.Duration
	for _, pid := range tree {
		sum += p.stats[pid].cpu
	}
	return sum
}

// ticks is the processor time that a machine has spent on anything but waiting.
type ticks struct {
	busy  time.Duration
	known bool
}
