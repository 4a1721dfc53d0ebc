package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

func newPeersCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:         "peers",
		Short:       "list the peers of the running node",
		Long:        `Peers lists whom the node that runs on the home is connected to.`,
		Example:     "  $ swarmsync peers",
		Args:        exactly(),
		Annotations: exits(exitInterrupted),
		RunE: func(command *cobra.Command, _ []string) (err error) {
			s, err := a.openRunning(command)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			peers, err := s.Peers(command.Context())
			if err != nil {
				return err
			}
			titles := []string{"PEER", "WAY", "TRANSPORT", "RTT", "SESSIONS", "ADDRESS"}
			return a.list("peer", anyOf(peers), titles, peerRows(peers))
		},
	}
}

func peerRows(peers []node.PeerStatus) [][]string {
	var rows [][]string
	for _, p := range peers {
		way := "out"
		if p.Inbound {
			way = "in"
		}
		rtt := "-"
		if p.RTT > 0 {
			rtt = p.RTT.Round(100 * time.Microsecond).String()
		}
		rows = append(rows, []string{p.Peer.String(), way, p.Transport, rtt, fmt.Sprint(p.Sessions), p.Address})
	}
	return rows
}
