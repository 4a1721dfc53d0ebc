package main

import (
	"context"
	"fmt"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// swarmTools take one content from several holders.
var swarmTools = []string{"swarmsync", "libtorrent", "aria2", "kubo-pin"}

func sources(ctx context.Context, b *bench, w *report.Workload) error {
	if err := b.needGoodput(ctx); err != nil {
		return err
	}
	w.Columns = []report.Column{
		{Key: "share", Title: "% of N·g", Format: "%.1f"},
		{Key: "surplus", Title: "surplus in %", Format: "%.2f"},
		{Key: "duplicate", Title: "duplicate bytes", Format: "%.0f"},
	}
	w.Notes = []string{
		fmt.Sprintf("g = %.3f MB/s, the bare stream in the same run; %% of N·g is of the time without the writing to disk", b.goodput/1e6),
		"surplus: what the receiver's interface got beyond the content; duplicate: chunk bytes that came twice, as the tool says",
		"holders have 100 Mbit/s each, the receiver has no limit; " + shapeNote, b.network(true),
	}
	for _, n := range []int{1, 2, 4, 8} {
		if err := b.sourcesOf(ctx, w, n); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) sourcesOf(ctx context.Context, w *report.Workload, n int) error {
	file, err := b.random(int64(n) * linkBytes)
	if err != nil {
		return err
	}
	t := transfer{content: file, holders: n, receivers: 1, leaf: func(holder bool) sandbox.Leaf {
		if holder {
			return sandbox.Leaf{UpMbit: linkMbit, DownMbit: linkMbit}
		}
		return sandbox.Leaf{}
	}}
	t.finish = func(run *report.Run, _ sandbox.Traffic) {
		run.Extra[report.HoldersKey] = float64(n)
		run.Extra["share"] = percent(float64(file.size), run.Unsynced.Seconds()*float64(n)*b.goodput)
		run.Extra["surplus"] = percent(float64(run.WireIn-file.size), float64(file.size))
	}
	w.Rows = append(w.Rows, b.alternate(ctx, b.contest(fmt.Sprintf("N = %d", n), t, swarmTools...))...)
	return b.clean()
}
