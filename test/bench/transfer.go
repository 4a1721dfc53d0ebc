package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/swarmsync/swarmsync/test/bench/internal/corpus"
	"github.com/swarmsync/swarmsync/test/bench/internal/report"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// content is what a workload moves.
type content struct {
	path string // a file or a tree
	old  string // what receivers have already; empty: nothing
	size int64  // bytes of path
}

// place is where a process of one side runs.
type place struct {
	space   *sandbox.Space // nil: on the loopback interface of the machine, with everybody else
	address string         // of IPv4
}

// transfer is a kind of work: who moves what to whom over which network.
type transfer struct {
	content   content
	holders   int
	receivers int
	// leaf gives the rates of the links, holders first; nil: all are on one loopback interface.
	leaf func(holder bool) sandbox.Leaf
	// finish adds figures of the workload's own to a run; it may be nil. holders is what went through their links.
	finish func(run *report.Run, holders sandbox.Traffic)
}

// stage is what a tool is given to prepare with.
type stage struct {
	*bench
	content content
	holders int
	dir     string // the tool's own, removed when the workload is over
}

// offer is a tool that is ready to hold a content.
type offer interface {
	// begin starts what runs before the clock does, and returns what is timed.
	begin(ctx context.Context, r *round) (fetch, error)
}

// round is one run.
type round struct {
	*bench
	content   content
	holders   []place
	receivers []place
	hub       place // who runs there is near to everybody
	dir       string
}

// fetch is the timed part of a tool.
type fetch struct {
	// run brings the content to a receiver and returns when it is there and verified.
	run func(ctx context.Context, receiver int) (arrival, error)
	// output is for tools that keep the content in a store: it writes it to a path, untimed. It may be nil.
	output func(ctx context.Context, receiver int) (string, error)
}

// contest returns a contender for each of the named tools that do the transfer.
func (b *bench) contest(caseName string, t transfer, names ...string) []*contender {
	var contenders []*contender
	for _, name := range names {
		tool, ok := b.tool(name)
		if !ok {
			continue // told once for all, in Report.Absent
		}
		contenders = append(contenders, b.contender(caseName, t, tool))
	}
	return contenders
}

func (b *bench) contender(caseName string, t transfer, tool tool) *contender {
	c := &contender{row: report.Row{Tool: tool.name, Case: caseName, Note: tool.note, Command: tool.command}}
	var ready offer
	c.prepare = func(ctx context.Context) error {
		dir, err := b.directory(tool.name)
		if err != nil {
			return err
		}
		ready, err = tool.prepare(ctx, &stage{bench: b, content: t.content, holders: t.holders, dir: dir})
		return err
	}
	c.measure = func(ctx context.Context) (report.Run, error) { return b.transfer(ctx, t, ready) }
	return c
}

// transferMost is how long one run may take, with what is not timed: a tool that hangs must not take the others with it.
const transferMost = 4 * time.Minute

// transfer does one run.
func (b *bench) transfer(ctx context.Context, t transfer, ready offer) (run report.Run, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, transferMost, fmt.Errorf("it takes more than %v", transferMost))
	defer cancel()
	defer func() {
		if err != nil && ctx.Err() != nil { // the error is that of a tool that was killed
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}()
	dir, err := b.directory("run")
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, b.box.Clear(), b.discard(dir, t.content)) }()
	r := &round{bench: b, content: t.content, dir: dir}
	traffic, err := r.lay(ctx, t)
	if err != nil {
		return run, err
	}
	work, err := ready.begin(ctx, r)
	if err != nil {
		return run, err
	}
	holders := linksOf(r.holders, t.leaf != nil)
	before, err := countTraffic(holders)
	if err != nil {
		return run, err
	}
	run, arrivals, err := b.timed(ctx, timing{
		receivers: t.receivers, shaped: t.leaf != nil, traffic: traffic, work: work.run,
	})
	if err != nil {
		return run, err
	}
	after, err := countTraffic(holders)
	if err != nil {
		return run, err
	}
	if t.leaf == nil && len(traffic) > 0 {
		run.WireOut = 0 // both ways are in the counter of the loopback interface
	}
	run.Bytes = t.content.size * int64(t.receivers)
	if t.finish != nil {
		t.finish(&run, sandbox.Traffic{In: after.In - before.In, Out: after.Out - before.Out})
	}
	return run, r.check(ctx, work, arrivals)
}

