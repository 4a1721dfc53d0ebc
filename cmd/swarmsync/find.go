package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

func newFindCommand(a *app) *cobra.Command {
	flags := nodeFlags{passing: true}
	command := &cobra.Command{
		Use:   "find ROOT|LINK [flags]",
		Short: "look for the holders of a root",
		Long: `Find prints a line for each holder of a root, or of a link, as it finds them: peer ID, "complete" or "partial", and
addresses that can be joined; "(here)" stands for the home. It ends when everybody has answered or --wait is over.`,
		Example:     "  $ swarmsync find 3f9a… --wait 10s",
		Args:        exactly("ROOT or LINK"),
		Annotations: exits(exitNotFound, exitInterrupted),
		RunE: func(command *cobra.Command, args []string) (err error) {
			link, err := parseLink(args[0])
			if err != nil {
				return err
			}
			s, err := a.openPassing(command, &flags)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			return s.find(command.Context(), link, &flags)
		},
	}
	flags.register(command.Flags())
	return command
}

// fromHere is the source of the holder that is this node.
const fromHere = "here"

func (s *session) find(ctx context.Context, link node.Link, flags *nodeFlags) error {
	found := 0
	var printErr error
	show := func(holder node.Holder) bool {
		found++
		for i := range holder.Addresses {
			holder.Addresses[i] += "/p2p/" + holder.Peer.String()
		}
		printErr = s.app.result("holder", holder, holderText(holder))
		return printErr == nil
	}
	// The catalog is enough: the time is too short for anybody else to answer.
	if status, err := s.Info(ctx, node.Link{Root: link.Root}, 1); err == nil && status.Complete {
		if !show(node.Holder{Peer: s.id(), Addresses: []string{}, Source: fromHere, Complete: true}) {
			return printErr
		}
	}
	looked, err := s.Find(ctx, link, flags.lookWait(), show)
	switch {
	case printErr != nil:
		return printErr
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	case found == 0:
		return s.explain(ctx, fmt.Errorf("%w: looked in %s", node.ErrNoHolder, looked), flags.join.peers, link.Peers)
	case s.app.json:
		return s.app.emit("result", countLine{found})
	}
	return nil
}

func holderText(holder node.Holder) string {
	words := []string{holder.Peer.String(), "partial"}
	if holder.Complete {
		words[1] = "complete"
	}
	if holder.Source == fromHere {
		words = append(words, "(here)")
	}
	for _, address := range holder.Addresses {
		words = append(words, printable(address))
	}
	return strings.Join(words, " ")
}
