package protocol

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// gate lets the holder's writer pass a number of chunks and then holds it until the test opens the gate.
type gate struct {
	passes  atomic.Int64
	reached chan struct{}
	open    chan struct{}
}

func newGate(c *fakeContent, passes int64) *gate {
	g := &gate{reached: make(chan struct{}), open: make(chan struct{})}
	g.passes.Store(passes)
	c.reading = func(ChunkAt) { g.pass() }
	return g
}

func (g *gate) pass() {
	if g.passes.Add(-1) == -1 {
		close(g.reached)
		<-g.open
	}
}

// addRange puts a range of n chunks into c.
func (c *fakeContent) addRange(n int) int64 {
	var infos []cafs.ChunkInfo
	for i := range n {
		infos = append(infos, c.put(fmt.Appendf(nil, "chunk %d of range %d", i, len(c.ranges))))
	}
	c.ranges = append(c.ranges, infos)
	return int64(len(c.ranges) - 1)
}

func someBitsOf(n int, set ...int) Bits {
	b := NewBits(n)
	for _, i := range set {
		b.Set(i)
	}
	return b
}

func TestCancel(t *testing.T) {
	for _, test := range []struct {
		name      string
		passes    int64 // chunks that were sent when the CANCEL comes; one more is on its way
		bits      Bits
		cancelled Bits
		arrive    []int
	}{
		{"all but what is on its way", 0, allBits(5), someBitsOf(5, 1, 2, 3, 4), []int{0}},
		{"a part", 0, someBitsOf(5, 2, 3), someBitsOf(5, 2, 3), []int{0, 1, 4}},
		{"only what is on its way", 2, someBitsOf(5, 2), nil, []int{0, 1, 2, 3, 4}},
		{"what was sent already too", 2, someBitsOf(5, 0, 1, 2, 3), someBitsOf(5, 3), []int{0, 1, 2, 4}},
		{"when all was sent but the last", 4, allBits(5), nil, []int{0, 1, 2, 3, 4}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newFakeContent(1, 0, 1)
			c.addRange(5)
			g := newGate(c, test.passes)
			s := pipeSession(t, c)
			id := s.wishAll(t, c, 0)
			<-g.reached
			if err := s.Cancel(id, test.bits); err != nil {
				t.Fatal(err)
			}
			s.sync(t)
			close(g.open)
			checkCancelled(t, s, test.cancelled, test.arrive)
		})
	}
}

// checkCancelled reads to the end of a wish of which one CANCEL was sent.
func checkCancelled(t *testing.T, s *session, cancelled Bits, arrive []int) {
	t.Helper()
	var came []int
	answered := false
	for len(came) < len(arrive) || !answered {
		message, err := s.Next(nil)
		if err != nil {
			t.Fatal(err)
		}
		switch m := message.(type) {
		case ChunkMessage:
			came = append(came, m.At.Number)
			if answered && cancelled != nil && cancelled.Get(m.At.Number) {
				t.Errorf("chunk %d came after it was cancelled", m.At.Number)
			}
		case DoneMessage:
			if answered || !m.AnswersCancel || !partsEqual(m.Parts, DoneCancelled, cancelled) {
				t.Errorf("got %+v, want one DONE with %x cancelled", m, cancelled)
			}
			answered = true
		}
	}
	if fmt.Sprint(came) != fmt.Sprint(arrive) {
		t.Errorf("chunks %v came, want %v", came, arrive)
	}
	checkSettled(t, s)
}

