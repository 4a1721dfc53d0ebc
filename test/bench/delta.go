package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/swarmsync/swarmsync/test/bench/internal/corpus"
	"github.com/swarmsync/swarmsync/test/bench/internal/report"
)

// deltaTools know how to use what is there already; BitTorrent clients do not.
var deltaTools = []string{"swarmsync", "rsync", "rsync-z", "curl", "desync", "casync", "kubo"}

func delta(ctx context.Context, b *bench, w *report.Workload) error {
	old, err := b.random(1 << 30)
	if err != nil {
		return err
	}
	changed := content{path: filepath.Join(filepath.Dir(old.path), "changed.bin"), old: old.path}
	edits := corpus.Edits{Insertions: 50, InsertionMax: 4000, Overwrites: 50, OverwriteLen: 4096}
	novel, err := edits.Apply(old.path, changed.path, b.seed)
	if err != nil {
		return err
	}
	if changed.size, err = fileSize(changed.path); err != nil {
		return err
	}
	w.Notes = append(w.Notes, fmt.Sprintf("%d insertions of 1 to %d bytes and %d overwrites of %d bytes; %.2f MB are new",
		edits.Insertions, edits.InsertionMax, edits.Overwrites, edits.OverwriteLen, float64(novel)/1e6),
		"curl copies all of it", b.network(false))
	t := transfer{content: changed, holders: 1, receivers: 1}
	w.Rows = b.alternate(ctx, b.contest("", t, deltaTools...))
	return nil
}
