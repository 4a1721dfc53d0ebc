package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// intake is a command that takes a file or a tree in. It is given a directory of its own and returns what it made there.
type intake struct {
	tool string // whose program it is
	name string // of the row
	note string
	// prepare does what is not timed; it may be nil.
	prepare func(ctx context.Context, b *bench, dir string) error
	command func(b *bench, file, dir string) (args, env []string)
}

func add(ctx context.Context, b *bench, w *report.Workload) error {
	file, err := b.random(1 << 30)
	if err != nil {
		return err
	}
	w.Baseline = "cut and hash"
	w.Notes = []string{
		"cut and hash: the same reader, chunker and hasher with the results dropped",
		"times include the start of the process, as no node runs",
	}
	w.Rows = b.alternate(ctx, b.intakes(file, fileIntakes()))
	return nil
}

// intakes returns a contender for each of the intakes whose tool is here.
func (b *bench) intakes(c content, intakes []intake) []*contender {
	var contenders []*contender
	for _, in := range intakes {
		if in.tool != "" {
			if _, ok := b.tool(in.tool); !ok {
				continue
			}
		}
		contenders = append(contenders, b.intake(c, in))
	}
	return contenders
}

// makeStore makes a directory for the chunks of desync, which wants one.
func makeStore(_ context.Context, b *bench, dir string) error {
	_, err := b.box.Make(filepath.Base(dir), "store")
	return err
}

func makeRepo(ctx context.Context, b *bench, dir string) error {
	return b.newKuboRepo(ctx, filepath.Join(dir, "repo"))
}

func fileIntakes() []intake {
	return []intake{
		{name: "cut and hash", command: func(b *bench, file, _ string) (args, env []string) {
			return []string{b.self, roleCommand, "cut", file}, nil
		}},
		{name: "swarmsync", command: func(b *bench, file, dir string) (args, env []string) {
			return []string{b.program, "add", file, "--home", filepath.Join(dir, "home"), "--quiet"}, nil
		}},
		{tool: "desync", name: "desync", note: "zstd chunks", command: func(_ *bench, file, dir string) (args, env []string) {
			return []string{"desync", "make", "-s", filepath.Join(dir, "store"), filepath.Join(dir, "content.caibx"), file}, nil
		}, prepare: makeStore},
		{tool: "desync", name: "desync index", note: "no store is written", command: func(_ *bench, file, dir string) (args, env []string) {
			return []string{"desync", "make", filepath.Join(dir, "content.caibx"), file}, nil
		}},
		{tool: "casync", name: "casync", command: func(_ *bench, file, dir string) (args, env []string) {
			return []string{"casync", "make", "--store=" + filepath.Join(dir, "store.castr"), filepath.Join(dir, "content.caibx"), file}, nil
		}},
		{tool: "kubo", name: "kubo", note: "fixed chunks of 256 KiB", prepare: makeRepo, command: func(_ *bench, file, dir string) (args, env []string) {
			return []string{"ipfs", "add", "-Q", file}, kuboEnv(filepath.Join(dir, "repo"))
		}},
	}
}

func (b *bench) intake(file content, in intake) *contender {
	c := &contender{row: report.Row{Tool: in.name, Note: in.note}}
	c.measure = func(ctx context.Context) (run report.Run, err error) {
		dir, err := b.directory("intake")
		if err != nil {
			return run, err
		}
		defer func() { err = errors.Join(err, b.box.Clear(), b.discard(dir, file)) }()
		if in.prepare != nil {
			if err := in.prepare(ctx, b, dir); err != nil {
				return run, err
			}
		}
		args, env := in.command(b, file.path, dir)
		run, _, err = b.timed(ctx, timing{receivers: 1, work: func(ctx context.Context, _ int) (arrival, error) {
			_, err := b.box.Run(ctx, sandbox.Command{Args: args, Env: env, Side: sandbox.Holder})
			return arrival{path: dir}, err
		}})
		run.Bytes = file.size
		return run, err
	}
	return c
}
