package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	manet "github.com/multiformats/go-multiaddr/net"
	"golang.org/x/time/rate"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// protectServing keeps connections to receivers from being trimmed.
const protectServing = service + " serve"

const (
	// A receiver that found no room may ask again after busyRetry. Many do so one after another, busyEvery apart: else they
	// would come all at once, and take the more of the uplink the more they are. But none waits for more than busyRetryMax,
	// so that there are more tries than one in DefaultWait.
	busyRetry    = 2 * time.Second
	busyRetryMax = DefaultWait / 3
	busyEvery    = busyRetry / protocol.SessionsMax
	// busyNames is how many others such a receiver is told of: of a crowd of 1,000 those that find room are asked by 23 others
	// each. All of them together are told of busyNamesBurst, some 3 MB, and then of busyNamesRate a second.
	busyNames      = 8
	busyNamesBurst = 8192
	busyNamesRate  = 128
)

// server answers the sessions that others open.
type server struct {
	node    *Node
	work    sync.WaitGroup
	holders protocol.Holders
	names   *rate.Limiter // of members to receivers that found no room

	// mu guards what follows.
	mu       sync.Mutex
	unproved int
	sessions map[*serving]bool
	perPeer  map[peer.ID]int
	served   int64     // what the sessions of now had written when it was last looked
	retry    time.Time // when the last receiver that found no room may ask again
	closed   bool
}

// serving is a session in which this node is the holder.
type serving struct {
	root   cafs.Key
	key    protocol.DiscoveryKey
	peer   peer.ID
	since  time.Time
	conn   network.Conn
	stream *sessionStream
	holder *protocol.Holder // nil until the session is accepted
	// early is what became known meanwhile.
	early []protocol.HaveItem
	end   context.CancelCauseFunc
}

func newServer(n *Node) *server {
	return &server{
		node: n, sessions: make(map[*serving]bool), perPeer: make(map[peer.ID]int),
		names: rate.NewLimiter(busyNamesRate, busyNamesBurst),
	}
}

// handle is the stream handler of protocol.ID.
func (s *server) handle(stream network.Stream) {
	if full, closed := s.enter(); closed {
		_ = stream.ResetWithError(network.StreamShutdown)
		return
	} else if full {
		_ = stream.ResetWithError(network.StreamRateLimited)
		return
	}
	defer s.work.Done()
	if err := s.serve(s.node.ctx, stream); err != nil {
		log.Debugf("session with %s: %v", stream.Conn().RemotePeer(), err)
		_ = nodeStream{stream, s.node}.Reset()
	}
}

// enter takes a place for a stream without a proof, unless there is none or the server is closed.
func (s *server) enter() (full, closed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	full = s.unproved >= protocol.UnprovedStreamsMax
	if full || s.closed {
		return full, s.closed
	}
	s.unproved++
	s.work.Add(1)
	return false, false
}

// close refuses new streams and waits for the sessions under way; the end of the node's context ends those.
func (s *server) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.work.Wait()
}

func (s *server) serve(ctx context.Context, stream network.Stream) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	proved := sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unproved--
	})
	session, c, err := s.accept(ctx, end, stream, proved)
	proved() // or it never will be
	if c != nil {
		defer c.release()
	}
	if session != nil {
		defer s.leave(session)
	}
	if err != nil || session == nil {
		return err
	}
	if f := s.node.fetchOf(c.root); f != nil {
		f.candidates.tell(tale{teller: session.peer, asks: true})
	}
	defer s.node.members.meet(session.key, session.peer, session.holder.SendPeers)()
	return session.holder.Run(ctx)
}

// accept answers OPEN; there is no session if it refused. The content is to be released and the session left if they
// are not nil, also after an error. The session ends with ctx, which end ends. proved is called when the proof holds.
func (s *server) accept(
	ctx context.Context, end context.CancelCauseFunc, stream network.Stream, proved func(),
) (*serving, *content, error) {
	wrapped, err := s.node.wrapStream(stream)
	if err != nil {
		return nil, nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = stream.Reset() })()
	if err := stream.SetDeadline(time.Now().Add(s.node.patience.open)); err != nil {
		return nil, nil, err
	}
	var c *content
	var session *serving
	remote := stream.Conn().RemotePeer()
	holder, err := protocol.Accept(wrapped, protocol.HolderConfig{
		Network: s.node.cfg.Network,
		Local:   []byte(s.node.ID()),
		Remote:  []byte(remote),
		Find: func(key protocol.DiscoveryKey) (protocol.Content, bool) {
			c = s.node.contentOf(key)
			return c, c != nil
		},
		Admit: func(root cafs.Key) (protocol.Busy, bool) {
			proved()
			var full bool
			if session, full = s.admit(remote, root, end); session == nil {
				return s.busy(remote, root, full), false
			}
			session.conn, session.stream = stream.Conn(), wrapped
			return protocol.Busy{}, true
		},
		Holders: &s.holders,
		Members: func(members []protocol.Member) {
			if f := s.node.fetchOf(c.root); f != nil {
				public := manet.IsPublicAddr(stream.Conn().RemoteMultiaddr())
				f.candidates.tell(tale{teller: remote, public: public, members: members})
			}
		},
	})
	var refused *protocol.RefusedError
	if errors.As(err, &refused) {
		// The answer must reach the other side: no reset after it.
		return nil, c, stream.Close()
	}
	if err != nil {
		return session, c, err
	}
	s.begin(session, holder)
	return session, c, stream.SetDeadline(time.Time{})
}

