package node_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

func TestRemoveEndsTheFetch(t *testing.T) {
	t.Parallel()
	content := noise(8<<20, 61)
	h := hold(t, content)
	store := newGate(memory.New(), 50)
	defer close(store.opened)
	receiver := start(t, node.Config{Store: store, DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	fetching := fetch(t.Context(), receiver, h.link(h.serve(t)), node.FetchOptions{Output: output})
	fetching.until(t, store.reached)
	if err := receiver.Remove(t.Context(), h.Root()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-fetching.done:
	case <-time.After(10 * time.Second):
		t.Fatal("the fetch goes on")
	}
	if !errors.Is(fetching.err, node.ErrRemoved) {
		t.Errorf("fetch of a root that was removed: %v, want ErrRemoved", fetching.err)
	}
	assertNothing(t, filepath.Dir(output))
	for status := range receiver.Roots(t.Context()) {
		t.Errorf("the root is back: %+v", status)
	}
	if err := receiver.Remove(t.Context(), h.Root()); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("second removal: %v, want ErrNotFound", err)
	}
}

func TestRemoveEndsSessions(t *testing.T) {
	t.Parallel()
	holder := start(t, node.Config{})
	removed, kept := add(t, holder, noise(100_000, 62)), add(t, holder, noise(100_000, 63))
	stranger := startHost(t)
	ended := make(chan error, 1)
	receiver, err := openAs(t, stranger, at(t, holder), removed.Root)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := receiver.Next(nil)
		ended <- err
	}()
	if _, err := openAs(t, stranger, at(t, holder), kept.Root); err != nil {
		t.Fatal(err)
	}
	if err := holder.Remove(t.Context(), removed.Root); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the session goes on")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the session goes on")
	}
	waitFor(t, "one session to be left", func() bool {
		status, err := holder.Status(t.Context())
		return err == nil && len(status.Transfers) == 1
	})
	if _, err := openAs(t, stranger, at(t, holder), removed.Root); err == nil {
		t.Error("the root is served on")
	}
	other := start(t, node.Config{DisableDHT: true})
	kept.Peers = []peer.AddrInfo{at(t, holder)}
	if _, err := other.Fetch(t.Context(), kept, node.FetchOptions{}); err != nil {
		t.Errorf("fetch of the other root: %v", err)
	}
}
