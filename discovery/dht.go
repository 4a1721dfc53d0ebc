package discovery

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	kadrecords "github.com/libp2p/go-libp2p-kad-dht/records"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

// startDHT makes the host a node of the network's DHT, with its records in dir or, if that is empty, in memory.
func (d *Discovery) startDHT(ctx context.Context, dir string) error {
	records, announced, err := openRecords(ctx, dir)
	if err != nil {
		return err
	}
	d.records, d.history = records, announced
	d.messenger = &messenger{host: d.host}
	node, err := dht.New(d.host,
		dht.ProtocolPrefix(protocol.ID(protocolPrefix+d.network)),
		dht.Mode(dhtModeFor(d.host.Addrs())),
		dht.DisableValues(),
		dht.ProviderDatastore(ownRecords{records, d.host.ID(), d.provides}),
		dht.ProviderManagerOpts(
			kadrecords.ProvideValidity(recordValidity),
			kadrecords.ProviderAddrTTL(addrTTL),
			kadrecords.Cache(noCache{}),
		),
		dht.BootstrapPeersFunc(d.knownPeers),
		dht.OnRequestHook(func(_ context.Context, s network.Stream, msg *pb.Message) {
			keepTellable(msg, s.Conn().RemoteMultiaddr())
		}),
		dht.WithCustomMessageSender(func(_ host.Host, protocols []protocol.ID) pb.MessageSenderWithDisconnect {
			d.messenger.protocols = protocols
			return d.messenger
		}),
	)
	if err != nil {
		return fmt.Errorf("start DHT: %w", err)
	}
	d.dht = node
	return nil
}

// A network's DHT speaks the protocol protocolPrefix + the network's name + protocolSuffix; the library adds the suffix.
const (
	protocolPrefix = "/swarmsync/"
	protocolSuffix = "/kad/1.0.0"
)

func (d *Discovery) dhtProtocol() protocol.ID {
	return protocol.ID(protocolPrefix + d.network + protocolSuffix)
}

// networkOf returns the network whose DHT speaks id.
func networkOf(id protocol.ID) (name string, ok bool) {
	name, prefixed := strings.CutPrefix(string(id), protocolPrefix)
	name, suffixed := strings.CutSuffix(name, protocolSuffix)
	return name, prefixed && suffixed && networkName.MatchString(name)
}

// dhtModeFor chooses a node's part in the DHT by the addresses that it listens on. Where all are private nobody can
// find out whether it is reachable, and without servers there is no DHT. With public ones the host finds out, and
// the node is a server until it turns out that it cannot be reached: such servers cost everybody time.
func dhtModeFor(addrs []ma.Multiaddr) dht.ModeOpt {
	switch {
	case len(addrs) == 0:
		return dht.ModeClient
	case slices.ContainsFunc(addrs, func(a ma.Multiaddr) bool { return reachOf(a) == reachWorld }):
		return dht.ModeAutoServer
	default:
		return dht.ModeServer
	}
}

// dhtMode returns Status.Mode. A server is a node that answers the DHT's protocol.
func (d *Discovery) dhtMode() string {
	switch {
	case d.dht == nil:
		return "off"
	case slices.Contains(d.host.Mux().Protocols(), d.dhtProtocol()):
		return "server"
	default:
		return "client"
	}
}

func (d *Discovery) routingTableSize() int {
	if d.dht == nil {
		return 0
	}
	return d.dht.RoutingTable().Size()
}

// watchTable notices when the routing table grows or shrinks. When it becomes empty whoever kept this node's records
// is gone, so that they are announced again to whoever comes. As long as it is empty the known peers are tried again:
// a peer that was too busy to answer once is not asked again by the DHT itself for minutes.
func (d *Discovery) watchTable(ctx context.Context) {
	tick := time.NewTicker(tablePoll)
	defer tick.Stop()
	var again time.Time
	tries := 0
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			size := d.routingTableSize()
			if d.noteTableSize(size) {
				d.changed.notify()
			}
			switch {
			case size > 0:
				tries, again = 0, time.Time{}
			case len(d.knownPeers()) > 0 && !now.Before(again):
				tries++
				again = now.Add(backoff(tries, bootstrapRetryMin, bootstrapRetryMax))
				_ = d.dht.Bootstrap(ctx) // it returns at once and dials a few of knownPeers
			}
		}
	}
}

func (d *Discovery) noteTableSize(size int) (changed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if size == d.tableSize {
		return false
	}
	d.tableSize = size
	if size == 0 {
		for key, a := range d.keys {
			a.step, a.triedSize = 0, 0
			d.keys[key] = a
		}
	}
	return true
}

// knownPeers are those through which the DHT comes back when its routing table is empty.
func (d *Discovery) knownPeers() []peer.AddrInfo {
	return append(d.joinedPeers(), d.neighbours(time.Now())...)
}

// fingerprint tells one set of addresses from another.
type fingerprint uint64

func fingerprintOf(addrs []ma.Multiaddr) fingerprint {
	var texts []string
	for _, addr := range addrs {
		texts = append(texts, addr.String())
	}
	slices.Sort(texts)
	hash := sha256.New()
	for _, text := range texts {
		hash.Write([]byte(text))
		hash.Write([]byte{0})
	}
	return fingerprint(binary.BigEndian.Uint64(hash.Sum(nil)))
}
