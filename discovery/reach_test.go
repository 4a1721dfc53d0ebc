package discovery

import (
	"slices"
	"testing"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

func TestTellable(t *testing.T) {
	addrs := []string{
		"/ip4/127.0.0.1/tcp/1",
		"/ip6/::1/tcp/1",
		"/ip4/0.0.0.0/tcp/1",
		"/dns4/localhost/tcp/1",
		"/dns/x.LocalHost./tcp/1",
		"/ip4/192.168.1.5/tcp/1",
		"/ip4/100.64.0.1/tcp/1",
		"/ip6/fe80::1/tcp/1",
		"/ip6/fd00::1/udp/1/quic-v1",
		"/ip6/::ffff:10.0.0.1/tcp/1",
		"/dns4/printer.local/tcp/1",
		"/ip4/1.1.1.1/tcp/1",
		"/ip6/2606:4700::1/tcp/1",
		"/dns4/example.org/tcp/1",
	}
	const hosts, lans = 5, 6
	for _, test := range []struct {
		remote string
		want   []string
	}{
		{"/ip4/127.0.0.1/tcp/9", addrs},
		{"/ip4/10.1.2.3/tcp/9", addrs[hosts:]},
		{"/ip6/fe80::2/tcp/9", addrs[hosts:]},
		{"/ip4/8.8.8.8/udp/9/quic-v1", addrs[hosts+lans:]},
		{"/ip4/8.8.8.8/tcp/9/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit", addrs[hosts+lans:]},
	} {
		t.Run(test.remote, func(t *testing.T) {
			var told []ma.Multiaddr
			for _, addr := range addrs {
				told = append(told, ma.StringCast(addr))
			}
			var got []string
			for _, addr := range tellable(told, ma.StringCast(test.remote)) {
				got = append(got, addr.String())
			}
			var want []string
			for _, addr := range test.want {
				want = append(want, ma.StringCast(addr).String())
			}
			if !slices.Equal(got, want) {
				t.Errorf("kept %v\nwant %v", got, want)
			}
		})
	}
}

func TestKeepTellableBoundsWhatOneNodeTells(t *testing.T) {
	addrs := make([]ma.Multiaddr, 1000)
	for i := range addrs {
		addrs[i] = ma.StringCast("/ip4/1.1.1.1/tcp/1")
	}
	told := make([]peer.AddrInfo, 1000)
	for i := range told {
		told[i] = peer.AddrInfo{ID: peer.ID([]byte{byte(i), byte(i >> 8)}), Addrs: addrs}
	}
	msg := pb.NewMessage(pb.Message_GET_PROVIDERS, []byte("key"), 0)
	msg.ProviderPeers = pb.RawPeerInfosToPBPeers(told)
	msg.ProviderPeers[0].Addrs = append(msg.ProviderPeers[0].Addrs, []byte("no address"))
	keepTellable(msg, ma.StringCast("/ip4/8.8.8.8/tcp/9"))
	if got := len(msg.ProviderPeers); got != 64 {
		t.Errorf("%d holders are kept, want a quarter of a search: 64", got)
	}
	first := true
	for i, p := range msg.ProviderPeers {
		if len(p.Addrs) != peerAddrsMax {
			t.Errorf("%d addresses of one peer are kept, want %d", len(p.Addrs), peerAddrsMax)
		}
		first = first && string(p.Id) == string(told[i].ID)
	}
	if first {
		t.Error("the first 64 are kept, want random ones")
	}
}
