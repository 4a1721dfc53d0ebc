package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/swarmsync/swarmsync/test/bench/internal/corpus"
	"github.com/swarmsync/swarmsync/test/bench/internal/report"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

func tree(ctx context.Context, b *bench, w *report.Workload) error {
	if err := b.treesBuilt(ctx); err != nil {
		return err
	}
	source, err := corpus.GoSource(ctx)
	if err != nil {
		return err
	}
	return b.treeOf(ctx, w, func(dir string) error { return corpus.CopyTree(source, dir) })
}

func many(ctx context.Context, b *bench, w *report.Workload) error {
	if err := b.treesBuilt(ctx); err != nil {
		return err
	}
	const files = 100_000
	return b.treeOf(ctx, w, func(dir string) error {
		return corpus.SmallFiles(dir, max(1, int(files*min(1, b.scale))), 1<<10, b.seed)
	})
}

// treesBuilt is nil if the program that is measured takes directories.
func (b *bench) treesBuilt(ctx context.Context) error {
	dir, err := b.directory("probe")
	if err != nil {
		return err
	}
	if err := corpus.SmallFiles(filepath.Join(dir, "tree"), 2, 16, b.seed); err != nil {
		return err
	}
	_, err = b.box.Run(ctx, sandbox.Command{
		Args: []string{b.program, "add", filepath.Join(dir, "tree"), "--home", filepath.Join(dir, "home")},
	})
	if err != nil {
		return skip("trees are not built yet (" + oneLine(err) + ")")
	}
	return nil
}

func (b *bench) treeOf(ctx context.Context, w *report.Workload, fill func(dir string) error) error {
	dir, err := b.directory("content")
	if err != nil {
		return err
	}
	c := content{path: filepath.Join(dir, "tree")}
	if err := fill(c.path); err != nil {
		return err
	}
	if c.size, err = fileSize(c.path); err != nil {
		return err
	}
	w.Notes = append(w.Notes, fmt.Sprintf("%.1f MB", float64(c.size)/1e6), b.network(false))
	t := transfer{content: c, holders: 1, receivers: 1}
	w.Rows = b.alternate(ctx, append(
		b.contest("get", t, "swarmsync", "rsync", "desync-tree"),
		b.intake(c, intake{name: "swarmsync add", command: func(b *bench, path, dir string) (args, env []string) {
			return []string{b.program, "add", path, "--home", filepath.Join(dir, "home"), "--quiet"}, nil
		}}),
	))
	return nil
}
