package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	ds "github.com/ipfs/go-datastore"
	logging "github.com/ipfs/go-log/v2"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

var log = logging.Logger("swarmsync/discovery")

// ErrClosed is what a search or a join returns when the Discovery was closed under it.
var ErrClosed = errors.New("discovery is closed")

// DefaultNetwork is the name of the network that a node is part of if nothing else is said.
const DefaultNetwork = "main"

// networkName is what a network may be called.
var networkName = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// Config says where a Discovery looks and what it tells others. Only Host is needed; with the rest left at zero the
// peers joined are the only source and nothing is announced.
type Config struct {
	// Host is used, not owned: it must outlive the Discovery, and Close leaves it open.
	Host host.Host
	// Network is the name of the network, [a-z0-9-]{1,63}; empty means DefaultNetwork. Nodes of different networks do
	// not find each other. A name separates, it does not protect.
	Network string
	// DHT makes the node part of the network's own DHT: it looks there and keeps records for others.
	DHT bool
	// MDNS finds nodes of the network in the local network and is found by them. A host that listens on loopback
	// addresses only does without.
	MDNS bool
	// Announce tells the DHT which keys are provided. Without it Provide does nothing.
	Announce bool
	// Dir is the directory of the records that the node keeps for the DHT; each network has one of its own in it.
	// Empty keeps them in memory. Everything in it can be deleted while no node runs.
	Dir string

	// testOnlyMDNS replaces the service that talks to the local network.
	testOnlyMDNS func(host.Host, string, mdns.Notifee) mdns.Service
}

// Discovery finds peers and lets this node be found. Its methods may be called concurrently.
type Discovery struct {
	host     host.Host
	network  string
	announce bool

	dht        *dht.IpfsDHT // nil if the DHT is off
	messenger  *messenger   // nil if the DHT is off
	records    ds.Batching  // nil if the DHT is off
	mdns       mdns.Service // nil if mDNS is off
	lanStarted time.Time

	// changed tells the loops and the searches under way that something they look at is different: a peer joined or
	// lost, a neighbour, a key, the routing table's size, the host's addresses.
	changed signal

	closing   chan struct{} // closed when Close begins
	stop      context.CancelFunc
	running   sync.WaitGroup
	closeOnce sync.Once
	closeErr  error

	// mu guards what follows. It is never held across a call to a peer or to the database.
	mu     sync.Mutex
	joined map[peer.ID]*joinedPeer
	lan    map[peer.ID]neighbour
	// keys is what this node provides; history is what it announced in earlier runs and did not provide again yet.
	keys      map[Key]announcement
	history   map[Key]announcement
	lastErr   error
	tableSize int
}

// New starts discovery on cfg.Host. ctx bounds New alone; what it starts runs until Close.
func New(ctx context.Context, cfg Config) (*Discovery, error) {
	if cfg.Host == nil {
		return nil, errors.New("discovery needs a host")
	}
	if cfg.Network == "" {
		cfg.Network = DefaultNetwork
	}
	if !networkName.MatchString(cfg.Network) {
		return nil, fmt.Errorf("network name %q: want 1 to 63 of a-z, 0-9 and -", cfg.Network)
	}
	d := &Discovery{
		host:     cfg.Host,
		network:  cfg.Network,
		announce: cfg.Announce && cfg.DHT,
		closing:  make(chan struct{}),
		joined:   map[peer.ID]*joinedPeer{},
		lan:      map[peer.ID]neighbour{},
		keys:     map[Key]announcement{},
		history:  map[Key]announcement{},
	}
	running, stop := context.WithCancel(context.Background())
	d.stop = stop
	if err := d.start(ctx, running, cfg); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// start starts the sources. starting bounds the start, running ends when Close begins.
func (d *Discovery) start(starting, running context.Context, cfg Config) error {
	events, err := d.host.EventBus().Subscribe([]any{
		new(event.EvtPeerConnectednessChanged),
		new(event.EvtLocalAddressesUpdated),
	})
	if err != nil {
		return fmt.Errorf("watch the host: %w", err)
	}
	d.running.Go(func() { d.watchHost(running, events) })
	d.running.Go(func() { d.keepJoined(running) })

	if cfg.DHT {
		dir := cfg.Dir
		if dir != "" {
			dir = filepath.Join(dir, cfg.Network)
		}
		if err := d.startDHT(starting, dir); err != nil {
			return err
		}
		d.running.Go(func() { d.watchTable(running) })
	}
	if d.announce {
		d.running.Go(func() { d.announceLoop(running) })
	}
	if cfg.MDNS {
		d.startMDNS(cfg.testOnlyMDNS)
	}
	return nil
}

// Close ends the searches under way with ErrClosed, and everything that New started, and waits for the latter. It
// leaves the host open. A second call does nothing.
func (d *Discovery) Close() error {
	d.closeOnce.Do(func() {
		close(d.closing)
		d.stop()
		d.running.Wait()
		var errs []error
		if d.mdns != nil {
			errs = append(errs, d.mdns.Close())
		}
		if d.dht != nil {
			d.host.RemoveStreamHandler(d.dhtProtocol())
			errs = append(errs, d.dht.Close())
		}
		if d.records != nil {
			errs = append(errs, d.records.Close())
		}
		d.closeErr = errors.Join(errs...)
	})
	return d.closeErr
}

// watchHost tells the loops when a joined peer comes or goes, or the host's addresses change. It reads all events at
// once: a subscriber that is slow to read holds up the host.
func (d *Discovery) watchHost(ctx context.Context, events event.Subscription) {
	defer func() { _ = events.Close() }()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events.Out():
			if !ok {
				return
			}
			if change, ok := e.(event.EvtPeerConnectednessChanged); !ok || d.isJoined(change.Peer) {
				d.changed.notify()
			}
		}
	}
}

