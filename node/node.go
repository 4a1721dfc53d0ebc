package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	logging "github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/discovery"
	"github.com/swarmsync/swarmsync/protocol"
)

var log = logging.Logger("swarmsync/node")

// DefaultNetwork is the name of the network that nodes are on when they are told no other.
const DefaultNetwork = "main"

// DefaultWait is how long a fetch or a search looks for holders when it is told no other time.
const DefaultWait = 30 * time.Second

// Config says what a node is made of. The zero value is a node in memory with a fresh identity that listens on any
// port of all interfaces.
type Config struct {
	// Home is the directory of the identity, the store and the provider records; it is made if it is missing. Only one
	// node at a time can use it. Empty: everything is in memory and gone with the node.
	Home string
	// Store replaces the store below Home. The node does not close it; who made it does, after Close of the node. What it can
	// do beyond a cafs.Store, such as cafs.Referrer, is found by type assertion: a type that embeds another has its roles too.
	Store cafs.Store
	// Host replaces the node's own libp2p host; Listen is ignored then. The node does not close it.
	Host host.Host
	// Listen holds the addresses to listen on. Empty: TCP and QUIC on all interfaces, any port.
	Listen []multiaddr.Multiaddr
	// Transport says what connections are made of. Empty: TransportAuto. It has no effect on a Host that the node was given.
	Transport Transport
	// Join holds peers to be connected to as long as the node runs.
	Join []peer.AddrInfo
	// Network separates nodes that shall not see each other: 1 to 63 of a-z, 0-9 and -. Empty: DefaultNetwork.
	Network string
	// Offline: the node has no network. Fetch uses what is here; Join and Find fail with ErrOffline.
	Offline bool
	// DisableDHT, DisableMDNS and DisableAnnounce turn parts of discovery off.
	DisableDHT, DisableMDNS, DisableAnnounce bool
	// UpLimit and DownLimit bound the bytes a second that all sessions together send and receive: at least LimitMin.
	// Zero: no limit.
	UpLimit, DownLimit int64
	// Quota is the most that the store may take, in bytes, at least disk.QuotaLeast, its index counted, but no files that
	// are served from where they are. Zero: no limit. A Store of the caller's has its own, and Quota must be zero then; a
	// store in memory has none.
	Quota int64

	// testOnlyPatience, if not nil, replaces the patience with peers.
	testOnlyPatience *patience
}

// Transport says what a node's connections are made of.
type Transport string

const (
	// TransportAuto listens on TCP and QUIC. On loopback and private addresses it dials TCP first, which is much faster
	// there, elsewhere QUIC, which more NATs let through.
	TransportAuto Transport = "auto"
	// TransportTCP and TransportQUIC neither listen on the other nor dial it.
	TransportTCP  Transport = "tcp"
	TransportQUIC Transport = "quic"
)

// patience is how long peers are waited for.
type patience struct {
	open   time.Duration // for the answer to OPEN
	stall  time.Duration // for a chunk or page while no rate is known
	retry  time.Duration // before the first new try after a session broke; then twice as long each time
	settle time.Duration // how long the node must have had nothing to do before it hashes files once more
}

// Node keeps content, serves it and fetches it. Its methods may be called concurrently.
type Node struct {
	cfg       Config
	home      *home
	store     cafs.Store
	id        peer.ID
	host      host.Host // nil if offline, as is what follows
	discovery *discovery.Discovery
	server    *server
	up, down  *throttle
	started   time.Time
	patience  patience

	// haves are the have maps told to receivers.
	haves haveCache

	// members are the peers that had a session with this node lately, by root.
	members members

	// suspects are roots whose files may have changed.
	suspects chan cafs.Key

	// catalog is held while an entry of the catalog is read and written back, so that no change is lost.
	catalog sync.Mutex

	// ctx ends when the node is closed.
	ctx   context.Context
	close func()
	work  sync.WaitGroup

	// mu guards what follows.
	mu       sync.Mutex
	roots    map[protocol.DiscoveryKey]served
	contents map[cafs.Key]*content
	fetches  map[cafs.Key]*fetch
	closed   bool
}

// served is what is needed to answer an OPEN.
type served struct {
	root   cafs.Key
	record []byte
}

