package discovery_test

import (
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	ma "github.com/multiformats/go-multiaddr"
	madns "github.com/multiformats/go-multiaddr-dns"

	"github.com/swarmsync/swarmsync/discovery"
)

// wire stands in for a local network: services that are started with the same name find each other. Nothing is sent.
type wire struct {
	mu       sync.Mutex
	services []*wireService
}

type wireService struct {
	wire    *wire
	host    host.Host
	name    string
	found   mdns.Notifee
	refuses bool
}

func (w *wire) service(h host.Host, name string, found mdns.Notifee) mdns.Service {
	return &wireService{wire: w, host: h, name: name, found: found}
}

func (s *wireService) Start() error {
	if s.refuses {
		return errors.New("no such interface")
	}
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	for _, other := range s.wire.services {
		if other.name == s.name {
			go other.found.HandlePeerFound(s.info())
			go s.found.HandlePeerFound(other.info())
		}
	}
	s.wire.services = append(s.wire.services, s)
	// Everybody hears themselves.
	go s.found.HandlePeerFound(s.info())
	return nil
}

// info is what the real service tells: the addresses of all interfaces, loopback among them.
func (s *wireService) info() peer.AddrInfo {
	return peer.AddrInfo{ID: s.host.ID(), Addrs: append(s.host.Addrs(), s.host.Network().ListenAddresses()...)}
}

func (s *wireService) Close() error {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	s.wire.services = slices.DeleteFunc(s.wire.services, func(other *wireService) bool { return other == s })
	return nil
}

// newNeighbour returns a host that listens on loopback, but whose address looks like one of a local network.
func newNeighbour(t *testing.T, options ...libp2p.Option) host.Host {
	t.Helper()
	dns, err := madns.NewResolver(madns.WithDefaultResolver(&madns.MockResolver{
		IP: map[string][]net.IPAddr{"neighbour.local": {{IP: net.IPv4(127, 0, 0, 1)}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return newHost(t, append(options,
		libp2p.MultiaddrResolver(swarm.ResolverFromMaDNS{Resolver: dns}),
		libp2p.AddrsFactory(func(addrs []ma.Multiaddr) []ma.Multiaddr {
			var told []ma.Multiaddr
			for _, addr := range addrs {
				told = append(told, ma.StringCast(strings.Replace(addr.String(), "/ip4/127.0.0.1/", "/dns4/neighbour.local/", 1)))
			}
			return told
		}))...)
}

// firstDialFails lets no dial through before the second.
type firstDialFails struct {
	connmgr.ConnectionGater
	dials atomic.Int32
}

func (f *firstDialFails) InterceptPeerDial(peer.ID) bool               { return f.dials.Add(1) > 1 }
func (f *firstDialFails) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }
func (f *firstDialFails) InterceptAccept(network.ConnMultiaddrs) bool  { return true }
func (f *firstDialFails) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) {
	return true, 0
}

func (f *firstDialFails) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool {
	return true
}

// The DHT dials a neighbour once, and then not for minutes: one that was too busy just then was no way into the network.
func TestNeighbourThatAnswersOnlyTheSecondTime(t *testing.T) {
	t.Parallel()
	var lan, quiet wire
	neighbour := start(t, newNeighbour(t), func(cfg *discovery.Config) { cfg.SetMDNS(quiet.service) })
	var found mdns.Notifee
	seeker := start(t, newNeighbour(t, libp2p.ConnectionGater(&firstDialFails{})), func(cfg *discovery.Config) {
		cfg.SetMDNS(func(h host.Host, name string, notifee mdns.Notifee) mdns.Service {
			found = notifee
			return lan.service(h, name, notifee)
		})
	})
	found.HandlePeerFound(neighbour.info())
	eventually(t, "the neighbour is in the routing table", func() bool { return seeker.Status().TableSize == 1 })
}

func TestNeighboursFindEachOther(t *testing.T) {
	t.Parallel()
	var lan wire
	onLAN := func(cfg *discovery.Config) { cfg.SetMDNS(lan.service) }
	holder := start(t, newNeighbour(t), onLAN)
	key := discovery.Key{1}
	holder.Provide(key)
	seeker := start(t, newNeighbour(t), onLAN)

	// Nobody joined anybody: the neighbour is a candidate, and the way into the DHT.
	found := find(t, seeker, key, 2)
	for _, source := range []discovery.Source{discovery.SourceLAN, discovery.SourceDHT} {
		if got := from(source, found); !slices.Equal(got, []peer.ID{holder.id()}) {
			t.Errorf("candidates from %s: %v, want %s", source, got, holder.id())
		}
	}
	eventually(t, "the key is announced", func() bool { return holder.Status().Announced == 1 })
	for _, n := range []node{holder, seeker} {
		s := n.Status()
		if !s.MDNS || len(s.LAN) != 1 || s.LAN[0].ID == n.id() {
			t.Errorf("neighbours of %s: %v (mDNS on: %v), want the other", n.id(), s.LAN, s.MDNS)
		}
		for _, addr := range s.LAN[0].Addrs {
			if !strings.HasPrefix(addr.String(), "/dns4/neighbour.local/") {
				t.Errorf("the neighbour has the address %s, which means this machine", addr)
			}
		}
	}
}

func TestNeighbourThatComesDuringASearch(t *testing.T) {
	t.Parallel()
	var lan wire
	plain := func(cfg *discovery.Config) { cfg.SetMDNS(lan.service); cfg.DHT = false }
	seeker, first := start(t, newNeighbour(t), plain), start(t, newNeighbour(t), plain)
	hosts := []host.Host{first.host}
	var found []peer.ID
	err := seeker.Find(t.Context(), discovery.Key{1}, func(c discovery.Candidate) bool {
		found = append(found, c.Peer.ID)
		if len(found) < 3 {
			hosts = append(hosts, start(t, newNeighbour(t), plain).host)
		}
		return len(found) < 3
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		if !slices.Contains(found, h.ID()) {
			t.Errorf("found %v, without %s", found, h.ID())
		}
	}
}

func TestLANAnswersWithSilence(t *testing.T) {
	t.Parallel()
	var lan wire
	n := start(t, newNeighbour(t), func(cfg *discovery.Config) { cfg.SetMDNS(lan.service); cfg.DHT = false })
	if _, looked := findAnswered(t, n, discovery.Key{1}); looked != "joined peers (0), LAN (0), DHT (off)" {
		t.Errorf("looked in: %s", looked)
	}
}

func TestMDNSStaysOff(t *testing.T) {
	t.Parallel()
	t.Run("on a host that nobody else can reach", func(t *testing.T) {
		n := start(t, newHost(t), func(cfg *discovery.Config) {
			cfg.SetMDNS(func(host.Host, string, mdns.Notifee) mdns.Service {
				t.Error("the local network was told of a loopback address")
				return nil
			})
		})
		if n.Status().MDNS {
			t.Error("status says that it is on")
		}
	})
	t.Run("where it cannot be had", func(t *testing.T) {
		var lan wire
		n := start(t, newNeighbour(t), func(cfg *discovery.Config) {
			cfg.SetMDNS(func(h host.Host, name string, found mdns.Notifee) mdns.Service {
				return &wireService{wire: &lan, host: h, name: name, found: found, refuses: true}
			})
		})
		if n.Status().MDNS {
			t.Error("status says that it is on")
		}
	})
}
