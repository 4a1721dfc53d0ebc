package main

import (
	"context"
	"fmt"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

const (
	crowdReceivers = 8
	fastMbit       = 800
)

func crowd(ctx context.Context, b *bench, w *report.Workload) error {
	if err := b.needGoodput(ctx); err != nil {
		return err
	}
	w.Columns = []report.Column{
		{Key: "bound", Title: "last × g/size", Format: "%.3f"},
		{Key: "first", Title: "first s", Format: "%.1f"},
		{Key: "copies", Title: "copies sent by the holder", Format: "%.2f"},
		{Key: "duplicate", Title: "duplicate bytes", Format: "%.0f"},
		{Key: askedKey, Title: "asked within ms", Format: "%.0f"},
	}
	w.Notes = []string{
		fmt.Sprintf("g = %.3f MB/s, the bare stream in the same run; last × g/size: the last receiver's time without the writing "+
			"to disk, from the signal to begin, over what one link needs", b.goodput/1e6),
		"copies: what the holder's interface sent, headers included, over the size; duplicate: of all receivers together, as the tool says",
		"the case is the holder's link, receivers have 100 Mbit/s; links have the rate both ways; " + shapeNote, b.network(true),
	}
	file, err := b.random(linkBytes)
	if err != nil {
		return err
	}
	for _, mbit := range []int{linkMbit, fastMbit} {
		t := transfer{content: file, holders: 1, receivers: crowdReceivers, leaf: func(holder bool) sandbox.Leaf {
			if holder {
				return sandbox.Leaf{UpMbit: mbit, DownMbit: mbit}
			}
			return sandbox.Leaf{UpMbit: linkMbit, DownMbit: linkMbit}
		}}
		t.finish = func(run *report.Run, holder sandbox.Traffic) {
			run.Extra["bound"] = run.Unsynced.Seconds() * b.goodput / float64(file.size)
			run.Extra["first"] = run.Finished[0].Seconds()
			run.Extra["copies"] = float64(holder.Out) / float64(file.size)
		}
		w.Rows = append(w.Rows, b.alternate(ctx, b.contest(fmt.Sprintf("%d Mbit/s", mbit), t, swarmTools...))...)
	}
	return nil
}
