package node_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// pieces writes to a stream in small pieces with pauses between them.
type pieces struct {
	network.Stream
	size  int
	pause time.Duration
	ctx   context.Context
}

func (p pieces) Write(b []byte) (written int, err error) {
	for len(b) > 0 {
		n, err := p.Stream.Write(b[:min(p.size, len(b))])
		written += n
		if err != nil {
			return written, err
		}
		b = b[n:]
		select {
		case <-time.After(p.pause):
		case <-p.ctx.Done():
			return written, net.ErrClosed
		}
	}
	return written, nil
}

// A holder that took longer for one chunk than it may be silent was once dropped in the middle of it.
func TestSlowHolderIsNotASilentOne(t *testing.T) {
	t.Parallel()
	content := noise(40<<10, 13)
	h := hold(t, content)
	slow := answer(t, func(ctx context.Context, stream network.Stream) {
		// A chunk takes more than a second, and silence is 500 ms.
		if holder, err := h.accept(pieces{stream, 1 << 10, 40 * time.Millisecond, ctx}); err == nil {
			_ = holder.Run(ctx)
		}
	})
	receiver := start(t, quick(node.Config{}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	output := filepath.Join(t.TempDir(), "output")
	result, err := receiver.Fetch(ctx, h.link(slow), node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	if len(result.Peers) != 1 || result.Peers[0].Dropped != "" {
		t.Errorf("peers %+v, want one that was not dropped", result.Peers)
	}
}

// A holder that turned something down counts as nobody to wait for until it sends a chunk, which must not end a fetch
// while that chunk is on its way.
func TestSlowHolderThatLacksAChunkIsWaitedFor(t *testing.T) {
	t.Parallel()
	content := noise(100<<10, 16)
	h := hold(t, content)
	chunks, err := h.Chunks(t.Context(), 0)
	if err != nil || len(chunks) < 2 {
		t.Fatalf("%d chunks, %v; want some", len(chunks), err)
	}
	slow := answer(t, func(ctx context.Context, stream network.Stream) {
		holder, err := h.accept(pieces{stream, 4 << 10, 100 * time.Millisecond, ctx})
		if err != nil {
			return
		}
		asked := 0
		h.chunk = func(_ context.Context, _ protocol.ChunkAt, data []byte) ([]byte, error) {
			switch asked++; asked {
			case 1:
				return nil, cafs.ErrNotFound
			case len(chunks): // the last of the others: now it has the first, too
				return data, holder.SendHave([]protocol.HaveItem{{First: 0, Count: 1, Op: protocol.HaveAll}})
			default:
				return data, nil
			}
		}
		_ = holder.Run(ctx)
	})
	receiver := start(t, quick(node.Config{}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	output := filepath.Join(t.TempDir(), "output")
	// It is shorter than a chunk takes.
	if _, err := receiver.Fetch(ctx, h.link(slow), node.FetchOptions{Output: output, Wait: 300 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
}

func TestHolderThatOnlyTalksIsSilent(t *testing.T) {
	t.Parallel()
	h := hold(t, noise(hostileSize, 14))
	const frameHave = 11
	talker := h.serveRaw(t, func(ctx context.Context, stream network.Stream) {
		ticker := time.NewTicker(time.Second / protocol.HavesPerSecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return
			}
			if _, err := stream.Write(frame(frameHave, 0, 1, 1)); err != nil {
				return
			}
		}
	})
	receiver := start(t, quick(node.Config{}))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	seen := newDrops()
	fetching := fetch(ctx, receiver, h.link(talker), node.FetchOptions{Events: seen.see})
	select {
	case <-seen.happens:
	case <-fetching.done:
	}
	cancel()
	<-fetching.done
	if said := seen.of(talker.ID); !strings.Contains(said, "sent nothing") {
		t.Errorf("event says %q of the holder, want that it sent nothing", said)
	}
}
