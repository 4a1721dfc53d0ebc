package main

import (
	"context"
	"errors"
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
	packed := content{path: filepath.Join(dir, "new.tar"), old: filepath.Join(dir, "old.tar")}
	tree := content{path: filepath.Join(dir, "new"), old: filepath.Join(dir, "old")}
	for _, version := range []struct{ name, tar, tree string }{{releaseOld, packed.old, tree.old}, {releaseNew, packed.path, tree.path}} {
		source, err := corpus.Module(ctx, dir, releaseModule+"@"+version.name)
		if err != nil {
			return skip("a source tree to measure with can't be had: " + oneLine(err))
		}
		if err := errors.Join(corpus.Tar(source, version.tar), corpus.CopyTree(source, version.tree)); err != nil {
			return err
		}
	}
	for _, c := range []*content{&packed, &tree} {
		if c.size, err = fileSize(c.path); err != nil {
			return err
		}
	}
	w.Notes = append(w.Notes,
		fmt.Sprintf("%s from %s to %s, %.0f MB as tar, %.0f MB as directories", releaseModule, releaseOld, releaseNew,
			float64(packed.size)/1e6, float64(tree.size)/1e6),
		"curl copies all of it; in the directories all times of modification differ; kubo writes into a new one", b.network(false))
	contenders := b.contest("tar", transfer{content: packed, holders: 1, receivers: 1}, deltaTools...)
	contenders = append(contenders, b.contest("directories", transfer{content: tree, holders: 1, receivers: 1}, releaseTreeTools...)...)
	w.Rows = b.alternate(ctx, contenders)
	return nil
}

// releaseTreeTools are those that use a tree that is there already.
var releaseTreeTools = []string{"swarmsync", "rsync", "rsync-z", "desync-tree", "casync-tree", "kubo"}
