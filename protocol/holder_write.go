package protocol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// batch is frames that go to the stream in one write. A session that has nothing to write gives it back, because a holder
// may have hundreds of sessions.
type batch []byte

// reserve makes room for a frame of dataBytes, and in an empty batch for the about burstBytes that are to follow.
func (b *batch) reserve(dataBytes int, burstBytes int64) {
	const head = 64 // more than what stands before the data of any frame
	if cap(*b)-len(*b) >= dataBytes+head {
		return
	}
	if len(*b) == 0 {
		dataBytes += int(min(burstBytes, writeBatchBytes))
	}
	*b = slices.Grow(*b, dataBytes+head)
}

func (b *batch) full() bool { return len(*b) >= writeBatchBytes }

// chunkHead gathers what stands before a chunk's bytes.
func (b *batch) chunkHead(wish uint64, number int, encoding byte, size int) {
	var room [2*uvarintMax + 1]byte
	head := chunkBody{id: wish, number: number, encoding: encoding}.appendHead(room[:0])
	*b = append(appendFrameHeader(*b, frameChunk, len(head)+size), head...)
}

// data gathers bytes that a reader was offered the end of the batch for: if it took the offer they are there already.
func (b *batch) data(data []byte) {
	start, end := len(*b), len(*b)+len(data)
	if end <= cap(*b) && &(*b)[:end][start] == &data[0] {
		*b = (*b)[:end]
		return
	}
	*b = append(*b, data...)
}

// missing gathers the news that chunks of a wish are not here, or with no bits that pages are not.
func (b *batch) missing(id uint64, bits Bits) {
	m := doneBody{id: id, parts: []DonePart{{DoneMissing, bits}}}
	*b = appendFrame(*b, frameDone, m.append(nil))
}