// checkSettled checks that neither side waits for anything.
func checkSettled(t *testing.T, s *session) {
	t.Helper()
	if wishes, outstanding := s.Outstanding(); wishes != 0 || outstanding != 0 {
		t.Errorf("%d wishes of %d bytes are outstanding at the end", wishes, outstanding)
	}
	if wishes, queued := s.holder.Queued(); wishes != 0 || queued != 0 {
		t.Errorf("%d wishes of %d bytes are queued at the end", wishes, queued)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.account.cancels != 0 || len(s.account.pages) != 0 {
		t.Errorf("%d cancels and %d requests are outstanding at the end", s.account.cancels, len(s.account.pages))
	}
	if held := s.shared.held.Load(); held != 0 || s.account.sums != 0 || s.holder.queue.sums != 0 {
		t.Errorf("at the end %d old bytes are held, and %d and %d bytes of sums", held, s.account.sums, s.holder.queue.sums)
	}
}

func partsEqual(parts []DonePart, reason DoneReason, bits Bits) bool {
	if bits == nil {
		return len(parts) == 0
	}
	return len(parts) == 1 && parts[0].Reason == reason && bytes.Equal(parts[0].Bits, bits)
}

func TestCancelQueuedWishAndTwice(t *testing.T) {
	c := newFakeContent(1, 0, 1)
	c.addRange(3)
	c.addRange(9)
	g := newGate(c, 0)
	s := pipeSession(t, c)
	first, second := s.wishAll(t, c, 0), s.wishAll(t, c, 1)
	<-g.reached
	for _, bits := range []Bits{someBitsOf(9, 8), allBits(9)} {
		if err := s.Cancel(second, bits); err != nil {
			t.Fatal(err)
		}
	}
	s.sync(t)
	if wishes, _ := s.holder.Queued(); wishes != 1 {
		t.Errorf("%d wishes wait at the holder, want 1", wishes)
	}
	close(g.open)
	next[ChunkMessage](t, s.Receiver)
	if m := next[DoneMessage](t, s.Receiver); m.ID != second || m.Over || !partsEqual(m.Parts, DoneCancelled, someBitsOf(9, 8)) {
		t.Errorf("the first answer is %+v", m)
	}
	m := next[DoneMessage](t, s.Receiver)
	if m.ID != second || !m.Over || !partsEqual(m.Parts, DoneCancelled, someBitsOf(9, 0, 1, 2, 3, 4, 5, 6, 7)) {
		t.Errorf("the second answer is %+v", m)
	}
	next[ChunkMessage](t, s.Receiver)
	if m := next[ChunkMessage](t, s.Receiver); m.Wish != first {
		t.Errorf("chunk of wish %d", m.Wish)
	}
	if err := s.Cancel(first, allBits(3)); !errors.Is(err, ErrOver) {
		t.Errorf("cancel of a wish that is over: %v", err)
	}
	if err := s.Cancel(99, nil); !errors.Is(err, ErrOver) {
		t.Errorf("cancel of a wish that never was: %v", err)
	}
}

func TestMissing(t *testing.T) {
	c := newFakeContent(1, 0, 1)
	c.addRange(4)
	c.addRange(3)
	c.addRange(1)
	delete(c.chunks, c.ranges[0][1].Key)
	c.unlisted[1] = true
	s := pipeSession(t, c)
	for rangeNumber := range c.ranges {
		s.wishAll(t, c, int64(rangeNumber))
	}
	if m := next[ChunkMessage](t, s.Receiver); m.At.Number != 0 {
		t.Errorf("got chunk %d", m.At.Number)
	}
	if m := next[DoneMessage](t, s.Receiver); m.AnswersCancel || m.Over || !partsEqual(m.Parts, DoneMissing, someBitsOf(4, 1)) {
		t.Errorf("a chunk that is not here: %+v", m)
	}
	next[ChunkMessage](t, s.Receiver)
	next[ChunkMessage](t, s.Receiver)
	if m := next[DoneMessage](t, s.Receiver); !m.Over || !partsEqual(m.Parts, DoneMissing, allBits(3)) {
		t.Errorf("a range whose pages are not here: %+v", m)
	}
	if m := next[ChunkMessage](t, s.Receiver); m.At.Range != 2 {
		t.Errorf("got a chunk of range %d", m.At.Range)
	}
	checkSettled(t, s)
}

// To look up a range is the most that a holder does for one, and a receiver wishes it in parts.
func TestRangeIsLookedUpOnce(t *testing.T) {
	c := newFakeContent(1, 0, 1)
	first, second := c.addRange(4), c.addRange(4)
	c.unlisted[second] = true
	s := pipeSession(t, c)
	wish := func(rangeNumber int64, set ...int) {
		t.Helper()
		if _, err := s.Wish(rangeNumber, someBitsOf(4, set...), c.ranges[rangeNumber]); err != nil {
			t.Fatal(err)
		}
	}
	wish(first, 0)
	wish(first, 1, 2)
	wish(second, 0, 1)
	for i, want := range []ChunkAt{{first, 0, c.ranges[first][0]}, {first, 1, c.ranges[first][1]}, {first, 2, c.ranges[first][2]}} {
		if m := next[ChunkMessage](t, s.Receiver); m.At != want {
			t.Errorf("chunk %d is %v, want %v", i, m.At, want)
		}
	}
	next[DoneMessage](t, s.Receiver)
	c.mu.Lock()
	delete(c.unlisted, second) // its pages came
	c.mu.Unlock()
	wish(second, 0)
	wish(second, 1)
	next[ChunkMessage](t, s.Receiver)
	next[ChunkMessage](t, s.Receiver)
	c.mu.Lock()
	defer c.mu.Unlock()
	if want := []int64{first, second, second}; !slices.Equal(c.lookUps, want) {
		t.Errorf("ranges %v were looked up, want %v", c.lookUps, want)
	}
}

func TestChunkThatIsBroken(t *testing.T) {
	c := newFakeContent(1, 0, 1)
	c.addRange(2)
	c.broken = fmt.Errorf("block 7: %w", cafs.ErrCorrupt)
	s := pipeSession(t, c)
	s.wishAll(t, c, 0)
	next[DoneMessage](t, s.Receiver)
	next[DoneMessage](t, s.Receiver)
	diskError := errors.New("input/output error")
	c.mu.Lock()
	c.broken = diskError
	c.mu.Unlock()
	s.wishAll(t, c, 0)
	if _, err := s.Next(nil); err != io.EOF {
		t.Errorf("the receiver sees %v, want the end of the stream", err)
	}
	if err := <-s.ran; !errors.Is(err, diskError) {
		t.Errorf("run: %v, want %v", err, diskError)
	}
}

// A holder whose content returns other bytes than were asked for must not send them under a false size.
func TestChunkOfAnotherSize(t *testing.T) {
	c := tinyContent()
	c.chunks[c.ranges[0][0].Key] = []byte("ab")
	s := pipeSession(t, c)
	s.wishAll(t, c, 0)
	if _, err := s.Next(nil); err != io.EOF {
		t.Errorf("the receiver sees %v, want the end of the stream", err)
	}
	if err := <-s.ran; err == nil {
		t.Error("run did not fail")
	}
}

func TestPages(t *testing.T) {
	c := newFakeContent(1, 1, 1)
	for len(c.pages) < 300 {
		c.pages = append(c.pages, bytes.Repeat([]byte{byte(len(c.pages) % 100)}, 2000))
	}
	c.pages[8] = nil
	s := pipeSession(t, c)
	for _, test := range []struct {
		first, last int64
		pages       int
		missing     bool
	}{
		{0, 2, 3, false},
		{6, 9, 2, true},     // page 8 is not here
		{400, 400, 0, true}, // no such page
		{20, 299, PagesMax, false},
	} {
		id, err := s.RequestPages(PagesRequest{First: test.first, Last: test.last})
		if err != nil {
			t.Fatal(err)
		}
		for i := range test.pages {
			m := next[PageMessage](t, s.Receiver)
			if m.Request != id || m.Number != i || !bytes.Equal(m.Data, c.pages[test.first+int64(i)]) {
				t.Fatalf("page %d of request %d is %+v", i, id, m)
			}
		}
		if test.missing {
			if m := next[DoneMessage](t, s.Receiver); !m.Pages || !m.Over || !partsEqual(m.Parts, DoneMissing, Bits{}) {
				t.Errorf("the end of what is here: %+v", m)
			}
		}
		if test.pages < PagesMax { // An answer of that many needs no end.
			s.EndPages(id)
		}
	}
	s.wishAll(t, c, 0)
	next[ChunkMessage](t, s.Receiver) // and not one page more
	for range c.bits(0) - 1 {
		next[ChunkMessage](t, s.Receiver)
	}
	checkSettled(t, s)
}

func TestPagesCancelWhileAnswered(t *testing.T) {
	for _, test := range []struct {
		name    string
		missing bool // the page at which the holder stands
		pages   int
	}{{"a page is on its way", false, 3}, {"a page is missing", true, 2}} {
		t.Run(test.name, func(t *testing.T) {
			c := newFakeContent(1, 0, 1)
			c.addRange(1)
			if test.missing {
				c.pages[2] = nil
			}
			g := newGate(c, 2)
			c.reading, c.paging = nil, func(int64) { g.pass() }
			s := pipeSession(t, c)
			id, err := s.RequestPages(PagesRequest{Last: 9})
			if err != nil {
				t.Fatal(err)
			}
			<-g.reached
			if err := s.Cancel(id, nil); err != nil {
				t.Fatal(err)
			}
			s.sync(t)
			close(g.open)
			for range test.pages {
				next[PageMessage](t, s.Receiver)
			}
			m := next[DoneMessage](t, s.Receiver)
			if !m.AnswersCancel || !m.Over || !partsEqual(m.Parts, DoneCancelled, Bits{}) {
				t.Errorf("the answer is %+v", m)
			}
			s.wishAll(t, c, 0)
			next[ChunkMessage](t, s.Receiver) // and nothing more of the pages
			checkSettled(t, s)
		})
	}
}

// A request that leads to no page at all has an end all the same.
func TestPagesNone(t *testing.T) {
	c := newFakeContent(1, 0, 1)
	c.pages = nil
	s := pipeSession(t, c)
	if _, err := s.RequestPages(PagesRequest{Last: 9}); err != nil {
		t.Fatal(err)
	}
	if m := next[DoneMessage](t, s.Receiver); !m.Over || !partsEqual(m.Parts, DoneMissing, Bits{}) {
		t.Errorf("the answer is %+v", m)
	}
}

func TestPagesCancel(t *testing.T) {
	c := newFakeContent(1, 0, 1)
	c.addRange(1)
	g := newGate(c, 0)
	s := pipeSession(t, c)
	s.wishAll(t, c, 0)
	<-g.reached
	waiting, err := s.RequestPages(PagesRequest{Last: 9})
	if err != nil {
		t.Fatal(err)
	}
	answered, err := s.RequestPages(PagesRequest{Last: 0})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Cancel(waiting, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Cancel(waiting, nil); !errors.Is(err, ErrOver) {
		t.Errorf("cancel twice: %v", err)
	}
	s.sync(t)
	close(g.open)
	next[ChunkMessage](t, s.Receiver)
	if m := next[DoneMessage](t, s.Receiver); m.ID != waiting || !m.Pages || !m.Over || !partsEqual(m.Parts, DoneCancelled, Bits{}) {
		t.Errorf("the answer is %+v", m)
	}
	if m := next[PageMessage](t, s.Receiver); m.Request != answered {
		t.Errorf("the page is of request %d", m.Request)
	}
	// The holder has sent it all, and the receiver does not know yet that this was all.
	if err := s.Cancel(answered, nil); err != nil {
		t.Fatal(err)
	}
	if m := next[DoneMessage](t, s.Receiver); m.ID != answered || !m.AnswersCancel || !m.Over || len(m.Parts) != 0 {
		t.Errorf("the answer is %+v", m)
	}
	checkSettled(t, s)
}

func TestPagesLimit(t *testing.T) {
	t.Run("with deltas", func(t *testing.T) { testPagesLimit(t, 0, PagesOutstandingMax) })
	t.Run("without", func(t *testing.T) { testPagesLimit(t, featureDelta, PagesOutstandingPlain) })
}

func testPagesLimit(t *testing.T, holderLacks features, most int) {
	c := newFakeContent(1, 0, 1)
	s := sessionWithout(t, c, 0, holderLacks, nil)
	for range most {
		if _, err := s.RequestPages(PagesRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.RequestPages(PagesRequest{}); !errors.Is(err, ErrLimit) {
		t.Errorf("one more: %v", err)
	}
	id := next[PageMessage](t, s.Receiver).Request
	s.EndPages(id)
	s.EndPages(id)
	if _, err := s.RequestPages(PagesRequest{}); err != nil {
		t.Error(err)
	}
	for _, bad := range []PagesRequest{
		{Stream: 2}, {Stream: -1}, {Level: -1}, {Level: 6}, {First: -1}, {First: 2, Last: 1}, {Last: 1 << 31},
	} {
		if _, err := s.RequestPages(bad); err == nil || errors.Is(err, ErrLimit) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestHaveAndPeersAreTold(t *testing.T) { synctest.Test(t, testHaveAndPeersAreTold) }

func testHaveAndPeersAreTold(t *testing.T) {
	c := newFakeContent(1, 9, 1)
	c.complete = false
	c.have = []HaveItem{{First: 0, Count: 2, Op: HaveAll}, {First: 2, Count: 1, Op: HaveAll}, {First: 5, Count: 1, Op: HaveAdd, Bits: Bits{0x80}}}
	s := pipeSession(t, c)
	want := []HaveItem{{First: 0, Count: 3, Op: HaveAll}, c.have[2]}
	if s.accepted.Complete || fmt.Sprint(s.accepted.Have) != fmt.Sprint(want) {
		t.Errorf("accepted as %+v, want %+v", s.accepted, want)
	}
	synctest.Wait() // until the holder's writer sleeps
	news := []HaveItem{{First: 3, Count: 1, Op: HaveAll}, {First: 5, Count: 1, Op: HaveRemove, Bits: Bits{0x80}}}
	if err := s.holder.SendHave(news); err != nil {
		t.Fatal(err)
	}
	if m := next[HaveMessage](t, s.Receiver); fmt.Sprint(m.Items) != fmt.Sprint(news) {
		t.Errorf("told %+v, want %+v", m.Items, news)
	}
	synctest.Wait()
	member := Member{[]byte("record"), []byte("address")}
	if err := s.holder.SendPeers([]Member{member}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, FrameBodyMax)
	m, err := s.Next(buf)
	clear(buf) // members are looked at when the buffer has another frame
	if told, ok := m.(PeersMessage); err != nil || !ok || fmt.Sprint(told.Members) != fmt.Sprint([]Member{member}) {
		t.Errorf("told %+v, %v, want %+v", m, err, member)
	}
	for _, record := range []string{"first", "other"} {
		if err := s.SendPeers([]Member{{[]byte(record), []byte(record)}}); err != nil {
			t.Fatal(err)
		}
	}
	first, other := <-s.members, <-s.members
	if string(first[0].Record) != "first" || string(other[0].Addr) != "other" {
		t.Errorf("the holder was told %+v and %+v", first, other)
	}
	for _, bad := range [][]HaveItem{
		{{First: 1, Count: 1, Op: HaveAll}, {First: 1, Count: 1, Op: HaveAll}},
		{{First: -1, Count: 1, Op: HaveAll}},
		{{Count: 0, Op: HaveAll}},
		{{Count: 2, Op: HaveAdd, Bits: Bits{0x80}}},
		{{Count: 1, Op: HaveAdd, Bits: Bits{0}}},
		{{Count: 1, Op: 9}},
		{{First: RangesMax, Count: 1, Op: HaveAll}},
	} {
		if err := s.holder.SendHave(bad); err == nil {
			t.Errorf("%+v was sent", bad)
		}
	}
}

// A have map that does not fit ACCEPT follows in pieces, at the allowed rate and before later news.
func TestHaveMapInPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeContent(1, 0, 1)
		c.complete = false
		const items = 1 << 20 // 48 pieces, more than a second's
		c.have = make([]HaveItem, items)
		for i := range c.have {
			c.have[i] = HaveItem{First: int64(2 * i), Count: 1, Op: HaveAll}
		}
		cfg := receiverConfig(c)
		cfg.Ranges = nil
		s := startSessionAs(t, c, cfg)
		if err := s.holder.SendHave([]HaveItem{{First: 0, Count: 1, Op: HaveNone}}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		told := 0
		for piece := s.accepted.Have; ; piece = next[HaveMessage](t, s.Receiver).Items {
			for _, it := range piece {
				if it.First != int64(2*told) || it.Count != 1 || it.Op != HaveAll {
					t.Fatalf("item %d is %+v, want %+v", told, it, c.have[told])
				}
				told++
			}
			if told == items {
				break
			}
		}
		if took := time.Since(start); took < haveEvery || took > time.Second {
			t.Errorf("it took %v", took)
		}
		if m := next[HaveMessage](t, s.Receiver); m.Items[0].Op != HaveNone {
			t.Errorf("then came %+v", m)
		}
	})
}

func TestTellingIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := pipeSession(t, newFakeContent(1, 1, 1))
		members := make([]Member, PeersMax)
		for i := range members {
			members[i] = Member{[]byte{1}, []byte{1}}
		}
		for name, tell := range map[string]func([]Member) error{"receiver": s.SendPeers, "holder": s.holder.SendPeers} {
			if err := tell(members); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := tell(members[:1]); !errors.Is(err, ErrLimit) {
				t.Errorf("%s: one more: %v", name, err)
			}
			if err := tell(append(members, members[0])); err == nil || errors.Is(err, ErrLimit) {
				t.Errorf("%s: more than can ever be told: %v", name, err)
			}
		}
		time.Sleep(time.Hour) // on the bubble's clock
		if err := s.SendPeers(members); err != nil {
			t.Error(err)
		}
		if err := s.SendPeers(members[:1]); !errors.Is(err, ErrLimit) {
			t.Errorf("silence adds up: %v", err)
		}
	})
}

func TestAcks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeContent(1, 0, 1)
		c.addRange(3)
		s := pipeSession(t, c)
		s.wishAll(t, c, 0)
		total := int64(0)
		for range 3 {
			total += int64(len(next[ChunkMessage](t, s.Receiver).Data))
		}
		synctest.Wait() // until the wish is counted, which may be after its answer
		_, before := s.Traffic()
		time.Sleep(AckInterval - time.Microsecond) // on the bubble's clock
		synctest.Wait()
		if got := s.holder.Unacknowledged(); got != total {
			t.Errorf("%d bytes are unacknowledged before the time, want %d", got, total)
		}
		time.Sleep(time.Microsecond)
		synctest.Wait()
		if got := s.holder.Unacknowledged(); got != 0 {
			t.Errorf("%d bytes are unacknowledged after the time, want 0", got)
		}
		if _, after := s.Traffic(); after-before != 3 {
			t.Errorf("%d bytes were sent, want one ACK of 3", after-before)
		}
		s.wishAll(t, c, 0)
		next[ChunkMessage](t, s.Receiver)
		time.Sleep(AckInterval)
		synctest.Wait()
		if got, want := s.holder.Unacknowledged(), total-int64(c.ranges[0][0].Size); got != want {
			t.Errorf("%d bytes are unacknowledged after one chunk more, want %d", got, want)
		}
	})
}

