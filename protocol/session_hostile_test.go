package protocol

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// The peers of these tests write bytes, not frames: what they send is what stands here.

// tinyContent has the chunks "abc", "defg", "hijkl" in range 0, "m" in range 1, and ten pages.
func tinyContent() *fakeContent {
	c := newFakeContent(1, 0, 1)
	c.ranges = [][]cafs.ChunkInfo{
		{c.put([]byte("abc")), c.put([]byte("defg")), c.put([]byte("hijkl"))},
		{c.put([]byte("m"))},
	}
	return c
}

// receiverOf opens a session with a holder that, after an honest ACCEPT, sends raw and ends.
func receiverOf(t *testing.T, c *fakeContent, raw string) *Receiver {
	t.Helper()
	answer := &script{in: bytes.NewReader(openedWith(c, nil, nil))}
	if _, err := Accept(answer, holderConfig(c)); err != nil {
		t.Fatal(err)
	}
	rw := &script{in: bytes.NewReader(append(answer.out.Bytes(), raw...))}
	cfg := receiverConfig(c)
	cfg.Rand = bytes.NewReader(make([]byte, nonceSize))
	r, _, err := Open(rw, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestHostileHolder(t *testing.T) {
	const (
		abc   = "\x07\x06\x01\x00\x00abc"      // chunk 0 of wish 1
		page0 = "\x06\x06\x02\x00page"         // page 0 of request 2
		page1 = "\x06\x06\x02\x01page"         // page 1 of it
		gone0 = "\x08\x04\x01\x00\x01\x80"     // chunk 0 of wish 1 is missing
		ended = "\x08\x03\x02\x00\x00"         // pages of request 2 are missing
		zeros = "\x00\x00\x00\x00\x00\x00\x00" // a stream of zeros
	)
	manyHaves := strings.Repeat("\x0b\x03\x00\x01\x01", 2*HavesPerSecond+2)
	manyPeers := strings.Repeat("\x0c\x04\x01r\x01a", 2*PeersMax+2)
	for _, test := range []struct {
		name  string
		raw   string
		frame frameType
		rule  Rule
	}{
		{"chunk twice", abc + abc, frameChunk, RuleNotAsked},
		{"chunk not wished", "\x07\x07\x01\x01\x00defg", frameChunk, RuleNotAsked},
		{"chunk beyond the range", "\x07\x06\x01\x03\x00abc", frameChunk, RuleNotAsked},
		{"chunk of a wish that never was", "\x07\x06\x09\x00\x00abc", frameChunk, RuleNotAsked},
		{"chunk of a request of pages", "\x07\x06\x02\x00\x00abc", frameChunk, RuleNotAsked},
		{"chunk after it was missing", gone0 + abc, frameChunk, RuleNotAsked},
		{"chunk too short", "\x07\x05\x01\x00\x00ab", frameChunk, RuleSize},
		{"chunk too long", "\x07\x07\x01\x00\x00abcd", frameChunk, RuleSize},
		{"chunk compressed to its own size", "\x07\x06\x01\x00\x01abc", frameChunk, RuleSize},
		{"chunk compressed to what is not zstd", "\x07\x05\x01\x00\x01ab", frameChunk, RuleMalformed},
		{"chunk as a delta to nothing", "\x07\x05\x01\x00\x02ab", frameChunk, RuleNotAsked},
		{"chunk with a number that is not minimal", "\x07\x07\x81\x00\x00\x00abc", frameChunk, RuleMalformed},
		{"chunk with nothing", "\x07\x00", frameChunk, RuleMalformed},
		{"page not asked for", "\x06\x06\x07\x00page", framePage, RuleNotAsked},
		{"page of a wish", "\x06\x06\x01\x00page", framePage, RuleNotAsked},
		{"page twice", page0 + page0, framePage, RuleOrder},
		{"page left out", page1, framePage, RuleOrder},
		{"page as a delta to nothing", "\x06\x06\x02\x00\x80\x00\x00\x00", framePage, RuleNotAsked},
		{"page after the end", ended + page0, framePage, RuleNotAsked},
		{"page 256", "\x06\x07\x02\x80\x02page", framePage, RuleMalformed},
		{"DONE of nothing", "\x08\x04\x09\x00\x01\x80", frameDone, RuleNotAsked},
		{"DONE twice", gone0 + gone0, frameDone, RuleNotAsked},
		{"DONE of what came", abc + gone0, frameDone, RuleNotAsked},
		{"DONE of what was not wished", "\x08\x04\x01\x00\x01\x40", frameDone, RuleNotAsked},
		{"DONE with an unused bit", "\x08\x04\x01\x00\x01\x90", frameDone, RuleSize},
		{"DONE with too many bits", "\x08\x05\x01\x00\x02\x80\x00", frameDone, RuleSize},
		{"DONE without bits for a wish", "\x08\x03\x01\x00\x00", frameDone, RuleSize},
		{"DONE with bits for pages", "\x08\x04\x02\x00\x01\x80", frameDone, RuleSize},
		{"DONE that answers no cancel", "\x08\x01\x01", frameDone, RuleNotAsked},
		{"DONE cancelled by nobody", "\x08\x04\x01\x01\x01\x80", frameDone, RuleNotAsked},
		{"DONE of pages cancelled by nobody", "\x08\x03\x02\x01\x00", frameDone, RuleNotAsked},
		{"DONE of pages twice", ended + ended, frameDone, RuleNotAsked},
		{"HAVE beyond the last range", "\x0b\x03\x02\x01\x01", frameHave, RuleMalformed},
		{"HAVE with more ranges than there are", "\x0b\x03\x00\x01\x03", frameHave, RuleMalformed},
		{"HAVE too often", manyHaves, frameHave, RuleLimit},
		{"PEERS too many", manyPeers, framePeers, RuleLimit},
		{"WISH", "\x04\x04\x01\x00\x01\x80", frameWish, RuleUnexpected},
		{"ACK", "\x0a\x01\x01", frameAck, RuleUnexpected},
		{"SIGS", "\x0d\x04\x01\x00\x10s", frameSigs, RuleUnexpected},
		{"ACCEPT again", "\x02\x00", frameAccept, RuleUnexpected},
		{"REFUSE afterwards", "\x03\x02\x01\x00", frameRefuse, RuleUnexpected},
		{"zeros", zeros, 0, RuleUnexpected},
		{"unknown type", "\x0e\x00", 14, RuleUnexpected},
		{"longer than any frame", "\x07\xc1\x80\x08", frameChunk, RuleTooLong},
		{"skipped but longer than any frame", "\x80\xc1\x80\x08", 128, RuleTooLong},
		{"length of four bytes", "\x07\x80\x80\x80\x00", frameChunk, RuleTooLong},
		{"length that is not minimal", "\x07\x86\x00\x01\x00\x00abc", frameChunk, RuleMalformed},
		{"violation after what is skipped", "\xff\x02hi" + page1, framePage, RuleOrder},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantViolation(t, listen(t, test.raw), test.frame, test.rule)
		})
	}
}

