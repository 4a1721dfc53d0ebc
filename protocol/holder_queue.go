package protocol

import (
	"container/heap"

	"github.com/swarmsync/swarmsync/cafs"
)

// wishQueue holds what a receiver wishes and was not taken yet. It chooses among all wished chunks of a session: the one
// that this holder has sent least often in the root, of several the one that was wished first. It decides without clocks
// or I/O.
//
// Wishes are kept in a heap by how often their least sent chunk was sent when somebody last looked. Counts only rise, so
// that is never too high: it is enough to look again at the first wish, until its place proves right.
type wishQueue struct {
	wishes wishHeap
	byID   map[uint64]*queuedWish
	bytes  int64 // of the chunks that were not taken yet
	sums   int   // bytes of the sums for them
	sent   *sentCounts
}

type queuedWish struct {
	id          uint64
	rangeNumber int64
	// chunks are those of the range, or nil if the pages that list them are not here: then nothing of the wish is.
	chunks []cafs.ChunkInfo
	left   Bits
	sigs   map[int]signature // for some of the chunks left

	least    uint8 // how often the least sent of the chunks left was sent, at least
	position int   // in the heap
}

func (w *queuedWish) bytes() int64 {
	if w.chunks == nil {
		return 0
	}
	total := int64(0)
	for i := range w.left.Ones() {
		total += int64(w.chunks[i].Size)
	}
	return total
}

// add enters a wish, or says which rule it breaks.
func (q *wishQueue) add(w *queuedWish) error {
	if w.chunks != nil {
		if err := CheckBits(w.left, len(w.chunks)); err != nil {
			return violation(frameWish, RuleSize, "wish %d in range %d: %w", w.id, w.rangeNumber, err)
		}
	}
	bytes := w.bytes()
	if len(q.wishes) >= WishesMax || q.bytes+bytes > WishedBytesMax {
		return violation(frameWish, RuleLimit, "wish %d: %d wishes of %d bytes wait", w.id, len(q.wishes), q.bytes)
	}
	if q.byID == nil {
		q.byID = make(map[uint64]*queuedWish)
	}
	q.byID[w.id] = w
	heap.Push(&q.wishes, w)
	q.bytes += bytes
	for _, s := range w.sigs {
		q.sums += len(s.sums)
	}
	return nil
}

func (q *wishQueue) remove(w *queuedWish) {
	heap.Remove(&q.wishes, w.position)
	delete(q.byID, w.id)
	for number := range w.sigs {
		q.takeSignature(w, number)
	}
}

// takeSignature removes and returns what a chunk was signed for with; it has no sums if there is none.
func (q *wishQueue) takeSignature(w *queuedWish, number int) signature {
	s := w.sigs[number]
	delete(w.sigs, number)
	q.sums -= len(s.sums)
	return s
}

// takenChunk is what the queue lets go of next: a chunk of a wish, or all that is left of a wish that has no chunks here.
type takenChunk struct {
	wish    uint64
	at      ChunkAt
	bits    Bits      // what was taken of the wish
	nowhere bool      // the pages are not here, so the chunks are not
	sig     signature // of what the receiver has that is like it; without sums if there is none
}

// take chooses what to send next, counts it as sent, and removes it; ok is false when nothing waits.
func (q *wishQueue) take() (taken takenChunk, ok bool) {
	for len(q.wishes) > 0 {
		w := q.wishes[0]
		if w.chunks == nil {
			q.remove(w)
			return takenChunk{wish: w.id, bits: w.left, nowhere: true}, true
		}
		number, least, ok := q.sent.take(w, w.least)
		if ok {
			return q.takeOf(w, number), true
		}
		w.least = least
		heap.Fix(&q.wishes, 0)
	}
	return takenChunk{}, false
}

// leastSent returns how often what take would choose was sent.
func (q *wishQueue) leastSent() uint8 {
	for len(q.wishes) > 0 {
		w := q.wishes[0]
		if w.chunks == nil {
			return 0
		}
		least := q.sent.least(w)
		if least <= w.least {
			return least
		}
		w.least = least
		heap.Fix(&q.wishes, 0)
	}
	return 0
}

// takeOf takes a chunk out of a wish.
func (q *wishQueue) takeOf(w *queuedWish, number int) takenChunk {
	taken := takenChunk{
		wish: w.id,
		at:   ChunkAt{Range: w.rangeNumber, Number: number, Info: w.chunks[number]},
		bits: make(Bits, len(w.left)),
	}
	taken.bits.Set(number)
	taken.sig = q.takeSignature(w, number)
	w.left.Clear(number)
	q.bytes -= int64(taken.at.Info.Size)
	if w.left.Count() == 0 {
		q.remove(w)
	}
	return taken
}

// firstOne returns the index of the first bit that is 1; there is one.
func firstOne(b Bits) int {
	for i := range b.Ones() {
		return i
	}
	panic("protocol: a wish without bits is in the queue")
}

// cancel removes the chunks that bits names from a wish, and returns those that were still there; none if the wish is
// not in the queue any more.
func (q *wishQueue) cancel(id uint64, bits Bits) (Bits, error) {
	w := q.byID[id]
	if w == nil {
		return nil, nil
	}
	if err := w.checkCancel(bits); err != nil {
		return nil, err
	}
	before := w.bytes()
	cancelled := make(Bits, len(w.left))
	for j := range cancelled {
		cancelled[j] = w.left[j] & bits[j]
		w.left[j] &^= bits[j]
	}
	q.bytes -= before - w.bytes()
	for number := range cancelled.Ones() {
		q.takeSignature(w, number)
	}
	if w.left.Count() == 0 {
		q.remove(w)
	}
	return cancelled, nil
}

// checkCancel holds the bits of a CANCEL against those of the wish.
func (w *queuedWish) checkCancel(bits Bits) error {
	if w.chunks != nil {
		if err := CheckBits(bits, len(w.chunks)); err != nil {
			return violation(frameCancel, RuleSize, "wish %d: %w", w.id, err)
		}
	}
	if len(bits) != len(w.left) {
		return violation(frameCancel, RuleSize, "wish %d: %d bytes of bits instead of %d", w.id, len(bits), len(w.left))
	}
	return nil
}

// wishHeap implements heap.Interface: first what was sent least, then what was wished first.
type wishHeap []*queuedWish

func (h wishHeap) Len() int { return len(h) }

func (h wishHeap) Less(i, j int) bool {
	if h[i].least != h[j].least {
		return h[i].least < h[j].least
	}
	return h[i].id < h[j].id
}

func (h wishHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}

func (h *wishHeap) Push(x any) {
	w := x.(*queuedWish)
	w.position = len(*h)
	*h = append(*h, w)
}

func (h *wishHeap) Pop() any {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return w
}
