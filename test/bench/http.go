package main

import (
	"context"
	"fmt"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
)

func overHTTP(ctx context.Context, b *bench, w *report.Workload) error {
	file, err := b.random(1 << 30)
	if err != nil {
		return err
	}
	w.Notes = append(w.Notes, "swarmsync: the commands run a node of their own, whose start counts", b.network(false))
	tools := []string{"swarmsync", "swarmsync-http", "swarmsync-webseed", "curl"}
	contenders := b.contest("loopback", transfer{content: file, holders: 1, receivers: 1}, tools...)
	if b.shaping == nil {
		small, err := b.random(linkBytes)
		if err != nil {
			return err
		}
		w.Notes = append(w.Notes, fmt.Sprintf("%d Mbit/s: %d MiB; %s", linkMbit, linkBytes>>20, shapeNote))
		contenders = append(contenders, b.contest(fmt.Sprintf("%d Mbit/s", linkMbit), shapedTransfer(small), tools...)...)
	}
	w.Rows = b.alternate(ctx, contenders)
	return nil
}
