package discovery_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/discovery"
)

// patience is how long a test waits for what takes well under a second on an idle machine.
const patience = 60 * time.Second

// node is a host and its discovery.
type node struct {
	*discovery.Discovery
	host host.Host
}

func (n node) id() peer.ID         { return n.host.ID() }
func (n node) info() peer.AddrInfo { return peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()} }

func newHost(t *testing.T, options ...libp2p.Option) host.Host {
	t.Helper()
	return hostAt(t, []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/0")}, options...)
}

func hostAt(t *testing.T, listen []ma.Multiaddr, options ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{
		libp2p.ListenAddrs(listen...),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// start returns a node of the DHT that announces, with what change makes of its configuration.
func start(t *testing.T, h host.Host, change func(*discovery.Config)) node {
	t.Helper()
	cfg := discovery.Config{Host: h, DHT: true, Announce: true}
	if change != nil {
		change(&cfg)
	}
	d, err := discovery.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return node{d, h}
}

func join(t *testing.T, n node, others ...node) {
	t.Helper()
	for _, other := range others {
		if err := n.Join(t.Context(), other.info()); err == nil {
			continue
		}
		// A busy machine may miss the 3 seconds of a dial, for which the loop makes up.
		eventually(t, "the peer is joined", func() bool {
			return slices.ContainsFunc(n.Status().Joined, func(p discovery.JoinedPeer) bool {
				return p.Peer.ID == other.id() && p.Connected
			})
		})
	}
}

// eventually waits until ok holds, where libp2p has no event to wait for.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// find searches until wanted candidates have been found, and fails if that takes too long.
func find(t *testing.T, n node, key discovery.Key, wanted int) []discovery.Candidate {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var found []discovery.Candidate
	var report discovery.Report
	err := n.FindReport(ctx, key, &report, func(c discovery.Candidate) bool {
		found = append(found, c)
		return len(found) < wanted
	})
	if err != nil {
		t.Fatalf("found %d of %d candidates, looked in: %s: %v", len(found), wanted, &report, err)
	}
	return found
}

// findAnswered searches until every source has answered, and returns what was found and the report.
func findAnswered(t *testing.T, n node, key discovery.Key) ([]discovery.Candidate, string) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	timeout := time.AfterFunc(patience, func() { cancel(context.DeadlineExceeded) })
	defer timeout.Stop()
	var report discovery.Report
	done := errors.New("answered")
	go func() {
		select {
		case <-report.Answered():
			cancel(done)
		case <-ctx.Done():
		}
	}()
	var found []discovery.Candidate
	err := n.FindReport(ctx, key, &report, func(c discovery.Candidate) bool {
		found = append(found, c)
		return true
	})
	if !errors.Is(err, done) {
		t.Fatalf("the sources did not answer, looked in: %s: %v", &report, err)
	}
	return found, report.String()
}

func from(source discovery.Source, candidates []discovery.Candidate) []peer.ID {
	var ids []peer.ID
	for _, c := range candidates {
		if c.Source == source {
			ids = append(ids, c.Peer.ID)
		}
	}
	return ids
}

func TestProviderIsFoundThroughTheNodeBetween(t *testing.T) {
	t.Parallel()
	holder, middle, seeker := start(t, newHost(t), nil), start(t, newHost(t), nil), start(t, newHost(t), nil)
	key := discovery.Key{1}
	join(t, holder, middle)
	join(t, seeker, middle)
	holder.Provide(key)
	eventually(t, "the holder's record is kept", func() bool { return holder.Status().Announced == 1 })

	found := find(t, seeker, key, 2)
	if got := from(discovery.SourceJoined, found); !slices.Equal(got, []peer.ID{middle.id()}) {
		t.Errorf("joined candidates: %v, want the middle node %s", got, middle.id())
	}
	if got := from(discovery.SourceDHT, found); !slices.Equal(got, []peer.ID{holder.id()}) {
		t.Errorf("DHT candidates: %v, want the holder %s", got, holder.id())
	}
	for _, c := range found {
		if len(c.Peer.Addrs) == 0 {
			t.Errorf("candidate %s from %s has no address", c.Peer.ID, c.Source)
		}
	}
	eventually(t, "the seeker's table is full", func() bool { return seeker.Status().TableSize == 2 })
	if found, _ := findAnswered(t, holder, key); len(from(discovery.SourceDHT, found)) > 0 {
		t.Errorf("the holder finds itself: %v", found)
	}
	if _, looked := findAnswered(t, seeker, discovery.Key{2}); looked !=
		"joined peers (1), LAN (off), DHT (2 nodes in the table, 0 holders)" {
		t.Errorf("looked in: %s", looked)
	}
}

func TestEmptyTableIsNotAnAnswer(t *testing.T) {
	t.Parallel()
	alone := start(t, newHost(t), nil)
	alone.Provide(discovery.Key{1})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	var report discovery.Report
	err := alone.FindReport(ctx, discovery.Key{1}, &report, func(c discovery.Candidate) bool {
		t.Errorf("candidate %v", c)
		return true
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Find with nobody to ask: %v, want the end of the context", err)
	}
	select {
	case <-report.Answered():
		t.Error("a DHT without nodes has answered")
	default:
	}
	if got, want := report.String(), "joined peers (0), LAN (off), DHT (0 nodes in the table, 0 holders)"; got != want {
		t.Errorf("looked in: %s, want: %s", got, want)
	}
	if s := alone.Status(); s.Provided != 1 || s.Announced != 0 || !s.LastAnnounced.IsZero() {
		t.Errorf("announced to nobody: %+v", s)
	}
}

func TestNodeWithoutAddresses(t *testing.T) {
	t.Parallel()
	hidden, other := start(t, hostAt(t, nil, libp2p.NoListenAddrs), nil), start(t, newHost(t), nil)
	hidden.Provide(discovery.Key{1})
	join(t, hidden, other)
	eventually(t, "the failure is told", func() bool { return hidden.Status().LastAnnounceError != nil })
	if s := hidden.Status(); s.Mode != "client" || s.Announced != 0 {
		t.Errorf("a node that nobody can reach has the status %+v", s)
	}
	// It finds others all the same.
	other.Provide(discovery.Key{2})
	if got := from(discovery.SourceDHT, find(t, hidden, discovery.Key{2}, 2)); !slices.Equal(got, []peer.ID{other.id()}) {
		t.Errorf("holders: %v, want %s", got, other.id())
	}
	if s := other.Status(); s.Mode != "server" || s.TableSize != 0 {
		t.Errorf("the other node has the status %+v, want a server that does not count on a client", s)
	}
}

func TestProvidedBeforeJoiningIsAnnouncedWhenSomebodyComes(t *testing.T) {
	t.Parallel()
	holder, other := start(t, newHost(t), nil), start(t, newHost(t), nil)
	for i := range 10 {
		holder.Provide(discovery.Key{byte(i)})
	}
	join(t, holder, other)
	eventually(t, "all keys are announced", func() bool { return holder.Status().Announced == 10 })
}

func TestNodeAnswersForItselfUntilItWithdraws(t *testing.T) {
	t.Parallel()
	// The seeker has no address, so that nobody but the holder can know the record.
	holder, seeker := start(t, newHost(t), nil), start(t, hostAt(t, nil, libp2p.NoListenAddrs), nil)
	key := discovery.Key{1}
	holder.Provide(key)
	join(t, seeker, holder)
	if got := from(discovery.SourceDHT, find(t, seeker, key, 2)); !slices.Equal(got, []peer.ID{holder.id()}) {
		t.Fatalf("holders: %v, want %s", got, holder.id())
	}
	holder.Withdraw(key)
	if found, looked := findAnswered(t, seeker, key); len(from(discovery.SourceDHT, found)) != 0 {
		t.Errorf("the node answers for a key that it withdrew; looked in: %s", looked)
	}
}

func TestWithdraw(t *testing.T) {
	t.Parallel()
	holder, other := start(t, newHost(t), nil), start(t, newHost(t), nil)
	holder.Provide(discovery.Key{1})
	holder.Provide(discovery.Key{2})
	holder.Withdraw(discovery.Key{1})
	join(t, other, holder)
	eventually(t, "the other key is announced", func() bool { return holder.Status().Announced == 1 })
	if s := holder.Status(); s.Provided != 1 {
		t.Errorf("%d keys provided, want 1", s.Provided)
	}
	found, looked := findAnswered(t, other, discovery.Key{1})
	if ids := from(discovery.SourceDHT, found); len(ids) != 0 {
		t.Errorf("a withdrawn key has the holders %v; looked in: %s", ids, looked)
	}
}

func TestRecordsSurviveARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	identity, _, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	keep := func(cfg *discovery.Config) { cfg.Dir = dir }
	key := discovery.Key{1}

	keeperHost := newHost(t, libp2p.Identity(identity))
	keeper := start(t, keeperHost, keep)
	holder := start(t, newHost(t), nil)
	join(t, holder, keeper)
	holder.Provide(key)
	eventually(t, "the record is kept", func() bool { return holder.Status().Announced == 1 })
	// The holder stops answering for itself; what is left of it is its record, and a host to be found.
	if err := errors.Join(holder.Close(), keeper.Close(), keeperHost.Close()); err != nil {
		t.Fatal(err)
	}

	keeper = start(t, newHost(t, libp2p.Identity(identity)), keep)
	// The keeper has the record but no addresses, which are not kept on disk; another node knows those.
	other := start(t, newHost(t), nil)
	if err := other.host.Connect(t.Context(), holder.info()); err != nil {
		t.Fatal(err)
	}
	seeker := start(t, newHost(t), nil)
	join(t, seeker, keeper, other)
	for _, c := range find(t, seeker, key, 3) {
		if c.Source == discovery.SourceDHT && (c.Peer.ID != holder.id() || len(c.Peer.Addrs) == 0) {
			t.Errorf("holder: %v, want %s with its addresses", c.Peer, holder.id())
		}
	}
}

func TestRestartAnnouncesOnlyWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	identity, _, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	keeper := start(t, newHost(t), nil)
	key, fresh := discovery.Key{1}, discovery.Key{2}
	anyPort := []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/0")}
	restart := func(listen []ma.Multiaddr) node {
		h := hostAt(t, listen, libp2p.Identity(identity))
		n := start(t, h, func(cfg *discovery.Config) { cfg.Dir = dir })
		n.Provide(key)
		join(t, n, keeper)
		return n
	}
	stop := func(n node) []ma.Multiaddr {
		addrs := n.host.Addrs()
		if err := errors.Join(n.Close(), n.host.Close()); err != nil {
			t.Fatal(err)
		}
		return addrs
	}

	n := restart(anyPort)
	eventually(t, "the key is announced", func() bool { return n.AnnouncedThisRun(key) })
	addrs := stop(n)

	n = restart(addrs)
	if s := n.Status(); s.Announced != 1 || s.LastAnnounced.IsZero() {
		t.Errorf("the announcement is forgotten: %+v", s)
	}
	n.Provide(fresh)
	eventually(t, "the new key is announced", func() bool { return n.AnnouncedThisRun(fresh) })
	if n.AnnouncedThisRun(key) {
		t.Error("a key that was announced a moment ago is announced again")
	}
	stop(n)

	n = restart(anyPort)
	eventually(t, "the new address is announced", func() bool { return n.AnnouncedThisRun(key) })
}

func TestCorruptRecordsAreReplaced(t *testing.T) {
	t.Parallel()
	spoilers := map[string]func([]byte) []byte{
		"emptied":     func([]byte) []byte { return nil },
		"cut short":   func(data []byte) []byte { return data[:len(data)/2] },
		"overwritten": func(data []byte) []byte { return bytes.Repeat([]byte("noise"), len(data)/5+1) },
	}
	for name, spoil := range spoilers {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			keeper := start(t, newHost(t), nil)
			h := newHost(t)
			announced := func() {
				n := start(t, h, func(cfg *discovery.Config) { cfg.Dir = dir })
				n.Provide(discovery.Key{1})
				join(t, n, keeper)
				eventually(t, "the key is announced", func() bool { return n.Status().Announced == 1 })
				if err := n.Close(); err != nil {
					t.Fatal(err)
				}
			}
			announced()
			files, err := filepath.Glob(filepath.Join(dir, "main", "*"))
			if err != nil || len(files) < 3 {
				t.Fatalf("the database has the files %v: %v", files, err)
			}
			for _, file := range files {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, spoil(data), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			announced()
		})
	}
}

