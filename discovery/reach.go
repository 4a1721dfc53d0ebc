package discovery

import (
	"math/rand/v2"
	"strings"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// reach orders addresses by the distance from which they mean the same machine.
type reach int

const (
	reachHost  reach = iota // loopback, and what systems take for it: this machine only
	reachLAN                // private, link-local and reserved ranges: one local network
	reachWorld              // public addresses and names
)

func reachOf(addr ma.Multiaddr) reach {
	switch {
	case manet.IsIPLoopback(addr), manet.IsIPUnspecified(addr), isLocalhost(addr):
		return reachHost
	case manet.IsPublicAddr(addr):
		return reachWorld
	default:
		return reachLAN
	}
}

// isLocalhost tells whether addr begins with a name for this machine, of which DNS has localhost and all below it.
func isLocalhost(addr ma.Multiaddr) bool {
	first, _ := ma.SplitFirst(addr)
	if first == nil {
		return false
	}
	switch first.Code() {
	case ma.P_DNS, ma.P_DNS4, ma.P_DNS6, ma.P_DNSADDR:
		name := strings.TrimSuffix(strings.ToLower(first.Value()), ".")
		return name == "localhost" || strings.HasSuffix(name, ".localhost")
	default:
		return false
	}
}

// tellable returns at most peerAddrsMax of addrs, without those that mean nothing, or another machine, to somebody on
// the other side of a connection to or from remote: 192.168.1.5 told by a node on the internet is not the neighbour
// that it names here, and following it would let that node aim our dials at our own network. The result is a new slice.
func tellable(addrs []ma.Multiaddr, remote ma.Multiaddr) []ma.Multiaddr {
	least := reachOf(remote)
	var kept []ma.Multiaddr
	for _, addr := range addrs {
		if len(kept) < peerAddrsMax && reachOf(addr) >= least {
			kept = append(kept, addr)
		}
	}
	return kept
}

// keepTellable applies tellable to every address in a message that was received from, or goes to, a node at remote,
// drops addresses that are not well formed, and keeps a random tellerProvidersMax of its holders.
func keepTellable(msg *pb.Message, remote ma.Multiaddr) {
	if providers := msg.ProviderPeers; len(providers) > tellerProvidersMax {
		rand.Shuffle(len(providers), func(i, j int) { providers[i], providers[j] = providers[j], providers[i] })
		msg.ProviderPeers = providers[:tellerProvidersMax]
	}
	for _, peers := range [...][]*pb.Message_Peer{msg.ProviderPeers, msg.CloserPeers} {
		for _, p := range peers {
			var raw [][]byte
			for _, addr := range tellable(p.Addresses(), remote) {
				raw = append(raw, addr.Bytes())
			}
			p.Addrs = raw
		}
	}
}