// check compares what every receiver got with what the holders have.
func (r *round) check(ctx context.Context, work fetch, arrivals []arrival) error {
	for i, a := range arrivals {
		path := a.path
		if work.output != nil {
			var err error
			if path, err = work.output(ctx, i); err != nil {
				return err
			}
		}
		if err := corpus.Same(r.content.path, path); err != nil {
			return fmt.Errorf("receiver %d got something else: %w", i, err)
		}
	}
	return nil
}

// lay makes the network of a round and returns the namespaces whose counters are the receivers' traffic.
func (r *round) lay(ctx context.Context, t transfer) ([]*sandbox.Space, error) {
	if t.leaf == nil {
		return r.layLoopback(ctx, t)
	}
	leaves := append(slices.Repeat([]sandbox.Leaf{t.leaf(true)}, t.holders),
		slices.Repeat([]sandbox.Leaf{t.leaf(false)}, t.receivers)...)
	star, err := r.box.Star(ctx, leaves)
	if err != nil {
		return nil, err
	}
	for i, space := range star.Leaves {
		p := place{space, space.Address}
		if i < t.holders {
			r.holders = append(r.holders, p)
		} else {
			r.receivers = append(r.receivers, p)
		}
	}
	r.hub = place{star.Hub, star.Hub.Address}
	return star.Leaves[t.holders:], nil
}

func (r *round) layLoopback(ctx context.Context, t transfer) ([]*sandbox.Space, error) {
	p := place{address: "127.0.0.1"}
	var traffic []*sandbox.Space
	if r.namespaces == nil {
		space, err := r.box.Loopback(ctx)
		if err != nil {
			return nil, err
		}
		p.space, traffic = space, []*sandbox.Space{space}
	}
	r.hub = p
	r.holders = slices.Repeat([]place{p}, t.holders)
	r.receivers = slices.Repeat([]place{p}, t.receivers)
	return traffic, nil
}

func linksOf(places []place, apart bool) []*sandbox.Space {
	var links []*sandbox.Space
	for _, p := range places {
		if apart {
			links = append(links, p.space)
		}
	}
	return links
}

// network says in words what the traffic figures of a workload are.
func (b *bench) network(shaped bool) string {
	switch {
	case shaped:
		return "wire: bytes through the receivers' interfaces, headers included (a segment that is not cut into frames yet counts one)"
	case b.namespaces == nil:
		return "wire in: bytes both ways through the loopback interface of a namespace of the run's own, headers included"
	}
	return "wire: what the tools say themselves, as there are no namespaces (" + b.namespaces.Error() + ")"
}

// start starts a process of one side at a place.
func (r *round) start(ctx context.Context, at place, side sandbox.Side, dir string, args ...string) (*sandbox.Process, error) {
	return r.box.Start(ctx, sandbox.Command{Args: args, Space: at.space, Side: side, Dir: dir})
}

// do runs a command of one side at a place to its end.
func (r *round) do(ctx context.Context, at place, side sandbox.Side, dir string, args ...string) (string, error) {
	return r.box.Run(ctx, sandbox.Command{Args: args, Space: at.space, Side: side, Dir: dir})
}

// role starts this program in one of its roles.
func (r *round) role(ctx context.Context, at place, side sandbox.Side, args ...string) (*sandbox.Process, error) {
	return r.start(ctx, at, side, "", append([]string{r.self, roleCommand}, args...)...)
}

// placeOld puts what receivers have already at a path.
func (r *round) placeOld(path string) error {
	info, err := os.Stat(r.content.old)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return corpus.CopyTree(r.content.old, path)
	}
	return corpus.CopyFile(r.content.old, path)
}

// hasPrefix accepts lines that begin with a word.
func hasPrefix(word string) func(string) bool {
	return func(line string) bool { return strings.HasPrefix(line, word) }
}
