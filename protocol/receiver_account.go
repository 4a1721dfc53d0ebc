package protocol

import (
	"errors"
	"fmt"

	"github.com/swarmsync/swarmsync/cafs"
)

// account is what a receiver has asked for and not yet got an answer to. It decides without locks, clocks or I/O what
// may be asked and what may come.
type account struct {
	last    uint64 // the id given last; 0 before the first
	wishes  map[uint64]*openWish
	pages   map[uint64]*openPages
	bytes   int64 // of the chunks that the open wishes still wait for
	cancels int   // CANCELs whose DONE has not come
	room    *Receivers
	sums    int // bytes of the sums sent for chunks that are outstanding
	ignored int // chunks in a row that were signed for and did not come as a delta
}

// openWish is a wish of which something may still come: chunks, or the DONE of a CANCEL.
type openWish struct {
	rangeNumber int64
	chunks      []cafs.ChunkInfo
	left        Bits // what has neither come nor stood in a DONE
	leftCount   int
	cancelled   Bits // what CANCELs named; nil before the first
	cancels     int
	old         signed // by the chunk's number
}

// signed is what was signed for chunks or pages that are outstanding, by their numbers. It is nil before the first.
type signed map[int]oldChunk

// oldChunk is what a chunk or page was signed for with.
type oldChunk struct {
	bytes      []byte
	blockBytes int
	sums       int // their length
}

func (w *openWish) over() bool { return w.leftCount == 0 && w.cancels == 0 }

// openPages is a PAGES of which something may still come.
type openPages struct {
	next      int  // the number of the next page
	ended     bool // no page may come any more
	cancelled bool // its DONE has not come
	old       signed
}

func (p *openPages) over() bool { return p.ended && !p.cancelled }

func newAccount(room *Receivers) account {
	return account{wishes: make(map[uint64]*openWish), pages: make(map[uint64]*openPages), room: room}
}

// checkWish returns what the chunks of a wish weigh in bytes, or why it must not be sent.
func (a *account) checkWish(bits Bits, chunks []cafs.ChunkInfo) (bytes int64, err error) {
	if len(chunks) > RangeChunksMax {
		return 0, fmt.Errorf("range of %d chunks, more than %d", len(chunks), RangeChunksMax)
	}
	if err := CheckBits(bits, len(chunks)); err != nil {
		return 0, err
	}
	if bits.Count() == 0 {
		return 0, errors.New("no chunk is wished")
	}
	for i := range bits.Ones() {
		bytes += int64(chunks[i].Size)
	}
	if len(a.wishes) >= WishesMax {
		return 0, fmt.Errorf("%d wishes are outstanding: %w", len(a.wishes), ErrLimit)
	}
	if a.bytes+bytes > WishedBytesMax {
		return 0, fmt.Errorf("%d bytes are outstanding: %w", a.bytes, ErrLimit)
	}
	return bytes, nil
}

// addWish enters a wish that passed checkWish under the next id.
func (a *account) addWish(rangeNumber int64, bits Bits, chunks []cafs.ChunkInfo, bytes int64) {
	a.last++
	a.wishes[a.last] = &openWish{
		rangeNumber: rangeNumber, chunks: chunks,
		left: append(Bits(nil), bits...), leftCount: bits.Count(),
	}
	a.bytes += bytes
}

// checkPages returns why no PAGES may be sent now.
func (a *account) checkPages(on features) error {
	if len(a.pages) >= on.pagesMax() {
		return fmt.Errorf("%d requests of pages are outstanding: %w", len(a.pages), ErrLimit)
	}
	return nil
}

// addPages enters a PAGES under the next id.
func (a *account) addPages() {
	a.last++
	a.pages[a.last] = &openPages{}
}

// checkCancel returns the bits that a CANCEL of these should name, or why there is nothing to cancel.
func (a *account) checkCancel(id uint64, bits Bits) (Bits, error) {
	if a.cancels >= CancelsMax {
		return nil, fmt.Errorf("%d cancels are outstanding: %w", a.cancels, ErrLimit)
	}
	if p := a.pages[id]; p != nil {
		if p.ended || p.cancelled {
			return nil, ErrOver
		}
		return nil, nil
	}
	w := a.wishes[id]
	if w == nil || w.leftCount == 0 {
		return nil, ErrOver
	}
	if err := CheckBits(bits, len(w.chunks)); err != nil {
		return nil, err
	}
	open := append(Bits(nil), bits...)
	for i := range open {
		open[i] &= w.left[i]
	}
	if open.Count() == 0 {
		return nil, ErrOver
	}
	return open, nil
}

