// Command swarmsync adds, serves and fetches content over a swarm of peers. docs/cli.md is its contract.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run runs one command and returns its exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, release := untilInterrupted()
	defer release()
	a := newApp(stdin, stdout, stderr)
	root := newRootCommand(a)
	root.SetArgs(args)
	if err := checkCommand(root, args); err != nil {
		return a.finish(ctx, root, args, err)
	}
	command, err := root.ExecuteContextC(ctx)
	return a.finish(ctx, command, args, err)
}

// untilInterrupted returns a context that the first interrupt cancels. When it is cancelled, signals have their usual
// effect again, so that a second one ends the process at once; signal.NotifyContext would lose one that comes right
// after the first. The caller calls release at the end.
func untilInterrupted() (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		signal.Stop(signals)
		if len(signals) > 0 {
			os.Exit(exitInterrupted)
		}
		cancel()
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel()
	}
}
