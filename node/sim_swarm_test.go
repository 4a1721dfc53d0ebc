package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/internal/swarmtest"
	"github.com/swarmsync/swarmsync/node"
)

// simWire makes the network of a simulated swarm.
type simWire struct {
	name string
	make func(t testing.TB, entropy io.Reader) *swarmtest.Network
}

var (
	overQUIC    = simWire{"QUIC", swarmtest.NewQUIC}
	overStreams = simWire{"streams", func(t testing.TB, entropy io.Reader) *swarmtest.Network {
		return swarmtest.NewStreams(t, entropy, false)
	}}
	overUnevenStreams = simWire{"uneven streams", func(t testing.TB, entropy io.Reader) *swarmtest.Network {
		return swarmtest.NewStreams(t, entropy, true)
	}}
)

// simMember is a node of a simulated swarm: what it is to do, and after the run what became of it.
type simMember struct {
	link  swarmtest.Link
	holds bool          // all of the content, from before the start; else it fetches it
	joins time.Duration // when it begins to fetch
	// leavesAt and leavesAfter say when it vanishes: at a time, and when it has sent so many bytes. 0: never.
	leavesAt    time.Duration
	leavesAfter int64
	// lies and freezes say from when on it sends wrong bytes, and nothing any more. 0: never.
	lies, freezes time.Duration

	host   host.Host
	node   *node.Node
	sent   atomic.Int64 // bytes read from its store since the start, which is what it sent
	left   atomic.Bool
	lied   atomic.Bool
	result node.Result
	err    error
	done   time.Duration // since the start of the swarm
}

// simSwarm is a swarm in virtual time. Its members are joined to the first of them, and know nobody else but those that
// hold the content from the start. All of it is real but the network, the clock and the disk.
type simSwarm struct {
	wire    simWire
	size    int64
	members []*simMember

	chunks  simChunks
	pages   map[cafs.Key]bool
	lists   atomic.Int64 // pages that those who hold the content have sent
	started time.Time
	leaving sync.WaitGroup
}

// run lets the swarm do its work, and returns when everybody who fetches is done; at limit it is given up. It is an error
// of the test if somebody who did not leave has not got everything.
func (s *simSwarm) run(t *testing.T, rnd *rand.ChaCha8, limit time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		link := s.start(t, rnd)
		time.Sleep(time.Second) // hosts have told each other what they are
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		s.started = time.Now()
		var fetches sync.WaitGroup
		for _, m := range s.members {
			if m.leavesAt > 0 {
				defer time.AfterFunc(m.leavesAt, func() { s.remove(m) }).Stop()
			}
			if m.holds {
				continue
			}
			fetches.Go(func() {
				time.Sleep(m.joins)
				m.result, m.err = m.node.Fetch(ctx, link, node.FetchOptions{})
				m.done = time.Since(s.started)
			})
		}
		fetches.Wait()
		s.leaving.Wait()
		for i, m := range s.members {
			if m.err != nil && !m.left.Load() {
				t.Errorf("member %d has %d of %d bytes: %v", i, m.result.Fetched, s.size, m.err)
			}
		}
	})
}

