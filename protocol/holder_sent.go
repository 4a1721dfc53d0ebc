package protocol

import (
	"math"
	"sync"
	"sync/atomic"
)

// sentCounts counts how often each chunk of a root was sent, over all sessions about it. Ranges of which nothing was
// sent take no memory.
type sentCounts struct {
	sessions int // that use it; guarded by Holders.mu

	// counted is the number of ranges that are counted, over all roots: at most sentRangesMax.
	counted *atomic.Int64

	// mu guards what follows. It is held for the look at one wish.
	mu     sync.Mutex
	ranges map[int64][]uint8
}

func newSentCounts(counted *atomic.Int64) *sentCounts {
	return &sentCounts{counted: counted, ranges: make(map[int64][]uint8)}
}

// take looks for the first chunk of a wish that was sent at most as often as given, and counts it as sent once more.
// If there is none, it returns how often the one was sent that was sent least.
func (s *sentCounts) take(w *queuedWish, atMost uint8) (number int, least uint8, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := s.row(w.rangeNumber, len(w.chunks))
	if row == nil {
		return firstOne(w.left), 0, true
	}
	least = math.MaxUint8
	for i := range w.left.Ones() {
		if row[i] <= atMost {
			if row[i] < math.MaxUint8 {
				row[i]++
			}
			return i, atMost, true
		}
		least = min(least, row[i])
	}
	return 0, least, false
}

// least returns how often the chunk of a wish was sent that was sent least.
func (s *sentCounts) least(w *queuedWish) (least uint8) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := s.ranges[w.rangeNumber]
	if row == nil {
		return 0
	}
	least = math.MaxUint8
	for i := range w.left.Ones() {
		least = min(least, row[i])
	}
	return least
}

// row returns the counts of a range of n chunks, or nil if there is no room for them. Where the room is used up, another
// range of this root makes place: its chunks count as never sent, which costs a repeated chunk at most.
func (s *sentCounts) row(rangeNumber int64, n int) []uint8 {
	row := s.ranges[rangeNumber]
	if row != nil {
		return row
	}
	if s.counted.Add(1) > sentRangesMax {
		s.counted.Add(-1)
		if len(s.ranges) == 0 {
			return nil
		}
		for other := range s.ranges {
			delete(s.ranges, other)
			break
		}
	}
	row = make([]uint8, n)
	s.ranges[rangeNumber] = row
	return row
}

// forget drops the counts; nobody uses s any more.
func (s *sentCounts) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counted.Add(-int64(len(s.ranges)))
	s.ranges = nil
}
