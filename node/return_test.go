package node_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// TestBusyHolderDoesNotHoldAFetch has holders that are busy for ever, and ask to be left alone for various times.
func TestBusyHolderDoesNotHoldAFetch(t *testing.T) {
	for _, retryAfter := range []time.Duration{0, time.Millisecond, 250 * time.Millisecond, protocol.RetryAfterMax} {
		t.Run(retryAfter.String(), func(t *testing.T) {
			t.Parallel()
			h := hold(t, noise(1000, 5))
			var mu sync.Mutex
			asked := 0
			busy := answer(t, func(_ context.Context, stream network.Stream) {
				mu.Lock()
				asked++
				mu.Unlock()
				h.refuse(stream, protocol.Busy{RetryAfter: retryAfter})
			})
			receiver := start(t, quick(node.Config{}))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := receiver.Fetch(ctx, h.link(busy), node.FetchOptions{Wait: time.Second})
			var none *node.NoHolderError
			if !errors.As(err, &none) {
				t.Fatalf("fetch from a busy holder: %v, want a NoHolderError", err)
			}
			var refused *protocol.RefusedError
			if len(none.Dropped) != 1 || none.Dropped[0].Peer != busy.ID || !errors.As(none.Dropped[0], &refused) {
				t.Errorf("dropped %v, want the busy holder", none.Dropped)
			}
			mu.Lock()
			defer mu.Unlock()
			if asked > 25 { // patience is 50 ms here
				t.Errorf("it was asked %d times in a second", asked)
			}
		})
	}
}

// refuse answers OPEN: there is no room.
func (h *held) refuse(stream network.Stream, told protocol.Busy) {
	_, _ = protocol.Accept(stream, protocol.HolderConfig{
		Network: node.DefaultNetwork,
		Local:   []byte(stream.Conn().LocalPeer()),
		Remote:  []byte(stream.Conn().RemotePeer()),
		Find:    func(protocol.DiscoveryKey) (protocol.Content, bool) { return h, true },
		Admit:   func(cafs.Key) (protocol.Busy, bool) { return told, false },
	})
	_ = stream.CloseWrite() // the reset that follows must not overtake the answer
	_, _ = stream.Read(make([]byte, 1))
}

// slowCatalog is a store on a disk that takes its time to note the first root: as long as it takes a fetch to look twice
// whether its search is over.
type slowCatalog struct {
	cafs.Store
	first sync.Once
	looks chan struct{} // is sent to when a fetch has looked, if anybody waits for it
}

func (s *slowCatalog) PutRoot(ctx context.Context, info cafs.RootInfo) error {
	s.first.Do(func() {
		for range 2 { // the first may be of before
			select {
			case <-s.looks:
			case <-ctx.Done():
			}
		}
	})
	return s.Store.PutRoot(ctx, info)
}

// see takes note of a progress event, which comes after each look.
func (s *slowCatalog) see(event node.Event) {
	if event.Kind == node.EventProgress {
		select {
		case s.looks <- struct{}{}:
		default:
		}
	}
}

// TestSearchWaitsForWhoIsTakenIn has a holder that lets the receiver in when everybody else has had their say, for as long as
// a search takes at least.
func TestSearchWaitsForWhoIsTakenIn(t *testing.T) {
	t.Parallel()
	h := hold(t, noise(1000, 5))
	var asked atomic.Int64
	holder := answer(t, func(ctx context.Context, stream network.Stream) {
		if asked.Add(1) == 1 {
			h.refuse(stream, protocol.Busy{RetryAfter: 5100 * time.Millisecond})
		} else if s, err := h.accept(stream); err == nil {
			_ = s.Run(ctx)
		}
	})
	store := &slowCatalog{Store: memory.New(), looks: make(chan struct{})}
	receiver := start(t, quick(node.Config{Store: store}))
	if _, err := receiver.Fetch(t.Context(), h.link(holder), node.FetchOptions{Events: store.see}); err != nil {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

// TestBusyHoldersFillFewPlaces has holders that have no room, and name members that nobody has ever met. They need not
// know the root for that: so all of them together must not fill the places that true members need.
func TestBusyHoldersFillFewPlaces(t *testing.T) {
	t.Parallel()
	const liars, most = 3, 64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var dials atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			dials.Add(1)
			_ = conn.Close()
		}
	}()
	address := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", listener.Addr().(*net.TCPAddr).Port)
	h := hold(t, noise(1000, 5))
	var link node.Link
	for range liars {
		told := protocol.Busy{RetryAfter: time.Hour}
		for range protocol.PeersMax {
			told.Members = append(told.Members, node.MadeUpMember(t, address))
		}
		liar := answer(t, func(_ context.Context, stream network.Stream) { h.refuse(stream, told) })
		link = node.Link{Root: h.link(liar).Root, Peers: append(link.Peers, liar)}
	}
	receiver := start(t, quick(node.Config{}))
	var none *node.NoHolderError
	if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Wait: 3 * time.Second}); !errors.As(err, &none) {
		t.Fatalf("fetch from busy holders: %v, want a NoHolderError", err)
	}
	if got := dials.Load(); got <= protocol.PeersMax || got > most {
		t.Errorf("%d of the members were dialled, want more than %d and at most %d", got, protocol.PeersMax, most)
	}
}