// start makes the members, and the content that some of them hold.
func (s *simSwarm) start(t *testing.T, rnd *rand.ChaCha8) node.Link {
	t.Helper()
	content := make([]byte, s.size)
	_, _ = rnd.Read(content)
	network := s.wire.make(t, rnd)
	s.chunks.bytes = make(map[cafs.Key][]byte)
	var link node.Link
	for _, m := range s.members {
		m.host = network.Host(m.link)
		kept := memory.New()
		store := &simStore{Catalog: kept, Reclaimer: kept, swarm: s, member: m, has: make(map[cafs.Key]bool)}
		var err error
		m.node, err = node.New(t.Context(), node.Config{
			Host: m.host, Store: store, Join: link.Peers[:min(1, len(link.Peers))],
			DisableDHT: true, DisableMDNS: true, DisableAnnounce: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.node.Close() })
		if !m.holds {
			continue
		}
		status, err := m.node.AddReader(t.Context(), bytes.NewReader(content), node.AddOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if link.Root = status.Root; s.pages == nil {
			s.notePages(t, store, link.Root)
		}
		link.Peers = append(link.Peers, peer.AddrInfo{ID: m.host.ID(), Addrs: m.host.Addrs()})
	}
	return link
}

// notePages finds out which of the chunks of a root are pages of its list. A node notices itself when those are wrong.
func (s *simSwarm) notePages(t *testing.T, store cafs.Store, root cafs.Key) {
	t.Helper()
	info, err := store.Root(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	record, err := cafs.ParseRecord(info.Record)
	if err != nil {
		t.Fatal(err)
	}
	outline, err := cafs.NewOutline(record.Data)
	if err != nil {
		t.Fatal(err)
	}
	s.pages = make(map[cafs.Key]bool)
	if err := outline.Load(t.Context(), notingGetter{store, s.pages}); err != nil {
		t.Fatal(err)
	}
}

// notingGetter notes what is got.
type notingGetter struct {
	cafs.Getter
	got map[cafs.Key]bool
}

func (g notingGetter) Get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	g.got[key] = true
	return g.Getter.Get(ctx, key, buf)
}

// remove makes a member vanish.
func (s *simSwarm) remove(m *simMember) {
	if !m.left.Swap(true) {
		s.leaving.Go(func() { _ = errors.Join(m.node.Close(), m.host.Close()) })
	}
}

// simChunks are the bytes of all stores of a swarm, each once: a thousand members would not fit into memory otherwise.
type simChunks struct {
	mu    sync.Mutex
	bytes map[cafs.Key][]byte
}

// simStore is the store of a member.
type simStore struct {
	cafs.Catalog
	cafs.Reclaimer
	cafs.Checker // nil: nobody verifies
	swarm        *simSwarm
	member       *simMember

	mu  sync.Mutex
	has map[cafs.Key]bool
}

func (s *simStore) Sync(context.Context) error { return nil }
func (s *simStore) Close() error               { return nil }

func (s *simStore) Put(_ context.Context, chunks ...cafs.Chunk) error {
	for _, chunk := range chunks {
		s.swarm.chunks.mu.Lock()
		if s.swarm.chunks.bytes[chunk.Key()] == nil {
			s.swarm.chunks.bytes[chunk.Key()] = bytes.Clone(chunk.Data())
		}
		s.swarm.chunks.mu.Unlock()
		s.mu.Lock()
		s.has[chunk.Key()] = true
		s.mu.Unlock()
	}
	return nil
}

func (s *simStore) Has(_ context.Context, keys []cafs.Key) ([]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := make([]bool, len(keys))
	for i, key := range keys {
		have[i] = s.has[key]
	}
	return have, nil
}

// Get is where a member misbehaves: chunks are read to be sent.
func (s *simStore) Get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	have, _ := s.Has(ctx, []cafs.Key{key})
	if !have[0] {
		return nil, fmt.Errorf("chunk %s: %w", key, cafs.ErrNotFound)
	}
	s.swarm.chunks.mu.Lock()
	data := append(buf[:0], s.swarm.chunks.bytes[key]...)
	s.swarm.chunks.mu.Unlock()
	if s.swarm.started.IsZero() {
		return data, nil
	}
	m, since := s.member, time.Since(s.swarm.started)
	if m.freezes > 0 && since >= m.freezes && !s.swarm.pages[key] { // pages it reads itself
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if m.lies > 0 && since >= m.lies && !s.swarm.pages[key] {
		m.lied.Store(true)
		data[0] ^= 1
	}
	if m.holds && s.swarm.pages[key] {
		s.swarm.lists.Add(1)
	}
	if sent := m.sent.Add(int64(len(data))); m.leavesAfter > 0 && sent >= m.leavesAfter {
		s.swarm.remove(m)
	}
	return data, nil
}

// copies is how often those who held the content from the start have sent it.
func (s *simSwarm) copies() float64 {
	sent := int64(0)
	for _, m := range s.members {
		if m.holds {
			sent += m.sent.Load()
		}
	}
	return float64(sent) / float64(s.size)
}

// listsSent is how often those who held the content from the start have sent its list.
func (s *simSwarm) listsSent() float64 { return float64(s.lists.Load()) / float64(len(s.pages)) }

// twice is the share of the bytes that came to somebody who had them already.
func (s *simSwarm) twice() float64 {
	var fetched, duplicate int64
	for _, m := range s.members {
		fetched += m.result.Fetched
		duplicate += m.result.Duplicate
	}
	return float64(duplicate) / float64(max(fetched, 1))
}

// checkLiars sees to it that somebody names each member that lied.
func (s *simSwarm) checkLiars(t *testing.T) {
	t.Helper()
	dropped := make(map[peer.ID]string)
	for _, m := range s.members {
		for _, share := range m.result.Peers {
			if share.Dropped != "" {
				dropped[share.Peer] = share.Dropped
			}
		}
	}
	for i, m := range s.members {
		if said := dropped[m.host.ID()]; m.lies > 0 && m.lied.Load() && !strings.Contains(said, "wrong bytes") {
			t.Errorf("member %d lied, and this was said of it: %q", i, said)
		}
	}
}

// simBare is how long one bare stream takes for so many bytes between hosts with these links.
func simBare(t *testing.T, wire simWire, from, to swarmtest.Link, size int64) (took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := wire.make(t, rand.NewChaCha8([32]byte{}))
		var err error
		if took, err = swarmtest.Bare(t.Context(), network.Host(from), network.Host(to), size); err != nil {
			t.Fatal(err)
		}
	})
	return took
}
