package protocol

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// fakeContent is a root in memory: whole ranges of chunks, and pages that are any bytes.
type fakeContent struct {
	record []byte

	// mu guards what tests change while a session runs.
	mu       sync.Mutex
	ranges   [][]cafs.ChunkInfo
	chunks   map[cafs.Key][]byte
	pages    [][]byte // those of every request, in the order of the answer
	unlisted map[int64]bool
	complete bool
	have     []HaveItem
	copies   bool // ReadChunk ignores the buffer
	broken   error
	reading  func(ChunkAt) // called by ReadChunk before it looks
	paging   func(number int64)
	lookUps  []int64 // the ranges that Chunks was called for
}

// newFakeContent makes a complete root of the given number of ranges, with about chunksEach chunks in each.
func newFakeContent(seed uint64, ranges, chunksEach int) *fakeContent {
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	rng := rand.New(source)
	c := &fakeContent{
		record: fmt.Appendf(nil, "record %d", seed), complete: true,
		chunks: make(map[cafs.Key][]byte), unlisted: make(map[int64]bool),
	}
	for range ranges {
		infos := make([]cafs.ChunkInfo, 1+rng.IntN(2*chunksEach))
		for i := range infos {
			data := make([]byte, 1+rng.IntN(70_000))
			source.Read(data)
			infos[i] = c.put(data)
		}
		c.ranges = append(c.ranges, infos)
	}
	for i := range 10 {
		c.pages = append(c.pages, fmt.Appendf(nil, "page %d of root %d", i, seed))
	}
	return c
}

func (c *fakeContent) put(data []byte) cafs.ChunkInfo {
	info := cafs.ChunkInfo{Key: cafs.KeyOf(data), Size: len(data)}
	c.chunks[info.Key] = data
	return info
}

func (c *fakeContent) Root() cafs.Key             { return cafs.KeyOf(c.record) }
func (c *fakeContent) Record() []byte             { return c.record }
func (c *fakeContent) Have() ([]HaveItem, bool)   { return c.have, c.complete }
func (c *fakeContent) bits(rangeNumber int64) int { return len(c.ranges[rangeNumber]) }

func (c *fakeContent) Chunks(_ context.Context, rangeNumber int64) ([]cafs.ChunkInfo, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookUps = append(c.lookUps, rangeNumber)
	if rangeNumber >= int64(len(c.ranges)) {
		return nil, nil
	}
	if c.unlisted[rangeNumber] {
		return nil, fmt.Errorf("pages of range %d: %w", rangeNumber, cafs.ErrNotFound)
	}
	return c.ranges[rangeNumber], nil
}

func (c *fakeContent) ReadChunk(_ context.Context, at ChunkAt, buf []byte) ([]byte, error) {
	if c.reading != nil {
		c.reading(at)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return nil, c.broken
	}
	data, ok := c.chunks[at.Info.Key]
	if !ok {
		return nil, fmt.Errorf("chunk %s: %w", at.Info.Key, cafs.ErrNotFound)
	}
	if c.copies {
		return bytes.Clone(data), nil
	}
	return append(buf[:0], data...), nil
}

func (c *fakeContent) Pages(_ context.Context, request PagesRequest) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for number := request.First; number <= request.Last && c.pages != nil; number++ {
			if c.paging != nil {
				c.paging(number)
			}
			if number >= int64(len(c.pages)) || c.pages[number] == nil {
				yield(nil, fmt.Errorf("page %d: %w", number, cafs.ErrNotFound))
				return
			}
			if !yield(c.pages[number], nil) {
				return
			}
		}
	}
}

// allBits returns n bits that are all 1.
func allBits(n int) Bits {
	b := NewBits(n)
	for i := range n {
		b.Set(i)
	}
	return b
}

var (
	receiverID = []byte("the receiver's peer ID")
	holderID   = []byte("the holder's peer ID")
)

func receiverConfig(c *fakeContent) ReceiverConfig {
	return ReceiverConfig{
		Root: c.Root(), Network: "test", Local: receiverID, Remote: holderID,
		Ranges: func([]byte) (int64, error) { return int64(len(c.ranges)), nil },
	}
}

func holderConfig(contents ...*fakeContent) HolderConfig {
	return HolderConfig{
		Network: "test", Local: holderID, Remote: receiverID,
		Find: func(key DiscoveryKey) (Content, bool) {
			for _, c := range contents {
				if DiscoveryKeyOf(c.Root()) == key {
					return c, true
				}
			}
			return nil, false
		},
	}
}

// session is an open session and the outcome of the holder's Run.
type session struct {
	*Receiver
	accepted Accepted
	holder   *Holder
	members  chan []Member // that the receiver told
	ran      chan error
}

