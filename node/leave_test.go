package node_test

import (
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

// TestHolderThatLeavesIsSaidToHaveLeft closes a holder that is sending.
func TestHolderThatLeavesIsSaidToHaveLeft(t *testing.T) {
	t.Parallel()
	for _, transport := range []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"} {
		holder := start(t, quick(node.Config{UpLimit: 1 << 20, Listen: []multiaddr.Multiaddr{multiaddr.StringCast(transport)}}))
		link := add(t, holder, noise(24<<20, 8))
		link.Peers = []peer.AddrInfo{at(t, holder)}
		begun := make(chan struct{})
		var once sync.Once
		var said []string
		see := func(event node.Event) {
			if event.Kind == node.EventProgress && event.Fetched > 0 {
				once.Do(func() { close(begun) })
			} else if event.Kind == node.EventDropped {
				said = append(said, event.Message)
			}
		}
		fetching := fetch(t.Context(), start(t, quick(node.Config{})), link, node.FetchOptions{Wait: time.Second, Events: see})
		fetching.until(t, begun)
		if err := holder.Close(); err != nil {
			t.Fatal(err)
		}
		<-fetching.done
		if len(said) == 0 || said[0] != "has left" {
			t.Errorf("%s: %v; it said %q", transport, fetching.err, said)
		}
	}
}
