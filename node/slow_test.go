package node_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

// A disk that stood still for longer than a holder may be silent once cost the fetch all its holders: their chunks had
// come, but waited to be stored. So does a page, and what comes behind it.
func TestSlowDiskIsNotTheHoldersFault(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ size, puts int }{
		"all chunks wait": {3 << 20, 30}, "holders wait too": {24 << 20, 30}, "pages wait": {24 << 20, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content := noise(test.size, 12)
			holder := start(t, node.Config{})
			link := add(t, holder, content)
			link.Peers = []peer.AddrInfo{at(t, holder)}
			store := newGate(memory.New(), test.puts)
			const stall = 300 * time.Millisecond
			cfg := node.Config{Store: store, DisableDHT: true}
			cfg.SetPatience(5*time.Second, stall, 100*time.Millisecond)
			receiver := start(t, cfg)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			seen := newDrops()
			output := filepath.Join(t.TempDir(), "output")
			fetching := fetch(ctx, receiver, link, node.FetchOptions{Output: output, Events: seen.see})
			fetching.until(t, store.reached)
			select {
			case <-time.After(4 * stall): // that long the disk takes
			case <-fetching.done:
			}
			close(store.opened)
			<-fetching.done
			if fetching.err != nil {
				t.Fatal(fetching.err)
			}
			assertFile(t, output, content)
			if said := seen.of(holder.ID()); said != "" || len(fetching.result.Peers) != 1 {
				t.Errorf("the holder was dropped: %q; peers %+v", said, fetching.result.Peers)
			}
		})
	}
}
