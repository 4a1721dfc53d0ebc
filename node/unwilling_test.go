package node_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

const frameDone = 8

// bitsOfWish takes a WISH apart: its id, and what is wished.
func bitsOfWish(body []byte) (id uint64, bits []byte) {
	id, n := binary.Uvarint(body)
	body = body[n:]
	_, n = binary.Uvarint(body)
	body = body[n:]
	_, n = binary.Uvarint(body)
	return id, body[n:]
}

// unwilling is a session of a holder that sends pages as it should, and turns down all wishes for a reason.
func unwilling(h *held, reason protocol.DoneReason, wishes *atomic.Int64) func(context.Context, network.Stream) {
	return func(ctx context.Context, stream network.Stream) {
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
				wishes.Add(1)
				id, bits := bitsOfWish(body)
				_, err = stream.Write(frame(frameDone, id, int(reason), len(bits), bits))
			}
			if err != nil {
				return
			}
		}
	}
}

// A holder that answered each wish with DONE at once was asked again at once: 40,000 times a second, for ever, and the
// fetch never ended.
func TestUnwillingHolderDoesNotHoldAFetch(t *testing.T) {
	for name, reason := range map[string]protocol.DoneReason{"missing": protocol.DoneMissing, "busy": protocol.DoneBusy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hold(t, noise(hostileSize, 9))
			var wishes atomic.Int64
			receiver := start(t, quick(node.Config{}))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err := receiver.Fetch(ctx, h.link(h.serveRaw(t, unwilling(h, reason, &wishes))), node.FetchOptions{Wait: time.Second})
			if !errors.Is(err, node.ErrNoHolder) {
				t.Errorf("fetch: %v, want a NoHolderError", err)
			}
			if n := wishes.Load(); n == 0 || n > 1000 {
				t.Errorf("%d wishes in a second", n)
			}
		})
	}
}

func TestUnwillingHolderBesideAWillingOne(t *testing.T) {
	t.Parallel()
	content := noise(hostileSize, 10)
	h := hold(t, content)
	var wishes atomic.Int64
	receiver := start(t, quick(node.Config{}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	output := filepath.Join(t.TempDir(), "output")
	link := h.link(h.serveRaw(t, unwilling(h, protocol.DoneBusy, &wishes)), hold(t, content).serve(t))
	result, err := receiver.Fetch(ctx, link, node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	assertSums(t, result)
}

// A holder that is still fetching has neither page nor chunk when it is first asked for them, and tells when it has got
// them. It was once never asked again.
func TestHolderIsAskedAgainWhenItTells(t *testing.T) {
	t.Parallel()
	content := noise(hostileSize, 11)
	h := hold(t, content)
	everything := []protocol.HaveItem{{First: 0, Count: 1 + (hostileSize-1)/cafs.RangeBytes, Op: protocol.HaveAll}}
	h.have = func() ([]protocol.HaveItem, bool) { return everything, false }
	var gotPages, gotChunks bool
	address := answer(t, func(ctx context.Context, stream network.Stream) {
		holder, err := h.accept(stream)
		if err != nil {
			return
		}
		missingOnce := func(data []byte, got *bool) ([]byte, error) {
			if *got {
				return data, nil
			}
			*got = true
			return nil, errors.Join(cafs.ErrNotFound, holder.SendHave(everything))
		}
		h.page = func(page []byte) ([]byte, error) { return missingOnce(page, &gotPages) }
		h.chunk = func(_ context.Context, _ protocol.ChunkAt, data []byte) ([]byte, error) {
			return missingOnce(data, &gotChunks)
		}
		_ = holder.Run(ctx)
	})
	receiver := start(t, quick(node.Config{}))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	output := filepath.Join(t.TempDir(), "output")
	// The wait is shorter than the pause after which it is asked again in any case.
	if _, err := receiver.Fetch(ctx, h.link(address), node.FetchOptions{Output: output, Wait: 3 * time.Second}); err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
}
