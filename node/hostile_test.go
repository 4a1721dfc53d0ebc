package node_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// hostileSize is content of more than one page that a complete holder is not asked for at once.
const hostileSize = 6 << 20

// quick is a configuration in which silence is noticed at once, and only the peers that a link names are asked.
func quick(cfg node.Config) node.Config {
	cfg.DisableDHT = true
	cfg.SetPatience(time.Second, 500*time.Millisecond, 50*time.Millisecond)
	return cfg
}

// liar is a holder that does harm: what it does after it was asked, and what is said of it then.
type liar struct {
	name string
	// start makes one that holds h. It may change h.
	start func(t *testing.T, h *held) peer.AddrInfo
	says  string
	// refuses tells that there is never a session, so that it stands in the events only.
	refuses bool
}

// flip returns a copy of data with one bit changed.
func flip(data []byte) []byte {
	data = append([]byte(nil), data...)
	data[len(data)/2] ^= 1
	return data
}

// writesAfterWish is a holder that sends pages as it should, and bytes of its own when chunks are wished.
func writesAfterWish(raw func(wish, number uint64, chunk int) []byte) func(*testing.T, *held) peer.AddrInfo {
	return func(t *testing.T, h *held) peer.AddrInfo {
		return h.serveRaw(t, func(ctx context.Context, stream network.Stream) {
			r := bufio.NewReader(stream)
			for {
				kind, body, err := readFrame(r)
				if err != nil {
					return
				}
				switch kind {
				case framePages:
					err = h.answerPages(ctx, stream, body)
				case frameWish:
					id, number, chunk := firstOfWish(body)
					_, err = stream.Write(raw(id, number, chunk))
				}
				if err != nil {
					return
				}
			}
		})
	}
}

// sendWrongAndEnd answers the first WISH with a chunk of the right size, and breaks off: before anybody has hashed it.
func (h *held) sendWrongAndEnd(ctx context.Context, stream network.Stream) {
	r := bufio.NewReader(stream)
	for {
		kind, body, err := readFrame(r)
		if err != nil {
			return
		}
		switch kind {
		case framePages:
			err = h.answerPages(ctx, stream, body)
		case frameWish:
			id, number, chunk := firstOfWish(body)
			chunks, _ := h.Chunks(ctx, int64(number))
			_, _ = stream.Write(frame(frameChunk, id, chunk, []byte{0}, make([]byte, chunks[chunk].Size)))
			_ = stream.CloseWrite()
			_, _ = io.Copy(io.Discard, r) // a reset would overtake the chunk
			return
		}
		if err != nil {
			return
		}
	}
}

// writesAtOnce is a holder that accepts and sends bytes of its own.
func writesAtOnce(raw []byte) func(*testing.T, *held) peer.AddrInfo {
	return func(t *testing.T, h *held) peer.AddrInfo {
		return h.serveRaw(t, func(ctx context.Context, stream network.Stream) {
			if _, err := stream.Write(raw); err == nil {
				<-ctx.Done()
			}
		})
	}
}

// answersOpen is a holder that reads OPEN and answers with bytes of its own.
func answersOpen(raw func(h *held) []byte) func(*testing.T, *held) peer.AddrInfo {
	return func(t *testing.T, h *held) peer.AddrInfo {
		return answer(t, func(ctx context.Context, stream network.Stream) {
			if _, _, err := readFrame(bufio.NewReader(stream)); err != nil {
				return
			}
			if _, err := stream.Write(raw(h)); err == nil {
				<-ctx.Done()
			}
		})
	}
}

