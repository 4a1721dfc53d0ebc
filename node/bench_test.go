package node_test

import (
	"path/filepath"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/node"
)

// BenchmarkFetch is a cold get of random content from one holder over loopback, both nodes in this process and on disk.
func BenchmarkFetch(b *testing.B) {
	const size = 256 << 20
	holder := start(b, node.Config{Home: b.TempDir()})
	link := add(b, holder, noise(size, 1))
	link.Peers = []peer.AddrInfo{at(b, holder)}
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		receiver := start(b, node.Config{Home: b.TempDir(), DisableDHT: true})
		output := filepath.Join(b.TempDir(), "output")
		b.StartTimer()
		if _, err := receiver.Fetch(b.Context(), link, node.FetchOptions{Output: output}); err != nil {
			b.Fatal(err)
		}
	}
}
