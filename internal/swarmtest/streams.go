package swarmtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

// NewStreams makes a network whose hosts have real connections and streams of libp2p over a model of links: no packets,
// no encryption, no loss; the streams on a link share its rate. It is for swarms that would take too long over QUIC. It
// ends with the test, and must be called in a bubble of testing/synctest. Hosts take their identities from entropy.
//
// With uneven being true each connection has a weight of its own between a half and 2, by which it shares links, as
// connections over the internet do not get the same; otherwise all get the same.
func NewStreams(t testing.TB, entropy io.Reader, uneven bool) *Network {
	n := newNetwork(t, entropy)
	w := &wire{links: newLinks(), uneven: uneven, ports: make(map[string]*port)}
	_, _ = io.ReadFull(entropy, w.seed[:])
	var running sync.WaitGroup
	running.Go(w.links.run)
	t.Cleanup(func() {
		close(w.links.done)
		running.Wait()
	})
	n.transport = func(ip netip.Addr, link Link) libp2p.Option {
		return libp2p.Transport(func(key crypto.PrivKey) (*port, error) { return w.port(key, link) })
	}
	return n
}

// wire is what the ports of a network are connected by.
type wire struct {
	links  *links
	uneven bool
	seed   [32]byte // of the weights

	// ports are those that listen, by address; guarded by links.mu.
	ports map[string]*port
}

// weight returns that of a connection between two ports. It does not depend on the order in which connections are made.
func (w *wire) weight(a, b *port) float64 {
	weight := cmp.Or(a.link.Weight, 1) * cmp.Or(b.link.Weight, 1)
	if !w.uneven {
		return weight
	}
	seed := w.seed
	for i, c := range []byte(a.address.String()) {
		seed[i%len(seed)] ^= c
	}
	for i, c := range []byte(b.address.String()) {
		seed[len(seed)-1-i%len(seed)] ^= c
	}
	return weight * math.Exp2(2*rand.New(rand.NewChaCha8(seed)).Float64()-1)
}

// port is how a host is connected. It is the host's transport, and its listener.
type port struct {
	wire     *wire
	link     Link
	up, down lane
	id       peer.ID
	key      crypto.PubKey

	// What follows is guarded by links.mu.
	address  multiaddr.Multiaddr // nil as long as it does not listen
	incoming []*conn
	changed  *sync.Cond
}

var (
	_ transport.Transport = (*port)(nil)
	_ transport.Listener  = (*listener)(nil)
)

func (w *wire) port(key crypto.PrivKey, link Link) (*port, error) {
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &port{
		wire: w, link: link,
		up:   lane{links: w.links, rate: float64(link.Up) / 8},
		down: lane{links: w.links, rate: float64(link.Down) / 8},
		id:   id, key: key.GetPublic(),
		changed: sync.NewCond(&w.links.mu),
	}, nil
}

func (p *port) CanDial(address multiaddr.Multiaddr) bool {
	_, err := address.ValueForProtocol(multiaddr.P_QUIC_V1)
	return err == nil
}

func (p *port) Protocols() []int { return []int{multiaddr.P_QUIC_V1} }
func (p *port) Proxy() bool      { return false }

