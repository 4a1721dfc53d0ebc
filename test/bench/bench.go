package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/swarmsync/swarmsync/internal/durable"
	"github.com/swarmsync/swarmsync/test/bench/internal/report"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

const (
	// foreignMax is the share of the machine that others may use; above it a run says more about them.
	foreignMax = 0.85
	// voidFrom is how long a run must be for that: shares of the machine are counted in ticks of 10 ms.
	voidFrom = 500 * time.Millisecond
	// shapedBusyMax is the share of the machine that may be used while links are shaped; above it the processors may
	// have been the limit and not the links.
	shapedBusyMax = 0.85
	// A run begins when others have used less than a tenth of the machine for a second.
	quietBelow = 0.1
	quietSpan  = time.Second
	// leftAlone is how old files are at least when tools are given them: more than the 5 s within which swarmsync takes a
	// change of a file for one that its times may not show.
	leftAlone = 6 * time.Second
	// memoryTouched is how much memory is touched before a run, unless that is more than half of what is free.
	memoryTouched = 2 << 30
	// triesPerRun bounds how often a void run is tried again.
	triesPerRun = 2
	// runTimeout bounds one run; the slowest peer takes minutes.
	runTimeout = 10 * time.Minute

	failedPrefix = "failed: "

	// askedKey is the Run.Extra of the time between the first and the last request of a run, in milliseconds.
	askedKey = "asked"
)

