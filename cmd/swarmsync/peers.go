package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

func newPeersCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "peers",
		Short: "list the peers of the running node",
		Long: `Peers lists whom the node that runs on the home is connected to: how, the round trip, what comes and goes in sessions,
and what each peer has brought to the fetches that run.`,
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
			titles := []string{"PEER", "WAY", "TRANSPORT", "RTT", "DOWN", "UP", "SESSIONS", "BROUGHT", "ADDRESS"}
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
		rows = append(rows, []string{
			p.Peer.String(), way, p.Transport, rttText(p.RTT), rateText(p.Down), rateText(p.Up), fmt.Sprint(p.Sessions),
			broughtText(p.Shares), p.Address,
		})
	}
	return rows
}

func rateText(rate int64) string {
	if rate == 0 {
		return "-"
	}
	return size(rate) + "/s"
}

// broughtText says what a peer did in the running fetches, such as "34% of film.mkv, partial".
func broughtText(shares []node.FetchShare) string {
	var texts []string
	for _, share := range shares {
		name := share.Name
		if name == "" {
			name = share.Key
		}
		text := fmt.Sprintf("%s of %s, %s", percent(share.Bytes, max(share.Of, 1)), printable(name), completeText(share.Complete))
		if share.TakenOver > 0 {
			text += fmt.Sprintf(", others took over %s", size(share.TakenOver))
		}
		if share.Dropped != "" {
			text += ", dropped: " + printable(share.Dropped)
		}
		texts = append(texts, text)
	}
	if len(texts) == 0 {
		return "-"
	}
	return strings.Join(texts, "; ")
}