func liars() []liar {
	return []liar{
		{"wrong bytes", func(t *testing.T, h *held) peer.AddrInfo {
			h.chunk = func(_ context.Context, _ protocol.ChunkAt, data []byte) ([]byte, error) { return flip(data), nil }
			return h.serve(t)
		}, "wrong bytes", false},
		{"wrong bytes and an end", func(t *testing.T, h *held) peer.AddrInfo {
			return h.serveRaw(t, func(ctx context.Context, stream network.Stream) { h.sendWrongAndEnd(ctx, stream) })
		}, "wrong bytes", false},
		{"a wrong page", func(t *testing.T, h *held) peer.AddrInfo {
			h.page = func(page []byte) ([]byte, error) { return flip(page), nil }
			return h.serve(t)
		}, "page at chunk", false},
		{"a short chunk", writesAfterWish(func(wish, _ uint64, chunk int) []byte {
			return frame(frameChunk, wish, chunk, []byte{0, 1, 2, 3})
		}), "CHUNK", false},
		{"a chunk that was not wished", writesAfterWish(func(wish, _ uint64, _ int) []byte {
			return frame(frameChunk, wish+1000, 0, []byte{0, 1, 2, 3})
		}), "CHUNK", false},
		{"a page that was not asked for", writesAtOnce(frame(framePage, 99, 0, []byte{0})), "PAGE", false},
		{"an illegal frame", writesAtOnce(frame(0, []byte("?"))), "frame 0", false},
		{"a frame of a receiver", writesAtOnce(frame(frameWish, 1, 0, []byte{1, 0x80})), "WISH", false},
		{"an oversized frame", writesAtOnce([]byte{frameChunk, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}), "CHUNK", false},
		{
			"an oversized frame of an unknown type", writesAtOnce([]byte{200, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}),
			"frame 200", false,
		},
		{"a length that is not minimal", writesAtOnce([]byte{frameChunk, 0x80, 0x00}), "CHUNK", false},
		{"an ACCEPT with a wrong proof", answersOpen(func(h *held) []byte {
			return frame(frameAccept, len(h.record), h.record, []byte{1, 0, 0}, make([]byte, 32))
		}), "proof", true},
		{"an ACCEPT without end", answersOpen(func(*held) []byte {
			return []byte{frameAccept, 0xff, 0xff, 0xff, 0xff, 0x7f}
		}), "ACCEPT", true},
		{
			"garbage for an answer", answersOpen(func(*held) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }),
			"frame 72", true,
		},
		{"a refusal that is not well formed", answersOpen(func(*held) []byte { return frame(frameRefuse, 9, 0) }), "REFUSE", true},
		{"silence after the stream", func(t *testing.T, _ *held) peer.AddrInfo {
			return answer(t, func(ctx context.Context, _ network.Stream) { <-ctx.Done() })
		}, "deadline", true},
		{"silence after ACCEPT", func(t *testing.T, h *held) peer.AddrInfo {
			return h.serveRaw(t, func(ctx context.Context, _ network.Stream) { <-ctx.Done() })
		}, "sent nothing", false},
		{"silence after the pages", writesAfterWish(func(uint64, uint64, int) []byte { return nil }), "sent nothing", false},
		{"nothing but an end", func(t *testing.T, h *held) peer.AddrInfo {
			return h.serveRaw(t, func(context.Context, network.Stream) {})
		}, "", false},
	}
}

// TestLiarIsDroppedAndNamed has an honest holder that comes late, and is slow, but not silent, until the liar was found
// out: so the liar is asked for all pages and some chunks, and the fetch has to do without them.
func TestLiarIsDroppedAndNamed(t *testing.T) {
	content := noise(hostileSize, 1)
	for _, lie := range liars() {
		t.Run(lie.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			seen := newDrops()
			lying := lie.start(t, hold(t, content))
			asked := make(chan struct{}) // closed when there is a session with the liar, who is asked for pages at once
			var once sync.Once
			see := func(event node.Event) {
				if event.Kind == node.EventProgress && event.Peers > 0 {
					once.Do(func() { close(asked) })
				}
				seen.see(event)
			}
			honest := hold(t, content)
			honest.chunk = func(ctx context.Context, _ protocol.ChunkAt, data []byte) ([]byte, error) {
				select {
				case <-seen.happens:
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
				return data, nil
			}
			honest.have = func() ([]protocol.HaveItem, bool) {
				if !lie.refuses { // else there is no session, and the refusal is told in any case
					select {
					case <-asked:
					case <-seen.happens:
					case <-ctx.Done():
					}
				}
				return nil, true
			}
			cfg := quick(node.Config{})
			if !lie.refuses {
				// The honest holder must not answer too late because the machine is slow.
				cfg.SetPatience(10*time.Second, 500*time.Millisecond, 50*time.Millisecond)
			}
			receiver := start(t, cfg)
			output := filepath.Join(t.TempDir(), "output")
			link := honest.link(lying, honest.serve(t))
			result, err := receiver.Fetch(ctx, link, node.FetchOptions{Output: output, Events: see})
			if err != nil {
				t.Fatal(err)
			}
			assertFile(t, output, content)
			assertSums(t, result)
			if said := seen.of(lying.ID); said == "" || !strings.Contains(said, lie.says) {
				t.Errorf("event says %q of the liar, want %q", said, lie.says)
			}
			for _, share := range result.Peers {
				switch {
				case share.Peer != lying.ID && share.Dropped != "":
					t.Errorf("the honest holder was dropped: %s", share.Dropped)
				case share.Peer == lying.ID && (share.Bytes != 0 || !strings.Contains(share.Dropped, lie.says) || share.Dropped == ""):
					t.Errorf("the liar's share is %+v, want it dropped for %q", share, lie.says)
				}
			}
		})
	}
}