// listen opens a session with a holder that sends raw, wishes chunk 0 of range 0 under id 1, requests pages under id 2,
// and returns the error that Next ends with.
func listen(t *testing.T, raw string) error {
	t.Helper()
	c := tinyContent()
	r := receiverOf(t, c, raw)
	if id, err := r.Wish(0, someBitsOf(3, 0), c.ranges[0]); id != 1 || err != nil {
		t.Fatalf("wish %d: %v", id, err)
	}
	if id, err := r.RequestPages(PagesRequest{Last: 9}); id != 2 || err != nil {
		t.Fatalf("request %d: %v", id, err)
	}
	buf := make([]byte, FrameBodyMax)
	for {
		if _, err := r.Next(buf); err != nil {
			return err
		}
	}
}

func TestHostileHolderEndsEarly(t *testing.T) {
	const frame = "\x07\x06\x01\x00\x00abc"
	for cut := range len(frame) + 1 {
		err := listen(t, frame[:cut])
		whole := cut == 0 || cut == len(frame)
		if whole && err != io.EOF || !whole && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: %v", cut, len(frame), err)
		}
	}
}

// The answer to a cancel may be any of these, and each only once.
func TestHostileHolderAfterCancel(t *testing.T) {
	c := tinyContent()
	for _, test := range []struct {
		name string
		raw  string
		rule Rule // of the violation; none if it is allowed
	}{
		{"all of it", "\x08\x04\x01\x01\x01\xc0", ""},
		{"nothing, as all was sent", "\x07\x06\x01\x00\x00abc\x07\x07\x01\x01\x00defg\x08\x01\x01", ""},
		{"missing and then cancelled", "\x08\x04\x01\x00\x01\x80\x08\x04\x01\x01\x01\x40", ""},
		{"what was not cancelled", "\x08\x04\x01\x01\x01\xe0", RuleNotAsked},
		{"twice", "\x08\x04\x01\x01\x01\xc0\x08\x01\x01", RuleNotAsked},
		{"a chunk after it", "\x08\x04\x01\x01\x01\xc0\x07\x06\x01\x00\x00abc", RuleNotAsked},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := receiverOf(t, c, test.raw)
			if _, err := r.Wish(0, allBits(3), c.ranges[0]); err != nil {
				t.Fatal(err)
			}
			if err := r.Cancel(1, someBitsOf(3, 0, 1)); err != nil {
				t.Fatal(err)
			}
			err := error(nil)
			for err == nil {
				_, err = r.Next(nil)
			}
			var broken *ViolationError
			if test.rule == "" && err != io.EOF || test.rule != "" && (!errors.As(err, &broken) || broken.Rule != test.rule) {
				t.Errorf("got the error %v, want %q", err, test.rule)
			}
		})
	}
}

