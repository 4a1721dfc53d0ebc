package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// dialTimeout keeps dead candidates from taking long.
const dialTimeout = 3 * time.Second

var (
	// errUnreachable: a peer could not be dialed.
	errUnreachable = errors.New("can't be reached")
	// errCrowded: a peer had no room even to look at what it was asked.
	errCrowded = errors.New("has no room for more streams")
	// errLeft: a peer closed its node.
	errLeft = errors.New("has left")
)

// openedStream is a session that both sides have proved, and what became known on the way.
type openedStream struct {
	peer      peer.ID
	address   string
	transport string
	relayed   bool
	public    bool // the other side is on a public address
	stream    *sessionStream
	receiver  *protocol.Receiver
	accepted  protocol.Accepted
	rtt       time.Duration
}

// openStream dials a peer and opens a session about a root with it. One that has no room may tell of others.
func (n *Node) openStream(
	ctx context.Context, candidate peer.AddrInfo, root cafs.Key, shared *protocol.Receivers, tell func(tale),
) (*openedStream, error) {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if s, ok := n.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(candidate.ID) // our own pauses decide when to try again
	}
	if err := n.host.Connect(dialing, candidate); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreachable, shortDialError(err))
	}
	stream, err := n.host.NewStream(dialing, candidate.ID, protocol.ID)
	if crowded(err) {
		return nil, errCrowded
	}
	if err != nil {
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	wrapped, err := n.wrapStream(stream)
	if err != nil {
		return nil, err
	}
	// The end of ctx must not wait for the deadline.
	defer context.AfterFunc(ctx, func() { _ = stream.Reset() })()
	if err := stream.SetDeadline(time.Now().Add(n.patience.open)); err != nil {
		return nil, errors.Join(err, stream.Reset())
	}
	started := time.Now()
	receiver, accepted, err := protocol.Open(wrapped, protocol.ReceiverConfig{
		Root:      root,
		Network:   n.cfg.Network,
		Local:     []byte(n.ID()),
		Remote:    []byte(candidate.ID),
		Ranges:    rangesOf,
		Receivers: shared,
	})
	remote := stream.Conn().RemoteMultiaddr()
	if busy, ok := refusedAs(err, protocol.RefuseBusy); ok && len(busy.Members) > 0 {
		tell(tale{teller: unproved, public: manet.IsPublicAddr(remote), members: busy.Members})
		busy.Members = nil // err may be kept for long
	}
	if err != nil {
		reset := stream.Reset() // also of one that the other side has reset, which takes a place until then
		switch {
		case crowded(err):
			return nil, errCrowded
		case left(err):
			return nil, errLeft
		default:
			return nil, errors.Join(err, reset)
		}
	}
	if err := stream.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, receiver.Close())
	}
	return &openedStream{
		peer: candidate.ID, address: remote.String(), transport: transportName(stream.Conn()), relayed: isRelayed(remote),
		public: manet.IsPublicAddr(remote), stream: wrapped, receiver: receiver, accepted: accepted, rtt: time.Since(started),
	}, nil
}

// crowded reports whether a peer reset a stream because it has too many of them.
func crowded(err error) bool {
	var reset *network.StreamError
	return errors.As(err, &reset) && reset.Remote &&
		(reset.ErrorCode == network.StreamRateLimited || reset.ErrorCode == network.StreamResourceLimitExceeded)
}

// left reports whether a stream has failed because the other side's node was closed.
func left(err error) bool {
	var reset *network.StreamError
	if errors.As(err, &reset) {
		return reset.Remote && reset.ErrorCode == network.StreamShutdown
	}
	// The end of the connection may overtake that of the stream.
	var closed *network.ConnError
	return errors.As(err, &closed) && closed.Remote &&
		(closed.ErrorCode == network.ConnNoError || closed.ErrorCode == network.ConnShutdown)
}

// rangesOf tells the protocol how many ranges a record speaks of.
func rangesOf(record []byte) (int64, error) {
	outline, _, err := outlinesOf(record)
	if err != nil {
		return 0, err
	}
	return outline.RangesMax(), nil
}

// badRecord reports whether a session could not be opened because of the record that the root names: whoever sent it is
// not to blame, and nobody else has a better one.
func badRecord(err error) bool {
	return errors.Is(err, cafs.ErrBadRoot) || errors.Is(err, ErrUnsupported)
}

// refusedAs tells whether a peer refused a session, in its own words, for the given reason.
func refusedAs(err error, code protocol.RefuseCode) (*protocol.RefusedError, bool) {
	var refused *protocol.RefusedError
	ok := errors.As(err, &refused) && refused.Code == code
	return refused, ok
}
