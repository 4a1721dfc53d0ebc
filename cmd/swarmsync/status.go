package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

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
	text := fmt.Sprintf("%-9s  %s %s %s", t.Role, t.Key, printable(t.Name), size(t.Done))
	if t.Total > 0 {
		text += fmt.Sprintf(" of %s (%s)", size(t.Total), percent(t.Done, t.Total))
	}
	if t.Rate > 0 {
		text += fmt.Sprintf(", %s/s", size(t.Rate))
	}
	if t.Peer != "" {
		return text + fmt.Sprintf(" to %s over %s, %s away", t.Peer, t.Transport, rttText(t.RTT))
	}
	lines := []string{text + " from " + count(t.Peers, "peer")}
	fetched := int64(0)
	for _, share := range t.Shares {
		fetched += share.Bytes
	}
	for _, share := range t.Shares {
		lines = append(lines, "           "+shareText(share, fetched))
	}
	return strings.Join(lines, "\n")
}

// shareText is what one peer does in a fetch, such as "12D3… 34% 12 MB, 3.1 MB/s over tcp/tls, 0.4ms away, complete".
func shareText(share node.PeerShare, fetched int64) string {
	text := fmt.Sprintf("%s %s", share.Peer, size(share.Bytes))
	if fetched > 0 {
		text += fmt.Sprintf(" (%s)", percent(share.Bytes, fetched))
	}
	if share.Rate > 0 {
		text += fmt.Sprintf(", %s/s", size(share.Rate))
	}
	text += fmt.Sprintf(" over %s, %s away, %s", share.Transport, rttText(share.RTT), completeText(share.Complete))
	if share.TakenOver > 0 {
		text += fmt.Sprintf("; others took over %s", size(share.TakenOver))
	}
	if share.Dropped != "" {
		text += "; dropped: " + printable(share.Dropped)
	}
	return text
}

func completeText(complete bool) string {
	if complete {
		return "complete"
	}
	return "partial"
}

// rttText is a round trip for people, "-" if it is not known.
func rttText(rtt time.Duration) string {
	if rtt <= 0 {
		return "-"
	}
	return rtt.Round(100 * time.Microsecond).String()
}