func TestRecordsThatCannotBeKeptInTheDirectory(t *testing.T) {
	t.Parallel()
	t.Run("a file is in the way", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "main"), []byte("not a directory"), 0o600); err != nil {
			t.Fatal(err)
		}
		start(t, newHost(t), func(cfg *discovery.Config) { cfg.Dir = dir })
		if _, err := os.Stat(filepath.Join(dir, "main.corrupt")); err != nil {
			t.Errorf("what was there is gone: %v", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "main", "CURRENT")); err != nil {
			t.Errorf("no new database: %v", err)
		}
	})
	t.Run("another node has it", func(t *testing.T) {
		dir := t.TempDir()
		keep := func(cfg *discovery.Config) { cfg.Dir = dir }
		start(t, newHost(t), keep)
		start(t, newHost(t), keep)
		if _, err := os.Stat(filepath.Join(dir, "main.corrupt")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a database in use was set aside: %v", err)
		}
	})
}

func TestNetworksDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	green := func(cfg *discovery.Config) { cfg.Network = "green" }
	a, b := start(t, newHost(t), nil), start(t, newHost(t), nil)
	c, d := start(t, newHost(t), green), start(t, newHost(t), green)
	key := discovery.Key{1}
	a.Provide(key)
	join(t, a, b)
	join(t, c, d)
	for _, wrong := range []node{c, d} {
		if err := a.Join(t.Context(), wrong.info()); err == nil || !strings.Contains(err.Error(), `network "green"`) {
			t.Errorf("joined a node of another network: %v", err)
		}
	}
	eventually(t, "each network has both its nodes", func() bool {
		return a.Status().TableSize >= 1 && d.Status().TableSize >= 1
	})
	eventually(t, "the key is announced in one of them", func() bool { return a.Status().Announced == 1 })
	if found, looked := findAnswered(t, d, key); len(from(discovery.SourceDHT, found)) > 0 {
		t.Errorf("a holder of the other network: %v; looked in: %s", found, looked)
	}
	for _, n := range []node{a, b, c, d} {
		if size := n.Status().TableSize; size != 1 {
			t.Errorf("%d nodes in a table, want the one of the same network", size)
		}
	}
}