// New starts a node: opens its home, listens, serves what the catalog holds, and begins to join. It returns when others
// can connect; peers that can't be joined yet are tried again in the background. ctx bounds New alone.
func New(ctx context.Context, cfg Config) (*Node, error) {
	cfg.setDefaults()
	if err := cfg.checkLimits(); err != nil {
		return nil, err
	}
	if cfg.Store != nil && cfg.Quota != 0 {
		return nil, errors.New("start a node: Quota is for the store of its home, and Store replaces that")
	}
	opened, err := openHome(cfg.Home, cfg.Store, cfg.Quota)
	if err != nil {
		return nil, err
	}
	n := &Node{
		cfg:      cfg,
		home:     opened,
		store:    opened.store,
		up:       newThrottle(cfg.UpLimit),
		down:     newThrottle(cfg.DownLimit),
		started:  time.Now(),
		patience: cfg.patience(),
		roots:    make(map[protocol.DiscoveryKey]served),
		contents: make(map[cafs.Key]*content),
		fetches:  make(map[cafs.Key]*fetch),
		suspects: make(chan cafs.Key, suspectsMax),
	}
	n.ctx, n.close = context.WithCancel(context.Background())
	if err := n.start(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (cfg *Config) setDefaults() {
	if cfg.Network == "" {
		cfg.Network = DefaultNetwork
	}
	if cfg.Transport == "" {
		cfg.Transport = TransportAuto
	}
	if len(cfg.Listen) == 0 {
		cfg.Listen = cfg.Transport.allowed(defaultListen)
	}
}

func (cfg *Config) patience() patience {
	if cfg.testOnlyPatience != nil {
		return *cfg.testOnlyPatience
	}
	return patience{open: protocol.OpenTimeout, stall: protocol.StallTimeoutFirst, retry: retryFirst, settle: settleInterval}
}

func (n *Node) start(ctx context.Context) error {
	var err error
	if n.id, err = peer.IDFromPrivateKey(n.home.identity); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	if !n.cfg.Offline {
		if err := n.connect(ctx); err != nil {
			return err
		}
	}
	partial := make(map[cafs.Key]bool)
	for info, err := range n.store.Roots(ctx) {
		if err != nil {
			return fmt.Errorf("read the catalog: %w", err)
		}
		n.serve(info)
		if !info.Complete {
			partial[info.Root] = true
		}
	}
	if err := n.finishReplacing(ctx, partial); err != nil {
		return fmt.Errorf("complete what was interrupted: %w", err)
	}
	if n.server == nil {
		return nil
	}
	n.host.SetStreamHandler(protocol.ID, n.server.handle)
	if referrer, ok := n.store.(cafs.Referrer); ok {
		n.work.Go(func() { n.settle(n.ctx, referrer) })
		n.work.Go(func() { n.tendFiles(n.ctx, referrer) })
	}
	return nil
}

// connect brings the node into its network.
func (n *Node) connect(ctx context.Context) error {
	n.host = n.cfg.Host
	if n.host == nil {
		made, err := newHost(n.home, n.cfg.Listen, n.cfg.Transport)
		if err != nil {
			return err
		}
		n.host = made
	}
	n.id = n.host.ID()
	events, err := subscribeMembers(n.host)
	if err != nil {
		return err
	}
	n.work.Go(func() { n.watchMembers(n.ctx, events) })
	n.discovery, err = discovery.New(ctx, discovery.Config{
		Host:     n.host,
		Network:  n.cfg.Network,
		DHT:      !n.cfg.DisableDHT,
		MDNS:     !n.cfg.DisableMDNS,
		Announce: !n.cfg.DisableAnnounce,
		Dir:      n.home.dhtDir(),
	})
	if err != nil {
		return err
	}
	n.server = newServer(n)
	if len(n.cfg.Join) > 0 {
		n.work.Go(func() {
			if err := n.discovery.Join(n.ctx, n.cfg.Join...); err != nil && n.ctx.Err() == nil {
				log.Warnf("join: %v; it is tried again", err)
			}
		})
	}
	return nil
}

// Close ends the node: fetches under way fail with ErrClosed and can be continued later, sessions end, the store is
// synced and closed. It returns when everything that the node started is gone; fetches may return a little later. A
// second call does nothing.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return nil
	}
	n.closed = true
	n.mu.Unlock()

	n.close()
	if n.server != nil {
		n.host.RemoveStreamHandler(protocol.ID)
		n.server.close()
	}
	n.work.Wait()
	var problems []error
	if n.discovery != nil {
		problems = append(problems, n.discovery.Close())
	}
	if n.host != nil && n.cfg.Host == nil {
		problems = append(problems, n.host.Close())
	}
	return errors.Join(append(problems, n.home.close())...)
}

