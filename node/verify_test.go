package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
)

// verify runs a Verify and returns what it found, with the damage that it told of.
func verify(t *testing.T, n *node.Node, opts node.VerifyOptions) (node.VerifyResult, []node.Damage, error) {
	t.Helper()
	var damages []node.Damage
	opts.Events = func(event node.Event) {
		if event.Kind == node.EventDamage {
			damages = append(damages, *event.Damage)
		}
	}
	result, err := n.Verify(t.Context(), opts)
	return result, damages, err
}

func TestVerifyFindsAndRepairs(t *testing.T) {
	t.Parallel()
	content := noise(12<<20, 95)
	tests := []struct {
		name  string
		part  []byte
		bytes int64 // of content that the damage may be about
	}{
		{"a chunk", content[5<<20:][:64], cafs.ChunkSizeMax},
		{"a page", aPage(t, content), 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			home, link := addAndDamage(t, content, test.part)
			offline(t, home, func(n *node.Node) {
				result, damages, err := verify(t, n, node.VerifyOptions{})
				if err != nil || result.Damaged != 1 || len(damages) != 1 {
					t.Fatalf("verify found %+v, %+v, %v; want one damage", result, damages, err)
				}
				d := damages[0]
				if d.Root != link.Root || !d.Lost || d.Bytes > test.bytes || filepath.Ext(d.Path) != ".pack" ||
					test.bytes > 0 && (d.Offset > 5<<20 || d.Offset+d.Bytes < 5<<20) {
					t.Errorf("damage %+v", d)
				}
				assertComplete(t, n, link, false)
				if result, damages, err = verify(t, n, node.VerifyOptions{}); err != nil || result.Damaged != 1 || len(damages) != 1 || damages[0].Path != "" {
					t.Errorf("verify found %+v, %+v, %v; want the same part gone", result, damages, err)
				}
				if _, _, err := verify(t, n, node.VerifyOptions{Roots: []cafs.Key{{1}}}); !errors.Is(err, cafs.ErrNotFound) {
					t.Errorf("verify of an unknown root: %v, want ErrNotFound", err)
				}
			})
		})
	}
}

func TestVerifyRepairsFromAHolder(t *testing.T) {
	t.Parallel()
	content := noise(12<<20, 96)
	holder := start(t, node.Config{DisableDHT: true})
	add(t, holder, content)
	home, link := addAndDamage(t, content, content[5<<20:][:64])
	receiver := start(t, node.Config{Home: home, DisableDHT: true, Join: []peer.AddrInfo{at(t, holder)}})
	result, damages, err := verify(t, receiver, node.VerifyOptions{Repair: true})
	if err != nil || result.Damaged != 1 || result.Repaired != 1 || len(damages) != 1 {
		t.Fatalf("verify found %+v, %+v, %v; want one damage repaired", result, damages, err)
	}
	assertComplete(t, receiver, link, true)
	if result, damages, err := verify(t, receiver, node.VerifyOptions{}); err != nil || result.Bytes != int64(len(content)) || len(damages) > 0 {
		t.Errorf("after the repair: %+v, %+v, %v", result, damages, err)
	}
}

// When the index is lost, what is in the user's files is found by hashing.
func TestVerifyRepairsALostIndex(t *testing.T) {
	t.Parallel()
	content := noise(3<<20, 97)
	home, source := t.TempDir(), filepath.Join(t.TempDir(), "source")
	writeFile(t, source, content)
	var link node.Link
	offline(t, home, func(n *node.Node) {
		added, err := n.Add(t.Context(), source, node.AddOptions{})
		if err != nil {
			t.Fatal(err)
		}
		link.Root = added.Root
	})
	if err := os.RemoveAll(filepath.Join(home, "store", "index")); err != nil {
		t.Fatal(err)
	}
	offline(t, home, func(n *node.Node) {
		if result, damages, err := verify(t, n, node.VerifyOptions{}); err != nil || result.Damaged != 1 || len(damages) != 1 || damages[0].Bytes != int64(len(content)) {
			t.Errorf("verify found %+v, %+v, %v; want all of the content gone", result, damages, err)
		}
		if result, damages, err := verify(t, n, node.VerifyOptions{Repair: true}); err != nil || result.Damaged != 0 || len(damages) > 0 {
			t.Errorf("verify repaired %+v, %+v, %v; want nothing lost", result, damages, err)
		}
		assertComplete(t, n, link, true)
	})
}

func TestVerifyOfAChangedFile(t *testing.T) {
	t.Parallel()
	content := noise(3<<20, 98)
	home, source := t.TempDir(), filepath.Join(t.TempDir(), "source")
	writeFile(t, source, content)
	offline(t, home, func(n *node.Node) {
		if _, err := n.Add(t.Context(), source, node.AddOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	editInPlace(t, source, 1<<20, noise(1<<20, 99))
	offline(t, home, func(n *node.Node) {
		result, damages, err := verify(t, n, node.VerifyOptions{})
		if err != nil || result.Damaged != 1 || len(damages) != 1 || damages[0].Path != source || damages[0].Bytes < 1<<20 || damages[0].Bytes > 5<<18 {
			t.Errorf("verify found %+v, %+v, %v; want one part of a MiB changed", result, damages, err)
		}
	})
	if err := os.Remove(source); err != nil {
		t.Fatal(err)
	}
	offline(t, home, func(n *node.Node) {
		if result, damages, err := verify(t, n, node.VerifyOptions{}); err != nil || result.Bytes != 0 || len(damages) != 1 || damages[0].Message != source+" is missing" {
			t.Errorf("verify found %+v, %+v, %v; want all of the content missing", result, damages, err)
		}
	})
}
