package disk

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/swarmsync/swarmsync/cafs"
)

// filter is a Bloom filter of keys. It never denies a key that was added; of others it confirms about 1 % while it has no
// more than a key for each filterKeyBits bits. Its methods may be called concurrently, and an add is seen by every has that
// follows it in the order of Go's atomics.
type filter struct {
	words []uint64 // blocks of 8, the bits of one key are all in the same
	added atomic.Int64
}

const (
	filterBlockWords = 8
	filterBlockBits  = 64 * filterBlockWords
	filterProbes     = 6 // bits of a key; 9 bits of it choose each of them
)

// newFilter returns a filter for so many keys, of the given number of bytes at most.
func newFilter(keys, bytesMax int64) *filter {
	blocks := min(keys, bytesMax)*filterKeyBits/filterBlockBits + 1
	return &filter{words: make([]uint64, min(blocks, bytesMax*8/filterBlockBits)*filterBlockWords)}
}

// keys returns how many keys the filter is for.
func (f *filter) keys() int64 { return int64(len(f.words)) * 64 / filterKeyBits }

// probe returns the block of a key, and the number that its bits follow from. Keys are hashes already.
func (f *filter) probe(key cafs.Key) (block []uint64, bits uint64) {
	n := uint64(len(f.words) / filterBlockWords)
	at := binary.LittleEndian.Uint64(key[:]) % n * filterBlockWords
	return f.words[at : at+filterBlockWords], binary.LittleEndian.Uint64(key[8:])
}

func (f *filter) add(key cafs.Key) {
	block, bits := f.probe(key)
	isNew := false
	for range filterProbes {
		word, mask := &block[bits>>6%filterBlockWords], uint64(1)<<(bits%64)
		if atomic.LoadUint64(word)&mask == 0 {
			atomic.OrUint64(word, mask)
			isNew = true
		}
		bits >>= 9
	}
	if isNew {
		f.added.Add(1)
	}
}

func (f *filter) has(key cafs.Key) bool {
	block, bits := f.probe(key)
	for range filterProbes {
		if atomic.LoadUint64(&block[bits>>6%filterBlockWords])&(1<<(bits%64)) == 0 {
			return false
		}
		bits >>= 9
	}
	return true
}

// holds notes which chunks were put, read or asked for since the holds that are in force began. It keeps them in a row of
// filters, of which the older ones go with the holds that began while they were the last.
type holds struct {
	// chain is the filters, or nil while there is no hold. The slice is never changed.
	chain atomic.Pointer[[]*filter]

	// mu guards the fields below, and changes of chain.
	mu     sync.Mutex
	first  int           // number of the first filter of the chain, counted from the opening of the store
	begins map[*hold]int // number of the filter that was the last when the hold began
	ended  atomic.Uint64 // holds of callers that ended
}

// hold is what holds are told apart by: its address, so it must not be of no size.
type hold struct{ _ byte }

// begin begins a hold. One that inherits protects what all the holds in force do, too, also when those end before it.
func (h *holds) begin(inherit bool) *hold {
	began := new(hold)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.begins == nil {
		h.begins = make(map[*hold]int)
	}
	chain := h.chain.Load()
	switch {
	case chain == nil:
		h.growLocked(nil, holdKeysFirst)
	case len(*chain) < holdFiltersMax/2 && (*chain)[len(*chain)-1].added.Load() > 0:
		h.growLocked(*chain, holdKeysFirst) // so that the new hold does not keep what was touched before it
	}
	h.begins[began] = h.first + len(*h.chain.Load()) - 1
	if inherit {
		h.begins[began] = h.oldestLocked()
	}
	return began
}

func (h *holds) oldestLocked() int {
	oldest := h.first + len(*h.chain.Load()) - 1
	for _, number := range h.begins {
		oldest = min(oldest, number)
	}
	return oldest
}

// growLocked adds a filter for so many keys.
func (h *holds) growLocked(chain []*filter, keys int64) {
	longer := append(append(make([]*filter, 0, len(chain)+1), chain...), newFilter(keys, holdKeysMax*filterKeyBits/8))
	h.chain.Store(&longer)
}

// end ends a hold; a second call does nothing.
func (h *holds) end(began *hold) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.begins, began)
	chain := h.chain.Load()
	switch {
	case chain == nil:
	case len(h.begins) == 0:
		h.first += len(*chain)
		h.chain.Store(nil)
	default:
		if surplus := h.oldestLocked() - h.first; surplus > 0 {
			h.first += surplus
			shorter := (*chain)[surplus:]
			h.chain.Store(&shorter)
		}
	}
}

// touch notes that chunks are wanted. Whoever looks a chunk up touches it first; see sweeper.drop for why.
func (h *holds) touch(keys ...cafs.Key) {
	for _, key := range keys {
		chain := h.chain.Load()
		if chain == nil {
			return
		}
		last := (*chain)[len(*chain)-1]
		last.add(key)
		if last.added.Load() >= last.keys() && len(*chain) < holdFiltersMax {
			h.grow(last)
		}
	}
}

// grow adds a larger filter behind the last one, if that is still full.
func (h *holds) grow(full *filter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if chain := h.chain.Load(); chain != nil && (*chain)[len(*chain)-1] == full {
		h.growLocked(*chain, min(4*full.keys(), holdKeysMax))
	}
}

// held reports whether a chunk was touched since a hold that is in force began. It may say so of others.
func (h *holds) held(key cafs.Key) bool {
	chain := h.chain.Load()
	if chain == nil {
		return false
	}
	for _, f := range *chain {
		if f.has(key) {
			return true
		}
	}
	return false
}

// recent is the chunks that were read lately, a million or two.
type recent struct {
	now, before atomic.Pointer[filter]
}

func (r *recent) touch(key cafs.Key) {
	f := r.now.Load()
	if f == nil || f.added.Load() >= recentKeys {
		fresh := newFilter(recentKeys, recentBytes)
		if !r.now.CompareAndSwap(f, fresh) {
			return // another one is at it; who reads that fast may lose one
		}
		if f != nil {
			r.before.Store(f)
		}
		f = fresh
	}
	f.add(key)
}

// take returns the filters so far, of which there may be fewer than two, and begins anew.
func (r *recent) take() []*filter {
	var taken []*filter
	for _, at := range []*atomic.Pointer[filter]{&r.now, &r.before} {
		if f := at.Swap(nil); f != nil {
			taken = append(taken, f)
		}
	}
	return taken
}