// addCancel enters a CANCEL with the bits of checkCancel.
func (a *account) addCancel(id uint64, bits Bits) {
	a.cancels++
	if p := a.pages[id]; p != nil {
		p.cancelled = true
		return
	}
	w := a.wishes[id]
	w.cancels++
	if w.cancelled == nil {
		w.cancelled = NewBits(len(w.chunks))
	}
	for i := range bits {
		w.cancelled[i] |= bits[i]
	}
}

// chunk enters a chunk that came, and says which one it is.
func (a *account) chunk(m chunkBody, on features) (ChunkAt, oldChunk, error) {
	none := oldChunk{}
	w := a.wishes[m.id]
	if w == nil {
		return ChunkAt{}, none, violation(frameChunk, RuleNotAsked, "chunk %d of wish %d, which is not open", m.number, m.id)
	}
	if m.number >= len(w.chunks) || !w.left.Get(m.number) {
		return ChunkAt{}, none, violation(frameChunk, RuleNotAsked, "chunk %d of wish %d, which does not wait for it", m.number, m.id)
	}
	if err := w.checkEncoding(m, on); err != nil {
		return ChunkAt{}, none, err
	}
	at := ChunkAt{Range: w.rangeNumber, Number: m.number, Info: w.chunks[m.number]}
	old, signed := w.old[m.number]
	switch {
	case m.encoding == encodingDelta:
		a.ignored = 0
	case signed:
		a.ignored++
	}
	a.settle(w, m.number)
	a.forgetWish(m.id, w)
	return at, old, nil
}

// checkEncoding holds the encoding of a chunk that is wished, and the bytes that came, against what they may be.
func (w *openWish) checkEncoding(m chunkBody, on features) error {
	size := w.chunks[m.number].Size
	_, signed := w.old[m.number]
	switch {
	case m.encoding == encodingRaw && len(m.data) != size:
		return violation(frameChunk, RuleSize, "chunk of %d bytes instead of %d", len(m.data), size)
	case m.encoding == encodingRaw:
		return nil
	case m.encoding == encodingZstd && !on.has(featureZstd) || m.encoding == encodingDelta && !on.has(featureDelta):
		return violation(frameChunk, RuleUnexpected, "encoding %d belongs to a feature that is off", m.encoding)
	case m.encoding == encodingDelta && !signed:
		return violation(frameChunk, RuleNotAsked, "a delta to nothing for chunk %d of wish %d", m.number, m.id)
	case len(m.data) >= size:
		return violation(frameChunk, RuleSize, "%d bytes for a chunk of %d", len(m.data), size)
	}
	return nil
}

// settle takes a chunk off the wish.
func (a *account) settle(w *openWish, number int) {
	w.left.Clear(number)
	w.leftCount--
	a.bytes -= int64(w.chunks[number].Size)
	a.forgetOld(w.old, number)
}

// sign enters what a chunk of an open wish, or a page of an open request, is signed for with, and reports whether there was
// room for it.
func (a *account) sign(id uint64, number int, old oldChunk) bool {
	var all *signed
	if w := a.wishes[id]; w != nil && w.left.Get(number) {
		all = &w.old
	}
	if p := a.pages[id]; p != nil && !p.ended {
		all = &p.old
	}
	if all == nil || a.sums+old.sums > SigsBytesMax || !a.room.take(len(old.bytes)) {
		return false
	}
	if *all == nil {
		*all = make(signed)
	}
	(*all)[number] = old
	a.sums += old.sums
	return true
}

func (a *account) forgetOld(from signed, number int) {
	a.sums -= from[number].sums
	a.room.give(len(from[number].bytes))
	delete(from, number)
}

// dropOld forgets all old bytes: the session is over.
func (a *account) dropOld() {
	for _, w := range a.wishes {
		a.forgetAllOld(w.old)
	}
	for _, p := range a.pages {
		a.forgetAllOld(p.old)
	}
}

func (a *account) forgetAllOld(from signed) {
	for number := range from {
		a.forgetOld(from, number)
	}
}

