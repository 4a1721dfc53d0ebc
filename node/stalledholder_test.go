package node_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/swarmsync/swarmsync/node"
)

// The only holder was once given up when it had been silent for too long, though it was there again soon. In the result
// it is one peer, and no longer dropped.
func TestHolderThatStalledIsAskedAgain(t *testing.T) {
	t.Parallel()
	content := noise(hostileSize, 15)
	h := hold(t, content)
	var sessions atomic.Int64
	address := answer(t, func(ctx context.Context, stream network.Stream) {
		holder, err := h.accept(stream)
		switch {
		case err != nil:
		case sessions.Add(1) == 1:
			<-ctx.Done()
		default:
			_ = holder.Run(ctx)
		}
	})
	receiver := start(t, quick(node.Config{}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	output := filepath.Join(t.TempDir(), "output")
	seen := newDrops()
	result, err := receiver.Fetch(ctx, h.link(address), node.FetchOptions{Output: output, Events: seen.see})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	if seen.of(address.ID) == "" || sessions.Load() != 2 {
		t.Errorf("dropped for %q, and %d sessions; want two", seen.of(address.ID), sessions.Load())
	}
	if len(result.Peers) != 1 || result.Peers[0].Bytes != result.Bytes || result.Peers[0].Dropped != "" {
		t.Errorf("peers %+v, want one that brought all and was not dropped at the end", result.Peers)
	}
}