func TestPeerJoinedDuringASearch(t *testing.T) {
	t.Parallel()
	seeker, other := start(t, newHost(t), nil), start(t, newHost(t), nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var found []peer.ID
	joined := make(chan error, 1)
	go func() { joined <- seeker.Join(ctx, other.info()) }()
	err := seeker.Find(ctx, discovery.Key{1}, func(c discovery.Candidate) bool {
		found = append(found, c.Peer.ID)
		return false
	})
	if err := errors.Join(err, <-joined); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(found, []peer.ID{other.id()}) {
		t.Errorf("found %v, want %s", found, other.id())
	}
}

func TestLostPeerIsJoinedAgain(t *testing.T) {
	t.Parallel()
	// Without the DHT, which has reasons of its own to dial.
	off := func(cfg *discovery.Config) { cfg.DHT = false }
	n, other := start(t, newHost(t), off), start(t, newHost(t), off)
	join(t, n, other)
	for range 2 {
		lost := n.host.Network().ConnsToPeer(other.id())[0].ID()
		// Who dials is done first: before the other side is, there is nothing there to close.
		eventually(t, "the other side has the connection", func() bool {
			return len(other.host.Network().ConnsToPeer(n.id())) > 0
		})
		if err := other.host.Network().ClosePeer(n.id()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "there is a new connection", func() bool {
			conns := n.host.Network().ConnsToPeer(other.id())
			return n.Status().Joined[0].Connected && len(conns) > 0 && conns[0].ID() != lost
		})
	}
}

func TestPeerThatIsNotThereYetIsJoinedLater(t *testing.T) {
	t.Parallel()
	identity, _, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	later := newHost(t, libp2p.Identity(identity))
	info := peer.AddrInfo{ID: later.ID(), Addrs: later.Addrs()}
	if err := later.Close(); err != nil {
		t.Fatal(err)
	}
	n := start(t, newHost(t), nil)
	if err := n.Join(t.Context(), info); err == nil || !strings.Contains(err.Error(), info.ID.String()) {
		t.Fatalf("join of a peer that is not there: %v, want an error that names it", err)
	}
	hostAt(t, info.Addrs, libp2p.Identity(identity))
	eventually(t, "the peer is joined", func() bool { return n.Status().Joined[0].Connected })
}

func TestJoinDialsAtOnceAfterAFailure(t *testing.T) {
	t.Parallel()
	identity, _, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		t.Fatal(err)
	}
	later := newHost(t, libp2p.Identity(identity))
	info := peer.AddrInfo{ID: later.ID(), Addrs: later.Addrs()}
	if err := later.Close(); err != nil {
		t.Fatal(err)
	}
	n := start(t, newHost(t), nil)
	if err := n.Join(t.Context(), info); err == nil {
		t.Fatal("joined a peer that is not there")
	}
	hostAt(t, info.Addrs, libp2p.Identity(identity))
	if err := n.Join(t.Context(), info); err != nil {
		t.Errorf("join of a peer that is back: %v", err)
	}
}

