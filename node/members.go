package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/swarmsync/swarmsync/discovery"
	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// sourcePeers are peers that other members of the swarm told of.
	sourcePeers discovery.Source = "peers"
	// membersMax bounds the members of a root that are remembered: what a session may be told in 80 s.
	membersMax = 256
	// toldMax bounds the candidates of one fetch that come from other members, and toldByOneMax those that come from one
	// of them: a quarter, so that whoever makes them up wastes only that.
	toldMax      = 256
	toldByOneMax = toldMax / 4
	// addressesMax is how many addresses of a told member are tried.
	addressesMax = 8
)

// members remembers who took part in which swarm lately, and tells those who take part now. The zero value is empty.
type members struct {
	// mu guards what follows. It is held while a session is told something, which never waits.
	mu sync.Mutex
	// known is what can be told of the peers that are connected.
	known map[peer.ID]protocol.Member
	roots map[protocol.DiscoveryKey]*swarmMembers
}

// swarmMembers are the members of one root: those met lately, the latest last, and the sessions with some of them.
type swarmMembers struct {
	met      []metMember
	named    int // where in met some goes on with those before; it may be beyond the end
	sessions map[*memberSession]bool
}

type metMember struct {
	id     peer.ID
	member protocol.Member
	last   time.Time
}

// memberSession is a session with a member, in either direction.
type memberSession struct {
	peer peer.ID
	send func([]protocol.Member) error
}

// meet notes a proved session with a peer, and returns what ends it. The peer is told of the members, and they of it, now
// or when it is known what can be told. send must not wait.
func (m *members) meet(key protocol.DiscoveryKey, id peer.ID, send func([]protocol.Member) error) (leave func()) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.roots == nil {
		m.roots = make(map[protocol.DiscoveryKey]*swarmMembers)
	}
	swarm := m.roots[key]
	if swarm == nil {
		swarm = &swarmMembers{sessions: make(map[*memberSession]bool)}
		m.roots[key] = swarm
	}
	session := &memberSession{id, send}
	swarm.sessions[session] = true
	if others := swarm.othersThan(id, now); len(others) > 0 {
		_ = send(others) // a session that is over, or was told enough: others will tell
	}
	if member, ok := m.known[id]; ok {
		swarm.introduce(id, member, now)
	}
	return func() { m.leave(key, session) }
}

// know notes what can be told of a peer, and tells it in the swarms that the peer has a session of.
func (m *members) know(id peer.ID, member protocol.Member) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = make(map[peer.ID]protocol.Member)
	}
	m.known[id] = member
	for _, swarm := range m.roots {
		for session := range swarm.sessions {
			if session.peer == id {
				swarm.introduce(id, member, now)
				break
			}
		}
	}
}

// forget drops what was known of a peer that is not connected any more.
func (m *members) forget(id peer.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.known, id)
}

// introduce tells all sessions of a member.
func (s *swarmMembers) introduce(id peer.ID, member protocol.Member, now time.Time) {
	s.remember(metMember{id, member, now})
	for session := range s.sessions {
		if session.peer != id {
			_ = session.send([]protocol.Member{member})
		}
	}
}

// leave ends a session, and forgets a swarm that nobody has met lately.
func (m *members) leave(key protocol.DiscoveryKey, session *memberSession) {
	m.mu.Lock()
	defer m.mu.Unlock()
	swarm := m.roots[key]
	delete(swarm.sessions, session)
	now := time.Now()
	for other, s := range m.roots {
		s.met = slices.DeleteFunc(s.met, func(met metMember) bool { return now.Sub(met.last) > protocol.MemberAge })
		if len(s.met)+len(s.sessions) == 0 {
			delete(m.roots, other)
		}
	}
}

// remember enters a member as the one met last.
func (s *swarmMembers) remember(latest metMember) {
	s.met = slices.DeleteFunc(s.met, func(met metMember) bool { return met.id == latest.id })
	if len(s.met) >= membersMax {
		s.met = slices.Delete(s.met, 0, 1)
	}
	s.met = append(s.met, latest)
}

// othersThan returns the members met lately, the latest first, as many as may be told at once.
func (s *swarmMembers) othersThan(id peer.ID, now time.Time) []protocol.Member {
	var others []protocol.Member
	for _, met := range slices.Backward(s.met) {
		if met.id != id && now.Sub(met.last) <= protocol.MemberAge && len(others) < protocol.PeersMax {
			others = append(others, met.member)
		}
	}
	return others
}

// some returns up to n members met lately and still connected that are not the given peer. Each call goes on where the one
// before ended, so that of many peers each is told of others.
func (m *members) some(key protocol.DiscoveryKey, id peer.ID, n int) []protocol.Member {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	swarm := m.roots[key]
	if swarm == nil {
		return nil
	}
	var some []protocol.Member
	for range swarm.met {
		swarm.named = (swarm.named + len(swarm.met) - 1) % len(swarm.met)
		met := swarm.met[swarm.named]
		member, connected := m.known[met.id]
		if connected && met.id != id && now.Sub(met.last) <= protocol.MemberAge {
			some = append(some, member)
		}
		if len(some) == n {
			break
		}
	}
	return some
}

