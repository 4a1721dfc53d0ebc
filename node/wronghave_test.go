package node_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// The bits that a partial holder tells were once never held against the list, so a holder could claim chunks that there
// are not. They are checked when the list is known: with hostileSize, after the session has begun; with one page in the
// root record, before.
func TestHolderThatTellsOfWrongBitsIsDropped(t *testing.T) {
	for name, size := range map[string]int{"the list comes later": hostileSize, "the list is known": 300 << 10} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hold(t, noise(size, 8))
			chunks, err := h.Chunks(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			wrong := protocol.NewBits(len(chunks) + 8)
			wrong.Set(0)
			h.have = func() ([]protocol.HaveItem, bool) {
				return []protocol.HaveItem{{First: 0, Count: 1, Op: protocol.HaveAdd, Bits: wrong}}, false
			}
			receiver := start(t, quick(node.Config{}))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			_, err = receiver.Fetch(ctx, h.link(h.serve(t)), node.FetchOptions{Wait: 300 * time.Millisecond})
			var none *node.NoHolderError
			if !errors.As(err, &none) {
				t.Fatalf("fetch: %v, want a NoHolderError", err)
			}
			var violation *protocol.ViolationError
			if len(none.Dropped) != 1 || !errors.As(none.Dropped[0], &violation) || violation.Rule != protocol.RuleSize {
				t.Errorf("dropped %v, want the holder for a wrong size", none.Dropped)
			}
		})
	}
}
