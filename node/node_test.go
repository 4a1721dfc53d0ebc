package node_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

// startOn runs a node on a host, which tests may use beside it, until the test ends.
func startOn(t testing.TB, h host.Host, cfg node.Config) *node.Node {
	t.Helper()
	cfg.Host, cfg.Store, cfg.DisableAnnounce = h, memory.New(), true
	return start(t, cfg)
}

// start runs a node on loopback, with mDNS off, until the test ends.
func start(t testing.TB, cfg node.Config) *node.Node {
	t.Helper()
	if cfg.Listen == nil && cfg.Host == nil {
		cfg.Listen = []multiaddr.Multiaddr{
			multiaddr.StringCast("/ip4/127.0.0.1/tcp/0"),
			multiaddr.StringCast("/ip4/127.0.0.1/udp/0/quic-v1"),
		}
	}
	cfg.DisableMDNS = true
	n, err := node.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close the node: %v", err)
		}
	})
	return n
}

// at returns where a node can be joined.
func at(t testing.TB, n *node.Node) peer.AddrInfo {
	t.Helper()
	info := n.AddrInfo()
	if len(info.Addrs) == 0 {
		t.Fatal("the node has no addresses")
	}
	return info
}

// noise returns size bytes that depend on the seed alone.
func noise(size int, seed byte) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data) // never fails
	return data
}

func add(t testing.TB, n *node.Node, content []byte) node.Link {
	t.Helper()
	status, err := n.AddReader(t.Context(), bytes.NewReader(content), node.AddOptions{Name: "content"})
	if err != nil {
		t.Fatal(err)
	}
	return node.Link{Root: status.Root, Name: "content"}
}

func assertFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s has %d bytes that differ from the %d wanted", path, len(got), len(want))
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Fatalf("beside the output there is %v, %v", entries, err)
	}
}

func TestFetchFromTheOnlyHolderFoundThroughTheDHT(t *testing.T) {
	hub := start(t, node.Config{})
	holder := start(t, node.Config{Home: t.TempDir(), Join: []peer.AddrInfo{at(t, hub)}})
	receiver := start(t, node.Config{Home: t.TempDir(), Join: []peer.AddrInfo{at(t, hub)}})
	content := noise(20<<20, 1)
	link := add(t, holder, content)

	output := filepath.Join(t.TempDir(), "output")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	result, err := receiver.Fetch(ctx, link, node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	if result.Bytes != int64(len(content)) || result.Fetched != result.Bytes || result.Reused != 0 || result.Duplicate != 0 {
		t.Errorf("result %+v", result)
	}
	if len(result.Peers) != 1 || result.Peers[0].Peer != holder.ID() || result.Peers[0].Source != "dht" {
		t.Errorf("peers %+v, want the holder, found by dht", result.Peers)
	}
	if result.Peers[0].Transport != "tcp/tls" {
		t.Errorf("transport %q on loopback, want tcp/tls", result.Peers[0].Transport)
	}
	t.Logf("%v", result.Duration)
}

func mustFetch(t *testing.T, receiver *node.Node, link node.Link, opts node.FetchOptions) node.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	result, err := receiver.Fetch(ctx, link, opts)
	if err != nil {
		t.Fatal(err)
	}
	return result
}
