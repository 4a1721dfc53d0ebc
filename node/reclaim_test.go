package node_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

// reclaimingStore frees all that it may whenever something was put or asked for.
type reclaimingStore struct{ cafs.Store }

func (s reclaimingStore) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	err := s.Store.Put(ctx, chunks...)
	_, errReclaim := s.Reclaim(ctx, cafs.ReclaimOptions{})
	return errors.Join(err, errReclaim)
}

func (s reclaimingStore) Has(ctx context.Context, keys []cafs.Key) ([]bool, error) {
	have, err := s.Store.Has(ctx, keys)
	_, errReclaim := s.Reclaim(ctx, cafs.ReclaimOptions{})
	return have, errors.Join(err, errReclaim)
}

func assertContent(t *testing.T, n *node.Node, root cafs.Key, want []byte) {
	t.Helper()
	file, err := n.Open(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(file.Open(t.Context()))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d, error %v", len(got), len(want), err)
	}
}

func TestReclaimBesideAdd(t *testing.T) {
	t.Parallel()
	n := start(t, node.Config{Store: reclaimingStore{memory.New()}, Offline: true})
	content := noise(8<<20, 81)
	assertContent(t, n, add(t, n, content).Root, content)
}

// TestReclaimBesideFetch wants that no chunk is lost and so fetched again.
func TestReclaimBesideFetch(t *testing.T) {
	t.Parallel()
	content := noise(8<<20, 82)
	h := hold(t, content)
	receiver := start(t, node.Config{Store: reclaimingStore{memory.New()}, DisableDHT: true})
	fetching := fetch(t.Context(), receiver, h.link(h.serve(t)), node.FetchOptions{})
	<-fetching.done
	if r := fetching.result; fetching.err != nil || r.Fetched != 8<<20 || r.Duplicate != 0 {
		t.Errorf("fetched %d bytes, %d of them twice, error %v", r.Fetched, r.Duplicate, fetching.err)
	}
	assertContent(t, receiver, h.Root(), content)
}

func TestQuota(t *testing.T) {
	t.Parallel()
	n := start(t, node.Config{Home: t.TempDir(), Quota: 64 << 20, Offline: true})
	kept := noise(20<<20, 83)
	root := add(t, n, kept).Root
	for i := range byte(3) {
		status, err := n.AddReader(t.Context(), bytes.NewReader(noise(10<<20, 90+i)), node.AddOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Remove(t.Context(), status.Root); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.AddReader(t.Context(), bytes.NewReader(noise(30<<20, 99)), node.AddOptions{}); !errors.Is(err, cafs.ErrQuota) {
		t.Errorf("add more than there is room for: %v, want ErrQuota", err)
	}
	assertContent(t, n, root, kept)
	for status, err := range n.Roots(t.Context()) {
		if err != nil || status.Stored < 20<<20 || status.InPlace != 0 {
			t.Errorf("root %+v, error %v", status, err)
		}
	}
}