// begin makes a session that was accepted one that can be told something.
func (s *server) begin(session *serving, holder *protocol.Holder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	session.holder = holder
	for _, item := range session.early {
		session.tellHave([]protocol.HaveItem{item}) // apart, as ranges may be in it more than once
	}
	session.early = nil
}

// receivers returns the peers that have a session about a root in which this node is the holder.
func (s *server) receivers(key protocol.DiscoveryKey) []peer.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var receivers []peer.ID
	for session := range s.sessions {
		if session.key == key {
			receivers = append(receivers, session.peer)
		}
	}
	return receivers
}

// roots returns the roots that others have a session about.
func (s *server) roots() []cafs.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	var roots []cafs.Key
	for session := range s.sessions {
		if !slices.Contains(roots, session.root) {
			roots = append(roots, session.root)
		}
	}
	return roots
}

// tellHave tells receivers of a root what has come.
func (s *server) tellHave(key protocol.DiscoveryKey, news map[peer.ID][]protocol.HaveItem) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session := range s.sessions {
		if items := news[session.peer]; session.key == key && len(items) > 0 {
			session.tellHave(items)
		}
	}
}

// tellHave tells the receiver, or keeps the news until it can be told. A receiver that takes no news does not take
// anything else either, and may open another session. Callers hold server.mu.
func (s *serving) tellHave(items []protocol.HaveItem) {
	if s.holder == nil {
		s.early = append(s.early, items...)
		return
	}
	if err := s.holder.SendHave(items); err != nil {
		s.end(err)
	}
}

// admit takes a place for a session. It returns nil if there is none for this receiver; full tells that nobody finds one.
func (s *server) admit(remote peer.ID, root cafs.Key, end context.CancelCauseFunc) (session *serving, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := protocol.DiscoveryKeyOf(root)
	// With the lock held: whoever removes the root after this look finds the session.
	full = len(s.sessions) >= protocol.SessionsMax
	if full || !s.node.serves(key) || s.perPeer[remote] >= protocol.SessionsPerPeerMax {
		return nil, full
	}
	session = &serving{root: root, key: key, peer: remote, since: time.Now(), end: end}
	s.sessions[session] = true
	s.perPeer[remote]++
	s.node.host.ConnManager().Protect(remote, protectServing)
	return session, false
}

// busy returns what a receiver is told that was not admitted; full: nobody would be.
func (s *server) busy(remote peer.ID, root cafs.Key, full bool) protocol.Busy {
	if !full {
		return protocol.Busy{RetryAfter: busyRetry}
	}
	now := time.Now()
	told := protocol.Busy{RetryAfter: s.retryAfter(now)}
	if s.names.TokensAt(now) >= busyNames {
		told.Members = s.node.members.some(protocol.DiscoveryKeyOf(root), remote, busyNames)
		s.names.AllowN(now, len(told.Members))
	}
	return told
}

// retryAfter returns how long one of many receivers that found no room should stay away.
func (s *server) retryAfter(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	wait := min(max(s.retry.Add(busyEvery).Sub(now), busyRetry), busyRetryMax)
	s.retry = now.Add(wait)
	return wait
}

func (s *server) leave(session *serving) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, session)
	if s.perPeer[session.peer]--; s.perPeer[session.peer] == 0 {
		delete(s.perPeer, session.peer)
		s.node.host.ConnManager().Unprotect(session.peer, protectServing)
	}
}

// end ends the sessions about a root that is not served any more.
func (s *server) end(key protocol.DiscoveryKey, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for session := range s.sessions {
		if session.key == key {
			session.end(cause)
		}
	}
}

// quiet reports whether nothing was served since the last call.
func (s *server) quiet() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	served := int64(0)
	for session := range s.sessions {
		if session.holder != nil {
			_, written := session.holder.Traffic()
			served += written
		}
	}
	quiet := served == s.served
	s.served = served
	return quiet
}

// transfers returns what is being served.
func (s *server) transfers() []TransferStatus {
	now := time.Now()
	var transfers []TransferStatus
	var roots []cafs.Key
	s.mu.Lock()
	for session := range s.sessions {
		if session.holder == nil {
			continue // not accepted yet
		}
		_, written := session.holder.Traffic()
		roots = append(roots, session.root)
		transfers = append(transfers, TransferStatus{
			Role:      roleServe,
			Key:       session.key.Short(),
			Since:     session.since,
			Done:      written,
			Rate:      session.stream.sent.rate(now),
			Peer:      session.peer,
			Transport: transportName(session.conn),
			Relayed:   isRelayed(session.conn.RemoteMultiaddr()),
			RTT:       s.node.host.Peerstore().LatencyEWMA(session.peer),
		})
	}
	s.mu.Unlock()
	for i, root := range roots {
		transfers[i].Name = s.node.nameOf(root)
	}
	slices.SortFunc(transfers, func(a, b TransferStatus) int { return a.Since.Compare(b.Since) })
	return transfers
}