// Both directions are full all the time: a stream that holds no byte, and more wishes than fit anywhere.
func TestBacklogDoesNotDeadlock(t *testing.T) {
	c := newFakeContent(1, 0, 1)
	for range WishesMax {
		c.addRange(20)
	}
	s := pipeSession(t, c)
	within(t, "a session with a full backlog", func() {
		left := 0
		for rangeNumber := range c.ranges {
			id := s.wishAll(t, c, int64(rangeNumber))
			left += 20
			if rangeNumber%2 == 0 {
				if err := s.Cancel(id, someBitsOf(20, 3)); err != nil {
					t.Error(err)
				}
			}
		}
		if _, err := s.Wish(0, allBits(20), c.ranges[0]); !errors.Is(err, ErrLimit) {
			t.Errorf("one wish more: %v", err)
		}
		for answers := WishesMax / 2; left > 0 || answers > 0; {
			message, err := s.Next(nil)
			if err != nil {
				t.Error(err)
				return
			}
			switch m := message.(type) {
			case ChunkMessage:
				left--
			case DoneMessage:
				answers--
				for _, part := range m.Parts {
					left -= part.Bits.Count()
				}
			}
		}
	})
}

func TestWishedBytesLimit(t *testing.T) {
	c := newFakeContent(1, 0, 1)
	info := c.put(make([]byte, cafs.ChunkSizeMax))
	infos := make([]cafs.ChunkInfo, 8)
	for i := range infos {
		infos[i] = info
	}
	c.ranges = append(c.ranges, infos)
	s := pipeSession(t, c)
	for range WishedBytesMax >> 20 {
		s.wishAll(t, c, 0)
	}
	if _, err := s.Wish(0, someBitsOf(8, 1), infos); !errors.Is(err, ErrLimit) {
		t.Errorf("a chunk more: %v", err)
	}
	buf := make([]byte, FrameBodyMax)
	if _, err := s.Next(buf); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wish(0, someBitsOf(8, 1), infos); err != nil {
		t.Errorf("after one has come: %v", err)
	}
}

