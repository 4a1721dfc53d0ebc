package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

func TestEventsAreShown(t *testing.T) {
	t.Parallel()
	content := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // never fails
	holder := startHolder(t)
	added, err := holder.AddReader(t.Context(), bytes.NewReader(content), node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	link, err := holder.Link(t.Context(), added.Root)
	if err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "output")
	var out strings.Builder
	if err := run(t.Context(), &out, loopback(), link.String(), output); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(output); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes arrived, want %d: %v", len(got), len(content), err)
	}
	id := holder.ID().String()
	for _, want := range []string{
		"peer " + id + " at /ip4/127.0.0.1/tcp/",
		"100%: 2097152 of 2097152 bytes, ",
		"2097152 bytes from " + id + " over tcp/tls (named)\n",
		"wrote " + output + ": 2097152 bytes in ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in what was printed:\n%s", want, out.String())
		}
	}
}

func startHolder(t *testing.T) *node.Node {
	t.Helper()
	n, err := node.New(t.Context(), loopback())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func loopback() node.Config {
	return node.Config{
		Listen:      []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")},
		DisableDHT:  true,
		DisableMDNS: true,
	}
}
