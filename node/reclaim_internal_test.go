package node

import (
	"io"
	"math/rand/v2"
	"testing"
)

// TestRemovedContentIsLoadedAnew removes a root that somebody still works on; what a later user of the root takes for here
// must be here.
func TestRemovedContentIsLoadedAnew(t *testing.T) {
	n, err := New(t.Context(), Config{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	status, err := n.AddReader(t.Context(), io.LimitReader(rand.NewChaCha8([32]byte{9}), 8<<20), AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	info, err := n.store.Root(t.Context(), status.Root)
	if err != nil {
		t.Fatal(err)
	}
	before, err := n.openContent(t.Context(), info.Root, info.Record)
	if err != nil || !before.outline.Complete() {
		t.Fatalf("content that was added is complete: %v, %v", before.outline.Complete(), err)
	}
	defer before.release()
	if err := n.Remove(t.Context(), info.Root); err != nil {
		t.Fatal(err)
	}
	result, err := n.Reclaim(t.Context(), ReclaimOptions{})
	if err != nil || result.Freed < 8<<20 || result.Chunks < 200 {
		t.Errorf("freed %+v of 8 MiB, error %v", result, err)
	}
	after, err := n.openContent(t.Context(), info.Root, info.Record)
	if err != nil {
		t.Fatal(err)
	}
	defer after.release()
	if after.outline.Complete() {
		t.Error("the list of a root whose pages are gone is complete")
	}
}
