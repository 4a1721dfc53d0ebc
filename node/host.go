package node

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	libp2pquic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// service is the name that the resource manager counts our streams under.
	service = "swarmsync"

	// A swarm needs tens of connections, the DHT a few more; thousands only kill home routers.
	connectionsLow  = 96
	connectionsHigh = 192
	connectionGrace = time.Minute

	// streamMemory is the largest receive window of a TCP stream (yamux). The default limits of a connection would
	// stop windows from growing, silently, as soon as there are two streams on it.
	streamMemory = 16 << 20

	// quicDelay is how much later QUIC is dialed than TCP on short paths.
	quicDelay = 250 * time.Millisecond
	tcpDelay  = 30 * time.Millisecond
)

// defaultListen is TCP and QUIC on all interfaces, any port.
var defaultListen = []multiaddr.Multiaddr{
	multiaddr.StringCast("/ip4/0.0.0.0/tcp/0"),
	multiaddr.StringCast("/ip6/::/tcp/0"),
	multiaddr.StringCast("/ip4/0.0.0.0/udp/0/quic-v1"),
	multiaddr.StringCast("/ip6/::/udp/0/quic-v1"),
}

// newHost starts the node's own libp2p host.
func newHost(h *home, listen []multiaddr.Multiaddr, transport Transport) (host.Host, error) {
	if err := transport.check(listen); err != nil {
		return nil, err
	}
	if err := checkPorts(listen); err != nil {
		return nil, err
	}
	resources, err := newResourceManager()
	if err != nil {
		return nil, err
	}
	connections, err := connmgr.NewConnManager(connectionsLow, connectionsHigh, connmgr.WithGracePeriod(connectionGrace))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connection manager: %w", err), resources.Close())
	}
	options := []libp2p.Option{
		libp2p.Identity(h.identity),
		libp2p.ListenAddrs(listen...),
		libp2p.UserAgent(service),
		libp2p.Security(libp2ptls.ID, libp2ptls.New), // 10 to 15 % faster than Noise, so it comes first
		libp2p.Security(noise.ID, noise.New),
		libp2p.ResourceManager(resources),
		libp2p.ConnectionManager(connections),
		libp2p.SwarmOpts(swarm.WithDialRanker(rankDials)),
		libp2p.DisableMetrics(),
	}
	if transport != TransportQUIC {
		options = append(options, libp2p.Transport(tcp.NewTCPTransport))
	}
	if transport != TransportTCP {
		options = append(options, libp2p.Transport(libp2pquic.NewTransport))
	}
	if !onlyLoopback(listen) {
		options = append(options, libp2p.NATPortMap(), libp2p.EnableAutoNATv2(), libp2p.EnableHolePunching())
	}
	made, err := libp2p.New(options...)
	if err != nil {
		// libp2p closes them with the host, but there is none.
		return nil, errors.Join(fmt.Errorf("listen on %v: %w", listen, err), connections.Close(), resources.Close())
	}
	return made, nil
}

// Allows reports whether connections to an address, or on it, are of the transport.
func (t Transport) Allows(address multiaddr.Multiaddr) bool {
	switch t {
	case TransportTCP:
		return hasProtocol(address, multiaddr.P_TCP)
	case TransportQUIC:
		return hasProtocol(address, multiaddr.P_QUIC_V1)
	}
	return true
}

func (t Transport) allowed(addresses []multiaddr.Multiaddr) (allowed []multiaddr.Multiaddr) {
	for _, address := range addresses {
		if t.Allows(address) {
			allowed = append(allowed, address)
		}
	}
	return allowed
}

// check refuses a transport that is none, and addresses that are not of it.
func (t Transport) check(listen []multiaddr.Multiaddr) error {
	switch t {
	case TransportAuto, TransportTCP, TransportQUIC:
	default:
		return fmt.Errorf("transport %q: want %s, %s or %s", t, TransportAuto, TransportTCP, TransportQUIC)
	}
	for _, address := range listen {
		if !t.Allows(address) {
			return fmt.Errorf("listen on %s: the transport is %s only", address, t)
		}
	}
	return nil
}

// checkPorts refuses to listen where another program listens already. libp2p would share the port with another node, and
// who dials it would reach either.
func checkPorts(listen []multiaddr.Multiaddr) error {
	for _, address := range listen {
		network, host, err := manet.DialArgs(address)
		if err != nil {
			continue // libp2p says what is wrong with it
		}
		if strings.HasPrefix(network, "udp") {
			var conn net.PacketConn
			if conn, err = net.ListenPacket(network, host); err == nil {
				err = conn.Close()
			}
		} else {
			var listener net.Listener
			if listener, err = net.Listen(network, host); err == nil {
				err = listener.Close()
			}
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("listen on %s: %w", address, err)
		}
	}
	return nil
}