// A page after the receiver has said that the answer is complete was not asked for.
func TestHostilePageAfterEndPages(t *testing.T) {
	r := receiverOf(t, tinyContent(), "\x06\x06\x01\x00page\x06\x06\x01\x01more")
	id, err := r.RequestPages(PagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	next[PageMessage](t, r)
	r.EndPages(id)
	_, err = r.Next(nil)
	wantViolation(t, err, framePage, RuleNotAsked)
}

// The end of an answer can be told twice only if one of the two answers a cancel.
func TestHostilePagesMissingTwice(t *testing.T) {
	r := receiverOf(t, tinyContent(), "\x08\x03\x01\x00\x00\x08\x03\x01\x00\x00")
	id, err := r.RequestPages(PagesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Cancel(id, nil); err != nil {
		t.Fatal(err)
	}
	if m := next[DoneMessage](t, r); m.AnswersCancel || m.Over {
		t.Errorf("the first is %+v", m)
	}
	_, err = r.Next(nil)
	wantViolation(t, err, frameDone, RuleNotAsked)
}

func TestHostileAnswerToOpen(t *testing.T) {
	c := tinyContent()
	proved := func(body string) []byte {
		sent := openedWith(c, nil, nil)
		shown := proof(sent[len(sent)-proofSize:])
		answer := acceptProof(c.Root(), holderID, receiverID, shown, []byte(body))
		frame := append([]byte(body), answer[:]...)
		return append(binary.AppendUvarint([]byte{2}, uint64(len(frame))), frame...)
	}
	const record = "\x08record 1"
	for _, test := range []struct {
		name  string
		raw   []byte
		frame frameType
		rule  Rule
	}{
		{"endless", append([]byte("\x02\x81\x80\x06"), make([]byte, 1<<20)...), frameAccept, RuleTooLong},
		{"no proof at all", []byte("\x02\x03abc"), frameAccept, RuleMalformed},
		{"another record", proved("\x08record 2\x01\x00\x00"), frameAccept, RuleRecord},
		{"unknown state", proved(record + "\x03\x00\x00"), frameAccept, RuleMalformed},
		{"something after the have map", proved(record + "\x01\x00\x00\x00"), frameAccept, RuleMalformed},
		{"have map beyond the last range", proved(record + "\x00\x00\x03\x00\x01\x03"), frameAccept, RuleMalformed},
		{"chunk before the answer", []byte("\x07\x06\x01\x00\x00abc"), frameChunk, RuleUnexpected},
		{"what may be skipped later", []byte("\xff\x00"), 255, RuleUnexpected},
		{"refusal of no kind", []byte("\x03\x02\x07\x00"), frameRefuse, RuleMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := receiverConfig(c)
			cfg.Rand = bytes.NewReader(make([]byte, nonceSize))
			rw := &script{in: bytes.NewReader(test.raw)}
			_, _, err := Open(rw, cfg)
			wantViolation(t, err, test.frame, test.rule)
			if sent := len(openedWith(c, nil, nil)); rw.out.Len() != sent {
				t.Errorf("%d bytes were sent to a holder that proved nothing, want %d", rw.out.Len(), sent)
			}
		})
	}
	for _, raw := range []string{"", "\x02", "\x02\x30abc", "\x03\x02\x01"} {
		_, _, err := Open(&script{in: bytes.NewReader([]byte(raw))}, receiverConfig(c))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q and the end: %v", raw, err)
		}
	}
}