func TestWishIsChecked(t *testing.T) {
	c := newFakeContent(1, 0, 1)
	c.addRange(9)
	s := pipeSession(t, c)
	for name, wish := range map[string]func() (uint64, error){
		"no bits":         func() (uint64, error) { return s.Wish(0, NewBits(9), c.ranges[0]) },
		"bits too short":  func() (uint64, error) { return s.Wish(0, allBits(8), c.ranges[0]) },
		"an unused bit":   func() (uint64, error) { return s.Wish(0, allBits(16), c.ranges[0]) },
		"range too large": func() (uint64, error) { return s.Wish(1, allBits(9), c.ranges[0]) },
		"range negative":  func() (uint64, error) { return s.Wish(-1, allBits(9), c.ranges[0]) },
	} {
		if id, err := wish(); err == nil || id != 0 {
			t.Errorf("%s: wish %d, %v", name, id, err)
		}
	}
}

// The slices of a message lie in the caller's buffer, so that it can be handed on without a copy.
func TestNextUsesTheBuffer(t *testing.T) {
	c := newFakeContent(1, 1, 1)
	s := pipeSession(t, c)
	s.wishAll(t, c, 0)
	buf := make([]byte, FrameBodyMax)
	message, err := s.Next(buf)
	if err != nil {
		t.Fatal(err)
	}
	data := message.(ChunkMessage).Data
	const head = 3 // id, number, encoding
	if &data[0] != &buf[head] {
		t.Error("the chunk does not lie in the buffer")
	}
}