// bench is one run of the program.
type bench struct {
	options
	self       string // this program
	box        *sandbox.Sandbox
	namespaces error // why network namespaces can't be made, nil if they can
	shaping    error // why links can't be shaped, nil if they can
	started    time.Time
	made       int // directories, for their names

	goodput float64 // bytes a second of the bare stream through a shaped link; 0 until workload link has run
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// size scales a number of bytes; what is made of whole KiB stays so.
func (b *bench) size(bytes int64) int64 {
	return max(1<<16, int64(float64(bytes)*b.scale)>>10<<10)
}

// directory makes a new directory.
func (b *bench) directory(role string) (string, error) {
	b.made++
	return b.box.Make(fmt.Sprintf("%d-%s", b.made, role))
}

func checkSpace(dir string, needed int64) error {
	free, err := durable.FreeSpace(dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", dir, err)
	}
	if free < needed {
		return fmt.Errorf("%s has %d GB free, %d GB are needed; set TMPDIR to another place, or use -scale",
			dir, free/1e9, needed/1e9)
	}
	return nil
}

// contender is one row of a workload while it is measured.
type contender struct {
	row report.Row
	// prepare does what need not be timed and is done once; it may be nil.
	prepare func(ctx context.Context) error
	// measure is one run.
	measure func(ctx context.Context) (report.Run, error)
}

// leaveAlone waits until what was made just now is as old as what people have.
func leaveAlone(ctx context.Context) {
	select {
	case <-time.After(leftAlone):
	case <-ctx.Done():
	}
}

// alternate measures contenders in turns, drawn from the seed: each one once, then each one again, until all have their runs.
func (b *bench) alternate(ctx context.Context, contenders []*contender) []report.Row {
	leaveAlone(ctx)
	for _, c := range contenders {
		if ctx.Err() != nil || c.row.Skipped != "" || c.prepare == nil {
			continue
		}
		b.say("  %s: preparing", c.row.Label())
		if err := c.prepare(ctx); err != nil {
			c.fail(fmt.Errorf("prepare: %w", err))
		}
	}
	order := rand.New(rand.NewPCG(b.seed, 0))
	for range triesPerRun * b.runs {
		// Another order each time, so that none always comes after one that leaves the disk in a bad state.
		for _, i := range order.Perm(len(contenders)) {
			if c := contenders[i]; ctx.Err() == nil && c.wants(b.runs) {
				b.once(ctx, c)
			}
		}
	}
	rows := make([]report.Row, len(contenders))
	for i, c := range contenders {
		rows[i] = c.row
	}
	return rows
}

func (c *contender) fail(err error) {
	c.row.Runs = append(c.row.Runs, report.Run{Void: failedPrefix + oneLine(err)})
}

// wants says whether a contender lacks runs. One that failed twice without a single success is given up.
func (c *contender) wants(runs int) bool {
	valid := len(c.row.Valid())
	failed := 0
	for _, run := range c.row.Runs {
		if strings.HasPrefix(run.Void, failedPrefix) {
			failed++
		}
	}
	return c.row.Skipped == "" && valid < runs && (valid > 0 || failed < 2)
}

// awaitQuiet returns when others use little of the machine, or patience is over: the run then tells how much they did.
func (b *bench) awaitQuiet(ctx context.Context) {
	patience, cancel := context.WithTimeout(ctx, b.patience)
	defer cancel()
	for patience.Err() == nil {
		meter := b.box.NewMeter()
		select {
		case <-time.After(quietSpan):
		case <-patience.Done():
		}
		if _, machine := meter.Stop(); machine.Foreign < quietBelow {
			return
		}
	}
}

// once does one run and leaves nothing of it running.
func (b *bench) once(ctx context.Context, c *contender) {
	b.awaitQuiet(ctx)
	timed, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	run, err := c.measure(timed)
	if err = errors.Join(err, b.box.Clear()); err != nil {
		c.fail(err)
		b.say("  %s: failed: %v", c.row.Label(), err)
		return
	}
	c.row.Runs = append(c.row.Runs, run)
	text := fmt.Sprintf("%.2f s (%.2f s without writing to disk), others used %.0f %% of the machine",
		run.Wall.Seconds(), run.Unsynced.Seconds(), 100*run.Foreign)
	if run.Void != "" {
		text += "; void: " + run.Void
	}
	b.say("  %s: %s", c.row.Label(), text)
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}

// arrival is what came of one receiver's work.
type arrival struct {
	path  string             // what was made; empty: nothing that is to be written to disk
	took  time.Duration      // from the request to the last verified byte as the tool says; 0: it doesn't
	in    int64              // bytes over the wire as the tool says, where interfaces can't tell
	out   int64              //
	extra map[string]float64 // figures of the tool's own
}

// timing says how a run is timed.
type timing struct {
	receivers int
	shaped    bool
	traffic   []*sandbox.Space // whose counters are the receivers' traffic; none: what the tool says
	work      func(ctx context.Context, receiver int) (arrival, error)
}

// timed does the work of all receivers at once, writes each result to disk, and says what it took.
func (b *bench) timed(ctx context.Context, t timing) (report.Run, []arrival, error) {
	if err := sandbox.Sync(b.box.Dir()); err != nil { // what was prepared must not be written at their expense
		return report.Run{}, nil, err
	}
	// The first who uses memory that a virtual machine has given back pays half a second for each GiB.
	if err := sandbox.TouchMemory(memoryTouched); err != nil {
		return report.Run{}, nil, err
	}
	before, err := countTraffic(t.traffic)
	if err != nil {
		return report.Run{}, nil, err
	}
	arrivals := make([]arrival, t.receivers)
	unsynced, synced := make([]time.Duration, t.receivers), make([]time.Duration, t.receivers)
	problems := make([]error, t.receivers)
	meter := b.box.NewMeter()
	began := time.Now()
	done := make(chan int)
	for i := range t.receivers {
		go func() {
			defer func() { done <- i }()
			arrivals[i], problems[i] = t.work(ctx, i)
			unsynced[i] = time.Since(began)
			if problems[i] == nil && arrivals[i].path != "" {
				problems[i] = sandbox.Sync(arrivals[i].path)
			}
			synced[i] = time.Since(began)
		}()
	}
	for range t.receivers {
		<-done
	}
	uses, machine := meter.Stop()
	if err := errors.Join(problems...); err != nil {
		return report.Run{}, nil, err
	}
	after, err := countTraffic(t.traffic)
	if err != nil {
		return report.Run{}, nil, err
	}
	run := report.Run{
		Wall:     slices.Max(synced),
		Unsynced: slices.Max(unsynced),
		Holder:   report.Use(uses[sandbox.Holder]),
		Receiver: report.Use(uses[sandbox.Receiver]),
		WireIn:   after.In - before.In,
		WireOut:  after.Out - before.Out,
		Busy:     machine.Busy,
		Foreign:  machine.Foreign,
		Finished: slices.Sorted(slices.Values(unsynced)),
		Extra:    make(map[string]float64),
	}
	var asked []float64
	for i, a := range arrivals {
		if a.took > 0 {
			asked = append(asked, float64((unsynced[i] - a.took).Milliseconds()))
		}
		for key, value := range a.extra {
			run.Extra[key] += value
		}
		if len(t.traffic) == 0 {
			run.WireIn, run.WireOut = run.WireIn+a.in, run.WireOut+a.out
		}
	}
	if s, ok := report.SpreadOf(asked); ok {
		run.Extra[askedKey] = s.Max - s.Min
	}
	run.Void = void(run, t.shaped)
	return run, arrivals, nil
}

func countTraffic(spaces []*sandbox.Space) (sum sandbox.Traffic, err error) {
	for _, space := range spaces {
		traffic, err := space.Traffic()
		if err != nil {
			return sum, err
		}
		sum.In, sum.Out = sum.In+traffic.In, sum.Out+traffic.Out
	}
	return sum, nil
}

// void says why a run does not count, or nothing.
func void(run report.Run, shaped bool) string {
	switch {
	case run.Foreign > foreignMax && run.Wall > voidFrom:
		return fmt.Sprintf("others used %.0f %% of the machine", 100*run.Foreign)
	case shaped && run.Busy > shapedBusyMax:
		return fmt.Sprintf("the processors were %.0f %% busy, so that the links may not have been the limit", 100*run.Busy)
	}
	return ""
}

// discard removes the directory of a run that is over. Those of trees stay until the workload is over: ext4 does not take an
// inode again that was deleted in the last minutes, and looks at all of them for each new file, so that whoever comes next
// would pay for many deleted files.
func (b *bench) discard(dir string, c content) error {
	if info, err := os.Stat(c.path); err == nil && info.IsDir() {
		return nil
	}
	return os.RemoveAll(dir)
}

// clean removes the files of a workload that is over.
func (b *bench) clean() error {
	entries, err := os.ReadDir(b.box.Dir())
	problems := []error{err}
	for _, entry := range entries {
		problems = append(problems, os.RemoveAll(filepath.Join(b.box.Dir(), entry.Name())))
	}
	return errors.Join(problems...)
}

func fileSize(path string) (int64, error) {
	var total int64
	err := filepath.Walk(path, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return err
	})
	return total, err
}

func percent(part, whole float64) float64 {
	if whole == 0 {
		return math.NaN()
	}
	return 100 * part / whole
}
