package protocol

import (
	"sync/atomic"

	"github.com/swarmsync/swarmsync/cafs"
)

// Receivers is what the sessions of a receiver have in common: it bounds what they hold of old bytes for chunks that may come
// as deltas to them, and decompresses. The zero value is ready.
type Receivers struct {
	held         atomic.Int64 // old bytes
	decompressor decompressor
}

func (r *Receivers) full() bool { return r.held.Load() >= OldBytesMax }

// take reports whether there was room for n bytes.
func (r *Receivers) take(n int) bool {
	if r.held.Add(int64(n)) > OldBytesMax {
		r.give(n)
		return false
	}
	return true
}

func (r *Receivers) give(n int) { r.held.Add(-int64(n)) }

// signMin is the smallest chunk that is worth a signature.
const signMin = 2 * DeltaBlockMin

// worthSigning returns the wished chunks that are not too small for a signature.
func worthSigning(bits Bits, chunks []cafs.ChunkInfo) Bits {
	worth := append(Bits(nil), bits...)
	for number := range bits.Ones() {
		if chunks[number].Size < signMin {
			worth.Clear(number)
		}
	}
	return worth
}

// signWish returns the SIGS of a wish that is about to go out. It is called by the goroutine that writes.
func (r *Receiver) signWish(id uint64, bits Bits, old func(number int) []byte) (frames []byte) {
	for number := range bits.Ones() {
		frames = r.sign(frames, id, number, DeltaBlockMin, old)
	}
	return frames
}

// signPages does for a request of pages what signWish does for a wish.
func (r *Receiver) signPages(id uint64, pages int, old func(number int) []byte) (frames []byte) {
	for number := range min(pages, PagesMax) {
		frames = r.sign(frames, id, number, pageBlockBytes, old)
	}
	return frames
}

// sign appends a SIGS in blocks of at least the given size, if there is something to sign and room for it.
func (r *Receiver) sign(frames []byte, id uint64, number, least int, old func(number int) []byte) []byte {
	if r.shared.full() {
		return frames
	}
	bytes := old(number)
	if len(bytes) == 0 {
		return frames
	}
	bytes = bytes[:min(len(bytes), OldChunkMax)]
	m := sigsBody{id, number, signBlocks(r.mac, bytes, blockSize(len(bytes), least))}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.account.sign(id, number, oldChunk{bytes, m.blockBytes, len(m.sums)}) {
		return frames
	}
	return appendFrame(frames, frameSigs, m.append(nil))
}

// signs reports whether a wish is worth signing: what was signed before came as deltas. Callers hold r.mu.
func (r *Receiver) signs() bool {
	return r.on.has(featureDelta) && r.account.ignored < sigsIgnoredMax
}
