package main

import (
	"context"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

const (
	linkMbit  = 100
	linkBytes = 128 << 20
)

func link(ctx context.Context, b *bench, w *report.Workload) error {
	if b.shaping != nil {
		return skip(b.shaping.Error())
	}
	file, err := b.random(linkBytes)
	if err != nil {
		return err
	}
	w.Baseline = "bare"
	w.Notes = []string{
		"bare is the reference g of sources and crowd: the goodput of one libp2p TCP+TLS stream",
		shapeNote, b.network(true),
	}
	t := shapedTransfer(file)
	w.Columns = []report.Column{goodputColumn}
	t.finish = func(run *report.Run, _ sandbox.Traffic) {
		run.Extra[goodputColumn.Key] = float64(run.Bytes) / run.Unsynced.Seconds() / 1e6
	}
	w.Rows = b.alternate(ctx, b.contest("", t, "bare", "curl"))
	for _, row := range w.Rows {
		if s, ok := row.Of(report.Unsynced); ok && row.Tool == "bare" {
			b.goodput = float64(file.size) / s.Median
			b.say("  g = %.3f MB/s", b.goodput/1e6)
		}
	}
	return nil
}

// shapedTransfer is one from one holder to one receiver over the link.
func shapedTransfer(c content) transfer {
	return transfer{content: c, holders: 1, receivers: 1, leaf: func(bool) sandbox.Leaf {
		return sandbox.Leaf{UpMbit: linkMbit, DownMbit: linkMbit}
	}}
}

const shapeNote = "links: tbf with a burst of 64 KiB and 100 ms of queue in namespaces, MTU 1500, rates with frame headers"

var goodputColumn = report.Column{Key: "goodput", Title: "goodput MB/s", Format: "%.3f"}

// needGoodput measures g, if no run of link has.
func (b *bench) needGoodput(ctx context.Context) error {
	if b.goodput > 0 {
		return nil
	}
	b.say("  the reference first")
	if err := link(ctx, b, &report.Workload{}); err != nil {
		return err
	}
	if b.goodput == 0 {
		return skip("the bare stream through a shaped link, the reference, could not be measured")
	}
	return nil
}
