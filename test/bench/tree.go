package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"

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

// treeTools are those that move directories.
var treeTools = []string{"swarmsync", "rsync", "libtorrent", "desync-tree", "casync-tree"}

func (b *bench) treeOf(ctx context.Context, w *report.Workload, fill func(dir string) error) error {
	dir, err := b.directory("content")
	if err != nil {
		return err
	}
	first := content{path: filepath.Join(dir, "tree")}
	if err := fill(first.path); err != nil {
		return err
	}
	if first.size, err = fileSize(first.path); err != nil {
		return err
	}
	again, changed := first, content{path: filepath.Join(dir, "changed"), old: first.path}
	again.old = first.path
	if err := corpus.CopyTree(first.path, changed.path); err != nil {
		return err
	}
	if err := corpus.ChangeSome(changed.path, treeChanges, b.seed); err != nil {
		return err
	}
	if changed.size, err = fileSize(changed.path); err != nil {
		return err
	}
	w.Notes = append(w.Notes, fmt.Sprintf("%.1f MB", float64(first.size)/1e6),
		"again: onto the same tree, which is there already; changed: onto it, when "+strconv.Itoa(treeChanges)+" files have got a line more",
		"kubo takes minutes to write so many files into a directory, so only its store is filled", b.network(false))
	contenders := b.contest("get", transfer{content: first, holders: 1, receivers: 1}, append(treeTools, "kubo-pin")...)
	contenders = append(contenders, b.contest("again", transfer{content: again, holders: 1, receivers: 1}, treeTools...)...)
	contenders = append(contenders, b.contest("changed", transfer{content: changed, holders: 1, receivers: 1}, treeTools...)...)
	w.Rows = b.alternate(ctx, append(contenders, b.intakes(first, treeIntakes())...))
	return nil
}

// treeChanges is how many files differ in the changed version of a tree.
const treeChanges = 10

// treeIntakes take in a tree, so that others can get it.
func treeIntakes() []intake {
	return []intake{
		{name: "swarmsync add", command: func(b *bench, path, dir string) (args, env []string) {
			return []string{b.program, "add", path, "--home", filepath.Join(dir, "home"), "--quiet"}, nil
		}},
		{tool: "desync-tree", name: "desync-tree add", prepare: makeStore, command: func(_ *bench, path, dir string) (args, env []string) {
			return []string{"desync", "tar", "-i", "-s", filepath.Join(dir, "store"), filepath.Join(dir, "index.caidx"), path}, nil
		}},
		{tool: "casync-tree", name: "casync-tree add", command: func(_ *bench, path, dir string) (args, env []string) {
			return []string{"casync", "make", "--store=" + filepath.Join(dir, "store.castr"), filepath.Join(dir, "index.caidx"), path}, nil
		}},
		{tool: "kubo", name: "kubo add", prepare: makeRepo, command: func(_ *bench, path, dir string) (args, env []string) {
			return []string{"ipfs", "add", "-Q", "-r", "--hidden", path}, kuboEnv(filepath.Join(dir, "repo"))
		}},
	}
}
