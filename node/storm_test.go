package node_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// TestNodesThatCloseInTheMiddleLeaveNothing closes holders and receivers, with everything that a node is made of, at
// random moments of a transfer. Once a node spun for ever and took gigabytes after a fetch had failed.
func TestNodesThatCloseInTheMiddleLeaveNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	content := noise(16<<20, 50)
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		hub := start(t, node.Config{})
		join := []peer.AddrInfo{at(t, hub)}
		holder := start(t, node.Config{Home: t.TempDir(), Join: join})
		link := add(t, holder, content)
		receiver := start(t, node.Config{Home: t.TempDir(), Join: join})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		fetching := fetch(ctx, receiver, link, node.FetchOptions{Wait: 500 * time.Millisecond})
		closing := []*node.Node{hub, holder, receiver}
		random.Shuffle(len(closing), func(i, j int) { closing[i], closing[j] = closing[j], closing[i] })
		moment := time.Duration(random.IntN(300)) * time.Millisecond
		select {
		case <-time.After(moment): // the moment is what is random here
		case <-fetching.done:
		}
		for _, n := range closing {
			within(t, 10*time.Second, "a node to close", func() {
				if err := n.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
		}
		within(t, 10*time.Second, "the fetch to end", func() { <-fetching.done })
		if err := fetching.err; err != nil && !errors.Is(err, node.ErrClosed) && !errors.Is(err, node.ErrNoHolder) {
			t.Errorf("fetch from a node that closed: %v", err)
		}
		cancel()
	}
	assertIdle(t)
}

// within fails, with what all goroutines do, if something takes too long.
func within(t *testing.T, most time.Duration, what string, do func()) {
	t.Helper()
	timer := time.AfterFunc(most, func() {
		buf := make([]byte, 1<<20)
		panic("waited too long for " + what + "\n" + string(buf[:runtime.Stack(buf, true)]))
	})
	defer timer.Stop()
	do()
}

// assertIdle fails if memory grows while nothing is asked of anybody.
func assertIdle(t *testing.T) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	<-time.After(200 * time.Millisecond) // what would spin does it in this time
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("%d bytes were allocated while nothing was to be done", took)
	}
}

// TestHostilePeersLeaveNothing has a fetch from nobody but liars again and again, and closes the node under the last one.
func TestHostilePeersLeaveNothing(t *testing.T) {
	content := noise(hostileSize, 51)
	h := hold(t, content)
	receiver := start(t, quick(node.Config{}))
	var link node.Link
	for _, lie := range liars() {
		own := hold(t, content)
		own.chunk = func(_ context.Context, _ protocol.ChunkAt, data []byte) ([]byte, error) { return flip(data), nil }
		link.Root, link.Peers = h.Root(), append(link.Peers, lie.start(t, own))
	}
	rounds := 2
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		within(t, 20*time.Second, "a fetch from liars", func() {
			_, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Wait: 300 * time.Millisecond})
			var none *node.NoHolderError
			if !errors.As(err, &none) || len(none.Dropped) < len(link.Peers) {
				t.Errorf("fetch from %d liars: %v", len(link.Peers), err)
			}
		})
	}
	silent := hold(t, content)
	link.Peers = []peer.AddrInfo{silent.serve(t)}
	asked := make(chan struct{})
	silent.chunk = func(ctx context.Context, _ protocol.ChunkAt, _ []byte) ([]byte, error) {
		close(asked)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	fetching := fetch(t.Context(), receiver, link, node.FetchOptions{})
	fetching.until(t, asked)
	within(t, 5*time.Second, "the node to close", func() { _ = receiver.Close() })
	within(t, 5*time.Second, "the fetch to end", func() { <-fetching.done })
	if !errors.Is(fetching.err, node.ErrClosed) {
		t.Errorf("fetch of a closed node: %v", fetching.err)
	}
	assertIdle(t)
}
