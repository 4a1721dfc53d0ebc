package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/swarmsync/swarmsync/test/bench/internal/corpus"
	"github.com/swarmsync/swarmsync/test/bench/internal/report"
)

// Two consecutive releases of a large source tree that is published as a module.
const (
	releaseModule = "k8s.io/kubernetes"
	releaseOld    = "v1.34.0"
	releaseNew    = "v1.34.1"
)

func release(ctx context.Context, b *bench, w *report.Workload) error {
	dir, err := b.directory("content")
	if err != nil {
		return err
	}
	c := content{path: filepath.Join(dir, "new.tar"), old: filepath.Join(dir, "old.tar")}
	for _, pack := range []struct{ version, path string }{{releaseOld, c.old}, {releaseNew, c.path}} {
		source, err := corpus.Module(ctx, dir, releaseModule+"@"+pack.version)
		if err != nil {
			return skip("a source tree to measure with can't be had: " + oneLine(err))
		}
		if err := corpus.Tar(source, pack.path); err != nil {
			return err
		}
	}
	if c.size, err = fileSize(c.path); err != nil {
		return err
	}
	w.Notes = append(w.Notes, fmt.Sprintf("%s from %s to %s, %.0f MB as tar", releaseModule, releaseOld, releaseNew, float64(c.size)/1e6),
		"curl copies all of it", b.network(false))
	w.Rows = b.alternate(ctx, b.contest("", transfer{content: c, holders: 1, receivers: 1}, deltaTools...))
	return nil
}