// assertSums holds a result's figures against each other.
func assertSums(t *testing.T, result node.Result) {
	t.Helper()
	shares := int64(0)
	for _, share := range result.Peers {
		shares += share.Bytes
	}
	if result.Reused+result.Fetched != result.Bytes || shares != result.Fetched {
		t.Errorf("%d bytes reused and %d fetched of %d, %d by the shares of peers",
			result.Reused, result.Fetched, result.Bytes, shares)
	}
}

func TestOnlyLiarsLeaveAnErrorThatNamesThem(t *testing.T) {
	content := noise(hostileSize, 2)
	for _, lie := range liars() {
		t.Run(lie.name, func(t *testing.T) {
			t.Parallel()
			receiver := start(t, quick(node.Config{}))
			h := hold(t, content)
			lying := lie.start(t, h)
			output := filepath.Join(t.TempDir(), "output")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			result, err := receiver.Fetch(ctx, h.link(lying), node.FetchOptions{Output: output, Wait: 300 * time.Millisecond})
			var none *node.NoHolderError
			if !errors.As(err, &none) || !errors.Is(err, node.ErrNoHolder) {
				t.Fatalf("fetch from a liar: %v, want a NoHolderError", err)
			}
			if len(none.Dropped) == 0 || none.Dropped[0].Peer != lying.ID || !strings.Contains(none.Dropped[0].Error(), lie.says) {
				t.Errorf("dropped %v, want the liar for %q", none.Dropped, lie.says)
			}
			if none.Verified != 0 || result.Fetched != 0 {
				t.Errorf("%d bytes are verified and %d fetched, of a liar", none.Verified, result.Fetched)
			}
			assertNothing(t, filepath.Dir(output))
		})
	}
}

// assertNothing fails if a directory holds anything.
func assertNothing(t *testing.T, dir string) {
	t.Helper()
	if entries, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(entries) > 0 {
		t.Errorf("%s holds %v, %v", dir, entries, err)
	}
	if hidden, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(hidden) > 0 {
		t.Errorf("%s holds %v, %v", dir, hidden, err)
	}
}

// TestWhatALiarSentRightIsKept has a holder that tells the truth for a while.
func TestWhatALiarSentRightIsKept(t *testing.T) {
	content := noise(hostileSize, 3)
	receiver := start(t, quick(node.Config{Home: t.TempDir()}))
	h := hold(t, content)
	const truths = 20
	var mu sync.Mutex
	sent := 0
	h.chunk = func(_ context.Context, _ protocol.ChunkAt, data []byte) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if sent++; sent > truths {
			return flip(data), nil
		}
		return data, nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	first, err := receiver.Fetch(ctx, h.link(h.serve(t)), node.FetchOptions{Wait: 300 * time.Millisecond})
	var none *node.NoHolderError
	if !errors.As(err, &none) || !errors.Is(none.Dropped[0], cafs.ErrCorrupt) {
		t.Fatalf("fetch from a liar: %v, want a NoHolderError for wrong bytes", err)
	}
	if none.Verified == 0 || none.Verified != first.Fetched {
		t.Errorf("%d bytes are verified, %d were fetched; want the same, and some", none.Verified, first.Fetched)
	}
	honest := hold(t, content)
	second, err := receiver.Fetch(ctx, honest.link(honest.serve(t)), node.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	assertSums(t, second)
	if second.Reused < first.Fetched {
		t.Errorf("%d bytes were reused of %d that were verified", second.Reused, first.Fetched)
	}
}
