package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

func newMirrorCommand(a *app) *cobra.Command {
	flags := nodeFlags{passing: true}
	var peers peerList
	command := &cobra.Command{
		Use:   "mirror ROOT|LINK [flags]",
		Short: "fetch content into the store, to serve it",
		Long: `Mirror fetches the content of a root or a link into the store, without writing a file of it, and prints the root. A
node that runs on the home goes on serving it until "rm" forgets the root.`,
		Example:     "  $ swarmsync mirror 'swarmsync:3f9a…?name=film.mkv&peer=/ip4/192.0.2.1/tcp/4141/p2p/12D3KooW…'",
		Args:        exactly("ROOT or LINK"),
		Annotations: exits(exitNotFound, exitCorrupt, exitInterrupted),
		RunE: func(command *cobra.Command, args []string) (err error) {
			link, err := parseLink(args[0])
			if err != nil {
				return err
			}
			link.Peers = append(peers.peers, link.Peers...)
			s, err := a.openNetwork(command, &flags)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			shown := a.startProgress()
			result, err := s.Fetch(command.Context(), link, node.FetchOptions{Wait: flags.fetchWait(), Events: shown.event})
			shown.stop()
			if err != nil {
				return s.explain(command.Context(), continuable(err, result, "", false), flags.join.peers, link.Peers)
			}
			if err := a.result("result", result, result.Root.String()); err != nil {
				return err
			}
			if !a.json {
				for _, line := range summary(result) {
					a.note("%s", line)
				}
			}
			return nil
		},
	}
	command.Flags().Var(&peers, "peer", "`MULTIADDR` of a holder to ask first, with /p2p/<peer id> at its end; repeatable")
	flags.register(command.Flags())
	return command
}
