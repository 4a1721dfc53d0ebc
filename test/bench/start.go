package main

import (
	"context"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// start measures what the other workloads leave out, or contain where a tool has no process that waits for requests.
func start(ctx context.Context, b *bench, w *report.Workload) error {
	w.Notes = []string{
		"swarmsync serve: until it can be joined, on a fresh home; the others: until the program has printed its version",
	}
	contenders := []*contender{
		{row: report.Row{Tool: "swarmsync serve", Command: "swarmsync serve"}, measure: b.startNode},
		b.startVersion("swarmsync", []string{b.program, "version"}),
	}
	seen := make(map[string]bool)
	for _, t := range tools() {
		if _, ok := b.tool(t.name); ok && t.program() != "" && !seen[t.program()] {
			seen[t.program()] = true
			contenders = append(contenders, b.startVersion(t.name, t.version))
		}
	}
	w.Rows = b.alternate(ctx, contenders)
	return nil
}

func (b *bench) startVersion(name string, args []string) *contender {
	c := &contender{row: report.Row{Tool: name, Command: commandText(b, args)}}
	c.measure = func(ctx context.Context) (report.Run, error) {
		run, _, err := b.timed(ctx, timing{receivers: 1, work: func(ctx context.Context, _ int) (arrival, error) {
			_, err := b.box.Run(ctx, sandbox.Command{Args: args, Side: sandbox.Holder})
			return arrival{}, err
		}})
		return run, err
	}
	return c
}

func (b *bench) startNode(ctx context.Context) (report.Run, error) {
	home, err := b.directory("home")
	if err != nil {
		return report.Run{}, err
	}
	run, _, err := b.timed(ctx, timing{receivers: 1, work: func(ctx context.Context, _ int) (arrival, error) {
		_, err := b.startSwarmsync(ctx, place{address: "127.0.0.1"}, sandbox.Holder, home)
		return arrival{}, err
	}})
	return run, err
}
