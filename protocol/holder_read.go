package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// readControl reads what the receiver sends until the stream ends, for which it returns errEnded, or something is wrong.
// It never waits for the writer.
func (h *Holder) readControl(ctx context.Context) error {
	buf := make([]byte, controlBufferBytes)
	for first := true; ; first = false {
		t, body, err := h.in.next(buf)
		if err == io.EOF { // Only this very error means that the stream ended between two frames.
			return errEnded
		}
		if err != nil {
			return err
		}
		if first {
			h.mu.Lock()
			h.window.answered(time.Since(h.accepted))
			h.mu.Unlock()
		}
		if err := h.handle(ctx, t, body); err != nil {
			return err
		}
	}
}

func (h *Holder) handle(ctx context.Context, t frameType, body []byte) error {
	switch t {
	case frameWish:
		return h.wished(ctx, body)
	case framePages:
		return h.pagesRequested(body)
	case frameSigs:
		return h.signed(body)
	case frameCancel:
		return h.cancelled(body)
	case frameAck:
		return h.acknowledged(body)
	case framePeers:
		return h.membersTold(body)
	default:
		return violation(t, RuleUnexpected, "not from a receiver in an open session")
	}
}

// newID checks the id of a WISH or PAGES.
func (h *Holder) newID(t frameType, id uint64) error {
	if id <= h.lastID {
		return violation(t, RuleOrder, "id %d after %d", id, h.lastID)
	}
	if h.sigs.id != 0 && id != h.sigs.id {
		return violation(t, RuleOrder, "id %d after SIGS for %d", id, h.sigs.id)
	}
	h.lastID = id
	return nil
}

func (h *Holder) wished(ctx context.Context, body []byte) error {
	m, err := decodeWish(body)
	if err != nil {
		return violation(frameWish, RuleMalformed, "%w", err)
	}
	if err := h.newID(frameWish, m.id); err != nil {
		return err
	}
	chunks, err := h.chunksOf(ctx, m.rangeNumber)
	if err != nil {
		return err
	}
	// The bits lie in the reader's buffer.
	wish := &queuedWish{id: m.id, rangeNumber: m.rangeNumber, chunks: chunks, left: append(Bits(nil), m.bits...)}
	if wish.sigs, err = h.sigs.take(wish.left); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.queue.add(wish); err != nil {
		return err
	}
	h.signal()
	return nil
}

// wishedRow is the range that was looked up last for a wish.
type wishedRow struct {
	number int64
	chunks []cafs.ChunkInfo // empty: none was, or its chunks were not known
}

// chunksOf returns the chunks of a range, none if they are not known here. A range is mostly wished in several parts, one
// after the other, and looked up once for them.
func (h *Holder) chunksOf(ctx context.Context, number int64) ([]cafs.ChunkInfo, error) {
	if h.row.number == number && len(h.row.chunks) > 0 {
		return h.row.chunks, nil
	}
	chunks, err := h.content.Chunks(ctx, number)
	switch {
	case errors.Is(err, cafs.ErrNotFound):
		chunks = nil
	case err != nil:
		return nil, fmt.Errorf("chunks of range %d: %w", number, err)
	case len(chunks) == 0:
		return nil, violation(frameWish, RuleNotAsked, "the root has no range %d", number)
	}
	h.row = wishedRow{number, chunks}
	return chunks, nil
}

// sigsTold are the signatures that came for the wish or the request to come.
type sigsTold struct {
	id   uint64 // 0: none came
	last int    // the number of the last one
	sigs map[int]signature
	sums int // bytes
}

// take returns the signatures for a wish, which must name all of their chunks, in blocks that are large enough for it.
func (s *sigsTold) take(wished Bits) (map[int]signature, error) {
	told := *s
	*s = sigsTold{}
	for number, s := range told.sigs {
		if s.blockBytes < DeltaBlockMin {
			return nil, violation(frameWish, RuleSize, "wish %d: SIGS in blocks of %d bytes", told.id, s.blockBytes)
		}
		if number >= 8*len(wished) || !wished.Get(number) {
			return nil, violation(frameWish, RuleNotAsked, "wish %d has no chunk %d, which SIGS came for", told.id, number)
		}
	}
	return told.sigs, nil
}