func TestJoinNamesEveryPeerThatFailed(t *testing.T) {
	t.Parallel()
	n, other := start(t, newHost(t), nil), start(t, newHost(t), nil)
	nowhere := newHost(t)
	gone := peer.AddrInfo{ID: nowhere.ID(), Addrs: nowhere.Addrs()}
	if err := nowhere.Close(); err != nil {
		t.Fatal(err)
	}
	noAddress := newHost(t)
	err := n.Join(t.Context(), gone, other.info(), n.info(), peer.AddrInfo{ID: noAddress.ID()})
	if err == nil {
		t.Fatal("no error")
	}
	for _, id := range []peer.ID{gone.ID, n.id(), noAddress.ID()} {
		if !strings.Contains(err.Error(), "join "+id.String()) {
			t.Errorf("the error does not name %s: %v", id, err)
		}
	}
	if strings.Contains(err.Error(), "join "+other.id().String()) {
		t.Errorf("the error names a peer that was joined: %v", err)
	}
	if got := len(n.Status().Joined); got != 2 {
		t.Errorf("%d peers are remembered, want the one connected and the one to try again", got)
	}
}

func TestFindEnds(t *testing.T) {
	t.Parallel()
	n, other := start(t, newHost(t), nil), start(t, newHost(t), nil)
	join(t, n, other)
	t.Run("when the context does", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := n.Find(ctx, discovery.Key{1}, func(discovery.Candidate) bool { cancel(); return true })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %v, want the context's", err)
		}
	})
	t.Run("when discovery is closed", func(t *testing.T) {
		closed := make(chan error, 1)
		err := n.Find(t.Context(), discovery.Key{1}, func(discovery.Candidate) bool {
			go func() { closed <- n.Close() }()
			return true
		})
		if !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("error %v, want ErrClosed", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if err := n.Join(t.Context(), other.info()); !errors.Is(err, discovery.ErrClosed) {
			t.Errorf("join after Close: %v, want ErrClosed", err)
		}
	})
}