// newResourceManager registers the limits of our own service and protocol, which otherwise get those of strangers.
func newResourceManager() (network.ResourceManager, error) {
	limits := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&limits)
	all := rcmgr.BaseLimit{
		Streams:         2 * (protocol.SessionsMax + protocol.UnprovedStreamsMax),
		StreamsInbound:  protocol.SessionsMax + protocol.UnprovedStreamsMax,
		StreamsOutbound: protocol.SessionsMax + protocol.UnprovedStreamsMax,
		Memory:          protocol.SessionsMax * streamMemory,
	}
	one := rcmgr.BaseLimit{
		Streams:         4 * protocol.SessionsPerPeerMax,
		StreamsInbound:  2 * protocol.SessionsPerPeerMax,
		StreamsOutbound: 2 * protocol.SessionsPerPeerMax,
		Memory:          protocol.SessionsPerPeerMax * streamMemory,
	}
	none := rcmgr.BaseLimitIncrease{}
	limits.AddServiceLimit(service, all, none)
	limits.AddServicePeerLimit(service, one, none)
	limits.AddProtocolLimit(protocol.ID, all, none)
	limits.AddProtocolPeerLimit(protocol.ID, one, none)
	limits.PeerBaseLimit.Memory = protocol.SessionsPerPeerMax * streamMemory
	limits.ConnBaseLimit.Memory = protocol.SessionsPerPeerMax * streamMemory
	// The default of 8 connections from one address keeps the ninth receiver in an office out.
	subnet := func(prefix int) []rcmgr.ConnLimitPerSubnet {
		return []rcmgr.ConnLimitPerSubnet{{ConnCount: protocol.SessionsMax / 2, PrefixLength: prefix}}
	}
	manager, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits.AutoScale()), rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(subnet(32), subnet(56)))
	if err != nil {
		return nil, fmt.Errorf("resource manager: %w", err)
	}
	return manager, nil
}

// rankDials prefers TCP on loopback and private addresses: there one TCP stream with TLS is 2.5 times as fast as QUIC
// and costs a third of its processor time. Elsewhere libp2p's own order holds, QUIC first.
func rankDials(addresses []multiaddr.Multiaddr) []network.AddrDelay {
	var near, far []multiaddr.Multiaddr
	nearTCP := 0
	for _, address := range addresses {
		if !manet.IsPrivateAddr(address) || isRelayed(address) {
			far = append(far, address)
			continue
		}
		near = append(near, address)
		if hasProtocol(address, multiaddr.P_TCP) {
			nearTCP++
		}
	}
	if nearTCP == 0 {
		return swarm.DefaultDialRanker(addresses)
	}
	ranked := make([]network.AddrDelay, 0, len(addresses))
	if len(far) > 0 {
		ranked = append(ranked, swarm.DefaultDialRanker(far)...)
	}
	var dialedTCP time.Duration
	for _, address := range near {
		delay := quicDelay
		if hasProtocol(address, multiaddr.P_TCP) {
			delay = dialedTCP
			dialedTCP += tcpDelay
		}
		ranked = append(ranked, network.AddrDelay{Addr: address, Delay: delay})
	}
	return ranked
}

func isRelayed(address multiaddr.Multiaddr) bool { return hasProtocol(address, multiaddr.P_CIRCUIT) }

func hasProtocol(address multiaddr.Multiaddr, code int) bool {
	_, err := address.ValueForProtocol(code)
	return err == nil
}

func onlyLoopback(addresses []multiaddr.Multiaddr) bool {
	for _, address := range addresses {
		if !manet.IsIPLoopback(address) {
			return false
		}
	}
	return true
}

// transportName is what users are told of a connection: "tcp/tls", "tcp/noise", "quic", with "relay " before it if it
// goes through a relay.
func transportName(conn network.Conn) string {
	state := conn.ConnState()
	name := state.Transport
	switch {
	case strings.HasPrefix(name, "quic"):
		name = "quic"
	case state.Security != "":
		name += "/" + strings.Split(strings.TrimPrefix(string(state.Security), "/"), "/")[0]
	}
	if isRelayed(conn.RemoteMultiaddr()) {
		name = "relay " + name
	}
	return name
}