// Dial takes a round trip. Nobody answers for a host that is not there.
func (p *port) Dial(ctx context.Context, address multiaddr.Multiaddr, id peer.ID) (transport.CapableConn, error) {
	p.wire.links.mu.Lock()
	other := p.wire.ports[address.String()]
	p.wire.links.mu.Unlock()
	if other == nil {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if other.id != id {
		return nil, fmt.Errorf("dial %s: it is %s", id, other.id)
	}
	select {
	case <-time.After(2 * (p.link.Latency + other.link.Latency)):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	p.wire.links.mu.Lock()
	defer p.wire.links.mu.Unlock()
	if other.address == nil || p.address == nil {
		return nil, errors.New("dial: it is closed")
	}
	weight := p.wire.weight(p, other)
	near, far := newConn(p, other, weight), newConn(other, p, weight)
	near.other, far.other = far, near
	other.incoming = append(other.incoming, far)
	other.changed.Broadcast()
	return near, nil
}

func (p *port) Listen(address multiaddr.Multiaddr) (transport.Listener, error) {
	p.wire.links.mu.Lock()
	defer p.wire.links.mu.Unlock()
	p.wire.ports[address.String()] = p
	p.address = address
	return &listener{p}, nil
}

// listener is a port that listens.
type listener struct{ port *port }

func (l *listener) Accept() (transport.CapableConn, error) {
	p := l.port
	p.wire.links.mu.Lock()
	defer p.wire.links.mu.Unlock()
	for len(p.incoming) == 0 && p.address != nil {
		p.changed.Wait()
	}
	if p.address == nil {
		return nil, transport.ErrListenerClosed
	}
	c := p.incoming[0]
	p.incoming = p.incoming[1:]
	return c, nil
}

func (l *listener) Close() error {
	p := l.port
	p.wire.links.mu.Lock()
	defer p.wire.links.mu.Unlock()
	if p.address != nil {
		delete(p.wire.ports, p.address.String())
		p.address = nil
		p.changed.Broadcast()
	}
	return nil
}

func (l *listener) Multiaddr() multiaddr.Multiaddr {
	l.port.wire.links.mu.Lock()
	defer l.port.wire.links.mu.Unlock()
	return l.port.address
}

func (l *listener) Addr() net.Addr {
	address, err := manet.ToNetAddr(l.Multiaddr())
	if err != nil {
		return nil
	}
	return address
}

// conn is one side's end of a connection.
type conn struct {
	near, far *port
	weight    float64
	other     *conn
	addresses [2]multiaddr.Multiaddr // near and far, as they were when it began

	// What follows is guarded by links.mu.
	closed   bool
	streams  map[*stream]bool
	incoming []*stream
	changed  *sync.Cond
}

var _ transport.CapableConn = (*conn)(nil)

func newConn(near, far *port, weight float64) *conn {
	return &conn{
		near: near, far: far, weight: weight,
		addresses: [2]multiaddr.Multiaddr{near.address, far.address},
		streams:   make(map[*stream]bool),
		changed:   sync.NewCond(&near.wire.links.mu),
	}
}

func (c *conn) LocalPeer() peer.ID                   { return c.near.id }
func (c *conn) RemotePeer() peer.ID                  { return c.far.id }
func (c *conn) RemotePublicKey() crypto.PubKey       { return c.far.key }
func (c *conn) LocalMultiaddr() multiaddr.Multiaddr  { return c.addresses[0] }
func (c *conn) RemoteMultiaddr() multiaddr.Multiaddr { return c.addresses[1] }
func (c *conn) Scope() network.ConnScope             { return &network.NullScope{} }
func (c *conn) Transport() transport.Transport       { return c.near }
func (c *conn) As(any) bool                          { return false }

func (c *conn) ConnState() network.ConnectionState {
	return network.ConnectionState{Transport: "streams"}
}

func (c *conn) Close() error { return c.CloseWithError(network.ConnNoError) }

// CloseWithError closes this end, and the other one when it has heard of it.
func (c *conn) CloseWithError(network.ConnErrorCode) error {
	links := c.near.wire.links
	links.mu.Lock()
	defer links.mu.Unlock()
	if !c.closed {
		c.shut(false)
		links.after(c.near.link.Latency+c.far.link.Latency, func() { c.other.shut(true) })
	}
	return nil
}

func (c *conn) shut(remote bool) {
	if c.closed {
		return
	}
	c.closed = true
	for s := range c.streams {
		s.fail(&network.ConnError{Remote: remote})
	}
	c.changed.Broadcast()
}

func (c *conn) IsClosed() bool {
	c.near.wire.links.mu.Lock()
	defer c.near.wire.links.mu.Unlock()
	return c.closed
}

// OpenStream opens a stream at once; the other side learns of it when the first byte could be there.
func (c *conn) OpenStream(context.Context) (network.MuxedStream, error) {
	links := c.near.wire.links
	links.mu.Lock()
	defer links.mu.Unlock()
	if c.closed {
		return nil, &network.ConnError{}
	}
	out, in := newFlow(links, c.near, c.far, c.weight), newFlow(links, c.far, c.near, c.weight)
	near, far := &stream{conn: c, in: in, out: out}, &stream{conn: c.other, in: out, out: in}
	near.other, far.other = far, near
	c.streams[near] = true
	links.after(out.latency, func() {
		if c.other.closed {
			near.fail(network.ErrReset)
			return
		}
		c.other.streams[far] = true
		c.other.incoming = append(c.other.incoming, far)
		c.other.changed.Broadcast()
	})
	return near, nil
}

func (c *conn) AcceptStream() (network.MuxedStream, error) {
	c.near.wire.links.mu.Lock()
	defer c.near.wire.links.mu.Unlock()
	for len(c.incoming) == 0 && !c.closed {
		c.changed.Wait()
	}
	if c.closed {
		return nil, &network.ConnError{}
	}
	s := c.incoming[0]
	c.incoming = c.incoming[1:]
	return s, nil
}

// stream is one side's end of a stream.
type stream struct {
	conn    *conn
	in, out *flow
	other   *stream
}

var _ network.MuxedStream = (*stream)(nil)

func (s *stream) Read(buf []byte) (int, error)   { return s.in.read(buf) }
func (s *stream) Write(data []byte) (int, error) { return s.out.write(data) }
func (s *stream) Reset() error                   { return s.ResetWithError(network.StreamNoError) }

func (s *stream) Close() error {
	s.with(func() {
		s.out.end()
		s.stopReading()
		s.forget()
	})
	return nil
}

func (s *stream) CloseWrite() error {
	s.with(s.out.end)
	return nil
}

func (s *stream) CloseRead() error {
	s.with(s.stopReading)
	return nil
}

// stopReading tells the other side, too, that nobody reads any more.
func (s *stream) stopReading() {
	s.in.failReader(network.ErrReset)
	s.later(func() { s.in.failWriter(network.ErrReset) })
}

// ResetWithError ends the stream here, and over there when the news has come, which overtakes what is under way.
func (s *stream) ResetWithError(code network.StreamErrorCode) error {
	s.with(func() {
		s.fail(&network.StreamError{ErrorCode: code})
		s.later(func() { s.other.fail(&network.StreamError{ErrorCode: code, Remote: true}) })
	})
	return nil
}

// fail ends what this side sees of the stream.
func (s *stream) fail(err error) {
	s.in.failReader(err)
	s.out.failWriter(err)
	s.forget()
}

// later does something when the other side could have heard of what happens now.
func (s *stream) later(do func()) { s.conn.near.wire.links.after(s.out.latency, do) }

func (s *stream) forget() { delete(s.conn.streams, s) }

func (s *stream) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func (s *stream) SetReadDeadline(t time.Time) error {
	s.with(func() {
		s.in.readBy = t
		s.in.changed.Broadcast()
	})
	return nil
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	s.with(func() {
		s.out.writeBy = t
		s.out.changed.Broadcast()
	})
	return nil
}

// with does something with the lock of all links held.
func (s *stream) with(do func()) {
	s.conn.near.wire.links.mu.Lock()
	defer s.conn.near.wire.links.mu.Unlock()
	do()
}
