package node

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
)

// contextStore is a store that looks at the context, as one on disk does.
type contextStore struct{ cafs.Store }

func (s contextStore) Has(ctx context.Context, keys []cafs.Key) ([]bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return s.Store.Has(ctx, keys)
}

// A fetch that was cancelled while it read the list once spoilt the content for the sessions that shared it, and for
// each fetch that began before they ended.
func TestContentIsLoadedAgainAfterAnError(t *testing.T) {
	n := &Node{store: contextStore{memory.New()}, contents: make(map[cafs.Key]*content)}
	noise := rand.NewChaCha8([32]byte{1})
	record, err := cafs.AddFile(t.Context(), n.store, io.LimitReader(noise, 8<<20), cafs.AddOptions{})
	if err != nil || record.Data.Depth == 0 {
		t.Fatalf("list of depth %d, %v; want one with pages", record.Data.Depth, err)
	}
	c := n.shareContent(record.Root(), record.Encode())
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.loaded(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("load when the context has ended: %v", err)
	}
	if err := c.loaded(t.Context()); err != nil || !c.outline.Complete() {
		t.Errorf("load after that: %v", err)
	}
}
