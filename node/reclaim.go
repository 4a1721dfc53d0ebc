package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// ReclaimOptions says how to reclaim. The zero value is what most want.
type ReclaimOptions struct {
	// Events receives EventProgress; nil for none. One that blocks stops the Reclaim.
	Events func(Event)
}

// ReclaimResult is what a Reclaim freed, and what the store takes now; all in bytes, but for Chunks.
type ReclaimResult struct {
	Freed  int64 `json:"freed"`
	Chunks int64 `json:"chunks"`
	Used   int64 `json:"used"`
	Quota  int64 `json:"quota,omitempty"` // 0 if there is none
}

// Reclaim frees what is in the store and no root needs: what is left of roots that were removed, and of adds and fetches that
// failed. Everything else goes on meanwhile. The error wraps cafs.ErrCorrupt if it can't be known what a root needs, because
// its list is damaged; the result is valid after errors too, as far as it goes.
func (n *Node) Reclaim(ctx context.Context, opts ReclaimOptions) (ReclaimResult, error) {
	progress := &events{send: opts.Events}
	var told time.Time
	tell := func(freed cafs.Reclaimed) {
		if now := time.Now(); now.Sub(told) >= tickInterval {
			told = now
			progress.now(Event{Kind: EventProgress, Freed: freed.Bytes})
		}
	}
	freed, err := n.store.Reclaim(ctx, cafs.ReclaimOptions{Progress: tell})
	result := ReclaimResult{Freed: freed.Bytes, Chunks: freed.Chunks}
	if err != nil {
		return result, fmt.Errorf("reclaim: %w", err)
	}
	space, err := n.store.Space(ctx)
	if err != nil {
		return result, fmt.Errorf("reclaim: %w", err)
	}
	result.Used, result.Quota = space.Used, space.Quota
	return result, nil
}

// addOccupancy adds to what is told of a root what it takes.
func (n *Node) addOccupancy(ctx context.Context, status *RootStatus) error {
	occupied, err := n.store.Occupancy(ctx, status.Root)
	if errors.Is(err, cafs.ErrNotFound) {
		return nil // it was removed just now
	}
	status.Stored, status.InPlace = occupied.Stored, occupied.InPlace
	return err
}