// writeQueued writes what is queued until ctx ends or something fails.
func (h *Holder) writeQueued(ctx context.Context) error {
	h.haveTimer = time.AfterFunc(time.Hour, h.signal)
	defer h.haveTimer.Stop()
	var began time.Time
	for {
		if h.out == nil {
			h.out = h.holders.buffer()
		}
		if len(h.out) == 0 {
			began = time.Now()
		}
		more, err := h.gatherNext(ctx)
		if err != nil {
			return err
		}
		if more && !h.out.full() && time.Since(began) < batchTime {
			continue
		}
		if err := h.flush(); err != nil {
			return err
		}
		if more {
			continue
		}
		h.holders.reuse(h.out)
		h.out = nil
		start := time.Now()
		select {
		case <-h.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		if h.held {
			h.packer.wait(time.Since(start))
		} else if h.holders.alone() {
			h.packer.rest(time.Since(start))
		}
	}
}

// flush writes what was gathered.
func (h *Holder) flush() error {
	if len(h.out) == 0 {
		return nil
	}
	h.mu.Lock()
	chunks := h.window.wrote(time.Now(), h.queue.bytes == 0)
	h.writing = chunks
	h.mu.Unlock()
	start := time.Now()
	if _, err := h.stream.Write(h.out); err != nil {
		return fmt.Errorf("write to the stream: %w", err)
	}
	if took := time.Since(start); took > writeBlocked {
		h.packer.wait(took)
	}
	h.out = h.out[:0]
	h.mu.Lock()
	defer h.mu.Unlock()
	if chunks {
		h.writing, h.progress = false, time.Now()
	}
	return nil
}

// gatherNext gathers the next frames: small ones first, then the answer to a PAGES, without which a receiver cannot
// wish, then a chunk if it may be started. It reports whether there may be more to gather now.
func (h *Holder) gatherNext(ctx context.Context) (more bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	more = h.gatherSmall()
	h.mu.Lock()
	if len(h.pages) > 0 {
		request := h.pages[0]
		h.mu.Unlock()
		return true, h.answerPages(ctx, request)
	}
	taken, burst, ok := h.takeChunk()
	h.mu.Unlock()
	if !ok {
		return more, nil
	}
	return true, h.gatherChunk(ctx, taken, burst)
}

// takeChunk takes the next chunk out of the queue, unless it has to wait for ACKs or for the session's turn: then the
// writer is woken when it may go on. burst is about how many bytes may follow at once. Callers hold h.mu.
func (h *Holder) takeChunk() (taken takenChunk, burst int64, ok bool) {
	if len(h.queue.wishes) == 0 {
		h.held = false
		h.holders.pass(h)
		return takenChunk{}, 0, false
	}
	alone := h.holders.alone()
	h.held = true
	if !h.window.open(alone) || !h.holders.mayStart(h, time.Now()) {
		return takenChunk{}, 0, false
	}
	h.held = false
	burst = max(0, min(h.queue.bytes, h.window.size(alone)-h.window.out()))
	taken, ok = h.queue.take()
	return taken, burst, ok
}

// gatherSmall gathers the small frames that wait, of HAVEs one, and reports whether another may be ready.
func (h *Holder) gatherSmall() (more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out = append(h.out, h.control...)
	h.control, h.answers = nil, 0
	have, wait := h.haves.take(time.Now())
	if have != nil {
		h.out = appendFrame(h.out, frameHave, have)
	}
	if wait > 0 {
		h.haveTimer.Reset(wait)
	}
	return have != nil
}

// gatherChunk gathers a chunk that was taken from the queue, or the news that it is missing. It is read into the place
// where it is written from.
func (h *Holder) gatherChunk(ctx context.Context, taken takenChunk, burst int64) error {
	if taken.nowhere {
		h.out.missing(taken.wish, taken.bits)
		return nil
	}
	size := taken.at.Info.Size
	h.out.reserve(size, burst)
	before := len(h.out)
	h.out.chunkHead(taken.wish, taken.at.Number, encodingRaw, size)
	start := len(h.out)
	data, err := h.content.ReadChunk(ctx, taken.at, h.out[start:start:cap(h.out)])
	if errors.Is(err, cafs.ErrNotFound) || errors.Is(err, cafs.ErrCorrupt) {
		h.out = h.out[:before]
		h.out.missing(taken.wish, taken.bits)
		return nil
	}
	if err != nil {
		return fmt.Errorf("read chunk %s: %w", taken.at.Info.Key, err)
	}
	if len(data) != size {
		return fmt.Errorf("read chunk %s: %d bytes instead of %d", taken.at.Info.Key, len(data), size)
	}
	room := h.holders.buffer()
	encoding, packed := h.packer.pack(room, data, taken.sig, h.pathRate())
	if encoding != encodingRaw {
		h.out = h.out[:before]
		h.out.chunkHead(taken.wish, taken.at.Number, encoding, len(packed))
		data, room = packed, packed
	}
	h.out.data(data)
	h.holders.reuse(room)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.window.written += int64(len(data))
	h.holders.started(h, int64(len(data)), h.window.written, h.window.roundTrip)
	return nil
}

// pathRate returns how many bytes a second arrive of late, 0 if that is not known.
func (h *Holder) pathRate() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(h.window.best[0], h.window.best[1])
}

// answerPages answers a request as far as its pages are here and it is not cancelled. Small frames go between the pages.
func (h *Holder) answerPages(ctx context.Context, request queuedPages) error {
	number := 0
	for page, err := range h.content.Pages(ctx, request.PagesRequest) {
		if errors.Is(err, cafs.ErrNotFound) {
			h.endAnswer(request.id, true)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read page %d of request %d: %w", number, request.id, err)
		}
		if s, ok := request.sigs[number]; ok {
			if delta := appendDelta([]byte{pageIsDelta}, h.packer.mac, page, s, nil); len(delta) > 1 && len(delta) < len(page) {
				page = delta
			}
		}
		if err := h.gatherPage(pageBody{request.id, number, page}); err != nil {
			return err
		}
		h.gatherSmall()
		number++
		if number == PagesMax || !h.wantsPages(request.id) {
			break
		}
	}
	h.endAnswer(request.id, number == 0)
	return nil
}

func (h *Holder) gatherPage(m pageBody) error {
	h.out = appendFrame(h.out, framePage, m.append(nil))
	if !h.out.full() {
		return nil
	}
	return h.flush()
}

func (h *Holder) wantsPages(id uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.pages) > 0 && h.pages[0].id == id
}

// endAnswer ends a request, and tells if pages are missing. If it was cancelled the receiver is told just that.
func (h *Holder) endAnswer(id uint64, missing bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.endPages(id) && missing {
		h.out.missing(id, nil)
	}
}
