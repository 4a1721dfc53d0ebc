package node_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

func TestTransportOfAFetch(t *testing.T) {
	t.Parallel()
	tcp, quic := multiaddr.StringCast("/ip4/127.0.0.1/tcp/0"), multiaddr.StringCast("/ip4/127.0.0.1/udp/0/quic-v1")
	content := noise(1<<20, 131)
	tests := []struct {
		holder   node.Transport
		listen   []multiaddr.Multiaddr
		receiver node.Transport
		want     string // empty: they can't reach each other
	}{
		{"", []multiaddr.Multiaddr{tcp, quic}, "", "tcp/tls"},
		{node.TransportAuto, []multiaddr.Multiaddr{tcp, quic}, node.TransportTCP, "tcp/tls"},
		{node.TransportAuto, []multiaddr.Multiaddr{tcp, quic}, node.TransportQUIC, "quic"},
		{node.TransportQUIC, []multiaddr.Multiaddr{quic}, node.TransportAuto, "quic"},
		{node.TransportTCP, []multiaddr.Multiaddr{tcp}, node.TransportQUIC, ""},
		{node.TransportQUIC, []multiaddr.Multiaddr{quic}, node.TransportTCP, ""},
	}
	for _, test := range tests {
		t.Run(string(test.holder+" to "+test.receiver), func(t *testing.T) {
			t.Parallel()
			holder := start(t, node.Config{DisableDHT: true, Transport: test.holder, Listen: test.listen})
			link := add(t, holder, content)
			link.Peers = []peer.AddrInfo{at(t, holder)}
			own := map[node.Transport]multiaddr.Multiaddr{"": tcp, node.TransportAuto: tcp, node.TransportTCP: tcp, node.TransportQUIC: quic}
			receiver := start(t, node.Config{
				DisableDHT: true, Transport: test.receiver, Listen: []multiaddr.Multiaddr{own[test.receiver]},
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			result, err := receiver.Fetch(ctx, link, node.FetchOptions{Wait: time.Second})
			if test.want == "" {
				if !errors.Is(err, node.ErrNoHolder) {
					t.Errorf("fetch: %+v, %v, want ErrNoHolder", result, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			share := result.Peers[0]
			if share.Transport != test.want || share.Relayed || share.RTT <= 0 {
				t.Errorf("the share is %+v, want one over %s, direct", share, test.want)
			}
			peers := receiver.Peers()
			if len(peers) != 1 || peers[0].Transport != test.want || peers[0].Relayed {
				t.Errorf("peers are %+v, want one over %s, direct", peers, test.want)
			}
		})
	}
}

func TestTransportThatContradictsItself(t *testing.T) {
	tcp := []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}
	for _, transport := range []node.Transport{node.TransportQUIC, "carrier pigeon"} {
		n, err := node.New(t.Context(), node.Config{Listen: tcp, Transport: transport, DisableDHT: true, DisableMDNS: true})
		if err == nil {
			t.Errorf("no error for %q on %v", transport, tcp)
			_ = n.Close()
		}
	}
}

// TestLiveStatus looks at both sides of a transfer while it runs.
func TestLiveStatus(t *testing.T) {
	t.Parallel()
	content := noise(16<<20, 132)
	holder := start(t, node.Config{DisableDHT: true, UpLimit: 4 << 20})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}
	receiver := start(t, node.Config{DisableDHT: true})
	var seen bool
	events := func(event node.Event) {
		if event.Kind != node.EventProgress || event.Fetched < 2<<20 || seen || len(event.Shares) == 0 {
			return
		}
		seen = true
		share := event.Shares[0]
		// The clock of a loaded machine is no measure; that something comes is.
		if share.Peer != holder.ID() || share.Rate < 100<<10 || share.Bytes != event.Fetched || !share.Complete {
			t.Errorf("the share is %+v of %d bytes", share, event.Fetched)
		}
	}
	fetching := fetch(t.Context(), receiver, link, node.FetchOptions{Events: events})
	for {
		select {
		case <-fetching.done:
			t.Fatalf("the transfer was never seen from both sides: %v", fetching.err)
		case <-time.After(10 * time.Millisecond):
		}
		down, up := receiver.Peers(), holder.Peers()
		if len(down) == 1 && len(up) == 1 && down[0].Down > 100<<10 && up[0].Up > 100<<10 && len(down[0].Shares) == 1 {
			share := down[0].Shares[0]
			if share.Of < share.Bytes || share.Key == "" || up[0].Down != 0 || down[0].Up != 0 {
				t.Errorf("the receiver says %+v, the holder %+v", down[0], up[0])
			}
			break
		}
	}
	status, err := holder.Status(t.Context())
	if err != nil || len(status.Transfers) != 1 || status.Transfers[0].Rate == 0 || status.Transfers[0].Name == "" || status.Transfers[0].Transport != "tcp/tls" {
		t.Errorf("the holder's status is %+v, %v", status.Transfers, err)
	}
	status, err = receiver.Status(t.Context())
	if err != nil || len(status.Transfers) != 1 || status.Transfers[0].Rate == 0 || len(status.Transfers[0].Shares) != 1 {
		t.Errorf("the receiver's status is %+v, %v", status.Transfers, err)
	}
	<-fetching.done
	if fetching.err != nil || !seen {
		t.Errorf("fetch: %v; a share was seen: %v", fetching.err, seen)
	}
}
