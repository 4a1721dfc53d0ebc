package discovery

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	ma "github.com/multiformats/go-multiaddr"
)

// neighbour is a node of the network that mDNS found.
type neighbour struct {
	info peer.AddrInfo
	seen time.Time
}

// startMDNS begins to tell the local network of this node, and to listen for others. Where that cannot be done, as in
// many containers, the node does without: other sources remain.
func (d *Discovery) startMDNS(newService func(host.Host, string, mdns.Notifee) mdns.Service) {
	if !slices.ContainsFunc(d.host.Addrs(), func(a ma.Multiaddr) bool { return reachOf(a) > reachHost }) {
		log.Infof("mDNS stays off: the node listens on loopback addresses only")
		return
	}
	if newService == nil {
		newService = func(h host.Host, name string, n mdns.Notifee) mdns.Service {
			return mdns.NewMdnsService(h, name, n)
		}
	}
	service := newService(d.host, mdnsName(d.network), lanNotifee{d})
	if err := service.Start(); err != nil {
		log.Warnf("mDNS stays off: %v", err)
		_ = service.Close()
		return
	}
	d.mdns, d.lanStarted = service, time.Now()
}

// mdnsName returns the name of a network's DNS service. Those have at most 15 letters, digits and single hyphens; of a
// network's name that does not fit after "ss-", 12 letters of the hash stand there.
func mdnsName(networkName string) string {
	const room = 15 - len("ss-")
	label := networkName
	// A hyphen at an end would stand beside another hyphen or at the end of the name.
	if padded := "-" + label + "-"; len(label) > room || strings.Contains(padded, "--") {
		sum := sha256.Sum256([]byte(networkName))
		label = strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:room]
	}
	return "_ss-" + label + "._udp"
}

// lanNotifee keeps the method that mDNS calls out of the API of Discovery.
type lanNotifee struct{ d *Discovery }

// HandlePeerFound implements mdns.Notifee. It may be called at any time, even after Close.
func (n lanNotifee) HandlePeerFound(info peer.AddrInfo) {
	d := n.d
	addrs := lanAddrs(info.Addrs)
	if info.ID == d.host.ID() || len(addrs) == 0 {
		return
	}
	select {
	case <-d.closing:
		return
	default:
	}
	d.addNeighbour(peer.AddrInfo{ID: info.ID, Addrs: addrs}, time.Now())
	d.changed.notify()
	if d.dht != nil && d.routingTableSize() == 0 {
		// A neighbour is a way into the network. Bootstrap returns at once and dials a few of knownPeers.
		_ = d.dht.Bootstrap(context.Background())
	}
}

// lanAddrs returns what a neighbour's addresses mean to this machine: all but the loopback ones.
func lanAddrs(addrs []ma.Multiaddr) []ma.Multiaddr {
	var kept []ma.Multiaddr
	for _, addr := range addrs {
		if reachOf(addr) > reachHost && len(kept) < peerAddrsMax {
			kept = append(kept, addr)
		}
	}
	return kept
}

// addNeighbour remembers info, in place of the neighbour that was not heard of for longest if there are too many.
func (d *Discovery) addNeighbour(info peer.AddrInfo, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.lan[info.ID]; !known && len(d.lan) == lanMax {
		var oldest peer.ID
		for id, n := range d.lan {
			if oldest == "" || n.seen.Before(d.lan[oldest].seen) {
				oldest = id
			}
		}
		delete(d.lan, oldest)
	}
	d.lan[info.ID] = neighbour{info, now}
}

// neighbours returns those that were heard of lately, in the order of their IDs.
func (d *Discovery) neighbours(now time.Time) []peer.AddrInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	infos := make([]peer.AddrInfo, 0, len(d.lan))
	for id, n := range d.lan {
		if now.Sub(n.seen) > lanExpiry {
			delete(d.lan, id)
			continue
		}
		infos = append(infos, n.info)
	}
	sortPeers(infos)
	return infos
}
