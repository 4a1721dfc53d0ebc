package protocol

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// frameType is the first byte of a frame.
type frameType uint8

// The frames. 0 stays unused, so that a stream of zeros is an error at once.
const (
	frameOpen   frameType = 1
	frameAccept frameType = 2
	frameRefuse frameType = 3
	frameWish   frameType = 4
	framePages  frameType = 5
	framePage   frameType = 6
	frameChunk  frameType = 7
	frameDone   frameType = 8
	frameCancel frameType = 9
	frameAck    frameType = 10
	frameHave   frameType = 11
	framePeers  frameType = 12
	frameSigs   frameType = 13

	// frameSkippable is the first of the types that whoever does not know them skips.
	frameSkippable frameType = 128
)

// uvarintMax is the length of the longest uvarint that the protocol allows, which is below 2^63.
const uvarintMax = 9

// frameTable names the frames and bounds their bodies by what can stand in them.
var frameTable = [...]struct {
	name    string
	bodyMax int
}{
	frameOpen:   {"OPEN", OpenBodyMax},
	frameAccept: {"ACCEPT", AcceptBodyMax},
	frameRefuse: {"REFUSE", 1 + uvarintMax},
	frameWish:   {"WISH", 2*uvarintMax + 1 + RangeChunksMax/8},
	framePages:  {"PAGES", 3*uvarintMax + 2},
	framePage:   {"PAGE", 2*uvarintMax + PageMax},
	frameChunk:  {"CHUNK", FrameBodyMax},
	frameDone:   {"DONE", uvarintMax + doneReasons*(2+RangeChunksMax/8)},
	frameCancel: {"CANCEL", uvarintMax + 1 + RangeChunksMax/8},
	frameAck:    {"ACK", uvarintMax},
	frameHave:   {"HAVE", HaveMax},
	framePeers:  {"PEERS", FrameBodyMax},
	frameSigs:   {"SIGS", 4*uvarintMax + SigsSumsMax},
}

func (t frameType) known() bool {
	return int(t) < len(frameTable) && frameTable[t].name != ""
}

func (t frameType) String() string {
	if t.known() {
		return frameTable[t].name
	}
	return fmt.Sprintf("frame %d", uint8(t))
}

func (t frameType) bodyMax() int {
	if t.known() {
		return frameTable[t].bodyMax
	}
	return FrameBodyMax
}

// appendFrame appends a frame with the given body to dst.
func appendFrame(dst []byte, t frameType, body []byte) []byte {
	return append(appendFrameHeader(dst, t, len(body)), body...)
}

// appendFrameHeader appends what stands before a body of bodyBytes.
func appendFrameHeader(dst []byte, t frameType, bodyBytes int) []byte {
	return binary.AppendUvarint(append(dst, byte(t)), uint64(bodyBytes))
}

// frameReader reads frames. It is used by one goroutine at a time.
type frameReader struct {
	in *bufio.Reader
}

func newFrameReader(r io.Reader, bufferBytes int) frameReader {
	return frameReader{bufio.NewReaderSize(r, bufferBytes)}
}

// wait returns when a frame has begun to arrive, or there will be none.
func (r frameReader) wait() { _, _ = r.in.Peek(1) }

// next reads a frame of a known type, its body in buf if that is large enough and in new memory if not. Unknown frames
// that may be skipped are skipped. The error is io.EOF, unwrapped, if the stream ends between two frames, wraps
// io.ErrUnexpectedEOF if it ends inside one, and is a *ViolationError for a header that breaks the rules.
func (r frameReader) next(buf []byte) (frameType, []byte, error) {
	for {
		t, bodyBytes, err := r.header()
		if err != nil {
			return 0, nil, err
		}
		if t < frameSkippable {
			body, err := r.body(t, buf, bodyBytes)
			return t, body, err
		}
		if _, err := r.in.Discard(bodyBytes); err != nil {
			return 0, nil, fmt.Errorf("skip %s: %w", t, midFrame(err))
		}
	}
}

// expect reads the one frame that may come now. It skips nothing: before the proofs, strangers get no loop to spin in.
func (r frameReader) expect(allowed ...frameType) (frameType, []byte, error) {
	t, bodyBytes, err := r.header()
	if err != nil {
		return 0, nil, err
	}
	for _, a := range allowed {
		if t == a {
			body, err := r.body(t, nil, bodyBytes)
			return t, body, err
		}
	}
	return 0, nil, violation(t, RuleUnexpected, "the session is not open")
}

// header reads the type and the length of the body, and checks both.
func (r frameReader) header() (frameType, int, error) {
	octet, err := r.in.ReadByte()
	if errors.Is(err, io.EOF) {
		return 0, 0, io.EOF
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read a frame: %w", err)
	}
	t := frameType(octet)
	if t < frameSkippable && !t.known() {
		return 0, 0, violation(t, RuleUnexpected, "no such frame")
	}
	length, err := r.length(t)
	if err != nil {
		return 0, 0, err
	}
	if length > t.bodyMax() {
		return 0, 0, violation(t, RuleTooLong, "body of %d bytes, more than %d", length, t.bodyMax())
	}
	return t, length, nil
}

// length reads a uvarint of at most 3 bytes: longer ones are over FrameBodyMax, or not minimal.
func (r frameReader) length(t frameType) (int, error) {
	length := 0
	for shift := 0; shift < 21; shift += 7 {
		octet, err := r.in.ReadByte()
		if err != nil {
			return 0, fmt.Errorf("read the length of %s: %w", t, midFrame(err))
		}
		length |= int(octet&0x7f) << shift
		if octet == 0 && shift > 0 {
			return 0, violation(t, RuleMalformed, "length: not the shortest form of a number")
		}
		if octet < 0x80 {
			return length, nil
		}
	}
	return 0, violation(t, RuleTooLong, "length of more than 3 bytes")
}

func (r frameReader) body(t frameType, buf []byte, bodyBytes int) ([]byte, error) {
	if cap(buf) < bodyBytes {
		buf = make([]byte, bodyBytes)
	}
	buf = buf[:bodyBytes]
	if _, err := io.ReadFull(r.in, buf); err != nil {
		return nil, fmt.Errorf("read %s: %w", t, midFrame(err))
	}
	return buf, nil
}

// midFrame turns the end of the stream into the error that it is inside a frame.
func midFrame(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
