package cafs

import (
	"context"
	"errors"
	"fmt"
)

// Reclaimer is the role of a store that gives back the space of what nobody needs. A chunk is needed if a catalogued
// root, complete or not, has it, as far as its pages are here; if it is one of those pages; or if a hold protects it.
// Every other chunk is cache: it can be had, and stays until its space is wanted; then what was not read for the longest
// time goes first, as well as the store can tell. Files of the user's are never touched.
//
// Its methods may be called concurrently with each other and with all others.
type Reclaimer interface {
	// Hold protects, from the call to release, every chunk that since then was put, was read, or was reported by Has, even
	// if it was here before. Whoever adds content holds from before its first Put until its root is in the catalog. Whoever
	// fetches holds until the root is in the catalog and its pages are here, all of them; from then on its chunks are
	// needed by the root before they are asked for. A second call of release does nothing. Holds end with the process: what
	// is kept over its end is what the catalog needs.
	Hold() (release func())

	// Reclaim frees cache until no more than opts.Keep bytes of it are left, or as little as is worth the work; the store
	// says what that is. Reads, puts and syncs go on meanwhile. After an error, and when ctx ends it, what was freed is
	// free, and nothing else has happened. The error wraps ErrCorrupt if a page is missing of a root that is complete, or
	// was until it was damaged, and errors.ErrUnsupported if there is a root that this release can't read: nothing is freed
	// then, for it can't be known what they need.
	Reclaim(ctx context.Context, opts ReclaimOptions) (Reclaimed, error)

	// Space returns what the store takes. It is cheap.
	Space(ctx context.Context) (Space, error)

	// Occupancy returns what a catalogued root takes: it looks up each of its chunks, a million in about a second. The
	// error wraps ErrNotFound if the root is not in the catalog.
	Occupancy(ctx context.Context, root Key) (Occupancy, error)
}

// ReclaimOptions say how much to reclaim. The zero value frees all cache.
type ReclaimOptions struct {
	// Keep is how many bytes of cache may stay.
	Keep int64
	// Progress, if not nil, is called now and then with what was freed so far, in the goroutine of the caller.
	Progress func(Reclaimed)
}

// Reclaimed tells what a Reclaim freed.
type Reclaimed struct {
	// Bytes is by how much less the store takes on disk, or in memory, without what was put meanwhile.
	Bytes int64
	// Chunks is the number of chunks that went.
	Chunks int64
}

// Space is what a store takes, in bytes. What stands in files of the user's does not count.
type Space struct {
	// Used is everything together.
	Used int64
	// Metadata is the part of it that is not chunks: index, catalog, and what is set aside for them.
	Metadata int64
	// Quota is the most that Used may come to, 0 if there is no limit. A store that was larger when it was opened takes
	// nothing until enough is reclaimed.
	Quota int64
}

// Occupancy is what the chunks and pages of a root take, as far as they are here. What several roots share counts for
// each of them.
type Occupancy struct {
	// Stored is the bytes of those that the store has copies of.
	Stored int64
	// InPlace is the bytes of the others, which are in files of the user's only.
	InPlace int64
}

// QuotaError is why a store takes nothing more; it wraps ErrQuota.
type QuotaError struct {
	// Used is what the store takes in bytes, with what it must keep free to be able to work. Wanted is by how much it would
	// have become more, and Quota how much it may be.
	Used, Wanted, Quota int64
	// Err is why nothing could be reclaimed, as Reclaim would say; nil if everything is needed.
	Err error
}

// Error implements error.
func (e *QuotaError) Error() string {
	text := fmt.Sprintf("%v: %d bytes wanted, %d of %d used", ErrQuota, e.Wanted, e.Used, e.Quota)
	if e.Err != nil {
		return text + ", and nothing can be reclaimed: " + e.Err.Error()
	}
	return text + ", and all of that needed; remove roots or raise the quota"
}

// CannotReclaim makes a QuotaError of one and the error of a Reclaim, if that is one that stays until the catalog changes; else
// it returns the latter. It is for stores.
func (e *QuotaError) CannotReclaim(err error) error {
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("reclaim: %w", err)
	}
	return &QuotaError{e.Used, e.Wanted, e.Quota, err}
}

// Unwrap returns ErrQuota, and not Err: that is no damage of what was put.
func (e *QuotaError) Unwrap() error { return ErrQuota }

// Needed calls visit with everything that a catalogued root needs, as far as g tells: its pages, and the chunks that
// they list; some of them more than once. It is for stores, which pass a Getter that leaves no trace of its reads. Pages
// that are not here hide what is below them if the root never was complete; else the error wraps ErrCorrupt, so that damage
// is not taken for leave to throw away the rest. A root that breaks the rules of the format needs
// what can be read of it. The error wraps errors.ErrUnsupported if a later release may know what the root needs.
func Needed(ctx context.Context, g Getter, root RootInfo, visit func(ChunkInfo) error) error {
	record, err := ParseRecord(root.Record)
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("what root %s needs: %w", root.Root.Short(), err)
	}
	if err != nil {
		return nil // nobody can ever use it
	}
	type listIn struct {
		list List
		form itemForm
	}
	lists := []listIn{{record.Data, 0}}
	if record.Kind == KindTree {
		lists = append(lists, listIn{record.Entries, record.entryForm()})
	}
	for _, l := range lists {
		top, err := l.list.top(l.form)
		if err != nil {
			return nil
		}
		w := neededWalk{g: g, list: l.list, whole: root.Complete || root.Damaged, visit: visit, seen: make(map[Key]struct{})}
		if err := w.items(ctx, top, PageInfo{Level: l.list.Depth, form: l.form}); err != nil {
			return fmt.Errorf("what root %s needs: %w", root.Root.Short(), err)
		}
	}
	return nil
}

// neededWalk is one call of Needed.
type neededWalk struct {
	g     Getter
	list  List
	whole bool // all pages were here once
	visit func(ChunkInfo) error
	// seen are the pages of level 1 and above that were walked: a hostile list refers to the same ones again and again. It
	// holds some 2,800 for content of 1 TiB.
	seen map[Key]struct{}
	bufs [ListDepthMax][]byte // of one page for each level
}

// items visits what a page, or the top list, lists; at says where it is.
func (w *neededWalk) items(ctx context.Context, page decodedPage, at PageInfo) error {
	for _, c := range page.chunks {
		if err := w.visit(c); err != nil {
			return err
		}
	}
	for below := range page.below(at) {
		if err := w.page(ctx, below); err != nil {
			return err
		}
	}
	return nil
}

func (w *neededWalk) page(ctx context.Context, p PageInfo) error {
	if err := w.visit(ChunkInfo{Key: p.Key, Size: p.Size}); err != nil {
		return err
	}
	if _, twice := w.seen[p.Key]; twice {
		return nil
	}
	page, err := w.read(ctx, p)
	switch {
	case errors.Is(err, ErrBadRoot):
		return nil
	case errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt):
		if w.whole {
			return fmt.Errorf("a page is missing: %w", ErrCorrupt)
		}
		return nil
	case err != nil:
		return err
	}
	if p.Level > 0 {
		w.seen[p.Key] = struct{}{}
	}
	return w.items(ctx, page, p)
}

func (w *neededWalk) read(ctx context.Context, p PageInfo) (decodedPage, error) {
	data, err := w.g.Get(ctx, p.Key, w.bufs[p.Level])
	if err != nil {
		return decodedPage{}, err
	}
	w.bufs[p.Level] = data
	return readPage(p, data, w.list.Items)
}
