package node

import (
	"context"
	"fmt"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// arrival is a chunk that came from a holder and has not been looked at. buf is the buffer that its bytes are in.
type arrival struct {
	from    *session
	wish    *wish
	message protocol.ChunkMessage
	buf     []byte
}

// A batch of arrivals is stored by one call. It ends early when nothing more has arrived.
const arrivalsBatch = 16

// storeArrivals hashes what arrives, stores it and writes it into the output, until ctx ends.
func (f *fetch) storeArrivals(ctx context.Context) {
	batch := make([]arrival, 0, arrivalsBatch)
	for {
		batch = batch[:0]
		select {
		case <-ctx.Done():
			return
		case a := <-f.jobs:
			batch = append(batch, a)
		}
	more:
		for len(batch) < arrivalsBatch {
			select {
			case a := <-f.jobs:
				batch = append(batch, a)
			default:
				break more
			}
		}
		if err := f.storeBatch(ctx, batch); err != nil {
			f.fail(err)
			return
		}
		for _, a := range batch {
			f.buffers <- a.buf // never waits: there are as many places as buffers
		}
	}
}

func (f *fetch) storeBatch(ctx context.Context, batch []arrival) error {
	good := make([]arrival, 0, len(batch))
	chunks := make([]cafs.Chunk, 0, len(batch))
	for _, a := range batch {
		chunk, err := cafs.VerifyChunk(a.message.At.Info, a.message.Data)
		if err != nil {
			if !f.askPlainly(a) {
				f.drop(a.from, fmt.Errorf("sent wrong bytes: %w", err))
			}
			continue
		}
		good = append(good, a)
		chunks = append(chunks, chunk)
	}
	if err := f.keep(ctx, good, chunks); err != nil {
		return err
	}
	for i, a := range good {
		if err := f.place(ctx, chunks[i], a); err != nil {
			return err
		}
	}
	f.askMore(good)
	return nil
}

// keep stores chunks, and writes each where it was wished.
func (f *fetch) keep(ctx context.Context, arrivals []arrival, chunks []cafs.Chunk) error {
	if !f.out.keeps() {
		if err := f.node.store.Put(ctx, chunks...); err != nil {
			return fmt.Errorf("store chunks: %w", err)
		}
	}
	placements := make([]placement, 0, len(chunks))
	for i, chunk := range chunks {
		// Of a chunk that came twice the second copy may find its range complete: it has its place already.
		if offset, ok := f.offsetOf(arrivals[i].message.At); ok {
			placements = append(placements, placement{chunk, offset})
		}
	}
	return f.out.write(ctx, placements...)
}

// place writes a chunk that is kept to its other places, and tells the plan and those who want to know.
func (f *fetch) place(ctx context.Context, chunk cafs.Chunk, a arrival) error {
	// From here on whoever needs the chunk elsewhere finds it in the store.
	f.arrivals.Arrived(chunk.Key())
	others := f.takeAwaited(chunk.Key())
	for _, other := range others {
		if err := f.out.write(ctx, placement{chunk, other.offset}); err != nil {
			return err
		}
	}
	if row, ok := f.placed(a, int64(len(chunk.Data())), others); ok {
		f.out.startWriteback(row)
	}
	f.tell(time.Now())
	return nil
}

// placed notes that a chunk is stored and written. If that was the last chunk awaited of its range it returns the range's
// row.
func (f *fetch) placed(a arrival, size int64, others []placeAt) (row cafs.RangeChunks, last bool) {
	now := time.Now()
	at := a.message.At
	f.mu.Lock()
	defer f.mu.Unlock()
	needed, cancels := f.plan.arrived(a.wish, at.Number, now)
	f.sendCancels(cancels)
	if needed {
		f.result.Fetched += size
		f.result.Saved += size - int64(a.message.Sent)
		a.from.share.Bytes += size
		a.from.bring()
		f.idleSince = now
	} else {
		f.result.Duplicate += size
	}
	f.result.Reused += size * int64(len(others))
	here := placeAt{number: at.Range, chunk: at.Number, chunks: len(a.wish.chunks())}
	for _, place := range append(others, here) {
		f.news.add(place.number, place.bits(), place.chunks)
	}
	if f.plan.ranges[at.Range] == nil {
		row, last = f.ranges[at.Range]
		delete(f.ranges, at.Range)
		delete(f.oldParts, at.Range)
		f.changed.Broadcast()
	}
	return row, last
}

// askMore asks the holders of chunks that were placed for more. One wish for what arrived together takes less time than one
// for each.
func (f *fetch) askMore(placed []arrival) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, a := range placed {
		if i == 0 || a.from != placed[i-1].from {
			f.refill(a.from, now)
		}
	}
	f.checkComplete()
}

// offsetOf returns where in the content a chunk begins that was wished, if its range still waits for chunks.
func (f *fetch) offsetOf(at protocol.ChunkAt) (offset int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	row, ok := f.ranges[at.Range]
	if !ok {
		return 0, false
	}
	offset = row.Offset
	for _, before := range row.Chunks[:at.Number] {
		offset += int64(before.Size)
	}
	return offset, true
}

// takeAwaited returns the places, beside the one where it was wished, that wait for a chunk; they are not told twice.
func (f *fetch) takeAwaited(key cafs.Key) []placeAt {
	f.mu.Lock()
	defer f.mu.Unlock()
	others := f.awaited[key]
	delete(f.awaited, key)
	return others
}
