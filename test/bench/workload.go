package main

import (
	"context"
	"errors"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
)

// workload is one kind of work.
type workload struct {
	name, title string
	// measure fills in the rows. An error that wraps errSkip says why it can't be measured.
	measure func(ctx context.Context, b *bench, w *report.Workload) error
}

// workloads are in the order in which they run: the references before what they are compared with.
func workloads() []workload {
	return []workload{
		{"start", "starting a process", start},
		{"cold", "1 GiB of random bytes from one holder over loopback", cold},
		{"delta", "1 GiB of which the receiver has a version with 100 small differences", delta},
		{"release", "a release of a source tree as tar; the receiver has the one before", release},
		{"add", "taking in 1 GiB of random bytes", add},
		{"tree", "the source tree of the Go toolchain", tree},
		{"many", "100,000 files of 1 KiB", many},
		{"http", "1 GiB over HTTP", overHTTP},
		{"link", "128 MiB through one link of 100 Mbit/s", link},
		{"sources", "N × 128 MiB from N holders with 100 Mbit/s each", sources},
		{"crowd", "128 MiB from one holder to 8 receivers at once, links of 100 Mbit/s", crowd},
	}
}

// skip is why a workload is not measured.
type skip string

func (s skip) Error() string { return string(s) }

// runWorkload measures a workload, and removes its files.
func (b *bench) runWorkload(ctx context.Context, w workload) report.Workload {
	result := report.Workload{Name: w.name, Title: w.title}
	err := w.measure(ctx, b, &result)
	var reason skip
	switch {
	case errors.As(err, &reason):
		result.Skipped = string(reason)
		b.say("  skipped: %s", reason)
	case err != nil:
		result.Rows = append(result.Rows, report.Row{Tool: "swarmsync", Runs: []report.Run{{Void: failedPrefix + oneLine(err)}}})
		b.say("  failed: %v", err)
	}
	if err := errors.Join(b.box.Clear(), b.clean()); err != nil {
		b.say("  clean up: %v", err)
	}
	return result
}