func (h *Holder) signed(body []byte) error {
	if !h.on.has(featureDelta) {
		return violation(frameSigs, RuleUnexpected, "it belongs to a feature that is off")
	}
	m, err := decodeSigs(body)
	if err != nil {
		return violation(frameSigs, RuleMalformed, "%w", err)
	}
	s := &h.sigs
	if m.id <= h.lastID || s.id != 0 && (m.id != s.id || m.number <= s.last) {
		return violation(frameSigs, RuleOrder, "number %d of %d after number %d of %d", m.number, m.id, s.last, max(s.id, h.lastID))
	}
	h.mu.Lock()
	waiting := h.queue.sums
	h.mu.Unlock()
	if s.sums += len(m.sums); waiting+s.sums > SigsBytesMax {
		return violation(frameSigs, RuleLimit, "%d bytes of sums wait", waiting+s.sums)
	}
	if s.sigs == nil {
		s.sigs = make(map[int]signature)
	}
	m.sums = append([]byte(nil), m.sums...) // they lie in the reader's buffer
	s.id, s.last, s.sigs[m.number] = m.id, m.number, m.signature
	return nil
}

func (h *Holder) pagesRequested(body []byte) error {
	m, err := decodePages(body)
	if err != nil {
		return violation(framePages, RuleMalformed, "%w", err)
	}
	if err := h.newID(framePages, m.id); err != nil {
		return err
	}
	told := h.sigs
	h.sigs = sigsTold{}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.pages) >= h.on.pagesMax() {
		return violation(framePages, RuleLimit, "request %d: %d wait", m.id, len(h.pages))
	}
	h.pages = append(h.pages, queuedPages{m, told.sigs})
	h.queue.sums += told.sums
	h.signal()
	return nil
}

// cancelled takes out of the queue what it can, and queues the one DONE that answers: behind the chunk or page that the
// writer has taken already, because the writer looks at the answers only between two of them.
func (h *Holder) cancelled(body []byte) error {
	m, err := decodeCancel(body)
	if err != nil {
		return violation(frameCancel, RuleMalformed, "%w", err)
	}
	if m.id > h.lastID {
		return violation(frameCancel, RuleNotAsked, "id %d was never given", m.id)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answers >= CancelsMax {
		return violation(frameCancel, RuleLimit, "%d answers wait", h.answers)
	}
	answer := doneBody{id: m.id}
	if h.endPages(m.id) {
		answer.parts = []DonePart{{Reason: DoneCancelled}}
	} else {
		bits, err := h.queue.cancel(m.id, m.bits)
		if err != nil {
			return err
		}
		if bits.Count() > 0 {
			answer.parts = []DonePart{{DoneCancelled, bits}}
		}
	}
	h.control = appendFrame(h.control, frameDone, answer.append(nil))
	h.answers++
	h.signal()
	return nil
}

// endPages removes a request of pages, and reports whether it was there. Callers hold h.mu.
func (h *Holder) endPages(id uint64) bool {
	for i, request := range h.pages {
		if request.id == id {
			for _, s := range request.sigs {
				h.queue.sums -= len(s.sums)
			}
			h.pages = append(h.pages[:i], h.pages[i+1:]...)
			return true
		}
	}
	return false
}

func (h *Holder) acknowledged(body []byte) error {
	m, err := decodeAck(body)
	if err != nil {
		return violation(frameAck, RuleMalformed, "%w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	w := &h.window
	if m.received <= w.acked || m.received > w.written {
		return violation(frameAck, RuleOrder, "%d bytes after %d, of %d written", m.received, w.acked, w.written)
	}
	now := time.Now()
	h.holders.acked(h, m.received-w.acked, m.received, now)
	w.ack(m.received, now)
	h.progress = now
	if len(h.queue.wishes) > 0 {
		h.signal() // the window may be open now
	}
	return nil
}

func (h *Holder) membersTold(body []byte) error {
	m, err := decodePeersWithin(&h.tolerated, body)
	if err != nil {
		return err
	}
	if h.members != nil {
		h.members(m.members)
	}
	return nil
}
