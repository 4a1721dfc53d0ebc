package node

import (
	"context"
	"fmt"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// rangeMost is how many bytes the chunks of a range may have.
const rangeMost = cafs.RangeBytes + cafs.ChunkSizeMax

// prepareRanges looks up ranges for the plan, one after the other, until ctx ends. What is here already goes into the
// output on the way.
func (f *fetch) prepareRanges(ctx context.Context) {
	buf := make([]byte, rangeMost)
	for {
		number, ok := f.nextRange(ctx)
		if !ok {
			return
		}
		if err := f.prepare(ctx, number, buf); err != nil {
			f.fail(err)
			return
		}
	}
}

// nextRange waits for a range to prepare. It returns false when ctx has ended.
func (f *fetch) nextRange(ctx context.Context) (number int64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	idle := false
	defer func() {
		if idle {
			f.idle--
		}
	}()
	for ; ctx.Err() == nil; f.changed.Wait() {
		if f.plan != nil && f.ready {
			for number := range f.plan.toPrepare(f.content.outline.RangeKnown) {
				return number, true
			}
		}
		if !idle {
			idle = true
			f.idle++
			f.askPagesAll() // there may be nothing to prepare for lack of them
		}
	}
	return 0, false
}

func (f *fetch) prepare(ctx context.Context, number int64, buf []byte) error {
	chunks, err := f.content.rangeChunks(ctx, number)
	if err != nil {
		return fmt.Errorf("list the chunks of range %d: %w", number, err)
	}
	here, need, reused, err := f.takeLocal(ctx, chunks, buf)
	if err != nil {
		return err
	}
	if f.opts.DryRun {
		f.count(chunks, need)
		need = protocol.NewBits(len(chunks.Chunks))
	}
	if need.Count() == 0 {
		f.out.startWriteback(chunks)
	}
	parts := f.findSimilar(ctx, number, chunks, need)
	for _, s := range f.prepared(ctx, number, chunks, here, need, reused, parts) {
		f.drop(s, wrongHave("HAVE", fmt.Errorf("range %d has %d chunks", number, len(chunks.Chunks))))
	}
	return nil
}

// prepared gives a range that was looked up to the plan, and returns the sessions with holders that told of it wrongly.
func (f *fetch) prepared(
	ctx context.Context, number int64, chunks cafs.RangeChunks, here, need protocol.Bits, reused int64, parts map[int]oldPart,
) []*session {
	f.mu.Lock()
	defer f.mu.Unlock()
	byHTTP := min(reused, f.httpBytes)
	f.httpBytes -= byHTTP
	f.result.Fetched += byHTTP
	f.result.Reused += reused - byHTTP
	f.news.add(number, here, len(chunks.Chunks))
	f.awaitEqual(number, chunks, need)
	if need.Count() > 0 {
		f.ranges[number] = chunks
		f.oldParts[number] = parts
		f.startSearch(ctx)
	}
	var wrong []*session
	for _, h := range f.plan.prepared(number, chunks.Chunks, need) {
		wrong = append(wrong, f.sessions[h.id])
	}
	f.changed.Broadcast()
	f.refillAll()
	f.checkComplete()
	return wrong
}

// count adds to the result of a dry run what would be fetched of a range, each chunk once.
func (f *fetch) count(row cafs.RangeChunks, need protocol.Bits) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.awaitEqual(0, row, need)
	for i := range need.Ones() {
		f.result.Missing += int64(row.Chunks[i].Size)
	}
}

