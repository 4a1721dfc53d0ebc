package disk

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/swarmsync/swarmsync/cafs"
)

// Hold implements cafs.Reclaimer.
func (s *Store) Hold() (release func()) {
	held := s.holds.begin(false)
	return func() {
		s.holds.end(held)
		s.holds.ended.Add(1)
	}
}

// Reclaim implements cafs.Reclaimer. It goes through the packs, the oldest first, and gives each up that nothing in is
// needed; one that little of which is needed it gives up after it has moved that to the newest pack. While cache may stay,
// chunks that were read since the last time are moved along too, so that they get a second chance; and half of a pack must
// be free. In the end a pack may keep up to a 32nd of its size that nobody needs. If no
// cache may stay, the index gives up what it has of files that were removed.
func (s *Store) Reclaim(ctx context.Context, opts cafs.ReclaimOptions) (freed cafs.Reclaimed, err error) {
	if err := s.begin(ctx); err != nil {
		return freed, err
	}
	defer s.end()
	if opts.Keep > 0 {
		if done, err := s.reclaimTo(ctx, opts, true, &freed); done || err != nil {
			return freed, err
		}
	}
	_, err = s.reclaimTo(ctx, opts, false, &freed)
	if err != nil || opts.Keep > 0 {
		return freed, err
	}
	bytes, err := s.sweepIndex(ctx)
	freed.Bytes += bytes
	return freed, err
}

// reclaimTo is one run of Reclaim through the packs; done tells that no more cache is left than may be.
func (s *Store) reclaimTo(
	ctx context.Context, opts cafs.ReclaimOptions, spare bool, freed *cafs.Reclaimed,
) (done bool, err error) {
	r, err := s.beginRun(ctx, spare)
	if err != nil {
		return false, err
	}
	defer r.end()
	cache := int64(math.MaxInt64) // which need not be known if all of it goes
	if opts.Keep > 0 {
		if cache, err = r.cache(ctx); err != nil {
			return false, err
		}
	}
	for cache > opts.Keep {
		step, more, err := r.step(ctx)
		if err != nil || !more {
			return false, err
		}
		cache -= step.Bytes
		freed.Bytes += step.Bytes
		freed.Chunks += step.Chunks
		if opts.Progress != nil {
			opts.Progress(*freed)
		}
	}
	return true, nil
}

// run is one reclaiming: what may go, and the packs that were not looked at yet.
//
// What it gives up is needed by nobody, whatever happens meanwhile. Let it begin its hold at the time s and read the
// catalog at c, after s. It inherits the holds that are in force at s, so until it ends all chunks count as held that were
// touched since s, or under a hold that was in force at s.
//
//   - A root that was put before c is walked. A page of it that was put before the walk asks for it is found. When a later
//     one is put its fetch holds, by the contract: since before s, and the run inherits that, or it began to hold after s.
//     Either way all that the fetch has touched by then is held; and what it touches later it touches after s.
//   - A root that is put after c was added under a hold that was in force at c, for the same reason. So its chunks, which
//     were put or found here under that hold, are held.
//   - A chunk that is touched after it was found to be of no use: see sweeper.drop.
type run struct {
	store  *Store
	hold   *hold
	needed *filter
	spared []*filter // chunks that get a second chance
	waste  int64     // a pack of n bytes is worth the work if n/waste of them can go
	packs  []uint64  // the oldest first
}

