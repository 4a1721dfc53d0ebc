package node_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

// A link whose address was out of date once kept its holder from being tried where the DHT said that it is.
func TestFetchFindsAHolderWhoseAddressInTheLinkIsStale(t *testing.T) {
	hub := start(t, node.Config{})
	holder := start(t, node.Config{Join: []peer.AddrInfo{at(t, hub)}})
	receiver := start(t, node.Config{Join: []peer.AddrInfo{at(t, hub)}})
	content := noise(1<<20, 1)
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{{ID: holder.ID(), Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/1")}}}

	output := filepath.Join(t.TempDir(), "output")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := receiver.Fetch(ctx, link, node.FetchOptions{Output: output}); err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
}
