package discovery

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"
)

// messenger sends the DHT's messages, each on a stream of its own. It stands in for the library's own sender because
// that one can say neither which node gave an answer, which tellable needs, nor whether a node kept a record: here
// the other side's clean end of the stream, instead of a reset, is the receipt.
type messenger struct {
	host      host.Host
	protocols []protocol.ID
}

// SendRequest sends msg to p and returns the answer, reduced to what p may tell. It implements pb.MessageSender.
func (m *messenger) SendRequest(ctx context.Context, p peer.ID, msg *pb.Message) (*pb.Message, error) {
	start := time.Now()
	var answer *pb.Message
	err := m.exchange(ctx, p, msg, func(s network.Stream) (err error) {
		if answer, err = readMessage(s); err != nil {
			return err
		}
		keepTellable(answer, s.Conn().RemoteMultiaddr())
		return s.Close()
	})
	if err != nil {
		return nil, err
	}
	m.host.Peerstore().RecordLatency(p, time.Since(start))
	countAnswer(ctx)
	return answer, nil
}

// SendMessage sends msg, which has no answer, and returns nil once p has acted on it. It changes msg: addresses that
// are of no use to p are dropped. It implements pb.MessageSender.
func (m *messenger) SendMessage(ctx context.Context, p peer.ID, msg *pb.Message) error {
	return m.exchange(ctx, p, msg, func(s network.Stream) error {
		if err := s.CloseWrite(); err != nil {
			return err
		}
		switch _, err := s.Read(make([]byte, 1)); {
		case errors.Is(err, io.EOF):
			return s.Close()
		case err == nil:
			return errors.New("answer to a message that has none")
		default:
			return err
		}
	})
}

// OnDisconnect implements pb.MessageSenderWithDisconnect. No stream is kept, so there is nothing to forget.
func (m *messenger) OnDisconnect(context.Context, peer.ID) {}

// exchange opens a stream to p, writes msg, and leaves the rest to finish. The stream is reset if any of it fails or
// ctx ends.
func (m *messenger) exchange(ctx context.Context, p peer.ID, msg *pb.Message, finish func(network.Stream) error) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s, err := m.host.NewStream(ctx, p, m.protocols...)
	if err != nil {
		return fmt.Errorf("open DHT stream to %s: %w", p, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer stop()

	err = keepUsable(msg, s.Conn().RemoteMultiaddr())
	if err == nil {
		err = writeMessage(s, msg)
	}
	if err == nil {
		err = finish(s)
	}
	if err == nil {
		return nil
	}
	_ = s.Reset()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("DHT message to %s: %w", p, err)
}

// keepUsable reduces msg to what a node at remote can use. It is an error if a record in it is left without addresses,
// because nobody would keep it.
func keepUsable(msg *pb.Message, remote ma.Multiaddr) error {
	keepTellable(msg, remote)
	for _, provider := range msg.ProviderPeers {
		if len(provider.Addrs) == 0 {
			return errors.New("none of this node's addresses can be reached from there")
		}
	}
	return nil
}

// writeMessage writes msg behind its length in a single write.
func writeMessage(w io.Writer, msg *pb.Message) error {
	body, err := proto.Marshal(msg)
	if err != nil {
		return err
	}
	_, err = w.Write(append(binary.AppendUvarint(nil, uint64(len(body))), body...))
	return err
}

// readMessage reads one message behind its length. What it allocates grows with what has arrived, not with what the
// length announces.
func readMessage(r io.Reader) (*pb.Message, error) {
	buffered := bufio.NewReader(r)
	size, err := binary.ReadUvarint(buffered)
	if err != nil {
		return nil, fmt.Errorf("length: %w", err)
	}
	if size > network.MessageSizeMax {
		return nil, fmt.Errorf("message of %d bytes: at most %d are allowed", size, network.MessageSizeMax)
	}
	body, err := io.ReadAll(io.LimitReader(buffered, int64(size)))
	if err != nil {
		return nil, err
	}
	if uint64(len(body)) < size {
		return nil, io.ErrUnexpectedEOF
	}
	msg := new(pb.Message)
	if err := proto.Unmarshal(body, msg); err != nil {
		return nil, err
	}
	return msg, nil
}

type answersKey struct{}

// withAnswers returns a context that counts the answers to the requests made under it: look-ups report no error when
// nobody answered.
func withAnswers(ctx context.Context) (context.Context, *atomic.Int32) {
	count := new(atomic.Int32)
	return context.WithValue(ctx, answersKey{}, count), count
}

func countAnswer(ctx context.Context) {
	if count, ok := ctx.Value(answersKey{}).(*atomic.Int32); ok {
		count.Add(1)
	}
}
