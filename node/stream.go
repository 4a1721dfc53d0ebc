package node

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/swarmsync/swarmsync/protocol"
)

// writePiece is the most that a write may take WriteTimeout for: a peer that takes less is not worth its stream.
const writePiece = 64 << 10

// sessionStream is a libp2p stream as sessions want it: writes fail when they make no progress for
// protocol.WriteTimeout, Close may be called while others read and write, and it keeps to the node's limits.
type sessionStream struct {
	stream   rawStream
	up, down *throttle
	// sent and received measure what passes.
	sent, received meter

	closing sync.Once
	closed  chan struct{}
}

// rawStream is what carries a session: a libp2p stream, or a pipe to a holder in this process.
type rawStream interface {
	io.ReadWriter
	SetWriteDeadline(t time.Time) error
	Reset() error
}

// wrapStream counts the stream under our service and bounds what goes through it. After an error the stream is reset.
func (n *Node) wrapStream(stream network.Stream) (*sessionStream, error) {
	if err := stream.Scope().SetService(service); err != nil {
		_ = stream.ResetWithError(network.StreamResourceLimitExceeded)
		return nil, fmt.Errorf("stream limits: %w", err)
	}
	return &sessionStream{stream: nodeStream{stream, n}, up: n.up, down: n.down, closed: make(chan struct{})}, nil
}

// nodeStream is a stream whose Reset tells the other side if that is because the node closes.
type nodeStream struct {
	network.Stream
	node *Node
}

func (s nodeStream) Reset() error {
	if s.node.ctx.Err() != nil {
		return s.ResetWithError(network.StreamShutdown)
	}
	return s.Stream.Reset()
}

func (s *sessionStream) Write(p []byte) (written int, err error) {
	most := s.up.piece(writePiece)
	for {
		piece := p[written:min(written+most, len(p))]
		if err := s.up.pass(len(piece), s.closed); err != nil {
			return written, err
		}
		if err := s.stream.SetWriteDeadline(time.Now().Add(protocol.WriteTimeout)); err != nil {
			return written, err
		}
		n, err := s.stream.Write(piece)
		written += n
		s.sent.add(time.Now(), n)
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

func (s *sessionStream) Read(p []byte) (int, error) {
	n, err := s.stream.Read(p[:min(s.down.piece(len(p)), len(p))])
	s.received.add(time.Now(), n)
	if limited := s.down.pass(n, s.closed); limited != nil && err == nil {
		err = limited
	}
	return n, err
}

// Close resets the stream: QUIC allows nothing else while a write is under way, and at the end of a session there is
// nothing left that the other side should wait for.
func (s *sessionStream) Close() error {
	s.closing.Do(func() { close(s.closed) })
	return s.stream.Reset()
}

// shortDialError reduces what libp2p says of a failed dial, a line per address, to the cause.
func shortDialError(err error) error {
	var dial *swarm.DialError
	if errors.As(err, &dial) && len(dial.DialErrors) > 0 {
		return fmt.Errorf("%s: %w", dial.DialErrors[0].Address, dial.DialErrors[0].Cause)
	}
	return err
}
