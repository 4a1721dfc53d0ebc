package discovery_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"

	"github.com/swarmsync/swarmsync/discovery"
)

// impostor makes a host answer the DHT's protocol by hand, so that it looks like a node of the DHT: requests for other
// nodes get an empty answer, the rest is left to answer, which returns the bytes to send, or false to reset the stream.
func impostor(t *testing.T, answer func(*pb.Message) ([]byte, bool)) node {
	t.Helper()
	h := newHost(t)
	h.SetStreamHandler("/swarmsync/main/kad/1.0.0", func(s network.Stream) {
		reader := bufio.NewReader(s)
		size, err := binary.ReadUvarint(reader)
		if err != nil {
			_ = s.Reset()
			return
		}
		body := make([]byte, size)
		msg := new(pb.Message)
		if _, err := io.ReadFull(reader, body); err != nil || proto.Unmarshal(body, msg) != nil {
			_ = s.Reset()
			return
		}
		if msg.GetType() == pb.Message_FIND_NODE {
			_, _ = s.Write(encode(t, pb.NewMessage(pb.Message_FIND_NODE, nil, 0)))
			_ = s.Close()
			return
		}
		raw, ok := answer(msg)
		if !ok {
			_ = s.Reset()
			return
		}
		_, _ = s.Write(raw)
		_ = s.Close()
	})
	return node{host: h}
}

func encode(t *testing.T, msg *pb.Message) []byte {
	t.Helper()
	body, err := proto.Marshal(msg)
	if err != nil {
		t.Error(err)
	}
	return append(binary.AppendUvarint(nil, uint64(len(body))), body...)
}

func TestRecordThatNobodyKeepsIsNotAnnounced(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(*pb.Message) ([]byte, bool){
		"reset":  func(*pb.Message) ([]byte, bool) { return nil, false },
		"answer": func(*pb.Message) ([]byte, bool) { return []byte("thank you"), true },
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, newHost(t), nil)
			n.Provide(discovery.Key{1})
			join(t, n, impostor(t, answer))
			eventually(t, "the failure is told", func() bool { return n.Status().LastAnnounceError != nil })
			if s := n.Status(); s.Announced != 0 {
				t.Errorf("announced although nobody kept the record: %+v", s)
			}
			// One node that keeps it is enough.
			join(t, n, start(t, newHost(t), nil))
			eventually(t, "the key is announced", func() bool { return n.Status().Announced == 1 })
		})
	}
}

// Close once waited for ever for a loop that took the end of its context for one more failure.
func TestCloseDuringAnAnnouncement(t *testing.T) {
	t.Parallel()
	asked, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	silent := impostor(t, func(*pb.Message) ([]byte, bool) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-release
		return nil, false
	})
	n := start(t, newHost(t), nil)
	n.Provide(discovery.Key{1})
	join(t, n, silent)
	<-asked
	closed := make(chan error, 1)
	go func() { closed <- n.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("Close does not return")
	}
}

func TestHostileAnswersToASearch(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string][]byte{
		"endless length":  slices.Repeat([]byte{0xff}, 20),
		"too long":        binary.AppendUvarint(nil, network.MessageSizeMax+1),
		"cut short":       append(binary.AppendUvarint(nil, network.MessageSizeMax), "short"...),
		"not a message":   append(binary.AppendUvarint(nil, 4), 0xff, 0xff, 0xff, 0xff),
		"nothing at all":  nil,
		"malformed peers": encode(t, malformedPeers()),
	} {
		t.Run(name, func(t *testing.T) {
			key := discovery.Key{1}
			liar := impostor(t, func(*pb.Message) ([]byte, bool) { return raw, true })
			holder, seeker := start(t, newHost(t), nil), start(t, newHost(t), nil)
			holder.Provide(key)
			join(t, seeker, liar, holder)
			found := find(t, seeker, key, 3)
			if got := from(discovery.SourceDHT, found); !slices.Equal(got, []peer.ID{holder.id()}) {
				t.Errorf("found %v, want the holder %s", got, holder.id())
			}
		})
	}
}