// watchMembers learns what can be told of peers, until ctx ends: their signed records come with their identification, which
// may be later than their first session.
func (n *Node) watchMembers(ctx context.Context, events event.Subscription) {
	defer func() { _ = events.Close() }()
	for {
		select {
		case <-ctx.Done():
			return
		case happened := <-events.Out():
			switch e := happened.(type) {
			case event.EvtPeerIdentificationCompleted:
				if member, ok := memberOf(e.SignedPeerRecord, e.Conn); ok {
					n.members.know(e.Peer, member)
				}
			case event.EvtPeerConnectednessChanged:
				if e.Connectedness == network.NotConnected {
					n.members.forget(e.Peer)
				}
			}
		}
	}
}

// subscribeMembers makes the subscription of watchMembers.
func subscribeMembers(h host.Host) (event.Subscription, error) {
	events, err := h.EventBus().Subscribe([]any{
		new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerConnectednessChanged),
	})
	if err != nil {
		return nil, fmt.Errorf("watch for members: %w", err)
	}
	return events, nil
}

// memberOf is what can be told of the peer at the other end of a connection: its signed record, and an address that works.
func memberOf(envelope *record.Envelope, conn network.Conn) (protocol.Member, bool) {
	if envelope == nil {
		return protocol.Member{}, false
	}
	signed, err := envelope.Marshal()
	if err != nil || len(signed) > protocol.MemberRecordMax {
		return protocol.Member{}, false
	}
	address := conn.RemoteMultiaddr()
	if conn.Stat().Direction == network.DirInbound {
		address = listening(envelope, address)
	}
	used := address.Bytes()
	if len(used) == 0 || len(used) > protocol.MemberAddrMax {
		return protocol.Member{}, false
	}
	return protocol.Member{Record: signed, Addr: used}, true
}

// listening returns the address in a signed record that is on the host which a connection came from, whose own port need
// not be one that the peer listens on.
func listening(envelope *record.Envelope, from multiaddr.Multiaddr) multiaddr.Multiaddr {
	ip, err := manet.ToIP(from)
	signed, errRecord := recordOf(envelope)
	if err != nil || errRecord != nil {
		return from
	}
	for _, address := range signed.Addrs {
		if other, err := manet.ToIP(address); err == nil && other.Equal(ip) {
			return address
		}
	}
	return from
}

func recordOf(envelope *record.Envelope) (*peer.PeerRecord, error) {
	var signed peer.PeerRecord
	if err := envelope.TypedRecord(&signed); err != nil {
		return nil, err
	}
	return &signed, nil
}

// claimedMember returns whom a member's record says that it is of, whether or not that is true.
func claimedMember(m protocol.Member) (peer.ID, bool) {
	envelope, err := record.UnmarshalEnvelope(m.Record)
	if err != nil {
		return "", false
	}
	id, err := peer.IDFromPublicKey(envelope.PublicKey)
	return id, err == nil
}

// parseMember checks what a peer says of another one: the record must be signed by the peer that it is about. If the teller
// is on a public address, private ones are left out: they could only be of a network that is none of its business.
func parseMember(m protocol.Member, tellerPublic bool) (peer.AddrInfo, bool) {
	envelope, _, err := record.ConsumeEnvelope(m.Record, peer.PeerRecordEnvelopeDomain)
	if err != nil {
		return peer.AddrInfo{}, false
	}
	signed, err := recordOf(envelope)
	if err != nil || !signed.PeerID.MatchesPublicKey(envelope.PublicKey) {
		return peer.AddrInfo{}, false
	}
	addresses := signed.Addrs
	if used, err := multiaddr.NewMultiaddrBytes(m.Addr); err == nil {
		addresses = append([]multiaddr.Multiaddr{used}, addresses...)
	}
	info := peer.AddrInfo{ID: signed.PeerID}
	for _, address := range addresses {
		usable := !tellerPublic || manet.IsPublicAddr(address)
		if usable && len(info.Addrs) < addressesMax && !slices.ContainsFunc(info.Addrs, address.Equal) {
			info.Addrs = append(info.Addrs, address)
		}
	}
	return info, len(info.Addrs) > 0
}

// toldMembers counts what members told of others, for one fetch.
type toldMembers struct {
	all int
	by  map[peer.ID]int
}

func (t *toldMembers) full(teller peer.ID) bool {
	return t.all >= toldMax || t.by[teller] >= toldByOneMax
}

// allow reports whether one more candidate may come from a teller.
func (t *toldMembers) allow(teller peer.ID) bool {
	if t.full(teller) {
		return false
	}
	if t.by == nil {
		t.by = make(map[peer.ID]int)
	}
	t.all++
	t.by[teller]++
	return true
}
