package disk

import (
	"sync/atomic"
	"time"
)

// prefetched remembers which blocks of a file were read ahead of late. It may be used concurrently: whoever reads several
// parts of a file in turns has each read ahead once.
type prefetched struct {
	// blocks has at a block's number, modulo its length, that number and the period in which it was read ahead.
	blocks [prefetchBlocks]atomic.Int64
}

const (
	// prefetchBlocks is more than how many parts of a file are read at the same time, as a rule.
	prefetchBlocks = 8
	// prefetchPeriod is after how long a block may not be in the memory any more.
	prefetchPeriod = time.Minute
)

// prefetcher is a file that can be read ahead.
type prefetcher interface{ Prefetch(offset, n int64) }

// before has the neighbours read ahead of what is about to be read at an offset, unless that was done for a neighbour.
func (p *prefetched) before(file prefetcher, offset int64) {
	block := offset / prefetchBytes
	mark := block<<20 | time.Now().Unix()/int64(prefetchPeriod.Seconds())&(1<<20-1)
	if p.blocks[block%prefetchBlocks].Swap(mark) != mark {
		file.Prefetch(block*prefetchBytes, prefetchBytes)
	}
}

// fileOfTree is a file that is read ahead by offsets in the data stream of its tree.
type fileOfTree struct {
	file  prefetcher
	start int64
}

func (f fileOfTree) Prefetch(offset, n int64) {
	from := max(0, offset-f.start)
	f.file.Prefetch(from, offset+n-f.start-from)
}
