package node_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// badPage is content whose list hashes right but has a page that breaks the format's rules: it tells of another sum of
// bytes than the ref above it.
func badPage(t *testing.T) *held {
	store := memory.New()
	record, err := cafs.AddFile(t.Context(), store, bytes.NewReader(noise(hostileSize, 4)), cafs.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h := holdRecord(t, store, record)
	pages, complete := h.outline.PagesFor(0, 0, record.Data.Items-1, protocol.PagesMax)
	if record.Data.Depth != 1 || !complete {
		t.Fatalf("%d bytes make a list of depth %d, want 1", hostileSize, record.Data.Depth)
	}
	page, err := store.Get(t.Context(), pages[1].Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	page[cafs.KeySize+2] ^= 2 // in the size of the first chunk: the level, a key, and then a number that takes three bytes
	bad, err := cafs.NewChunk(page)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	oldKey, newKey := pages[1].Key, bad.Key()
	record.Data.Top = bytes.Replace(record.Data.Top, oldKey[:], newKey[:], 1)
	outline, err := cafs.NewOutline(record.Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := outline.Load(t.Context(), store); !errors.Is(err, cafs.ErrBadRoot) {
		t.Fatalf("load the malformed list: %v, want ErrBadRoot", err)
	}
	return &held{record: record.Encode(), outline: outline, store: store}
}

func TestNobodyIsBlamedForABadRoot(t *testing.T) {
	good := hold(t, noise(100_000, 4))
	later := append([]byte(nil), good.record...)
	later[len("SSR1")] = byte(cafs.KindTree) + 1
	tests := []struct {
		name string
		held *held
		want error
	}{
		{"a record with bytes after its end", &held{record: append(append([]byte(nil), good.record...), 0)}, cafs.ErrBadRoot},
		{"a record that is none", &held{record: []byte("nothing of ours")}, cafs.ErrBadRoot},
		{"a record of a later kind", &held{record: later}, node.ErrUnsupported},
		{"a malformed page", badPage(t), cafs.ErrBadRoot},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			receiver := start(t, quick(node.Config{}))
			seen := newDrops()
			output := filepath.Join(t.TempDir(), "output")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			link := test.held.link(test.held.serve(t), test.held.serve(t))
			result, err := receiver.Fetch(ctx, link, node.FetchOptions{Output: output, Events: seen.see})
			if !errors.Is(err, test.want) || errors.Is(err, node.ErrNoHolder) {
				t.Errorf("fetch: %v, want %v", err, test.want)
			}
			for _, share := range result.Peers {
				if said := seen.of(share.Peer); share.Dropped != "" || said != "" {
					t.Errorf("a holder is blamed: %q and %q", share.Dropped, said)
				}
			}
			for _, info := range link.Peers {
				if said := seen.of(info.ID); said != "" {
					t.Errorf("a holder is blamed: %q", said)
				}
			}
			assertNothing(t, filepath.Dir(output))

			_, err = receiver.Info(ctx, link, 0)
			if !errors.Is(err, test.want) && test.name != "a malformed page" {
				t.Errorf("info: %v, want %v", err, test.want)
			}
		})
	}
}