func TestNobodyAnswersASearch(t *testing.T) {
	t.Parallel()
	seeker := start(t, newHost(t), nil)
	asked := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	join(t, seeker, impostor(t, func(*pb.Message) ([]byte, bool) {
		select {
		case asked <- struct{}{}:
		case <-ctx.Done():
		}
		return nil, false
	}))
	var report discovery.Report
	done := make(chan error, 1)
	go func() {
		done <- seeker.FindReport(ctx, discovery.Key{1}, &report, func(discovery.Candidate) bool { return true })
	}()
	// When it asks again, the round before is over.
	for range 3 {
		select {
		case <-asked:
		case <-ctx.Done():
			t.Error("the search does not ask again")
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	select {
	case <-report.Answered():
		t.Errorf("a reset counts as an answer; looked in: %s", &report)
	default:
	}
}

func TestRecordThatOthersAskToKeepIsReduced(t *testing.T) {
	t.Parallel()
	keeper, holder := start(t, newHost(t), nil), newHost(t)
	if err := holder.Connect(t.Context(), keeper.info()); err != nil {
		t.Fatal(err)
	}
	exchange := func(msg *pb.Message) *pb.Message {
		t.Helper()
		s, err := holder.NewStream(t.Context(), keeper.id(), "/swarmsync/main/kad/1.0.0")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(encode(t, msg)); err != nil {
			t.Fatal(err)
		}
		if err := s.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(s)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) == 0 {
			return nil
		}
		_, n := binary.Uvarint(raw)
		answer := new(pb.Message)
		if err := proto.Unmarshal(raw[n:], answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	key := append([]byte{0x12, 0x20}, make([]byte, 32)...)
	put := pb.NewMessage(pb.Message_ADD_PROVIDER, key, 0)
	record := &pb.Message_Peer{Id: []byte(holder.ID())}
	for port := range 100 {
		record.Addrs = append(record.Addrs, ma.StringCast(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port+1)).Bytes())
	}
	put.ProviderPeers = []*pb.Message_Peer{record}
	exchange(put)
	answer := exchange(pb.NewMessage(pb.Message_GET_PROVIDERS, key, 0))
	if len(answer.ProviderPeers) != 1 {
		t.Fatalf("%d holders, want the one that was put", len(answer.ProviderPeers))
	}
	// One more is known from the connection.
	if got := len(answer.ProviderPeers[0].Addrs); got < 32 || got > 33 {
		t.Errorf("%d addresses of one holder are kept, want 32 of its record", got)
	}
}

func malformedPeers() *pb.Message {
	msg := pb.NewMessage(pb.Message_GET_PROVIDERS, nil, 0)
	msg.ProviderPeers = []*pb.Message_Peer{
		{},
		{Id: []byte("no peer"), Addrs: [][]byte{ma.StringCast("/ip4/1.1.1.1/tcp/1").Bytes()}},
		{Id: []byte("no address"), Addrs: [][]byte{[]byte("no address")}},
	}
	msg.CloserPeers = msg.ProviderPeers
	return msg
}

func TestOneTellerCannotFillASearch(t *testing.T) {
	t.Parallel()
	msg := pb.NewMessage(pb.Message_GET_PROVIDERS, nil, 0)
	for range 1000 {
		id, err := test.RandPeerID()
		if err != nil {
			t.Fatal(err)
		}
		msg.ProviderPeers = append(msg.ProviderPeers, &pb.Message_Peer{
			Id: []byte(id), Addrs: [][]byte{ma.StringCast("/ip4/127.0.0.1/tcp/1").Bytes()},
		})
	}
	raw := encode(t, msg)
	liar := impostor(t, func(*pb.Message) ([]byte, bool) { return raw, true })
	seeker := start(t, newHost(t), nil)
	join(t, seeker, liar)
	found, looked := findAnswered(t, seeker, discovery.Key{1})
	if got := len(from(discovery.SourceDHT, found)); got != 64 {
		t.Errorf("%d holders from one node, want 64; looked in: %s", got, looked)
	}
}