func (a *account) forgetWish(id uint64, w *openWish) {
	if w.over() {
		delete(a.wishes, id)
	}
}

// page enters a page that came, and returns what it was signed for with, if it is a delta.
func (a *account) page(m pageBody, on features) (old oldChunk, err error) {
	p := a.pages[m.id]
	if p == nil || p.ended {
		return old, violation(framePage, RuleNotAsked, "page %d of request %d, which is not open", m.number, m.id)
	}
	if m.number != p.next {
		return old, violation(framePage, RuleOrder, "page %d of request %d instead of %d", m.number, m.id, p.next)
	}
	old, ok := p.old[m.number]
	switch {
	case !m.isDelta():
	case !on.has(featureDelta):
		return old, violation(framePage, RuleUnexpected, "a delta belongs to a feature that is off")
	case !ok:
		return old, violation(framePage, RuleNotAsked, "a delta to nothing for page %d of request %d", m.number, m.id)
	}
	a.forgetOld(p.old, m.number)
	p.next++
	if p.next == PagesMax {
		a.endPages(m.id)
	}
	return old, nil
}

// endPages makes further pages of a request violations.
func (a *account) endPages(id uint64) {
	p := a.pages[id]
	if p == nil {
		return
	}
	p.ended = true
	a.forgetAllOld(p.old)
	if p.over() {
		delete(a.pages, id)
	}
}

// done enters a DONE, and says what it means.
func (a *account) done(m doneBody) (DoneMessage, error) {
	message := DoneMessage{ID: m.id, Parts: m.parts}
	if p := a.pages[m.id]; p != nil {
		message.Pages = true
		return a.donePages(message, p)
	}
	w := a.wishes[m.id]
	if w == nil {
		return message, violation(frameDone, RuleNotAsked, "%d is not open", m.id)
	}
	return a.doneWish(message, w)
}

// answersCancel tells the DONE that a CANCEL is due from one that a holder sends on its own account.
func answersCancel(parts []DonePart) bool {
	if len(parts) == 0 {
		return true
	}
	for _, part := range parts {
		if part.Reason == DoneCancelled {
			return true
		}
	}
	return false
}

func (a *account) donePages(message DoneMessage, p *openPages) (DoneMessage, error) {
	if len(message.Parts) > 1 || len(message.Parts) == 1 && len(message.Parts[0].Bits) > 0 {
		return message, violation(frameDone, RuleSize, "bits of chunks for the pages of request %d", message.ID)
	}
	message.AnswersCancel = answersCancel(message.Parts)
	switch {
	case message.AnswersCancel && !p.cancelled:
		return message, violation(frameDone, RuleNotAsked, "nobody cancelled request %d", message.ID)
	case !message.AnswersCancel && p.ended:
		return message, violation(frameDone, RuleNotAsked, "request %d has ended", message.ID)
	case message.AnswersCancel:
		p.cancelled = false
		a.cancels--
	}
	a.endPages(message.ID)
	message.Over = p.over()
	return message, nil
}

func (a *account) doneWish(message DoneMessage, w *openWish) (DoneMessage, error) {
	message.AnswersCancel = answersCancel(message.Parts)
	if message.AnswersCancel && w.cancels == 0 {
		return message, violation(frameDone, RuleNotAsked, "nobody cancelled wish %d", message.ID)
	}
	for _, part := range message.Parts {
		if err := a.settlePart(message.ID, w, part); err != nil {
			return message, err
		}
	}
	if message.AnswersCancel {
		w.cancels--
		a.cancels--
	}
	message.Over = w.over()
	a.forgetWish(message.ID, w)
	return message, nil
}

func (a *account) settlePart(id uint64, w *openWish, part DonePart) error {
	if err := CheckBits(part.Bits, len(w.chunks)); err != nil {
		return violation(frameDone, RuleSize, "wish %d: %w", id, err)
	}
	for i := range part.Bits.Ones() {
		if !w.left.Get(i) {
			return violation(frameDone, RuleNotAsked, "chunk %d of wish %d, which does not wait for it", i, id)
		}
		if part.Reason == DoneCancelled && !w.cancelled.Get(i) {
			return violation(frameDone, RuleNotAsked, "nobody cancelled chunk %d of wish %d", i, id)
		}
		a.settle(w, i)
	}
	return nil
}
