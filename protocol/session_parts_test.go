package protocol

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

func TestBudget(t *testing.T) {
	start := time.Now()
	at := func(after time.Duration) time.Time { return start.Add(after) }
	strict := budget{start: start, interval: time.Second, burst: 3}
	for _, step := range []struct {
		after time.Duration
		take  int64
		ok    bool
	}{
		{0, 3, true},
		{0, 1, false},
		{999 * time.Millisecond, 1, false},
		{time.Second, 1, true},
		{time.Second, 1, false},
		{time.Hour, 3, true},
		{time.Hour, 1, false}, // an hour's allowance is not more than a burst
		{time.Hour + 2*time.Second, 2, true},
		{time.Hour + 2*time.Second, 1, false},
	} {
		if ok := strict.take(step.take, at(step.after)); ok != step.ok {
			t.Errorf("after %v: take %d: %v", step.after, step.take, ok)
		}
	}
	if wait := strict.wait(2, at(time.Hour+2*time.Second)); wait != 2*time.Second {
		t.Errorf("two more in %v, want 2 s", wait)
	}
	hoarding := budget{start: start, interval: time.Second, burst: 3, hoards: true}
	if !hoarding.take(63, at(time.Minute)) || hoarding.take(1, at(time.Minute)) {
		t.Error("what was not used in a minute does not add up to 60 and a burst")
	}
}

// heldWriter holds each write until it is released.
type heldWriter struct {
	writes  chan string
	release chan error
}

func (w heldWriter) Write(p []byte) (int, error) {
	w.writes <- string(p)
	return len(p), <-w.release
}

func TestOutbox(t *testing.T) {
	w := heldWriter{make(chan string), make(chan error)}
	o := outbox{w: w}
	add := func(frame string) {
		t.Helper()
		if err := o.add([]byte(frame)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want string) {
		t.Helper()
		if got := <-w.writes; got != want {
			t.Fatalf("wrote %q, want %q", got, want)
		}
	}
	add("one")
	expect("one")
	add("two")
	add("three")
	w.release <- nil
	expect("twothree") // what came meanwhile goes out together
	add("four")
	w.release <- nil
	expect("four")
	w.release <- nil
	o.writing.Wait()
	add("five")
	expect("five")
	if err := o.add(make([]byte, ControlQueueMax+1)); !errors.Is(err, ErrLimit) {
		t.Errorf("more than may wait: %v", err)
	}
	broken := errors.New("broken")
	w.release <- broken
	o.writing.Wait()
	if err := o.add([]byte("six")); !errors.Is(err, broken) {
		t.Errorf("after a write that failed: %v", err)
	}
	o.close()
}

// Who closes an outbox may rely on that nothing writes any more.
func TestOutboxCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := heldWriter{make(chan string), make(chan error)}
		o := outbox{w: w}
		if err := o.add([]byte("frame")); err != nil {
			t.Fatal(err)
		}
		<-w.writes
		closed := make(chan struct{})
		go func() { o.close(); close(closed) }()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("closed while a write is under way")
		default:
		}
		w.release <- nil
		<-closed
	})
}

// An ACK that finds no room is not lost: the holder's window would stay closed.
func TestAckIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := heldWriter{make(chan string), make(chan error)}
		r := &Receiver{received: 5, out: outbox{w: w}}
		if err := r.out.add([]byte("first")); err != nil {
			t.Fatal(err)
		}
		<-w.writes
		if err := r.out.add(make([]byte, ControlQueueMax)); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		r.scheduleAck()
		r.mu.Unlock()
		time.Sleep(time.Second) // on the bubble's clock
		w.release <- nil
		<-w.writes
		w.release <- nil
		select {
		case got := <-w.writes:
			if got != "\x0a\x01\x05" {
				t.Errorf("wrote %q", got)
			}
			w.release <- nil
		case <-time.After(time.Second):
			t.Error("no ACK came")
		}
	})
}

// The bits of a wish whose pages are not here are all that a CANCEL can be held against.
func TestQueueCancelOfAnotherLength(t *testing.T) {
	for _, chunks := range [][]cafs.ChunkInfo{nil, tinyContent().ranges[0]} {
		q := newTestQueue()
		if err := q.add(&queuedWish{id: 1, chunks: chunks, left: Bits{0xe0}}); err != nil {
			t.Fatal(err)
		}
		for _, bits := range []Bits{nil, {0, 0x80}} {
			_, err := q.cancel(1, bits)
			wantViolation(t, err, frameCancel, RuleSize)
		}
		if cancelled, err := q.cancel(1, Bits{0xa0}); err != nil || !bytes.Equal(cancelled, Bits{0xa0}) {
			t.Errorf("cancelled %x: %v", cancelled, err)
		}
	}
}