func TestHostileOpen(t *testing.T) {
	c := tinyContent()
	good := openedWith(c, nil, nil)
	for _, test := range []struct {
		name  string
		raw   []byte
		frame frameType
		rule  Rule
	}{
		{"endless", append([]byte("\x01\x81\x08"), make([]byte, 1<<20)...), frameOpen, RuleTooLong},
		{"empty", []byte("\x01\x00"), frameOpen, RuleMalformed},
		{"one byte longer", append(append([]byte{1, good[1] + 1}, good[2:]...), 0), frameOpen, RuleMalformed},
		{"WISH first", []byte("\x04\x04\x01\x00\x01\x80"), frameWish, RuleUnexpected},
		{"what may be skipped later", append([]byte("\x80\x00"), good...), 128, RuleUnexpected},
	} {
		t.Run(test.name, func(t *testing.T) {
			rw := &script{in: bytes.NewReader(test.raw)}
			_, err := Accept(rw, holderConfig(c))
			wantViolation(t, err, test.frame, test.rule)
			if rw.out.Len() != 0 {
				t.Errorf("it was answered with %x", rw.out.Bytes())
			}
		})
	}
	for cut := range good {
		_, err := Accept(&script{in: bytes.NewReader(good[:cut])}, holderConfig(c))
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d of %d bytes: %v", cut, len(good), err)
		}
	}
}

// serve runs a holder for a receiver that, after an honest OPEN, sends raw and ends.
func serve(t *testing.T, c *fakeContent, raw string) error {
	t.Helper()
	rw := &script{in: bytes.NewReader(append(openedWith(c, nil, nil), raw...))}
	h, err := Accept(rw, holderConfig(c))
	if err != nil {
		t.Fatal(err)
	}
	return h.Run(t.Context())
}