// Status is what a Discovery knows and does at one moment.
type Status struct {
	Network string
	// Mode is the node's part in the DHT: "server" (keeps records for others), "client" (does not, because others
	// cannot reach it) or "off".
	Mode string
	// TableSize is the number of nodes in the DHT's routing table.
	TableSize int
	// Joined are the peers joined, in the order of their IDs.
	Joined []JoinedPeer
	// MDNS tells whether the local network is being listened to, and LAN are the neighbours that were found there, in
	// the order of their IDs.
	MDNS bool
	LAN  []peer.AddrInfo
	// Provided counts the keys that this node provides, and Announced those of them whose record another node took
	// within the time that it is kept for.
	Provided, Announced int
	// LastAnnounced is when a record was last taken by another node, perhaps in an earlier run; the zero time means
	// never. LastAnnounceError is why the last attempt failed, and nil if it did not.
	LastAnnounced     time.Time
	LastAnnounceError error
}

// JoinedPeer is a peer that was joined, and whether there is a connection to it now.
type JoinedPeer struct {
	Peer      peer.AddrInfo
	Connected bool
}

// Status returns the state of now. The caller owns what it returns.
func (d *Discovery) Status() Status {
	now := time.Now()
	status := Status{Network: d.network, Mode: d.dhtMode(), MDNS: d.mdns != nil, TableSize: d.routingTableSize()}
	for _, info := range d.joinedPeers() {
		status.Joined = append(status.Joined, JoinedPeer{info, d.connected(info.ID)})
	}
	status.LAN = d.neighbours(now)

	d.mu.Lock()
	defer d.mu.Unlock()
	status.Provided = len(d.keys)
	for _, a := range d.keys {
		if !a.stored.IsZero() && now.Sub(a.stored) < recordValidity {
			status.Announced++
		}
		if a.stored.After(status.LastAnnounced) {
			status.LastAnnounced = a.stored
		}
	}
	status.LastAnnounceError = d.lastErr
	return status
}

func (d *Discovery) connected(p peer.ID) bool {
	switch d.host.Network().Connectedness(p) {
	case network.Connected, network.Limited:
		return true
	default:
		return false
	}
}

func sortPeers(peers []peer.AddrInfo) {
	slices.SortFunc(peers, func(a, b peer.AddrInfo) int {
		return cmp.Compare(a.ID, b.ID)
	})
}

// signal lets any number of goroutines wait for the next change of something. The zero value is ready to use.
type signal struct {
	mu   sync.Mutex
	next chan struct{}
}

// wait returns a channel that is closed by the next notify. Take it before looking at what may change.
func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = make(chan struct{})
	}
	return s.next
}

func (s *signal) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		close(s.next)
		s.next = nil
	}
}
