package protocol

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// similarContent has n chunks of 30,000 random bytes, and old bytes for each, which lack 1,000 of them in the middle.
func similarContent(n int) (c *fakeContent, old [][]byte) {
	c = newFakeContent(1, 0, 1)
	rng := rand.New(rand.NewPCG(1, 2))
	var infos []cafs.ChunkInfo
	for range n {
		data := randomBytes(rng, 30_000)
		infos = append(infos, c.put(data))
		old = append(old, concat(data[:15_000], data[16_000:]))
	}
	c.ranges = [][]cafs.ChunkInfo{infos}
	return c, old
}

// nextVerified returns the next chunk, which must be what the list says.
func (s *session) nextVerified(t testing.TB, buf []byte) ChunkMessage {
	t.Helper()
	message, err := s.Next(buf)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := message.(ChunkMessage)
	if !ok {
		t.Fatalf("got %+v", message)
	}
	if _, err := cafs.VerifyChunk(m.At.Info, m.Data); err != nil {
		t.Fatal(err)
	}
	return m
}

// sessionWithout starts a session of two sides that lack features, as those of an older version do.
func sessionWithout(t *testing.T, c *fakeContent, receiver, holder features, room *Receivers) *session {
	t.Helper()
	receiverEnd, holderEnd := net.Pipe()
	accepted := make(chan *Holder, 1)
	go func() {
		cfg := holderConfig(c)
		cfg.testOnlyWithout = holder
		h, err := Accept(holderEnd, cfg)
		if err != nil {
			t.Error(err)
		}
		accepted <- h
	}()
	cfg := receiverConfig(c)
	cfg.testOnlyWithout, cfg.Receivers = receiver, room
	r, _, err := Open(receiverEnd, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &session{Receiver: r, holder: <-accepted, ran: make(chan error, 1)}
	go func() { s.ran <- s.holder.Run(context.Background()) }()
	t.Cleanup(func() { s.Close() })
	return s
}

// Chunks come in the best way that both sides have, and are the same chunks in each.
func TestFeatures(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	text := bytes.Repeat([]byte("the same words again, "), 2000)
	for _, test := range []struct {
		name             string
		receiver, holder features // that are lacking
		delta            bool
		most             int // bytes for all chunks
	}{
		{"both have all", 0, 0, true, 2 * 2100},
		{"a receiver without features", featuresHere, 0, false, 60_000 + 44_100},
		{"a holder without features", 0, featuresHere, false, 60_000 + 44_100},
		{"no zstd", featureZstd, 0, true, 2*2100 + 44_100},
		{"no deltas", 0, featureDelta, false, 60_000 + 1000},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, old := similarContent(2)
			c.ranges[0] = append(c.ranges[0], c.put(text), c.put(randomBytes(rng, 100)))
			room := new(Receivers)
			s := sessionWithout(t, c, test.receiver, test.holder, room)
			_, err := s.WishSimilar(0, allBits(4), c.ranges[0], func(number int) []byte {
				if number < len(old) {
					return old[number]
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, FrameBodyMax)
			deltas, sent := 0, 0
			for range 4 {
				m := s.nextVerified(t, buf)
				if &m.Data[0] != &buf[:1][0] && m.Sent != len(m.Data) {
					t.Error("a chunk that was unpacked is not in the buffer")
				}
				if sent += m.Sent; m.Delta {
					deltas++
				}
			}
			if deltas > 0 != test.delta || sent > test.most {
				t.Errorf("%d bytes came, at most %d were expected; %d deltas", sent, test.most, deltas)
			}
			if held := room.held.Load(); held != 0 {
				t.Errorf("%d old bytes are held when all is here", held)
			}
			if s.account.sums != 0 {
				t.Errorf("%d bytes of sums are accounted for", s.account.sums)
			}
		})
	}
}

// When its trial is over a holder makes deltas in time that it had nothing to send, if it serves nobody else.
func TestDeltasInIdleTime(t *testing.T) {
	for _, test := range []struct {
		name   string
		idle   time.Duration
		others int64
		delta  bool
	}{
		{"nothing to send before", time.Second, 0, true},
		{"busy", 0, 0, false},
		{"others are served", time.Second, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, old := similarContent(1)
				s := sessionWithout(t, c, 0, 0, new(Receivers))
				synctest.Wait()
				s.holder.packer.delta = thrift{trialTime: deltaTrial, patient: true, tries: trialMin, spent: deltaTrial, rate: 100e6, ratio: 0.03}
				s.holder.holders.sessions.Add(test.others)
				defer s.holder.holders.sessions.Add(-test.others)
				time.Sleep(test.idle) // virtual time, which passes for the holder
				if _, err := s.WishSimilar(0, allBits(1), c.ranges[0], func(int) []byte { return old[0] }); err != nil {
					t.Fatal(err)
				}
				if m := s.nextVerified(t, nil); m.Delta != test.delta {
					t.Errorf("delta: %v, want %v", m.Delta, test.delta)
				}
				s.Close()
			})
		})
	}
}

