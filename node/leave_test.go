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
		// TCP drops what was sent last if something of the other side's was not read, so this may take more than one try.
		var said []string
		for try := 0; try < 5 && (len(said) == 0 || said[0] != "has left"); try++ {
			said = saidOfClosed(t, multiaddr.StringCast(transport))
		}
		if len(said) == 0 || said[0] != "has left" {
			t.Errorf("%s: of a holder that was closed it said %q", transport, said)
		}
	}
}

// saidOfClosed returns what a fetch says of a holder that is closed in the middle.
func saidOfClosed(t *testing.T, listen multiaddr.Multiaddr) (said []string) {
	t.Helper()
	holder := start(t, quick(node.Config{UpLimit: 1 << 20, Listen: []multiaddr.Multiaddr{listen}}))
	link := add(t, holder, noise(24<<20, 8))
	link.Peers = []peer.AddrInfo{at(t, holder)}
	begun := make(chan struct{})
	var once sync.Once
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
	return said
}