func TestRunEnds(t *testing.T) {
	t.Run("when ctx ends", func(t *testing.T) {
		c := newFakeContent(1, 1, 1)
		receiverEnd, holderEnd := net.Pipe()
		go func() {
			receiverEnd.Write(openedWith(c, nil, nil))
			io.Copy(io.Discard, receiverEnd)
		}()
		h, err := Accept(holderEnd, holderConfig(c))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		reason := errors.New("the node ends")
		cancel(reason)
		within(t, "run", func() {
			if err := h.Run(ctx); !errors.Is(err, reason) {
				t.Errorf("run: %v, want %v", err, reason)
			}
		})
	})
	t.Run("while the receiver does not read", func(t *testing.T) {
		c := newFakeContent(1, 3, 9)
		s := pipeSession(t, c)
		for rangeNumber := range c.ranges {
			s.wishAll(t, c, int64(rangeNumber))
		}
		s.sync(t)
		within(t, "close", func() {
			s.Close()
			<-s.ran
		})
	})
}

func TestReceiverEnds(t *testing.T) {
	c := newFakeContent(1, 1, 1)
	s := pipeSession(t, c)
	failed := make(chan error, 1)
	go func() {
		_, err := s.Next(nil)
		failed <- err
	}()
	within(t, "close", func() {
		s.Close()
		if err := <-failed; err == nil {
			t.Error("Next succeeded after the end")
		}
	})
	if _, err := s.Wish(0, allBits(c.bits(0)), c.ranges[0]); !errors.Is(err, ErrClosed) {
		t.Errorf("wish after the end: %v", err)
	}
	s.Close()
}