// ID returns the node's peer ID.
func (n *Node) ID() peer.ID { return n.id }

// Config returns the configuration that is in force, with the defaults filled in.
func (n *Node) Config() Config { return n.cfg }

// Addresses returns the addresses that others can join, each with /p2p/<peer id>; none if the node is offline.
func (n *Node) Addresses() []multiaddr.Multiaddr {
	if n.host == nil {
		return nil
	}
	addresses, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: n.id, Addrs: n.host.Addrs()})
	if err != nil {
		log.Errorf("own addresses: %v", err) // it could only be our own peer ID that is wrong
		return nil
	}
	return addresses
}

// AddrInfo returns the node as others take it: for Config.Join, Link.Peers, Join. It has no addresses if the node is offline.
func (n *Node) AddrInfo() peer.AddrInfo {
	info := peer.AddrInfo{ID: n.id}
	if n.host != nil {
		info.Addrs = n.host.Addrs()
	}
	return info
}

// Join connects to peers and keeps connected to them as long as the node runs, so that it becomes part of the network
// that they lead to. The error names each peer that could not be reached now; those are tried again in the background.
func (n *Node) Join(ctx context.Context, peers ...peer.AddrInfo) error {
	if n.discovery == nil {
		return ErrOffline
	}
	return n.discovery.Join(ctx, peers...)
}

// serve answers for a catalogued root from now on, and announces it if it is complete.
func (n *Node) serve(info cafs.RootInfo) {
	key := protocol.DiscoveryKeyOf(info.Root)
	n.mu.Lock()
	n.roots[key] = served{info.Root, info.Record}
	n.mu.Unlock()
	if info.Complete && n.discovery != nil {
		n.discovery.Provide(discovery.Key(key))
	}
}

// serves reports whether this node answers for a root.
func (n *Node) serves(key protocol.DiscoveryKey) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.roots[key]
	return ok
}

// contentOf returns the content behind a discovery key, not loaded yet, or nil. The caller releases it.
func (n *Node) contentOf(key protocol.DiscoveryKey) *content {
	n.mu.Lock()
	found, ok := n.roots[key]
	n.mu.Unlock()
	if !ok {
		return nil
	}
	return n.shareContent(found.root, found.record)
}

// beginFetch waits until no other fetch of the same root runs, and then enters f. The caller calls release at its end.
func (n *Node) beginFetch(ctx context.Context, f *fetch) (release func(), err error) {
	for {
		n.mu.Lock()
		other := n.fetches[f.link.Root]
		if n.closed {
			n.mu.Unlock()
			return nil, ErrClosed
		}
		if other == nil {
			n.fetches[f.link.Root] = f
			n.work.Add(1)
			n.mu.Unlock()
			return func() {
				n.mu.Lock()
				delete(n.fetches, f.link.Root)
				n.mu.Unlock()
				close(f.over)
				n.work.Done()
			}, nil
		}
		n.mu.Unlock()
		f.events.now(Event{Kind: EventNote, Message: "waiting for another fetch of this root"})
		select {
		case <-other.over:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// fetchOf returns the fetch of a root that is under way, or nil.
func (n *Node) fetchOf(root cafs.Key) *fetch {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.fetches[root]
}

// linkAddresses are the node's addresses as others may reach them: loopback ones only if there are no others.
func (n *Node) linkAddresses() []multiaddr.Multiaddr {
	all := n.host.Addrs()
	var reachable []multiaddr.Multiaddr
	for _, address := range all {
		if !manet.IsIPLoopback(address) {
			reachable = append(reachable, address)
		}
	}
	if len(reachable) == 0 {
		return all
	}
	return reachable
}
