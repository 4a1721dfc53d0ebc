package protocol

import (
	"errors"
	"fmt"
	"math"

	"github.com/swarmsync/swarmsync/cafs"
)

// wishBody is WISH: the chunks of a range that the receiver wants, one bit each.
type wishBody struct {
	id          uint64
	rangeNumber int64
	bits        Bits
}

func (m wishBody) append(dst []byte) []byte {
	dst = appendID(dst, m.id)
	dst = appendNumber(dst, m.rangeNumber)
	return appendCounted(dst, m.bits)
}

func decodeWish(body []byte) (wishBody, error) {
	f := fields{rest: body}
	m := wishBody{
		id:          f.id(),
		rangeNumber: f.number("range", 0, RangesMax-1),
		bits:        f.someBits(),
	}
	return m, f.end()
}

// id takes the number of a wish or a PAGES.
func (f *fields) id() uint64 { return uint64(f.number("id", 1, math.MaxInt64)) }

func appendID(dst []byte, id uint64) []byte { return appendNumber(dst, int64(id)) }

// someBits takes the bits of a range, of which at least one must be set. Their number is checked where the range's
// chunks are known.
func (f *fields) someBits() Bits {
	bits := Bits(f.counted("bits", 1, BitsLen(RangeChunksMax)))
	if f.err == nil && bits.Count() == 0 {
		f.fail("bits", errors.New("none is set"))
	}
	return bits
}

// PagesRequest names pages of one of a root's lists: those of a level and below that cover the leaf items from First to
// Last, both included.
type PagesRequest struct {
	// Stream is 0 for the list of the data's chunks and 1 for the list of a tree's entries.
	Stream int
	// Level is 0 for leaf pages, and at most PageLevelMax.
	Level int
	// First and Last are numbers of leaf items, counted from 0 at the start of the list.
	First, Last int64
}

func (r PagesRequest) check() error {
	if r.Stream < 0 || r.Stream > pageStreamMax {
		return fmt.Errorf("stream %d: want 0 or 1", r.Stream)
	}
	if r.Level < 0 || r.Level > PageLevelMax {
		return fmt.Errorf("level %d: want 0 to %d", r.Level, PageLevelMax)
	}
	if r.First < 0 || r.Last < r.First || r.Last >= LeafItemsMax {
		return fmt.Errorf("leaf items %d to %d: want an interval below %d", r.First, r.Last, int64(LeafItemsMax))
	}
	return nil
}

const pageStreamMax = 1

// pagesBody is PAGES.
type pagesBody struct {
	id uint64
	PagesRequest
}

func (m pagesBody) append(dst []byte) []byte {
	dst = append(appendID(dst, m.id), byte(m.Stream), byte(m.Level))
	dst = appendNumber(dst, m.First)
	return appendNumber(dst, m.Last)
}

func decodePages(body []byte) (pagesBody, error) {
	f := fields{rest: body}
	m := pagesBody{id: f.id()}
	m.Stream = int(f.octet("stream", pageStreamMax))
	m.Level = int(f.octet("level", PageLevelMax))
	m.First = f.number("first leaf item", 0, LeafItemsMax-1)
	m.Last = f.number("last leaf item", m.First, LeafItemsMax-1)
	return m, f.end()
}

// pageIsDelta stands before a delta that makes a page. Pages begin with their level.
const pageIsDelta = 128

// pageBody is PAGE: the number-th page of an answer, counted from 0.
type pageBody struct {
	id     uint64
	number int
	data   []byte
}

func (m pageBody) append(dst []byte) []byte {
	dst = appendID(dst, m.id)
	dst = appendNumber(dst, int64(m.number))
	return append(dst, m.data...)
}

func (m pageBody) isDelta() bool { return m.data[0] == pageIsDelta }

func decodePage(body []byte) (pageBody, error) {
	f := fields{rest: body}
	m := pageBody{
		id:     f.id(),
		number: int(f.number("number", 0, PagesMax-1)),
		data:   f.tail("page", 1, PageMax),
	}
	return m, f.end()
}

// Encodings of a chunk in CHUNK. All but the first belong to features.
const (
	encodingRaw   = 0
	encodingZstd  = 1
	encodingDelta = 2
)

// chunkBody is CHUNK: the number-th chunk of a wish's range, counted from 0.
type chunkBody struct {
	id       uint64
	number   int
	encoding byte
	data     []byte
}

func (m chunkBody) append(dst []byte) []byte {
	return append(m.appendHead(dst), m.data...)
}

// appendHead appends what stands before the data.
func (m chunkBody) appendHead(dst []byte) []byte {
	dst = appendID(dst, m.id)
	dst = appendNumber(dst, int64(m.number))
	return append(dst, m.encoding)
}

