package node_test

import (
	"slices"
	"testing"

	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

// The status names the joined peers that there is no connection to, and not those that there is one to.
func TestStatusNamesMissingPeers(t *testing.T) {
	listen := []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}
	start := func() *node.Node {
		n, err := node.New(t.Context(), node.Config{Listen: listen, DisableMDNS: true, DisableDHT: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = n.Close() })
		return n
	}
	n, there := start(), start()
	const gone = "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWAnSEjX1kpivQPpdbmd2ahZ8KXBedvJxbqbpu9XvRPh54"
	peers, err := node.ParsePeers(gone, there.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Join(t.Context(), peers...); err == nil {
		t.Error("joining a peer that is not there is no error")
	}
	status, err := n.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := status.Discovery.Missing; !slices.Equal(got, []string{gone}) {
		t.Errorf("missing are %q, want %q", got, gone)
	}
	if got := status.Discovery.Connected; got != 1 {
		t.Errorf("connected to %d joined peers, want 1", got)
	}
}