// takeLocal finds out which chunks of a range are here, hashes those, unless they can be trusted, and copies them into the
// output. buf has room for the bytes of a range. It returns which are here, which others are needed, and how many bytes were
// here of those that are.
func (f *fetch) takeLocal(
	ctx context.Context, row cafs.RangeChunks, buf []byte,
) (here, need protocol.Bits, reused int64, err error) {
	have, likely, err := f.out.look(ctx, f.node.store, row)
	if err != nil {
		return nil, nil, 0, err
	}
	here, need = protocol.NewBits(len(row.Chunks)), protocol.NewBits(len(row.Chunks))
	var look, read []rowChunk
	offset := row.Offset
	for i, info := range row.Chunks {
		wanted := offset < f.part.offset+f.part.n && offset+int64(info.Size) > f.part.offset
		if wanted {
			need.Set(i)
		}
		if wanted && likely[i] && !have[i] && !f.trusted {
			if have[i], err = f.out.reread(ctx, info, offset, buf); err != nil {
				return nil, nil, 0, err
			}
		}
		switch {
		case have[i]:
			here.Set(i)
		case f.trusted || !wanted:
			look = append(look, rowChunk{i, info, offset})
		default:
			read = append(read, rowChunk{i, info, offset})
		}
		offset += int64(info.Size)
	}
	if err := f.lookInStore(ctx, look, here); err != nil {
		return nil, nil, 0, err
	}
	if err := f.copyFromStore(ctx, read, here, buf); err != nil {
		return nil, nil, 0, err
	}
	for i := range here.Ones() {
		if need.Get(i) {
			need.Clear(i)
			reused += int64(row.Chunks[i].Size)
		}
	}
	return here, need, reused, nil
}

// rowChunk is a chunk as one of a range, and its offset in the content.
type rowChunk struct {
	number int
	info   cafs.ChunkInfo
	offset int64
}

func infosOf(chunks []rowChunk) []cafs.ChunkInfo {
	infos := make([]cafs.ChunkInfo, len(chunks))
	for i, chunk := range chunks {
		infos[i] = chunk.info
	}
	return infos
}

// lookInStore sets the bits in here of those chunks that the store says it has.
func (f *fetch) lookInStore(ctx context.Context, chunks []rowChunk, here protocol.Bits) error {
	have, err := hasChunks(ctx, f.node.store, infosOf(chunks))
	if err != nil {
		return err
	}
	for i, chunk := range chunks {
		if have[i] {
			here.Set(chunk.number)
		}
	}
	return nil
}

// copyFromStore copies those chunks into the output that the store has, and sets their bits in here. buf has room for them.
func (f *fetch) copyFromStore(ctx context.Context, chunks []rowChunk, here protocol.Bits, buf []byte) error {
	read, damaged, err := cafs.ReadRow(ctx, f.node.store, infosOf(chunks), buf)
	if err != nil {
		return fmt.Errorf("read chunks that are here: %w", err)
	}
	if damaged {
		f.node.noteDamage(f.link.Root)
	}
	copies := make([]placement, 0, len(read))
	for i, chunk := range read {
		if chunk.Data() != nil {
			here.Set(chunks[i].number)
			copies = append(copies, placement{chunk, chunks[i].offset})
		}
	}
	return f.out.write(ctx, copies...)
}

// placeAt is a place of a chunk in the content: in which range, as which of how many, and at which offset.
type placeAt struct {
	number        int64
	chunk, chunks int
	offset        int64
}

// bits has the chunk alone.
func (p placeAt) bits() protocol.Bits {
	bits := protocol.NewBits(p.chunks)
	bits.Set(p.chunk)
	return bits
}

// awaitEqual takes chunks out of need that are being fetched elsewhere in the content already: one wish fills all their
// places. Callers hold f.mu.
func (f *fetch) awaitEqual(number int64, row cafs.RangeChunks, need protocol.Bits) {
	offset := row.Offset
	for i, info := range row.Chunks {
		if need.Get(i) {
			if others, ok := f.awaited[info.Key]; ok {
				f.awaited[info.Key] = append(others, placeAt{number, i, len(row.Chunks), offset})
				need.Clear(i)
			} else {
				f.awaited[info.Key] = nil
			}
		}
		offset += int64(info.Size)
	}
}