func TestOpenChecksRanges(t *testing.T) {
	c := tinyContent()
	bad := errors.New("bad root")
	for _, test := range []struct {
		ranges int64
		err    error
		ok     bool
	}{{0, nil, true}, {RangesMax, nil, true}, {-1, nil, false}, {RangesMax + 1, nil, false}, {5, bad, false}} {
		answer := &script{in: strings.NewReader(string(openedWith(c, nil, nil)))}
		if _, err := Accept(answer, holderConfig(c)); err != nil {
			t.Fatal(err)
		}
		cfg := receiverConfig(c)
		cfg.Rand = strings.NewReader(strings.Repeat("\x00", nonceSize))
		cfg.Ranges = func(record []byte) (int64, error) {
			if !bytes.Equal(record, c.record) {
				t.Errorf("asked for the record %q", record)
			}
			return test.ranges, test.err
		}
		_, _, err := Open(&script{in: &answer.out}, cfg)
		if (err == nil) != test.ok || test.err != nil && !errors.Is(err, test.err) {
			t.Errorf("%d ranges, %v: %v", test.ranges, test.err, err)
		}
	}
}

// A CANCEL names what is outstanding, and each of several has its answer.
func TestCancelAccount(t *testing.T) {
	chunks := tinyContent().ranges[0]
	a := newAccount(new(Receivers))
	weight, err := a.checkWish(allBits(3), chunks)
	if err != nil || weight != 3+4+5 {
		t.Fatalf("a wish of %d bytes: %v", weight, err)
	}
	a.addWish(0, allBits(3), chunks, weight)
	if _, _, err := a.chunk(chunkBody{id: 1, data: []byte("abc")}, 0); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ named, sent Bits }{
		{allBits(3), someBitsOf(3, 1, 2)},
		{someBitsOf(3, 0, 1), someBitsOf(3, 1)},
	} {
		sent, err := a.checkCancel(1, step.named)
		if err != nil || fmt.Sprint(sent) != fmt.Sprint(step.sent) {
			t.Fatalf("a CANCEL of %x names %x, want %x: %v", step.named, sent, step.sent, err)
		}
		a.addCancel(1, sent)
	}
	if _, err := a.checkCancel(1, someBitsOf(3, 0)); !errors.Is(err, ErrOver) {
		t.Errorf("a CANCEL of what has come: %v", err)
	}
	a.cancels += CancelsMax - 2
	if _, err := a.checkCancel(1, allBits(3)); !errors.Is(err, ErrLimit) {
		t.Errorf("one CANCEL too many: %v", err)
	}
	for _, parts := range [][]DonePart{{{DoneCancelled, someBitsOf(3, 1, 2)}}, nil} {
		if m, err := a.done(doneBody{1, parts}); err != nil || !m.AnswersCancel || m.Over != (parts == nil) {
			t.Errorf("the answer %+v: %v", m, err)
		}
	}
	if a.bytes != 0 || len(a.wishes) != 0 || a.cancels != CancelsMax-2 {
		t.Errorf("left at the end: %+v", a)
	}
}

func TestAcknowledged(t *testing.T) {
	h := Holder{holders: new(Holders), window: ackWindow{written: 10}}
	for _, step := range []struct {
		received byte
		ok       bool
	}{{3, true}, {3, false}, {2, false}, {11, false}, {10, true}} {
		err := h.acknowledged([]byte{step.received})
		if step.ok && err != nil {
			t.Errorf("ACK of %d: %v", step.received, err)
		}
		if !step.ok {
			wantViolation(t, err, frameAck, RuleOrder)
		}
	}
	if h.Unacknowledged() != 0 {
		t.Errorf("%d bytes are unacknowledged", h.Unacknowledged())
	}
}

func TestHaveQueueLimit(t *testing.T) {
	var h Holder
	h.wake = make(chan struct{}, 1)
	h.haves.allowed = newBudget(HavesPerSecond, haveEvery)
	items := make([]HaveItem, HaveQueueItemsMax)
	for i := range items {
		items[i] = HaveItem{First: int64(2 * i), Count: 1, Op: HaveAll}
	}
	if err := h.SendHave(items); err != nil {
		t.Fatal(err)
	}
	if err := h.SendHave(items[:1]); !errors.Is(err, ErrLimit) {
		t.Errorf("one more: %v", err)
	}
	if body, _ := h.haves.take(time.Now()); body == nil {
		t.Error("nothing is told")
	}
	if err := h.SendHave(items); err != nil {
		t.Errorf("after the first went out: %v", err)
	}
}

// The table of frames in the specification is the table of frames in the code.
func TestFrameTableIsTheDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| (\d+) \| ([A-Z]+) \| .* \| ([\d,]+) \|\r?$`)
	documented := map[string]bool{}
	for _, match := range row.FindAllStringSubmatch(string(text), -1) {
		number, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		kind := frameType(number)
		most := strings.ReplaceAll(match[3], ",", "")
		if kind.String() != match[2] || fmt.Sprint(kind.bodyMax()) != most {
			t.Errorf("documented: %s, type %d, at most %s bytes; here: %s, at most %d", match[2], number, most, kind, kind.bodyMax())
		}
		documented[match[2]] = true
	}
	for kind, frame := range frameTable {
		if frameType(kind).known() && !documented[frame.name] {
			t.Errorf("%s is not documented", frame.name)
		}
	}
}