// beginRun finds out what is needed. A run that spares leaves chunks that were read since the last such run; the other kind
// also gives up what is in the newest pack.
func (s *Store) beginRun(ctx context.Context, spare bool) (*run, error) {
	r := &run{store: s, hold: s.holds.begin(true), waste: wasteLeast}
	if spare {
		r.spared, r.waste = s.recent.take(), wasteUsual
	}
	if err := r.prepare(ctx, spare); err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

func (r *run) prepare(ctx context.Context, spare bool) error {
	s := r.store
	var err error
	if r.needed, err = s.neededKeys(ctx); err != nil {
		return err
	}
	newest := s.append.newest()
	if look, err := r.look(ctx, newest); err != nil {
		return err
	} else if r.worth(look) {
		s.append.retireIf(newest)
		newest++
	}
	// After this sync nobody writes to older packs any more, and what they have is in the index.
	if err := s.sync(ctx); err != nil {
		return err
	}
	r.packs = s.packs.before(newest)
	return nil
}

// end ends the run; what it held is free.
func (r *run) end() { r.store.holds.end(r.hold) }

// neededKeys returns what the catalog needs.
func (s *Store) neededKeys(ctx context.Context) (*filter, error) {
	var listed int64
	for info, err := range s.index.roots(ctx) {
		if err != nil {
			return nil, err
		}
		listed += listedChunks(info)
	}
	needed := newFilter(listed, neededFilterBytes)
	for info, err := range s.index.roots(ctx) {
		if err != nil {
			return nil, err
		}
		n := 0
		err := cafs.Needed(ctx, quietGetter{s}, info, func(c cafs.ChunkInfo) error {
			needed.add(c.Key)
			if n++; n%sweepBatch == 0 {
				return ctx.Err()
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return needed, nil
}

// listedChunks returns how many chunks a root says that it has, with its pages.
func listedChunks(info cafs.RootInfo) int64 {
	record, err := cafs.ParseRecord(info.Record)
	if err != nil {
		return 0
	}
	return record.Data.Items + record.Data.Items/16 // the shortest pages have 32 items
}

// quietGetter reads chunks without noting that somebody wants them.
type quietGetter struct{ store *Store }

func (g quietGetter) Get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	return g.store.get(ctx, key, buf)
}

func (g quietGetter) Has(ctx context.Context, keys []cafs.Key) ([]bool, error) {
	have := make([]bool, len(keys))
	err := g.store.index.visit(ctx, keys, func(i int, locations []location) { have[i] = len(locations) > 0 })
	return have, err
}

// step goes on to the next pack that is worth the work and gives that up; more is false if there is none.
func (r *run) step(ctx context.Context) (freed cafs.Reclaimed, more bool, err error) {
	for len(r.packs) > 0 {
		id := r.packs[0]
		r.packs = r.packs[1:]
		swept, freed, err := r.tryPack(ctx, id)
		if swept || err != nil {
			return freed, true, err
		}
	}
	return cafs.Reclaimed{}, false, ctx.Err()
}

func (r *run) tryPack(ctx context.Context, id uint64) (swept bool, freed cafs.Reclaimed, err error) {
	s := r.store
	select {
	case <-s.sweeping:
		defer func() { s.sweeping <- struct{}{} }()
	case <-ctx.Done():
		return false, freed, ctx.Err()
	}
	look, err := r.look(ctx, id)
	if err != nil || !r.worth(look) || !s.fits(look.stays) {
		return false, freed, err
	}
	freed, err = r.sweep(ctx, id)
	return true, freed, err
}

// fits reports whether there is room to move some bytes to another pack before their own goes.
func (s *Store) fits(bytes int64) bool {
	used, _ := s.used()
	return s.quota.limit == 0 || bytes == 0 || used+indexRoom(s.index.size())+bytes <= s.quota.limit
}

// look is what a pack holds, in bytes.
type look struct {
	size  int64
	stays int64 // what has to be moved if the pack is given up
	cache int64 // chunks that nobody needs, among them those that stay because they were read lately
}

func (r *run) worth(l look) bool { return l.size > 0 && l.size-l.stays >= max(1, l.size/r.waste) }

// look looks what is in a pack, which may be gone.
func (r *run) look(ctx context.Context, id uint64) (look, error) {
	info, ok := r.store.packs.get(id)
	if !ok {
		return look{}, nil
	}
	found := look{size: info.end}
	visit := func(_ context.Context, entries []packEntry, roots []packRoot) error {
		for _, e := range entries {
			switch size := recordHeaderSize + int64(e.loc.length); {
			case r.needs(e.key):
				found.stays += size
			case r.spares(e.key):
				found.stays += size
				found.cache += size
			default:
				found.cache += size
			}
		}
		for _, root := range roots {
			if stays, err := r.store.rootStays(id, root); err != nil {
				return err
			} else if stays {
				found.stays += root.size
			}
		}
		return nil
	}
	err := r.store.walkPack(ctx, id, info.end, visit)
	if errors.Is(err, errRecordBad) {
		found = look{size: info.end}
		err = r.store.walkIndex(ctx, id, visit)
	}
	return found, err
}

// needs reports whether a chunk must stay.
func (r *run) needs(key cafs.Key) bool { return r.needed.has(key) || r.store.holds.held(key) }

// spares reports whether a chunk gets a second chance.
func (r *run) spares(key cafs.Key) bool {
	return slices.ContainsFunc(r.spared, func(f *filter) bool { return f.has(key) })
}

// cache returns the bytes of cache in the packs that the run was not at yet.
func (r *run) cache(ctx context.Context) (bytes int64, err error) {
	for _, id := range r.packs {
		found, err := r.look(ctx, id)
		if err != nil {
			return 0, err
		}
		bytes += found.cache
	}
	return bytes, nil
}
