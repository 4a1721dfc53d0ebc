package node_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

// libp2p shares ports between processes, so a second node on the port of a first once came up without a word, and who
// dialed it reached one or the other.
func TestSecondNodeOnAPortIsRefused(t *testing.T) {
	first := start(t, node.Config{DisableDHT: true})
	for _, address := range at(t, first).Addrs {
		second, err := node.New(t.Context(), node.Config{Listen: []multiaddr.Multiaddr{address}, DisableDHT: true, DisableMDNS: true})
		if err == nil {
			_ = second.Close()
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a second node on %s: %v, want EADDRINUSE", address, err)
		}
	}
}
