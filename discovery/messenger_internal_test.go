package discovery

import (
	"bytes"
	"testing"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/proto"
)

func TestRecordWithoutUsableAddressesIsNotSent(t *testing.T) {
	for remote, ok := range map[string]bool{
		"/ip4/127.0.0.1/tcp/1": true,
		"/ip4/10.0.0.1/tcp/1":  true,
		"/ip4/1.1.1.1/tcp/1":   false,
	} {
		msg := pb.NewMessage(pb.Message_ADD_PROVIDER, Key{1}.multihash(), 0)
		msg.ProviderPeers = pb.RawPeerInfosToPBPeers([]peer.AddrInfo{{ID: "self", Addrs: addrs("/ip4/10.0.0.2/tcp/1")}})
		if err := keepUsable(msg, ma.StringCast(remote)); (err == nil) != ok {
			t.Errorf("a record with a private address for %s: %v", remote, err)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	msg := pb.NewMessage(pb.Message_GET_PROVIDERS, Key{1}.multihash(), 0)
	msg.ProviderPeers = pb.RawPeerInfosToPBPeers([]peer.AddrInfo{{ID: "other", Addrs: addrs("/ip4/1.1.1.1/tcp/1")}})
	msg.CloserPeers = pb.RawPeerInfosToPBPeers([]peer.AddrInfo{{ID: "closer", Addrs: addrs("/ip4/10.0.0.1/tcp/1")}, {}})
	var good bytes.Buffer
	if err := writeMessage(&good, msg); err != nil {
		f.Fatal(err)
	}
	f.Add(good.Bytes())
	f.Add(good.Bytes()[:good.Len()-1])
	f.Add([]byte{0})
	f.Add([]byte{0x80, 0x80, 0x80, 0x02})
	f.Add(bytes.Repeat([]byte{0xff}, 11))
	remote := ma.StringCast("/ip4/8.8.8.8/tcp/1")
	f.Fuzz(func(t *testing.T, raw []byte) {
		msg, err := readMessage(bytes.NewReader(raw))
		if err != nil {
			return
		}
		if size := proto.Size(msg); size > network.MessageSizeMax {
			t.Errorf("a message of %d bytes got through", size)
		}
		keepTellable(msg, remote)
		for _, p := range append(msg.ProviderPeers, msg.CloserPeers...) {
			for _, addr := range p.Addresses() {
				if reachOf(addr) != reachWorld {
					t.Errorf("address %s from a public node got through", addr)
				}
			}
		}
	})
}