// startSession opens a session over the two ends of a stream, and ends it with the test.
func startSession(t testing.TB, c *fakeContent, cfg ReceiverConfig, receiverEnd, holderEnd net.Conn) *session {
	t.Helper()
	type accepted struct {
		holder *Holder
		err    error
	}
	answer := make(chan accepted, 1)
	members := make(chan []Member, 2*PeersMax)
	go func() {
		cfg := holderConfig(c)
		cfg.Members = func(told []Member) { members <- told }
		h, err := Accept(holderEnd, cfg)
		answer <- accepted{h, err}
	}()
	r, words, err := Open(receiverEnd, cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	a := <-answer
	if a.err != nil {
		t.Fatalf("accept: %v", a.err)
	}
	s := &session{Receiver: r, accepted: words, holder: a.holder, members: members, ran: make(chan error, 1)}
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		s.ran <- a.holder.Run(context.Background())
	}()
	t.Cleanup(func() {
		s.Close()
		<-ran
	})
	return s
}

// sync returns when the holder has read all that was sent.
func (s *session) sync(t testing.TB) {
	t.Helper()
	if err := s.SendPeers([]Member{{[]byte("record"), []byte("address")}}); err != nil {
		t.Fatal(err)
	}
	<-s.members
}

func pipeSession(t testing.TB, c *fakeContent) *session {
	t.Helper()
	return startSessionAs(t, c, receiverConfig(c))
}

func startSessionAs(t testing.TB, c *fakeContent, cfg ReceiverConfig) *session {
	t.Helper()
	receiverEnd, holderEnd := net.Pipe()
	return startSession(t, c, cfg, receiverEnd, holderEnd)
}

// wishAll wishes every chunk of the range.
func (s *session) wishAll(t testing.TB, c *fakeContent, rangeNumber int64) uint64 {
	t.Helper()
	id, err := s.Wish(rangeNumber, allBits(c.bits(rangeNumber)), c.ranges[rangeNumber])
	if err != nil {
		t.Fatalf("wish: %v", err)
	}
	return id
}

// next returns the next message, which must be an M.
func next[M Message](t testing.TB, r *Receiver) M {
	t.Helper()
	message, err := r.Next(nil)
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	m, ok := message.(M)
	if !ok {
		t.Fatalf("got a %T, want a %T: %+v", message, m, message)
	}
	return m
}

// wantViolation checks that err says that the peer broke this rule with this frame.
func wantViolation(t testing.TB, err error, frame frameType, rule Rule) {
	t.Helper()
	var broken *ViolationError
	if !errors.As(err, &broken) || broken.Frame != frame.String() || broken.Rule != rule {
		t.Fatalf("got the error %v, want a violation: %s: %s", err, frame, rule)
	}
}

// within fails the test if f takes more than some seconds.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: still not done", what)
	}
}

func TestSessionEverythingArrives(t *testing.T) {
	for _, test := range []struct {
		name   string
		copies bool
	}{{"read in place", false}, {"read elsewhere", true}} {
		t.Run(test.name, func(t *testing.T) {
			c := newFakeContent(1, 20, 8)
			c.copies = test.copies
			s := pipeSession(t, c)
			if !bytes.Equal(s.accepted.Record, c.record) || !s.accepted.Complete || len(s.accepted.Have) != 0 {
				t.Fatalf("accepted as %+v", s.accepted)
			}
			expected := map[ChunkAt]bool{}
			for rangeNumber, infos := range c.ranges {
				s.wishAll(t, c, int64(rangeNumber))
				for number, info := range infos {
					expected[ChunkAt{int64(rangeNumber), number, info}] = true
				}
			}
			buf := make([]byte, FrameBodyMax)
			chunkBytes := int64(0)
			for len(expected) > 0 {
				message, err := s.Next(buf)
				if err != nil {
					t.Fatal(err)
				}
				chunk, ok := message.(ChunkMessage)
				if !ok || !expected[chunk.At] {
					t.Fatalf("got %+v, which nobody expects", message)
				}
				delete(expected, chunk.At)
				if _, err := cafs.VerifyChunk(chunk.At.Info, chunk.Data); err != nil {
					t.Fatal(err)
				}
				chunkBytes += int64(len(chunk.Data))
			}
			if wishes, outstanding := s.Outstanding(); wishes != 0 || outstanding != 0 {
				t.Errorf("%d wishes of %d bytes are outstanding when all is here", wishes, outstanding)
			}
			if read, _ := s.Traffic(); read < chunkBytes || read > chunkBytes+chunkBytes/100 {
				t.Errorf("%d bytes read for %d bytes of chunks", read, chunkBytes)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := <-s.ran; err != nil {
				t.Errorf("run: %v", err)
			}
		})
	}
}

// randomSeed returns the seed of a random test: that of the -seed flag, which the package's other tests define, or a
// new one.
func randomSeed(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if replay := flag.Lookup("seed"); replay != nil && replay.Value.String() != "0" {
		var err error
		if seed, err = strconv.ParseUint(replay.Value.String(), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("replay with -seed=%d", seed)
	return seed
}