// Any mix of what a receiver may do ends with every chunk accounted for.
func TestSessionAtRandom(t *testing.T) {
	seed := randomSeed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := newFakeContent(seed, 30, 10)
	for i, infos := range c.ranges {
		if rng.IntN(8) == 0 {
			c.unlisted[int64(i)] = true
		}
		if rng.IntN(3) == 0 {
			delete(c.chunks, infos[rng.IntN(len(infos))].Key)
		}
	}
	s := pipeSession(t, c)
	open := map[uint64]Bits{} // what is outstanding of each wish
	cancels := 0
	buf := make([]byte, FrameBodyMax)
	for step := 0; step < 300 || len(open) > 0 || cancels > 0; step++ {
		if step < 300 && rng.IntN(3) > 0 {
			rangeNumber := rng.Int64N(int64(len(c.ranges)))
			bits := allBits(c.bits(rangeNumber))
			var old func(number int) []byte
			if rng.IntN(2) == 0 {
				old = similarAtRandom(rng.Uint64(), c, rangeNumber)
			}
			id, err := s.WishSimilar(rangeNumber, bits, c.ranges[rangeNumber], old)
			if err != nil && !errors.Is(err, ErrLimit) {
				t.Fatal(err)
			}
			if err == nil {
				open[id] = bits
			}
			if err == nil && rng.IntN(4) == 0 && s.Cancel(id, someBitsOf(len(c.ranges[rangeNumber]), 0)) == nil {
				cancels++
			}
		}
		if len(open) > 0 || cancels > 0 {
			message, err := s.Next(buf)
			if err != nil {
				t.Fatal(err)
			}
			cancels -= settleAtRandom(t, open, message)
		}
	}
	checkSettled(t, s)
}

