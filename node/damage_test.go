package node_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// damage flips a bit in the packs of a home that nobody uses, wherever the given bytes are.
func damage(t *testing.T, home string, parts ...[]byte) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(home, "store", "packs", "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("packs %v, %v", packs, err)
	}
	done := 0
	for _, pack := range packs {
		content, err := os.ReadFile(pack)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if i := bytes.Index(content, part); i >= 0 {
				content[i] ^= 1
				done++
			}
		}
		if err := os.WriteFile(pack, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if done != len(parts) {
		t.Fatalf("%d places were damaged, want %d", done, len(parts))
	}
}

// addAndDamage returns a home that has the content complete, as its catalog says, with parts of it damaged.
func addAndDamage(t *testing.T, content []byte, parts ...[]byte) (home string, link node.Link) {
	t.Helper()
	home = t.TempDir()
	n, err := node.New(t.Context(), node.Config{Home: home, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	link = add(t, n, content)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, home, parts...)
	return home, link
}

func assertComplete(t *testing.T, n *node.Node, link node.Link, want bool) {
	t.Helper()
	status, err := n.Info(t.Context(), link, 0)
	if err != nil || status.Complete != want || (status.Have == status.Bytes) != want {
		t.Errorf("the root is complete %t, with %d of %d bytes, %v; want %t", status.Complete, status.Have, status.Bytes, err, want)
	}
}

// offline does something with a node on the home that has no network, and closes it.
func offline(t *testing.T, home string, do func(*node.Node)) {
	t.Helper()
	n, err := node.New(t.Context(), node.Config{Home: home, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	do(n)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// aPage returns a page of the list of some content.
func aPage(t *testing.T, content []byte) []byte {
	t.Helper()
	h := hold(t, content)
	pages, _ := h.outline.PagesFor(0, 0, h.outline.Items()-1, protocol.PagesMax)
	if len(pages) < 2 {
		t.Fatalf("%d bytes have a list of %d pages, want some", len(content), len(pages))
	}
	page, err := h.store.Get(t.Context(), pages[1].Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// A root with a byte that went bad once could not be fetched any more: without a network, which a complete root needs
// not, and so not at all, for the catalog went on calling it complete.
func TestDamagedRootIsNotComplete(t *testing.T) {
	t.Parallel()
	content := noise(12<<20, 51)
	other := filepath.Join(t.TempDir(), "output")
	read := func(n *node.Node, root cafs.Key) error {
		file, err := n.Open(t.Context(), root)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, file.Open(t.Context()))
		return err
	}
	tests := []struct {
		name  string
		parts [][]byte // to damage
		find  func(t *testing.T, n *node.Node, link node.Link)
	}{
		{"a chunk, found by a fetch", [][]byte{content[5<<20:][:64]}, func(t *testing.T, n *node.Node, link node.Link) {
			_, err := n.Fetch(t.Context(), link, node.FetchOptions{Output: other})
			if !errors.Is(err, node.ErrOffline) {
				t.Errorf("fetch: %v, want ErrOffline", err)
			}
		}},
		{"two chunks, one found by a reader", [][]byte{content[5<<20:][:64], content[9<<20:][:64]}, func(t *testing.T, n *node.Node, link node.Link) {
			if err := read(n, link.Root); !errors.Is(err, cafs.ErrCorrupt) {
				t.Errorf("read: %v, want ErrCorrupt", err)
			}
		}},
		{"a page, found by a fetch", [][]byte{aPage(t, content)}, func(t *testing.T, n *node.Node, link node.Link) {
			_, err := n.Fetch(t.Context(), link, node.FetchOptions{})
			if !errors.Is(err, node.ErrOffline) {
				t.Errorf("fetch: %v, want ErrOffline", err)
			}
		}},
		{"a page, found by a reader", [][]byte{aPage(t, content)}, func(t *testing.T, n *node.Node, link node.Link) {
			if err := read(n, link.Root); !errors.Is(err, cafs.ErrCorrupt) {
				t.Errorf("read: %v, want ErrCorrupt", err)
			}
		}},
	}
	for _, test := range tests {
		for _, name := range []string{"", "output"} {
			t.Run(test.name+", repaired into "+name, func(t *testing.T) {
				t.Parallel()
				home, link := addAndDamage(t, content, test.parts...)
				offline(t, home, func(n *node.Node) {
					assertComplete(t, n, link, true)
					test.find(t, n, link)
				})
				offline(t, home, func(n *node.Node) {
					assertComplete(t, n, link, false)
					if _, err := n.Open(t.Context(), link.Root); !errors.Is(err, cafs.ErrNotFound) {
						t.Errorf("open: %v, want ErrNotFound", err)
					}
				})
				receiver, err := node.New(t.Context(), loopback(node.Config{Home: home, DisableDHT: true}))
				if err != nil {
					t.Fatal(err)
				}
				opts := node.FetchOptions{}
				if name != "" {
					opts.Output = filepath.Join(t.TempDir(), name)
				}
				h := hold(t, content)
				result, err := receiver.Fetch(t.Context(), h.link(h.serve(t)), opts)
				if err != nil {
					t.Fatal(err)
				}
				assertSums(t, result)
				if most := int64(len(test.parts) * cafs.ChunkSizeMax); result.Fetched > most {
					t.Errorf("%d bytes were fetched, want at most %d", result.Fetched, most)
				}
				assertComplete(t, receiver, link, true)
				if err := receiver.Close(); err != nil {
					t.Fatal(err)
				}
				offline(t, home, func(n *node.Node) {
					if err := read(n, link.Root); err != nil {
						t.Errorf("read after the repair: %v", err)
					}
					assertComplete(t, n, link, true)
				})
			})
		}
	}
}
