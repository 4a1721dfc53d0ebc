package main

import (
	"errors"

	"github.com/spf13/cobra"
)

func newJoinCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "join MULTIADDR…",
		Short: "connect the running node to others",
		Long: `Join makes the node that runs on the home part of the network that the addresses lead to. It stays connected to them;
those that can't be reached now are tried again.`,
		Example: "  $ swarmsync join /ip4/192.0.2.1/tcp/4141/p2p/12D3KooW…",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("MULTIADDR is missing")
			}
			return nil
		},
		Annotations: exits(exitInterrupted),
		RunE: func(command *cobra.Command, args []string) (err error) {
			var peers peerList
			for _, text := range args {
				if err := peers.Set(text); err != nil {
					return &usageError{err}
				}
			}
			s, err := a.openRunning(command)
			if err != nil {
				var hinted *hintError
				if errors.As(err, &hinted) {
					return withHint(hinted.error, `start one with "swarmsync serve --join %s"`, args[0])
				}
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			if err := s.join(command.Context(), peers.peers); err != nil {
				return err
			}
			if a.json {
				return a.emit("result", countLine{len(peers.peers)})
			}
			a.note("joined %s", count(len(peers.peers), "peer"))
			return nil
		},
	}
}
