package node

import (
	"context"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
)

// countingStore counts what chunks and pages it is asked for.
type countingStore struct {
	cafs.Store
	asked atomic.Int64
}

func (s *countingStore) Has(ctx context.Context, keys []cafs.Key) ([]bool, error) {
	s.asked.Add(int64(len(keys)))
	return s.Store.Has(ctx, keys)
}

func (s *countingStore) Get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	s.asked.Add(1)
	return s.Store.Get(ctx, key, buf)
}

// Receivers may open session after session: what a root that is complete has costs nothing, and what a partial one has
// is not looked up each time.
func TestHaveIsCheap(t *testing.T) {
	store := &countingStore{Store: memory.New()}
	n := &Node{store: store, ctx: t.Context(), contents: make(map[cafs.Key]*content), roots: make(map[protocol.DiscoveryKey]served)}
	noise := rand.NewChaCha8([32]byte{2})
	record, err := cafs.AddFile(t.Context(), store, io.LimitReader(noise, 8<<20), cafs.AddOptions{})
	if err != nil || record.Data.Depth == 0 {
		t.Fatalf("list of depth %d, %v; want one with pages", record.Data.Depth, err)
	}
	info := cafs.RootInfo{Root: record.Root(), Record: record.Encode()}
	have := func() (items []protocol.HaveItem, complete bool, asked int64) {
		before := store.asked.Load()
		c := n.shareContent(info.Root, info.Record)
		defer c.release()
		items, complete = c.Have()
		return items, complete, store.asked.Load() - before
	}
	put := func() {
		if err := n.put(t.Context(), info); err != nil {
			t.Fatal(err)
		}
	}

	put()
	if items, complete, asked := have(); complete || len(items) == 0 || asked == 0 {
		t.Errorf("partial: %d items, complete %t, after a look at %d", len(items), complete, asked)
	}
	for range 3 {
		if items, complete, asked := have(); complete || len(items) == 0 || asked != 0 {
			t.Errorf("partial, again: %d items, complete %t, after a look at %d; want none", len(items), complete, asked)
		}
	}
	info.Complete = true
	put()
	if items, complete, asked := have(); !complete || len(items) != 0 || asked != 0 {
		t.Errorf("complete: %d items, complete %t, after a look at %d; want none", len(items), complete, asked)
	}
	info.Complete = false
	put()
	if items, complete, asked := have(); complete || len(items) == 0 || asked == 0 {
		t.Errorf("partial since it was complete: %d items, complete %t, after a look at %d", len(items), complete, asked)
	}
}

func TestHaveMapsAreKeptForAWhile(t *testing.T) {
	var cache haveCache
	now := time.Unix(1e9, 0)
	clock := func() time.Time { return now }
	looks := 0
	get := func(root byte, takes time.Duration) {
		cache.get(cafs.Key{root}, clock, func() []protocol.HaveItem {
			looks++
			now = now.Add(takes)
			return nil
		})
	}
	for _, step := range []struct {
		passes, takes time.Duration
		looks         int
	}{
		{0, time.Millisecond, 1},
		{haveFreshMin - 1, 0, 1},
		{1, time.Second, 2},
		{haveFreshFactor*time.Second - 1, 0, 2},
		{1, 0, 3},
	} {
		now = now.Add(step.passes)
		if get(1, step.takes); looks != step.looks {
			t.Errorf("%v later there were %d looks, want %d", step.passes, looks, step.looks)
		}
	}
	for root := range byte(100) {
		get(root, 0)
	}
	if len(cache.maps) > haveMapsMax {
		t.Errorf("%d maps are kept, want at most %d", len(cache.maps), haveMapsMax)
	}
	get(200, 0)
	looks = 0
	cache.drop(cafs.Key{200})
	if get(200, 0); looks != 1 {
		t.Error("a map that was dropped is still told")
	}
}