func TestHostileReceiver(t *testing.T) {
	const (
		wish1 = "\x04\x04\x01\x00\x01\xe0"             // all of range 0 under id 1
		sigs1 = "\x0d\x0d\x01\x00\x80\x04\x0712345678" // chunk 0 of wish 1, 7 old bytes in blocks of 512
	)
	for _, test := range []struct {
		name  string
		raw   string
		frame frameType
		rule  Rule
	}{
		{"id twice", wish1 + wish1, frameWish, RuleOrder},
		{"id going down", "\x04\x04\x05\x00\x01\xe0" + wish1, frameWish, RuleOrder},
		{"id of a wish for pages", wish1 + "\x05\x05\x01\x00\x00\x00\x00", framePages, RuleOrder},
		{"id 0", "\x04\x04\x00\x00\x01\xe0", frameWish, RuleMalformed},
		{"unused bit", "\x04\x04\x01\x00\x01\x10", frameWish, RuleSize},
		{"too many bits", "\x04\x05\x01\x00\x02\x80\x00", frameWish, RuleSize},
		{"no bit", "\x04\x04\x01\x00\x01\x00", frameWish, RuleMalformed},
		{"range that is not", "\x04\x04\x01\x02\x01\x80", frameWish, RuleNotAsked},
		{"cancel of an id that was never given", wish1 + "\x09\x03\x02\x01\x80", frameCancel, RuleNotAsked},
		{"ACK of more than was sent", "\x0a\x01\x7f", frameAck, RuleOrder},
		{"ACK of nothing", "\x0a\x01\x00", frameAck, RuleMalformed},
		{"PEERS too many", strings.Repeat("\x0c\x04\x01r\x01a", 2*PeersMax+2), framePeers, RuleLimit},
		{"SIGS with a block size that is none", "\x0d\x04\x01\x00\x10s", frameSigs, RuleMalformed},
		{"SIGS of a wish that was", wish1 + sigs1, frameSigs, RuleOrder},
		{"SIGS of two wishes", sigs1 + "\x0d\x0d\x02\x00\x80\x04\x0712345678", frameSigs, RuleOrder},
		{"SIGS twice", sigs1 + sigs1, frameSigs, RuleOrder},
		{"SIGS and another wish", sigs1 + "\x04\x04\x02\x00\x01\xe0", frameWish, RuleOrder},
		{"SIGS and another request of pages", sigs1 + "\x05\x05\x02\x00\x00\x00\x00", framePages, RuleOrder},
		{"SIGS in blocks for pages", "\x0d\x0c\x01\x00\x40\x0712345678" + wish1, frameWish, RuleSize},
		{"SIGS of what is not wished", sigs1 + "\x04\x04\x01\x00\x01\x60", frameWish, RuleNotAsked},
		{"OPEN again", string(openedWith(tinyContent(), nil, nil)), frameOpen, RuleUnexpected},
		{"CHUNK", "\x07\x06\x01\x00\x00abc", frameChunk, RuleUnexpected},
		{"HAVE", "\x0b\x03\x00\x01\x01", frameHave, RuleUnexpected},
		{"zeros", "\x00\x00\x00", 0, RuleUnexpected},
		{"longer than any wish", "\x04\x44", frameWish, RuleTooLong},
	} {
		t.Run(test.name, func(t *testing.T) {
			wantViolation(t, serve(t, tinyContent(), test.raw), test.frame, test.rule)
		})
	}
	t.Run("what is skipped", func(t *testing.T) {
		if err := serve(t, tinyContent(), wish1+"\x80\x03abc\xff\x00"); err != nil {
			t.Error(err)
		}
	})
	t.Run("end inside a frame", func(t *testing.T) {
		for cut := 1; cut < len(wish1); cut++ {
			if err := serve(t, tinyContent(), wish1[:cut]); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d of %d bytes: %v", cut, len(wish1), err)
			}
		}
	})
}

// deafReceiver opens a session as a receiver that never reads, and so holds the holder's writer. It returns what sends
// raw bytes, and the outcome of Run.
func deafReceiver(t *testing.T, c *fakeContent) (send func(string), ran chan error) {
	t.Helper()
	receiverEnd, holderEnd := net.Pipe()
	accepted := make(chan *Holder, 1)
	go func() {
		h, err := Accept(holderEnd, holderConfig(c))
		if err != nil {
			t.Error(err)
		}
		accepted <- h
	}()
	if _, err := receiverEnd.Write(openedWith(c, nil, nil)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := newFrameReader(receiverEnd, controlBufferBytes).expect(frameAccept); err != nil {
		t.Fatal(err)
	}
	h := <-accepted
	ran = make(chan error, 1)
	go func() { ran <- h.Run(context.Background()) }()
	t.Cleanup(func() { receiverEnd.Close() })
	// When the holder has had enough it closes, and what is then sent fails.
	return func(raw string) { io.WriteString(receiverEnd, raw) }, ran
}

// wishFrame returns WISH of the first n of at most 8 chunks of range 0.
func wishFrame(id uint64, bits byte) string {
	body := append(binary.AppendUvarint(nil, id), 0, 1, bits)
	return string(append([]byte{4, byte(len(body))}, body...))
}

// A holder whose data nobody reads goes on reading, and stands so much and no more.
func TestHostileQueues(t *testing.T) {
	big := func() *fakeContent {
		c := newFakeContent(1, 0, 1)
		c.ranges = append(c.ranges, slices.Repeat([]cafs.ChunkInfo{c.put(randomBytes(rand.New(rand.NewPCG(1, 1)), cafs.ChunkSizeMax))}, 8))
		return c
	}
	for _, test := range []struct {
		name    string
		content *fakeContent
		raw     func(i int) string
		frames  int // that are allowed at most, counting what the writer has taken already
		frame   frameType
		rule    Rule
	}{
		{
			"wishes", tinyContent(), func(i int) string { return wishFrame(uint64(i), 0xe0) },
			WishesMax + writeBatchBytes/12 + 2, frameWish, RuleLimit,
		},
		{
			"bytes", big(), func(i int) string { return wishFrame(uint64(i), 0xff) },
			WishedBytesMax>>20 + 2, frameWish, RuleLimit,
		},
		{
			"requests of pages", big(), func(i int) string {
				if i == 1 {
					return wishFrame(1, 0xff) // so that the writer stands before it answers
				}
				return string([]byte{5, 5, byte(i), 0, 0, 0, 0})
			},
			1 + PagesOutstandingMax + 64, framePages, RuleLimit, // some are answered while it gathers chunks
		},
		{
			"cancels", big(), func(i int) string {
				if i == 1 {
					return wishFrame(1, 0xff)
				}
				return "\x09\x03\x01\x01\x01"
			},
			1 + CancelsMax + writeBatchBytes/3, frameCancel, RuleLimit,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			send, ran := deafReceiver(t, test.content)
			within(t, "a queue that is never emptied", func() {
				for i := 1; i <= test.frames+1; i++ {
					send(test.raw(i))
				}
				wantViolation(t, <-ran, test.frame, test.rule)
			})
		})
	}
}