// similarAtRandom returns what makes old bytes for chunks of a range, which may be like them, or not, or none. The session
// calls it while the test goes on.
func similarAtRandom(seed uint64, c *fakeContent, rangeNumber int64) func(number int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	return func(number int) []byte {
		data := c.chunks[c.ranges[rangeNumber][number].Key]
		switch cut := rng.IntN(len(data) + 1); rng.IntN(4) {
		case 0:
			return nil
		case 1:
			return randomBytes(rng, 1+rng.IntN(OldChunkMax))
		default:
			return concat(data[:cut], randomBytes(rng, 10), data[cut:])
		}
	}
}

// settleAtRandom takes a message off what is open, and returns how many cancels it answers.
func settleAtRandom(t *testing.T, open map[uint64]Bits, message Message) (answered int) {
	t.Helper()
	take := func(id uint64, bits Bits) {
		for i := range bits.Ones() {
			if open[id] == nil || !open[id].Get(i) {
				t.Fatalf("chunk %d of wish %d came twice", i, id)
			}
			open[id].Clear(i)
		}
		if open[id].Count() == 0 {
			delete(open, id)
		}
	}
	switch m := message.(type) {
	case ChunkMessage:
		if _, err := cafs.VerifyChunk(m.At.Info, m.Data); err != nil {
			t.Fatal(err)
		}
		take(m.Wish, someBitsOf(m.At.Number+1, m.At.Number))
	case DoneMessage:
		for _, part := range m.Parts {
			take(m.ID, part.Bits)
		}
		if m.AnswersCancel {
			return 1
		}
	}
	return 0
}
