package disk

import "sync/atomic"

// prefetched is how far a file was read ahead. It may be used concurrently.
type prefetched struct{ end atomic.Int64 }

// prefetcher is a file that can be read ahead.
type prefetcher interface{ Prefetch(offset, n int64) }

// before has the neighbours read ahead of what is about to be read at an offset, unless that was done for a neighbour.
func (p *prefetched) before(file prefetcher, offset int64) {
	end := p.end.Load()
	if offset < end && offset >= end-prefetchBytes {
		return
	}
	p.end.Store(offset + prefetchBytes)
	file.Prefetch(offset, prefetchBytes)
}

// fileOfTree is a file that is read ahead by offsets in the data stream of its tree.
type fileOfTree struct {
	file  prefetcher
	start int64
}

func (f fileOfTree) Prefetch(offset, n int64) { f.file.Prefetch(offset-f.start, n) }