// A holder that reads nothing cannot make a receiver wait or keep much.
func TestHostileDeafHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tinyContent()
		receiverEnd, holderEnd := net.Pipe()
		go func() {
			h, err := Accept(holderEnd, holderConfig(c))
			if err != nil {
				t.Error(err)
			}
			// It answers wishes that it has never read, so that the receiver may go on wishing.
			for id := uint64(1); err == nil; id++ {
				body := append(binary.AppendUvarint(nil, id), 2, 1, 0xe0)
				_, err = h.stream.Write(append([]byte{8, byte(len(body))}, body...))
			}
		}()
		r, _, err := Open(receiverEnd, receiverConfig(c))
		if err != nil {
			t.Fatal(err)
		}
		sent := 0
		for err == nil {
			if _, err = r.Wish(0, allBits(3), c.ranges[0]); err == nil {
				sent++
				next[DoneMessage](t, r)
			}
		}
		if most := ControlQueueMax / 5; !errors.Is(err, ErrLimit) || sent > most {
			t.Errorf("%d wishes, and then %v; want at most %d", sent, err, most)
		}
		time.Sleep(time.Hour) // on the bubble's clock: nothing waits for a timer
		r.Close()
	})
}

// FuzzHostileHolder sends any bytes to a receiver that waits for chunks, pages and answers.
func FuzzHostileHolder(f *testing.F) {
	seedWithVectors(f)
	c := tinyContent()
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := receiverOf(t, c, string(raw))
		r.Wish(0, allBits(3), c.ranges[0])
		r.RequestPages(PagesRequest{Last: 9})
		r.Cancel(1, someBitsOf(3, 1))
		r.Cancel(2, nil)
		err := error(nil)
		for err == nil {
			_, err = r.Next(nil)
		}
		checkEnd(t, err)
	})
}

// FuzzHostileReceiver sends any bytes to a holder.
func FuzzHostileReceiver(f *testing.F) {
	seedWithVectors(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := serve(t, tinyContent(), string(raw)); err != nil {
			checkEnd(t, err)
		}
	})
}

func seedWithVectors(f *testing.F) {
	for kind := frameWish; kind <= frameSigs; kind++ {
		for _, v := range loadVectors(f, vectorDir(kind)) {
			f.Add(v.raw)
		}
	}
}

// checkEnd checks that a session with a hostile peer ended with the end of the stream or a violation.
func checkEnd(t *testing.T, err error) {
	t.Helper()
	var broken *ViolationError
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &broken) {
		t.Errorf("ended with %v", err)
	}
}

func TestViolationErrorText(t *testing.T) {
	err := violation(frameWish, RuleOrder, "id %d after %d", 1, 2)
	if got, want := err.Error(), "peer broke the protocol: WISH: wrong order: id 1 after 2"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := fmt.Sprint(frameType(200)), "frame 200"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
