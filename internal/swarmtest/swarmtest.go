// Package swarmtest is networks in virtual time, for tests of whole swarms: libp2p hosts that are connected by links with
// a rate and a latency. NewQUIC and NewStreams make a network inside a bubble of testing/synctest; Network.Host adds a
// host to it.
//
// Time passes only when every goroutine of the bubble waits. So a swarm's day takes as long as its processor time, and a
// busy machine does not change what comes out. Repeated runs still differ a little: goroutines that are ready at the same
// moment run in any order, and keys and nonces are random.
package swarmtest

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/x/simlibp2p"
	"github.com/marcopolo/simnet"
)

// Mbit is a rate of a link: a million bits a second.
const Mbit = 1_000_000

// Link is how a host is connected: its rates in bits a second, and how long a packet takes from the host to the middle of
// the network, or back.
type Link struct {
	Up, Down int
	Latency  time.Duration
	// Weight multiplies the shares that flows of the host get of links, in a network of streams; 0 is 1.
	Weight float64
}

// Network is what hosts are connected by. Its methods may be called concurrently.
type Network struct {
	t       testing.TB
	entropy io.Reader // of the hosts' identities
	// transport returns the options of a host at an address.
	transport func(ip netip.Addr, link Link) libp2p.Option

	mu        sync.Mutex
	latencies map[netip.Addr]time.Duration
}

// NewQUIC makes a network over which hosts speak QUIC, to the last packet: packets wait in the queue of a link, and are
// dropped when it stands too long. It is for some hundred MB and some dozen hosts. It ends with the test, and must be
// called in a bubble of testing/synctest. Hosts take their identities from entropy.
func NewQUIC(t testing.TB, entropy io.Reader) *Network {
	n := newNetwork(t, entropy)
	wire := &simnet.Simnet{
		LatencyFunc: n.latency,
		Logger:      slog.New(slog.DiscardHandler), // packets to hosts that have left are nobody's mistake
	}
	wire.Start()
	t.Cleanup(wire.Close)
	// The queue of a link is fair between buckets, so every flow should have its own.
	const buckets = 1 << 14
	n.transport = func(_ netip.Addr, link Link) libp2p.Option {
		return simlibp2p.QUICSimnet(wire, simnet.NodeBiDiLinkSettings{
			Uplink:   simnet.LinkSettings{BitsPerSecond: link.Up, FlowBucketCount: buckets},
			Downlink: simnet.LinkSettings{BitsPerSecond: link.Down, FlowBucketCount: buckets},
		})
	}
	return n
}

func newNetwork(t testing.TB, entropy io.Reader) *Network {
	return &Network{t: t, entropy: entropy, latencies: make(map[netip.Addr]time.Duration)}
}

func (n *Network) latency(p *simnet.Packet) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.latencies[addrOf(p.From.String())] + n.latencies[addrOf(p.To.String())]
}

func addrOf(s string) netip.Addr { return netip.MustParseAddrPort(s).Addr().Unmap() }

// Host adds a host, which is closed at the end of the test if nobody has closed it before.
func (n *Network) Host(link Link) host.Host {
	n.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	ip := netip.MustParseAddr(simnet.IntToPublicIPv4(len(n.latencies)).String())
	n.latencies[ip] = link.Latency
	key, _, err := crypto.GenerateEd25519Key(n.entropy)
	if err != nil {
		n.t.Fatal(err)
	}
	h, err := libp2p.New(
		libp2p.Identity(key),
		libp2p.ListenAddrStrings(fmt.Sprintf("/ip4/%s/udp/8000/quic-v1", ip)),
		n.transport(ip, link),
		libp2p.DisableIdentifyAddressDiscovery(), // it never rests, so that time would not pass
		libp2p.DisableRelay(),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableMetrics(),
	)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = h.Close() })
	return h
}
