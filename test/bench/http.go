package main

import (
	"context"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
)

func overHTTP(ctx context.Context, b *bench, w *report.Workload) error {
	file, err := b.random(1 << 30)
	if err != nil {
		return err
	}
	w.Notes = append(w.Notes, "swarmsync: the commands run a node of their own, whose start counts", b.network(false))
	t := transfer{content: file, holders: 1, receivers: 1}
	w.Rows = b.alternate(ctx, b.contest("", t, "swarmsync", "swarmsync-http", "swarmsync-webseed", "curl"))
	return nil
}