func TestCloseLeavesTheHost(t *testing.T) {
	t.Parallel()
	n := start(t, newHost(t), nil)
	for range 2 {
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := newHost(t).Connect(t.Context(), n.info()); err != nil {
		t.Errorf("the host is gone: %v", err)
	}
	for _, id := range n.host.Mux().Protocols() {
		if strings.HasPrefix(string(id), "/swarmsync/") {
			t.Errorf("the host still speaks %s", id)
		}
	}
}

func TestNewRefusesABadConfig(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for name, cfg := range map[string]discovery.Config{
		"no host":         {},
		"upper case":      {Host: h, Network: "Main"},
		"a path":          {Host: h, Network: "../x"},
		"64 letters":      {Host: h, Network: strings.Repeat("a", 64)},
		"a line break":    {Host: h, Network: "main\n"},
		"a foreign digit": {Host: h, Network: "m٣"},
	} {
		t.Run(name, func(t *testing.T) {
			if d, err := discovery.New(t.Context(), cfg); err == nil {
				t.Error("no error", d.Close())
			}
		})
	}
}

func TestChainOfNodes(t *testing.T) {
	t.Parallel()
	// Each node joined only the one before it, and finds a holder that is up to seven steps away.
	var nodes []node
	for i := range 8 {
		nodes = append(nodes, start(t, newHost(t), nil))
		if i > 0 {
			join(t, nodes[i], nodes[i-1])
		}
	}
	key := discovery.Key{1}
	nodes[0].Provide(key)
	for i, n := range nodes[2:] {
		if got := from(discovery.SourceDHT, find(t, n, key, 2)); !slices.Equal(got, []peer.ID{nodes[0].id()}) {
			t.Errorf("node %d found %v, want %s", i+2, got, nodes[0].id())
		}
	}
}