// A delta of old bytes that turn out not to be what was signed is not the chunk, and says so.
func TestDeltaOfOtherBytes(t *testing.T) {
	c, old := similarContent(1)
	s := pipeSession(t, c)
	if _, err := s.WishSimilar(0, allBits(1), c.ranges[0], func(int) []byte { return old[0] }); err != nil {
		t.Fatal(err)
	}
	s.sync(t)
	s.mu.Lock()
	old[0][100] ^= 1
	s.mu.Unlock()
	m := next[ChunkMessage](t, s.Receiver)
	if _, err := cafs.VerifyChunk(m.At.Info, m.Data); err == nil || !m.Delta {
		t.Fatalf("a chunk that %v, delta: %v", err, m.Delta)
	}
	if _, err := s.Wish(0, allBits(1), c.ranges[0]); err != nil {
		t.Fatal(err)
	}
	if m := s.nextVerified(t, nil); m.Delta {
		t.Error("a plain wish was answered by a delta")
	}
}

// What is signed is bounded over all sessions that share the room, and given back however a chunk is settled.
func TestOldBytesAreBounded(t *testing.T) {
	const n = 100
	c := newFakeContent(1, 0, 1)
	old := randomBytes(rand.New(rand.NewPCG(1, 2)), OldChunkMax)
	c.ranges = [][]cafs.ChunkInfo{nil}
	for i := range n {
		c.ranges[0] = append(c.ranges[0], c.put(concat([]byte{byte(i)}, old[:50_000])))
	}
	room := new(Receivers)
	cfg := receiverConfig(c)
	cfg.Receivers = room
	gate := newGate(c, 0)
	s := startSessionAs(t, c, cfg)
	asked := 0
	id, err := s.WishSimilar(0, allBits(n), c.ranges[0], func(int) []byte { asked++; return old })
	if err != nil {
		t.Fatal(err)
	}
	s.sync(t)
	if held := room.held.Load(); held != OldBytesMax || asked > 1+OldBytesMax/OldChunkMax {
		t.Errorf("%d old bytes are held, and were asked for %d times", held, asked)
	}
	if err := s.Cancel(id, allBits(n)); err != nil {
		t.Fatal(err)
	}
	s.sync(t)
	close(gate.open)
	for cancelled := false; !cancelled; {
		message, err := s.Next(nil)
		if err != nil {
			t.Fatal(err)
		}
		done, ok := message.(DoneMessage)
		cancelled = ok && done.AnswersCancel
	}
	if held := room.held.Load(); held != 0 {
		t.Errorf("%d old bytes are held after a cancel", held)
	}
	if s.holder.queue.sums != 0 {
		t.Errorf("the holder has %d bytes of sums after a cancel", s.holder.queue.sums)
	}
	if _, err := s.WishSimilar(0, allBits(n), c.ranges[0], func(int) []byte { return old }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if held := room.held.Load(); held != 0 {
		t.Errorf("%d old bytes are held after the session", held)
	}
}

// Who gets no use of its signatures stops sending them.
func TestUselessSignaturesEnd(t *testing.T) {
	c, _ := similarContent(sigsIgnoredMax + 10)
	rng := rand.New(rand.NewPCG(5, 6))
	s := pipeSession(t, c)
	asked := 0
	for number := range c.ranges[0] {
		_, err := s.WishSimilar(0, someBitsOf(len(c.ranges[0]), number), c.ranges[0], func(int) []byte {
			asked++
			return randomBytes(rng, 30_000)
		})
		if err != nil {
			t.Fatal(err)
		}
		s.nextVerified(t, nil)
	}
	if asked != sigsIgnoredMax {
		t.Errorf("%d chunks were signed for nothing, want %d", asked, sigsIgnoredMax)
	}
}

// Of pages like those that the receiver has only what is new in them comes, and what they are signed with is given back.
func TestPageDeltas(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, test := range []struct {
		name             string
		receiver, holder features // that are lacking
		most             int64
	}{{"both have deltas", 0, 0, 1000}, {"the receiver has not", featureDelta, 0, 13_500}, {"the holder has not", 0, featureDelta, 13_500}} {
		t.Run(test.name, func(t *testing.T) {
			c := newFakeContent(1, 1, 1)
			old := make([][]byte, 4)
			for i := range old {
				old[i] = randomBytes(rng, 3300)
				old[i][0] = 0
				c.pages[i] = concat(old[i][:1000], randomBytes(rng, 35), old[i][1000:])
			}
			room := new(Receivers)
			s := sessionWithout(t, c, test.receiver, test.holder, room)
			before, _ := s.Traffic()
			id, err := s.RequestSimilarPages(PagesRequest{Last: 4}, 5, func(number int) []byte {
				if number == 4 { // there is none
					return randomBytes(rng, 3300)
				}
				return old[number]
			})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 4 {
				m := next[PageMessage](t, s.Receiver)
				if m.Request != id || m.Number != i || !bytes.Equal(m.Data, c.pages[i]) || m.Delta != (test.most == 1000) {
					t.Fatalf("page %d of request %d is page %d of %d, %d bytes, delta: %v", i, id, m.Number, m.Request, len(m.Data), m.Delta)
				}
			}
			if after, _ := s.Traffic(); after-before > test.most || after-before < test.most/4 {
				t.Errorf("%d bytes came for 4 pages, at most %d were expected", after-before, test.most)
			}
			s.EndPages(id)
			if held := room.held.Load(); held != 0 || s.account.sums != 0 {
				t.Errorf("%d old bytes are held when the answer is over, and %d bytes of sums accounted for", held, s.account.sums)
			}
		})
	}
}

// A delta must not make more than a page may have.
func TestHostilePageDelta(t *testing.T) {
	old := make([]byte, 40_000)
	most := []byte{0, 6, 0, 0, 8, 0, 0, 8} // twice the first 8 blocks
	if page, err := applyPageDelta(most, old, DeltaBlockMax); err != nil || len(page) != PageMax {
		t.Errorf("%d bytes: %v", len(page), err)
	}
	for name, delta := range map[string][]byte{
		"a literal more":     append(most, 'x'),
		"a block more":       {0, 6, 0, 0, 8, 0, 0, 9},
		"compressed":         {1, 3, 0, 0, 1, 'x'},
		"literals before it": {0, 3, 9, 0, 1, 'x'},
		"nothing":            {},
	} {
		if page, err := applyPageDelta(delta, old, DeltaBlockMax); err == nil {
			t.Errorf("%s: it made %d bytes", name, len(page))
		}
	}
}

// A holder stands so many sums and no more.
func TestHostileSums(t *testing.T) {
	c := newFakeContent(1, 0, 1)
	c.ranges = [][]cafs.ChunkInfo{{c.put(make([]byte, 100_000))}}
	var raw bytes.Buffer
	for number := range SigsBytesMax/SigsSumsMax + 1 {
		m := sigsBody{1, number, signature{DeltaBlockMin, 256 * DeltaBlockMin, make([]byte, SigsSumsMax)}}
		raw.Write(appendFrame(nil, frameSigs, m.append(nil)))
	}
	wantViolation(t, serve(t, c, raw.String()), frameSigs, RuleLimit)
}

// Frames of features that the other side did not name are violations.
func TestFeaturesThatAreOff(t *testing.T) {
	c := tinyContent()
	t.Run("SIGS", func(t *testing.T) {
		plain := func(m *openBody) { m.features = 0 }
		rw := &script{in: bytes.NewReader(append(openedWith(c, plain, nil), "\x0d\x0d\x01\x00\x80\x04\x0712345678"...))}
		h, err := Accept(rw, holderConfig(c))
		if err != nil {
			t.Fatal(err)
		}
		wantViolation(t, h.Run(t.Context()), frameSigs, RuleUnexpected)
	})
	for name, chunk := range map[string]string{
		"zstd":  "\x07\x05\x01\x00\x01ab",
		"delta": "\x07\x05\x01\x00\x02ab",
	} {
		t.Run(name, func(t *testing.T) {
			answer := &script{in: bytes.NewReader(openedWith(c, nil, nil))}
			cfg := holderConfig(c)
			cfg.testOnlyWithout = featuresHere
			if _, err := Accept(answer, cfg); err != nil {
				t.Fatal(err)
			}
			rw := &script{in: bytes.NewReader(append(answer.out.Bytes(), chunk...))}
			receiver := receiverConfig(c)
			receiver.Rand = bytes.NewReader(make([]byte, nonceSize))
			r, _, err := Open(rw, receiver)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if _, err := r.Wish(0, someBitsOf(3, 0), c.ranges[0]); err != nil {
				t.Fatal(err)
			}
			_, err = r.Next(nil)
			wantViolation(t, err, frameChunk, RuleUnexpected)
		})
	}
}

// A malformed delta is a violation, whatever it is a delta to.
func TestHostileDelta(t *testing.T) {
	c, old := similarContent(1)
	for name, delta := range map[string]string{
		"nothing":                "\x00",
		"no runs":                "\x00\x00abc",
		"a block behind the old": "\x00\x03\x00\x39\x01",
		"too few bytes":          "\x00\x03\x00\x00\x01",
		"a form that is none":    "\x02\x03\x00\x00\x01",
		"literals not of zstd":   "\x01\x03\x00\x00\x01abc",
	} {
		t.Run(name, func(t *testing.T) {
			receiverEnd, holderEnd := net.Pipe()
			defer receiverEnd.Close()
			go func() {
				h, err := Accept(holderEnd, holderConfig(c))
				if err != nil {
					t.Error(err)
					return
				}
				for range 2 { // SIGS and WISH
					if _, _, err := h.in.next(nil); err != nil {
						t.Error(err)
						return
					}
				}
				m := chunkBody{1, 0, encodingDelta, []byte(delta)}
				if _, err := holderEnd.Write(appendFrame(nil, frameChunk, m.append(nil))); err != nil && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			}()
			r, _, err := Open(receiverEnd, receiverConfig(c))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.WishSimilar(0, allBits(1), c.ranges[0], func(int) []byte { return old[0] }); err != nil {
				t.Fatal(err)
			}
			_, err = r.Next(nil)
			wantViolation(t, err, frameChunk, RuleMalformed)
			r.Close()
		})
	}
}
