package node

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// Peers returns the connected peers in the order of their IDs.
func (n *Node) Peers() []PeerStatus {
	if n.host == nil {
		return nil
	}
	connected := n.host.Network().Peers()
	slices.SortFunc(connected, func(a, b peer.ID) int { return strings.Compare(string(a), string(b)) })
	statuses := make([]PeerStatus, 0, len(connected))
	for _, id := range connected {
		conns := n.host.Network().ConnsToPeer(id)
		if len(conns) == 0 {
			continue // gone since
		}
		statuses = append(statuses, PeerStatus{
			Peer:      id,
			Address:   conns[0].RemoteMultiaddr().String(),
			Transport: transportName(conns[0]),
			Relayed:   isRelayed(conns[0].RemoteMultiaddr()),
			Inbound:   conns[0].Stat().Direction == network.DirInbound,
			RTT:       n.host.Peerstore().LatencyEWMA(id),
			Sessions:  countSessions(conns),
		})
	}
	transfers := append(n.fetchTransfers(), n.server.transfers()...)
	for i := range statuses {
		statuses[i].addTransfers(transfers)
	}
	return statuses
}

// addTransfers adds what is transferred from and to the peer.
func (p *PeerStatus) addTransfers(transfers []TransferStatus) {
	for _, t := range transfers {
		if t.Role == roleServe && t.Peer == p.Peer {
			p.Up += t.Rate
		}
		for _, share := range t.Shares {
			if share.Peer == p.Peer {
				p.Down += share.Rate
				p.Shares = append(p.Shares, FetchShare{Key: t.Key, Name: t.Name, Of: t.fetched(), PeerShare: share})
			}
		}
	}
}

// fetched returns how many bytes came from peers.
func (t TransferStatus) fetched() (bytes int64) {
	for _, share := range t.Shares {
		bytes += share.Bytes
	}
	return bytes
}

func countSessions(conns []network.Conn) int {
	count := 0
	for _, conn := range conns {
		for _, stream := range conn.GetStreams() {
			if stream.Protocol() == protocol.ID {
				count++
			}
		}
	}
	return count
}

// Status returns the state of the node and its transfers.
func (n *Node) Status(ctx context.Context) (Status, error) {
	status := Status{ID: n.id, Network: n.cfg.Network, Since: n.started, Addresses: []string{}, Transfers: []TransferStatus{}}
	for _, err := range n.store.Roots(ctx) {
		if err != nil {
			return Status{}, fmt.Errorf("read the catalog: %w", err)
		}
		status.Roots++
	}
	for _, address := range n.Addresses() {
		status.Addresses = append(status.Addresses, address.String())
	}
	status.Transfers = append(status.Transfers, n.fetchTransfers()...)
	status.Discovery.Mode = "off"
	if n.host != nil {
		status.Peers = len(n.host.Network().Peers())
		status.Discovery = n.discoveryStatus()
		status.Transfers = append(status.Transfers, n.server.transfers()...)
	}
	return status, nil
}

func (n *Node) fetchTransfers() []TransferStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	var transfers []TransferStatus
	for _, f := range n.fetches {
		progress := f.progress()
		transfers = append(transfers, TransferStatus{
			Role:   roleFetch,
			Key:    f.key.Short(),
			Name:   f.link.Name,
			Since:  f.started,
			Total:  progress.Total,
			Done:   progress.Reused + progress.Fetched,
			Rate:   rateOf(progress.Shares),
			Peers:  progress.Peers,
			Shares: progress.Shares,
		})
	}
	return transfers
}

// rateOf returns what comes from all peers together.
func rateOf(shares []PeerShare) (rate int64) {
	for _, share := range shares {
		rate += share.Rate
	}
	return rate
}

// nameOf returns what a catalogued root is called, empty if it is not known.
func (n *Node) nameOf(root cafs.Key) string {
	info, err := n.store.Root(n.ctx, root)
	if err != nil {
		return ""
	}
	return info.Name
}

func (n *Node) discoveryStatus() DiscoveryStatus {
	now := n.discovery.Status()
	status := DiscoveryStatus{
		Mode:      now.Mode,
		TableSize: now.TableSize,
		Joined:    len(now.Joined),
		MDNS:      now.MDNS,
		LAN:       len(now.LAN),
		Provided:  now.Provided,
		Announced: now.Announced,
	}
	for _, joined := range now.Joined {
		if joined.Connected {
			status.Connected++
			continue
		}
		for _, address := range joined.Peer.Addrs {
			status.Missing = append(status.Missing, address.String()+"/p2p/"+joined.Peer.ID.String())
		}
	}
	if now.LastAnnounceError != nil {
		status.AnnounceError = now.LastAnnounceError.Error()
	}
	return status
}
