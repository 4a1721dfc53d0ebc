package main

import (
	"errors"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

func newShareCommand(a *app) *cobra.Command {
	var flags nodeFlags
	command := &cobra.Command{
		Use:   "share PATH [flags]",
		Short: "add a file, print its link and serve it",
		Long: `Share adds a file like "swarmsync add", prints a link that is all a receiver needs, and then serves everything in the
home until it is interrupted. If a node runs on the home, that one serves.`,
		Example:     "  $ swarmsync share film.mkv",
		Args:        exactlyPath,
		Annotations: exits(),
		RunE: func(command *cobra.Command, args []string) (err error) {
			s, err := a.openNetwork(command, &flags)
			if err != nil {
				return err
			}
			ctx := command.Context()
			defer func() { err = errors.Join(err, s.close(ctx)) }()
			added, err := s.add(ctx, args[0], node.AddOptions{})
			if err != nil {
				return err
			}
			link, err := s.Link(ctx, added.Root)
			if err != nil {
				return err
			}
			if err := a.result("link", linkLine{link.String(), added}, link.String()); err != nil {
				return err
			}
			a.tellLink(link)
			if s.client == nil {
				a.note("serving %s; interrupt to stop", size(added.Bytes))
			} else {
				running := s.client.Running()
				a.note("the running node (process %d, %q) serves %s, and goes on after an interrupt here, until it ends "+
					"or \"swarmsync rm\" forgets the root", running.PID, running.Command, size(added.Bytes))
			}
			defer s.warnOfJoins(ctx, &flags)()
			return s.serveUntil(ctx)
		},
	}
	flags.register(command.Flags())
	return command
}

// tellLink says what may keep a link from working.
func (a *app) tellLink(link node.Link) {
	if text := link.String(); strings.Contains(text, "&") && !a.json {
		a.note(`quote the link in a shell: it contains "&"`)
	}
	if len(link.Peers) > 0 && !slices.ContainsFunc(link.Peers, reachableElsewhere) {
		a.note("the link works on this machine only: the node listens on loopback addresses alone")
	}
}

func reachableElsewhere(info peer.AddrInfo) bool {
	return slices.ContainsFunc(info.Addrs, func(address multiaddr.Multiaddr) bool { return !manet.IsIPLoopback(address) })
}

// linkLine is what share prints with --json.
type linkLine struct {
	Link string `json:"link"`
	node.RootStatus
}
