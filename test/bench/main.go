// Command bench is the measuring stick: it does the same work with swarmsync and with the tools that people would use
// instead, in turns on the same machine, and writes down what each of them needed. `make bench` runs all of it, `make
// bench W=cold,delta` some; docs/performance.md says what each workload is and holds the latest figures.
//
// The programs that are measured are processes of their own, swarmsync included. With root they run in network
// namespaces of this run's own. Everything that a run makes is gone at its end.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// options are the flags.
type options struct {
	program   string
	workloads string
	tools     string
	runs      int
	patience  time.Duration
	seed      uint64
	scale     float64
	results   string
	docs      string
	render    string
	profile   bool
	list      bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == roleCommand {
		os.Exit(runRole(os.Args[2:]))
	}
	var o options
	flag.StringVar(&o.program, "bin", "bin/swarmsync", "the `PROGRAM` to measure")
	flag.StringVar(&o.workloads, "w", "", "the `WORKLOADS` to run, with commas between them; empty: all")
	flag.StringVar(&o.tools, "t", "", "the `TOOLS` to measure beside swarmsync, with commas between them; empty: all")
	flag.IntVar(&o.runs, "runs", 3, "how many times each row is measured; under 3 nothing is said about the spread")
	flag.DurationVar(&o.patience, "patience", 20*time.Second, "how long to wait before a run for others to leave the machine alone")
	flag.Uint64Var(&o.seed, "seed", 0, "what all data is drawn from; 0: a new one")
	flag.Float64Var(&o.scale, "scale", 1, "`FACTOR` for the sizes, for trying things out; the results are not comparable")
	flag.StringVar(&o.results, "results", "bench/results", "`DIRECTORY` for the JSON files and profiles")
	flag.StringVar(&o.docs, "docs", "", "`FILE` whose tables and plots are brought up to date")
	flag.StringVar(&o.render, "render", "", "show a `FILE` of earlier results instead of measuring")
	flag.BoolVar(&o.profile, "profile", false, "write processor profiles of cold and add instead of measuring")
	flag.BoolVar(&o.list, "list", false, "list the workloads and the tools")
	flag.Parse()

	// The signals stay caught until everything is cleaned up. A reader of the output that goes away is no reason to leave
	// things behind either.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	switch {
	case flag.NArg() > 0:
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	case o.list:
		printLists()
		return nil
	case o.render != "":
		r, err := report.Read(o.render)
		if err != nil {
			return err
		}
		return show(r, o)
	}
	return measure(ctx, o)
}

func printLists() {
	fmt.Println("workloads:")
	for _, w := range workloads() {
		fmt.Printf("  %-8s %s\n", w.name, w.title)
	}
	fmt.Println("tools:")
	for _, t := range tools() {
		fmt.Printf("  %-11s %s\n", t.name, t.note)
	}
}

// measure runs the workloads, or the profiles, and shows and stores the result.
func measure(ctx context.Context, o options) (err error) {
	if o.scale <= 0 || o.runs < 1 {
		return errors.New("-scale and -runs must be more than 0")
	}
	chosen, err := choose(o.workloads)
	if err != nil {
		return err
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.box.Close()) }()
	if o.profile {
		return b.profile(ctx)
	}
	r := b.newReport(ctx)
	for _, w := range chosen {
		b.say("%s: %s", w.name, w.title)
		result := b.runWorkload(ctx, w)
		if ctx.Err() != nil {
			return fmt.Errorf("interrupted; the workloads before %s are stored", w.name)
		}
		r.Workloads = append(r.Workloads, result)
		if err := b.store(r); err != nil {
			return err
		}
	}
	return errors.Join(show(r, o), failures(r))
}

func choose(names string) ([]workload, error) {
	all := workloads()
	if names == "" {
		return all, nil
	}
	var chosen []workload
	for name := range strings.SplitSeq(names, ",") {
		found := false
		for _, w := range all {
			if w.name == name {
				chosen, found = append(chosen, w), true
			}
		}
		if !found {
			return nil, fmt.Errorf("there is no workload %q; -list names them", name)
		}
	}
	return chosen, nil
}

// store writes the JSON file of a report, anew after each workload: an hour's work must not hang on the last one.
func (b *bench) store(r *report.Report) error {
	if err := os.MkdirAll(b.results, 0o755); err != nil {
		return err
	}
	path := filepath.Join(b.results, fmt.Sprintf("%s-%s.json", r.Started.UTC().Format("20060102-150405"), r.Commit))
	if err := r.Write(path); err != nil {
		return err
	}
	b.say("  stored in %s", path)
	return nil
}

// show prints a report, and brings the document up to date if one is given.
func show(r *report.Report, o options) error {
	fmt.Printf("\nswarmsync %s, seed %d, %d runs of each row\n", r.Commit, r.Seed, r.Runs)
	if r.Scale != 1 {
		fmt.Printf("sizes × %g: NOT COMPARABLE with other figures\n", r.Scale)
	}
	for _, w := range r.Workloads {
		if err := w.Print(os.Stdout); err != nil {
			return err
		}
	}
	for tool, why := range r.Absent {
		fmt.Printf("%s was not measured: %s\n", tool, why)
	}
	switch {
	case o.docs == "":
		return nil
	case r.Scale != 1 || r.Runs < 3:
		fmt.Printf("%s is left as it is: it takes full sizes and 3 runs\n", o.docs)
		return nil
	}
	return r.UpdateDocs(o.docs)
}

// failures are an error, so that a build machine notices: the table shows them as well.
func failures(r *report.Report) error {
	var problems []error
	for _, w := range r.Workloads {
		for _, row := range w.Rows {
			for _, run := range row.Runs {
				if strings.HasPrefix(run.Void, failedPrefix) {
					problems = append(problems, fmt.Errorf("%s, %s: %s", w.Name, row.Label(), run.Void))
				}
			}
		}
	}
	return errors.Join(problems...)
}

// spaceNeeded is the free disk space that full sizes need: eight holders with a copy of 1 GiB each, and what peers make
// of it.
const spaceNeeded = 30 << 30

func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o}
	if b.seed == 0 {
		b.seed = rand.Uint64() >> 12 // short enough for JSON readers that know doubles only
	}
	var err error
	for _, path := range []*string{&b.program, &b.results} {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(b.program); err != nil {
		return nil, fmt.Errorf("the program to measure: %w (make build makes it)", err)
	}
	if b.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if err := checkSpace(os.TempDir(), int64(spaceNeeded*min(1, o.scale))); err != nil {
		return nil, err
	}
	// The peers that make bench-peers builds are beside the program.
	path := filepath.Join(filepath.Dir(b.program), "peers") + string(os.PathListSeparator) + os.Getenv("PATH")
	if err := os.Setenv("PATH", path); err != nil {
		return nil, err
	}
	// The harness shares the processors with what it measures; what it does itself is little.
	debug.SetGCPercent(50)
	if b.box, err = sandbox.New(os.TempDir()); err != nil {
		return nil, err
	}
	b.namespaces, b.shaping = b.box.Namespaces(ctx), b.box.Shaping(ctx)
	b.started = time.Now()
	b.say("seed %d, scratch files in %s", b.seed, b.box.Dir())
	return b, nil
}
