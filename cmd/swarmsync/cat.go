package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

// catCommand is one run of "cat".
type catCommand struct {
	app   *app
	node  nodeFlags
	peers peerList
	bytes byteRange
}

func newCatCommand(a *app) *cobra.Command {
	c := &catCommand{app: a, node: nodeFlags{passing: true}}
	command := &cobra.Command{
		Use:   "cat ROOT|LINK [SUBPATH] [flags]",
		Short: "write a file, or a part of it, to standard output",
		Long: `Cat writes a file to standard output: the content of a root that is a file, or the file at a path in a tree. It is
fetched piece by piece, as it is written; nothing else is. What was fetched stays here.`,
		Example:     "  $ swarmsync cat 'swarmsync:3f9a…' docs/README.md\n  $ swarmsync cat 'swarmsync:3f9a…' --range 1000-1999",
		Args:        rootAndPath,
		Annotations: exits(exitNotFound, exitCorrupt, exitInterrupted),
		RunE:        c.run,
	}
	command.Flags().Var(&c.bytes, "range", "only bytes `A-B` of the file, both included and counted from 0; A- is to the end")
	command.Flags().Var(&c.peers, "peer", "`MULTIADDR` of a holder to ask first, with /p2p/<peer id> at its end; repeatable")
	c.node.register(command.Flags())
	return command
}

func rootAndPath(command *cobra.Command, args []string) error {
	if len(args) == 2 {
		args = args[:1]
	}
	return exactly("ROOT or LINK")(command, args)
}

// catPiece is how much is fetched before it is written: enough that holders are kept busy.
const catPiece = 32 << 20

func (c *catCommand) run(command *cobra.Command, args []string) (err error) {
	ctx := command.Context()
	if c.app.json {
		return usagef("cat writes the content to standard output, where --json has its lines")
	}
	link, err := parseLink(args[0])
	if err != nil {
		return err
	}
	link.Peers = append(c.peers.peers, link.Peers...)
	part := node.Part{Root: link.Root}
	if len(args) == 2 {
		part.Path = strings.Trim(args[1], "/")
	}
	complete := func(status node.RootStatus) bool { return status.Complete }
	s, err := c.app.openFor(command, link, &c.node, complete, c.app.openNetwork)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close(ctx)) }()
	end := c.bytes.to
	for from := c.bytes.from; end == 0 || from < end; from += catPiece {
		part.From, part.To = from, from+catPiece
		if end > 0 {
			part.To = min(part.To, end)
		}
		opts := node.FetchOptions{Path: part.Path, From: part.From, To: part.To, Wait: c.node.fetchWait()}
		result, err := s.Fetch(ctx, link, opts)
		if err != nil {
			return s.explain(ctx, err, c.node.join.peers, link.Peers)
		}
		if end == 0 || end > result.PathBytes {
			end = result.PathBytes
		}
		if from >= end {
			break
		}
		if err := c.app.copyToStdout(ctx, s, part); err != nil {
			return err
		}
	}
	return nil
}

// byteRange is the flag of a range of bytes; to is behind the last of them, 0 for the end of the file.
type byteRange struct{ from, to int64 }

func (r *byteRange) Set(text string) error {
	first, last, ok := strings.Cut(text, "-")
	from, err := strconv.ParseInt(first, 10, 63)
	if !ok || err != nil || from < 0 {
		return errors.New("want A-B or A-, such as 0-99")
	}
	r.from, r.to = from, 0
	if last == "" {
		return nil
	}
	to, err := strconv.ParseInt(last, 10, 63)
	if err != nil || to < from {
		return errors.New("want A-B or A-, such as 0-99, with B not below A")
	}
	r.to = to + 1
	return nil
}

func (r *byteRange) String() string {
	switch {
	case r.from == 0 && r.to == 0:
		return ""
	case r.to == 0:
		return strconv.FormatInt(r.from, 10) + "-"
	}
	return strconv.FormatInt(r.from, 10) + "-" + strconv.FormatInt(r.to-1, 10)
}

func (r *byteRange) Type() string { return "range" }
