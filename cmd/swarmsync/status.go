package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

func newStatusCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:         "status",
		Short:       "tell what the running node does",
		Long:        `Status prints the identity, the addresses, the network and the transfers of the node that runs on the home.`,
		Example:     "  $ swarmsync status",
		Args:        exactly(),
		Annotations: exits(exitInterrupted),
		RunE: func(command *cobra.Command, _ []string) (err error) {
			s, err := a.openRunning(command)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			status, err := s.Status(command.Context())
			if err != nil {
				return err
			}
			return a.result("result", status, statusText(status))
		},
	}
}

func statusText(status node.Status) string {
	d := status.Discovery
	lines := []string{
		"id         " + status.ID.String(),
		"network    " + status.Network,
		"since      " + clock(status.Since),
	}
	for _, address := range status.Addresses {
		lines = append(lines, "address    "+address)
	}
	lines = append(lines,
		fmt.Sprintf("peers      %d", status.Peers),
		fmt.Sprintf("roots      %d", status.Roots),
		"dht        "+dhtText(d),
		"lan        "+lanText(d),
		fmt.Sprintf("joined     %d, %d of them connected", d.Joined, d.Connected),
	)
	for _, address := range d.Missing {
		lines = append(lines, "           not connected: "+printable(address))
	}
	lines = append(lines,
		fmt.Sprintf("announced  %d of %s", d.Announced, count(d.Provided, "root")),
	)
	if d.AnnounceError != "" {
		lines = append(lines, "           "+printable(d.AnnounceError))
	}
	for _, transfer := range status.Transfers {
		lines = append(lines, transferText(transfer))
	}
	return strings.Join(lines, "\n")
}

func dhtText(d node.DiscoveryStatus) string {
	if d.Mode == "off" || d.Mode == "" {
		return "off"
	}
	return fmt.Sprintf("%s, %s in the table", d.Mode, count(d.TableSize, "node"))
}

func lanText(d node.DiscoveryStatus) string {
	if !d.MDNS {
		return "off"
	}
	return count(d.LAN, "node")
}

func transferText(t node.TransferStatus) string {
	text := fmt.Sprintf("%-9s  %s %s", t.Role, t.Key, size(t.Done))
	if t.Total > 0 {
		text += " of " + size(t.Total)
	}
	if t.Role == "serve" {
		text += " to " + t.Peer.String()
	} else {
		text += " from " + count(t.Peers, "peer")
	}
	return strings.TrimSpace(text + " " + printable(t.Name))
}