// gate is a store that takes so many chunks and then none until it is opened.
type gate struct {
	cafs.Store
	reached chan struct{} // closed when the gate is shut
	opened  chan struct{}

	mu   sync.Mutex
	left int
	shut sync.Once
}

func newGate(store cafs.Store, chunks int) *gate {
	return &gate{Store: store, reached: make(chan struct{}), opened: make(chan struct{}), left: chunks}
}

func (g *gate) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	g.mu.Lock()
	g.left -= len(chunks)
	open := g.left >= 0
	g.mu.Unlock()
	if !open {
		g.shut.Do(func() { close(g.reached) })
		select {
		case <-g.opened:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return g.Store.Put(ctx, chunks...)
}

// background is a Fetch in another goroutine.
type background struct {
	done   chan struct{} // closed at the end, when the rest is valid
	result node.Result
	err    error
}

func fetch(ctx context.Context, n *node.Node, link node.Link, opts node.FetchOptions) *background {
	f := &background{done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.result, f.err = n.Fetch(ctx, link, opts)
	}()
	return f
}

// until fails if the fetch ends before something else happens.
func (f *background) until(t *testing.T, happens <-chan struct{}) {
	t.Helper()
	select {
	case <-happens:
	case <-f.done:
		t.Fatalf("the fetch ended too early: %+v, %v", f.result, f.err)
	}
}

// TestHolderThatComesBackIsUsedAgain closes the only holder in the middle, lets the receiver find nobody there at least
// once, and starts the holder again where it was.
func TestHolderThatComesBackIsUsedAgain(t *testing.T) {
	content := noise(24<<20, 6)
	home := t.TempDir()
	holder := start(t, node.Config{Home: home, Listen: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}

	store := newGate(memory.New(), 50)
	cfg := node.Config{Store: store, DisableDHT: true}
	cfg.SetPatience(5*time.Second, 20*time.Second, 100*time.Millisecond)
	receiver := start(t, cfg)
	output := filepath.Join(t.TempDir(), "output")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	fetching := fetch(ctx, receiver, link, node.FetchOptions{Output: output})
	fetching.until(t, store.reached)
	if err := holder.Close(); err != nil {
		t.Fatal(err)
	}
	port, err := link.Peers[0].Addrs[0].ValueForProtocol(multiaddr.P_TCP)
	if err != nil {
		t.Fatal(err)
	}
	hangUp := refuseOne(t, port)
	close(store.opened)
	fetching.until(t, hangUp)
	start(t, node.Config{Home: home, Listen: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/" + port)}})

	<-fetching.done
	if fetching.err != nil {
		t.Fatal(fetching.err)
	}
	assertFile(t, output, content)
	assertSums(t, fetching.result)
	peers := fetching.result.Peers
	if len(peers) != 1 || peers[0].Bytes != fetching.result.Fetched {
		t.Errorf("peers %+v, want one entry for both sessions with the holder", peers)
	}
}

// refuseOne hangs up on the first who connects to a port of this machine, and then listens no more, which it tells.
func refuseOne(t *testing.T, port string) <-chan struct{} {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	over := make(chan struct{})
	go func() {
		defer close(over)
		if conn, err := listener.Accept(); err == nil {
			_ = conn.Close()
		}
		_ = listener.Close()
	}()
	return over
}

// TestCancelledFetchBlamesNobody ends a fetch in the middle.
func TestCancelledFetchBlamesNobody(t *testing.T) {
	content := noise(24<<20, 7)
	holder := start(t, node.Config{})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}
	store := newGate(memory.New(), 50)
	receiver := start(t, node.Config{Store: store, DisableDHT: true})
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	seen := newDrops()
	fetching := fetch(ctx, receiver, link, node.FetchOptions{Events: seen.see})
	fetching.until(t, store.reached)
	cancel(enough)
	<-fetching.done
	result, err := fetching.result, fetching.err
	if !errors.Is(err, enough) {
		t.Fatalf("cancelled fetch: %v, want the cause", err)
	}
	if len(result.Peers) != 1 || result.Peers[0].Dropped != "" || seen.of(holder.ID()) != "" {
		t.Errorf("peers %+v, and said %q of the holder; want nobody blamed", result.Peers, seen.of(holder.ID()))
	}
	if result.Fetched == 0 || result.Peers[0].Bytes != result.Fetched || result.WireIn < result.Fetched {
		t.Errorf("fetched %d bytes, %d by the holder's share, %d over its stream",
			result.Fetched, result.Peers[0].Bytes, result.WireIn)
	}
}