func decodeChunk(body []byte) (chunkBody, error) {
	f := fields{rest: body}
	m := chunkBody{
		id:       f.id(),
		number:   int(f.number("number", 0, RangeChunksMax-1)),
		encoding: f.octet("encoding", encodingDelta),
		data:     f.tail("chunk", cafs.ChunkSizeMin, cafs.ChunkSizeMax),
	}
	return m, f.end()
}

// DoneReason is why chunks or pages are not coming.
type DoneReason uint8

const (
	// DoneMissing: the holder does not have them, or not any more.
	DoneMissing DoneReason = 0
	// DoneCancelled: the receiver cancelled them.
	DoneCancelled DoneReason = 1
	// DoneBusy: the holder has no time for them; another one may.
	DoneBusy DoneReason = 2

	doneReasons = 3
)

// DonePart names chunks of a wish that are not coming, and why.
type DonePart struct {
	Reason DoneReason
	// Bits has one bit for each chunk of the wish's range; for a request of pages it is empty.
	Bits Bits
}

// doneBody is DONE.
type doneBody struct {
	id    uint64
	parts []DonePart
}

func (m doneBody) append(dst []byte) []byte {
	dst = appendID(dst, m.id)
	for _, part := range m.parts {
		dst = appendCounted(append(dst, byte(part.Reason)), part.Bits)
	}
	return dst
}

// decodeDone accepts parts of ascending reasons with bits of one length and disjoint, or one part with no bits at all.
func decodeDone(body []byte) (doneBody, error) {
	f := fields{rest: body}
	m := doneBody{id: f.id()}
	for least := 0; f.more(); {
		part := DonePart{
			Reason: DoneReason(f.octet("reason", doneReasons-1)),
			Bits:   f.counted("bits", 0, BitsLen(RangeChunksMax)),
		}
		if f.err == nil && int(part.Reason) < least {
			f.fail("reason", errors.New("reasons are not ascending"))
		}
		least = int(part.Reason) + 1
		m.parts = append(m.parts, part)
	}
	if f.err == nil {
		f.err = checkDoneBits(m.parts)
	}
	return m, f.end()
}

func checkDoneBits(parts []DonePart) error {
	if len(parts) == 1 && len(parts[0].Bits) == 0 {
		return nil
	}
	for i, part := range parts {
		if part.Bits.Count() == 0 {
			return errors.New("bits: none is set")
		}
		for _, before := range parts[:i] {
			if len(part.Bits) != len(before.Bits) {
				return errors.New("bits: two lengths")
			}
			if bitsMeet(part.Bits, before.Bits) {
				return errors.New("bits: two reasons for one chunk")
			}
		}
	}
	return nil
}

// cancelBody is CANCEL; its bits are empty for a request of pages.
type cancelBody struct {
	id   uint64
	bits Bits
}

func (m cancelBody) append(dst []byte) []byte {
	return appendCounted(appendID(dst, m.id), m.bits)
}

func decodeCancel(body []byte) (cancelBody, error) {
	f := fields{rest: body}
	m := cancelBody{id: f.id(), bits: f.counted("bits", 0, BitsLen(RangeChunksMax))}
	if f.err == nil && len(m.bits) > 0 && m.bits.Count() == 0 {
		f.fail("bits", errors.New("none is set"))
	}
	return m, f.end()
}

// ackBody is ACK: the bytes of chunk data that came in this session so far.
type ackBody struct {
	received int64
}

func (m ackBody) append(dst []byte) []byte { return appendNumber(dst, m.received) }

func decodeAck(body []byte) (ackBody, error) {
	f := fields{rest: body}
	m := ackBody{f.number("bytes", 1, math.MaxInt64)}
	return m, f.end()
}

// sigsBody is SIGS: the signature of what a receiver has that is like a chunk of the wish, or a page of the request, that is
// to come with the id.
type sigsBody struct {
	id     uint64
	number int
	signature
}

func (m sigsBody) append(dst []byte) []byte {
	dst = appendID(dst, m.id)
	dst = appendNumber(dst, int64(m.number))
	dst = appendNumber(dst, int64(m.blockBytes))
	dst = appendNumber(dst, int64(m.oldBytes))
	return append(dst, m.sums...)
}

func decodeSigs(body []byte) (sigsBody, error) {
	f := fields{rest: body}
	m := sigsBody{id: f.id(), number: int(f.number("number", 0, RangeChunksMax-1))}
	m.blockBytes = int(f.number("block size", PageBlockMin, DeltaBlockMax))
	m.oldBytes = int(f.number("old bytes", 1, int64(SigsSumsMax/sumBytes*m.blockBytes)))
	if f.err == nil {
		m.sums = f.fixed("sums", m.blocks()*sumBytes)
	}
	return m, f.end()
}

// bitsMeet reports whether a bit is 1 in both lists, which have the same length.
func bitsMeet(a, b Bits) bool {
	for i := range a {
		if a[i]&b[i] != 0 {
			return true
		}
	}
	return false
}
