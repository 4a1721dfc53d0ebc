package node_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"iter"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// held is content of a holder that is no node, so that it can lie: a hook that is not nil replaces what is true.
type held struct {
	record  []byte
	outline *cafs.Outline
	store   cafs.Store

	have  func() ([]protocol.HaveItem, bool)
	chunk func(ctx context.Context, at protocol.ChunkAt, data []byte) ([]byte, error)
	page  func(page []byte) ([]byte, error)
}

// hold makes content that tells the truth.
func hold(t testing.TB, content []byte) *held {
	t.Helper()
	store := memory.New()
	record, err := cafs.AddFile(t.Context(), store, bytes.NewReader(content), cafs.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return holdRecord(t, store, record)
}

func holdRecord(t testing.TB, store cafs.Store, record cafs.Record) *held {
	t.Helper()
	outline, err := cafs.NewOutline(record.Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := outline.Load(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	return &held{record: record.Encode(), outline: outline, store: store}
}

func (h *held) link(peers ...peer.AddrInfo) node.Link { return node.Link{Root: h.Root(), Peers: peers} }

func (h *held) Root() cafs.Key { return cafs.KeyOf(h.record) }

func (h *held) Record() []byte { return h.record }

func (h *held) Have() ([]protocol.HaveItem, bool) {
	if h.have != nil {
		return h.have()
	}
	return nil, true
}

func (h *held) Chunks(ctx context.Context, number int64) ([]cafs.ChunkInfo, error) {
	row, err := h.outline.Range(ctx, h.store, number)
	return row.Chunks, err
}

func (h *held) ReadChunk(ctx context.Context, at protocol.ChunkAt, buf []byte) ([]byte, error) {
	data, err := h.store.Get(ctx, at.Info.Key, buf)
	if err == nil && h.chunk != nil {
		return h.chunk(ctx, at, data)
	}
	return data, err
}

func (h *held) Pages(ctx context.Context, request protocol.PagesRequest) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		pages, _ := h.outline.PagesFor(request.Level, request.First, request.Last, protocol.PagesMax)
		for _, info := range pages {
			page, err := h.store.Get(ctx, info.Key, nil)
			if err == nil && h.page != nil {
				page, err = h.page(page)
			}
			if !yield(page, err) || err != nil {
				return
			}
		}
	}
}

// startHost runs a libp2p host that is no node, until the test ends.
func startHost(t testing.TB, listen ...string) host.Host {
	t.Helper()
	if len(listen) == 0 {
		listen = []string{"/ip4/127.0.0.1/tcp/0"}
	}
	h, err := libp2p.New(libp2p.ListenAddrStrings(listen...), libp2p.DisableRelay(), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// answer makes a holder of what handle does with each stream, and resets the stream after it. The end of the test waits
// for the streams under way; ctx ends with the test.
func answer(t testing.TB, handle func(ctx context.Context, stream network.Stream)) peer.AddrInfo {
	t.Helper()
	h := startHost(t)
	ctx, cancel := context.WithCancel(context.Background())
	var streams sync.WaitGroup
	t.Cleanup(func() {
		h.RemoveStreamHandler(protocol.ID)
		cancel()
		streams.Wait()
	})
	h.SetStreamHandler(protocol.ID, func(stream network.Stream) {
		streams.Add(1)
		defer streams.Done()
		defer context.AfterFunc(ctx, func() { _ = stream.Reset() })()
		handle(ctx, stream)
		_ = stream.Reset()
	})
	return peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()}
}

// accept answers OPEN for h, in proper form.
func (h *held) accept(stream network.Stream) (*protocol.Holder, error) {
	return protocol.Accept(stream, protocol.HolderConfig{
		Network: node.DefaultNetwork,
		Local:   []byte(stream.Conn().LocalPeer()),
		Remote:  []byte(stream.Conn().RemotePeer()),
		Find: func(key protocol.DiscoveryKey) (protocol.Content, bool) {
			return h, key == protocol.DiscoveryKeyOf(h.Root())
		},
	})
}

// serve makes a holder of h.
func (h *held) serve(t testing.TB) peer.AddrInfo {
	t.Helper()
	return answer(t, func(ctx context.Context, stream network.Stream) {
		if holder, err := h.accept(stream); err == nil {
			_ = holder.Run(ctx) // the receiver's end of the session is what counts
		}
	})
}

// serveRaw makes a holder that accepts and then does with the stream what it wants.
func (h *held) serveRaw(t testing.TB, session func(ctx context.Context, stream network.Stream)) peer.AddrInfo {
	t.Helper()
	return answer(t, func(ctx context.Context, stream network.Stream) {
		if _, err := h.accept(stream); err == nil {
			session(ctx, stream)
		}
	})
}

// The frames that raw holders write and read.
const (
	frameAccept = 2
	frameRefuse = 3
	frameWish   = 4
	framePages  = 5
	framePage   = 6
	frameChunk  = 7
)

// frame encodes a frame; the parts of the body are numbers (as uvarints) and bytes.
func frame(kind byte, parts ...any) []byte {
	var body []byte
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			body = binary.AppendUvarint(body, uint64(part))
		case uint64:
			body = binary.AppendUvarint(body, part)
		case []byte:
			body = append(body, part...)
		}
	}
	return append(binary.AppendUvarint([]byte{kind}, uint64(len(body))), body...)
}

// readFrame reads one frame that a node sent.
func readFrame(r *bufio.Reader) (kind byte, body []byte, err error) {
	if kind, err = r.ReadByte(); err != nil {
		return 0, nil, err
	}
	size, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, size)
	_, err = io.ReadFull(r, body)
	return kind, body, err
}

// firstOfWish takes a WISH apart: its id, its range, and the number of the first chunk wished.
func firstOfWish(body []byte) (id, number uint64, chunk int) {
	id, n := binary.Uvarint(body)
	body = body[n:]
	number, n = binary.Uvarint(body)
	body = body[n:]
	_, n = binary.Uvarint(body)
	for i := range protocol.Bits(body[n:]).Ones() {
		return id, number, i
	}
	return id, number, 0
}

// answerPages answers a PAGES as it should be.
func (h *held) answerPages(ctx context.Context, w io.Writer, body []byte) error {
	var numbers [5]int // id, stream, level, first, last
	for i := range numbers {
		value, n := binary.Uvarint(body)
		numbers[i], body = int(value), body[n:]
	}
	request := protocol.PagesRequest{Level: numbers[2], First: int64(numbers[3]), Last: int64(numbers[4])}
	number := 0
	for page, err := range h.Pages(ctx, request) {
		if err != nil {
			return err
		}
		if _, err := w.Write(frame(framePage, numbers[0], number, page)); err != nil {
			return err
		}
		number++
	}
	return nil
}

// drops collects who was dropped, and tells when somebody was.
type drops struct {
	once    sync.Once
	happens chan struct{} // closed at the first

	mu   sync.Mutex
	said map[peer.ID]string
}

func newDrops() *drops { return &drops{happens: make(chan struct{}), said: make(map[peer.ID]string)} }

func (d *drops) see(event node.Event) {
	if event.Kind != node.EventDropped {
		return
	}
	d.mu.Lock()
	d.said[event.Peer] = event.Message
	d.mu.Unlock()
	d.once.Do(func() { close(d.happens) })
}

func (d *drops) of(id peer.ID) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said[id]
}
