package node_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/disk"
	"github.com/swarmsync/swarmsync/node"
)

// So it is with the files of a tree.
func TestTreesSettle(t *testing.T) {
	t.Parallel()
	tree := someTree()
	_, _, link := treeHolder(t, tree)
	store, err := disk.Open(t.TempDir(), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	receiver := start(t, node.Config{Store: store, DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	mustFetch(t, receiver, link, node.FetchOptions{Output: output})
	state := func() cafs.VolumeState {
		worst := cafs.VolumeFresh
		for file, err := range store.TreeFiles(t.Context(), output) {
			if err != nil {
				t.Fatal(err)
			}
			worst = max(worst, file.State)
		}
		return worst
	}
	if now := state(); now != cafs.VolumeRacy {
		t.Fatalf("the files are %v", now)
	}
	deadline := time.After(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for state() != cafs.VolumeFresh {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the files are %v", state())
		}
	}
	if status := rootOf(t, receiver, link.Root); !status.Complete {
		t.Errorf("%+v", status)
	}
	third := filepath.Join(t.TempDir(), "third")
	link.Peers = []peer.AddrInfo{at(t, receiver)}
	mustFetch(t, start(t, node.Config{DisableDHT: true}), link, node.FetchOptions{Output: third})
	assertTree(t, third, tree)
}

// What was added right after it was written, and what a fetch wrote, is hashed once more when it has been left alone, so
// that it can be served without hashing it each time.
func TestFilesSettle(t *testing.T) {
	t.Parallel()
	content := noise(3<<20, 29)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	stores := make([]*disk.Store, 2)
	for i := range stores {
		var err error
		if stores[i], err = disk.Open(t.TempDir(), disk.Options{}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = stores[i].Close() })
	}
	holder := start(t, node.Config{Store: stores[0], DisableDHT: true})
	added, err := holder.Add(t.Context(), path, node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	receiver := start(t, node.Config{Store: stores[1], DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	link := node.Link{Root: added.Root, Peers: []peer.AddrInfo{at(t, holder)}}
	if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output}); err != nil {
		t.Fatal(err)
	}
	awaitState := func(store *disk.Store, path string, want cafs.VolumeState) {
		t.Helper()
		deadline := time.After(time.Minute)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			info, err := store.Volume(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			if info.State == want && info.Root == added.Root {
				return
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%s is %v, want %v", path, info.State, want)
			}
		}
	}
	awaitState(stores[1], output, cafs.VolumeRacy)
	awaitState(stores[0], path, cafs.VolumeFresh)
	awaitState(stores[1], output, cafs.VolumeFresh)
	other := filepath.Join(t.TempDir(), "other")
	if _, err := receiver.Fetch(t.Context(), node.Link{Root: added.Root}, node.FetchOptions{Output: other}); err != nil {
		t.Fatal(err)
	}
	assertFile(t, other, content)
}
