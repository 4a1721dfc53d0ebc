package node_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/node"
)

// A node without a home once took the root that it did not have yet for an error.
func TestNodesInMemoryFetchFromEachOther(t *testing.T) {
	content := noise(100_000, 1)
	holder := start(t, node.Config{})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}
	receiver := start(t, node.Config{DisableDHT: true})
	if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{}); err != nil {
		t.Fatal(err)
	}
	file, err := receiver.Open(t.Context(), link.Root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(file.Open(t.Context()))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("fetched %d bytes that are not the content, %v", len(got), err)
	}
}
