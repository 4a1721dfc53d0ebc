package protocol

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

func newTestQueue() *wishQueue { return &wishQueue{sent: newSentCounts(new(atomic.Int64))} }

// newTestQueues returns the queues of sessions about one root.
func newTestQueues(n int) []*wishQueue {
	queues := make([]*wishQueue, n)
	sent := newSentCounts(new(atomic.Int64))
	for i := range queues {
		queues[i] = &wishQueue{sent: sent}
	}
	return queues
}

// addWish enters all chunks of a range of n chunks.
func (q *wishQueue) addWish(t testing.TB, id uint64, rangeNumber int64, n int) {
	t.Helper()
	chunks := make([]cafs.ChunkInfo, n)
	for i := range chunks {
		chunks[i].Size = 10_000
	}
	if err := q.add(&queuedWish{id: id, rangeNumber: rangeNumber, chunks: chunks, left: allBits(n)}); err != nil {
		t.Fatal(err)
	}
}

// takeAll takes n chunks, and names them by range and number.
func (q *wishQueue) takeAll(t testing.TB, n int) (names []string) {
	t.Helper()
	for range n {
		taken, ok := q.take()
		if !ok {
			t.Fatalf("nothing is left after %v", names)
		}
		names = append(names, fmt.Sprintf("%d.%d", taken.at.Range, taken.at.Number))
	}
	return names
}

func TestQueueSendsInOrderOfArrivalWhatNobodyGot(t *testing.T) {
	q := newTestQueue()
	q.addWish(t, 1, 7, 3)
	q.addWish(t, 2, 5, 2)
	got := q.takeAll(t, 5)
	if want := []string{"7.0", "7.1", "7.2", "5.0", "5.1"}; !slices.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
}

// What another session got meanwhile comes last, also when both wished before anything was sent.
func TestQueueSendsTheLeastSentFirst(t *testing.T) {
	queues := newTestQueues(3)
	for _, q := range queues {
		q.addWish(t, 1, 0, 3)
		q.addWish(t, 2, 1, 2)
	}
	var got []string
	for i := range 15 {
		got = append(got, queues[i%3].takeAll(t, 1)...)
	}
	want := []string{
		"0.0", "0.1", "0.2", // each session another chunk
		"1.0", "1.1", "0.0", // of what nobody got, and then of what was sent once
		"0.1", "0.2", "1.0",
		"1.1", "0.0", "0.1",
		"0.2", "1.0", "1.1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
}

func TestQueueForgetsCountsWithTheLastSession(t *testing.T) {
	var holders Holders
	a, b := cafs.KeyOf([]byte("a")), cafs.KeyOf([]byte("b"))
	first, other := holders.join(a), holders.join(b)
	q := &wishQueue{sent: first}
	q.addWish(t, 1, 0, 3)
	q.takeAll(t, 3)
	if again := holders.join(a); again != first || other == first || holders.counted.Load() != 1 {
		t.Errorf("two sessions about one root have counts %p and %p, of another %p", first, again, other)
	}
	holders.leave(new(Holder), a)
	holders.leave(new(Holder), a)
	if holders.counted.Load() != 0 || len(holders.sent) != 1 {
		t.Errorf("%d ranges of %d roots are counted at the end", holders.counted.Load(), len(holders.sent))
	}
}

// However much is sent, the counts take a bounded room, and everything that is wished is sent.
func TestSentCountsAreBounded(t *testing.T) {
	var counted atomic.Int64
	counted.Store(sentRangesMax - 2)
	q, crowdedOut := &wishQueue{sent: newSentCounts(&counted)}, &wishQueue{sent: newSentCounts(&counted)}
	for i := range 5 {
		q.addWish(t, uint64(i+1), int64(i), 4)
	}
	q.takeAll(t, 20)
	if len(q.sent.ranges) != 2 || counted.Load() != sentRangesMax {
		t.Errorf("%d ranges are counted, %d in all", len(q.sent.ranges), counted.Load())
	}
	crowdedOut.addWish(t, 1, 3, 2)
	if got := crowdedOut.takeAll(t, 2); !slices.Equal(got, []string{"3.0", "3.1"}) {
		t.Errorf("sent %v without any counts", got)
	}
	q.sent.forget()
	crowdedOut.sent.forget()
	if counted.Load() != sentRangesMax-2 {
		t.Errorf("%d ranges are counted at the end", counted.Load())
	}
}

// TestQueueAgainstAPlainOne holds queues against a search through all that is wished, under random wishes and CANCELs.
func TestQueueAgainstAPlainOne(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		queues := newTestQueues(1 + random.IntN(4))
		plain := make([]plainQueue, len(queues))
		sent := make(map[string]int)
		for id := uint64(1); id < 60; id++ {
			i := random.IntN(len(queues))
			if random.IntN(3) == 0 {
				n := 1 + random.IntN(20)
				rangeNumber := int64(random.IntN(4))<<8 | int64(n) // each range has as many chunks every time
				queues[i].addWish(t, id, rangeNumber, n)
				plain[i].add(id, rangeNumber, n)
				continue
			}
			if len(plain[i]) > 0 && random.IntN(4) == 0 {
				w := plain[i][random.IntN(len(plain[i]))]
				bits := NewBits(w.chunks)
				bits.Set(w.number)
				cancelled, err := queues[i].cancel(w.id, bits)
				if err != nil || cancelled.Count() != 1 {
					t.Fatalf("cancel: %x, %v", cancelled, err)
				}
				plain[i] = slices.DeleteFunc(plain[i], func(other plainChunk) bool { return other == w })
				continue
			}
			least := queues[i].leastSent()
			want := plain[i].take(sent)
			if before := sent[want.name()] - 1; want.id > 0 && int(least) != before {
				t.Fatalf("what comes next was sent %d times, not %d", before, least)
			}
			taken, ok := queues[i].take()
			if got := (plainChunk{taken.wish, taken.at.Range, taken.at.Number, want.chunks}); ok && got != want || ok != (want.id > 0) {
				t.Fatalf("took %+v, want %+v", got, want)
			}
		}
		for i, q := range queues {
			if q.bytes != int64(len(plain[i]))*10_000 || len(q.byID) != len(q.wishes) {
				t.Fatalf("%d bytes in %d wishes wait, want %d chunks", q.bytes, len(q.wishes), len(plain[i]))
			}
		}
	}
}

type plainChunk struct {
	id          uint64
	rangeNumber int64
	number      int
	chunks      int // of the range
}

func (c plainChunk) name() string { return fmt.Sprintf("%d.%d", c.rangeNumber, c.number) }

// plainQueue holds chunks in order of arrival.
type plainQueue []plainChunk

func (q *plainQueue) add(id uint64, rangeNumber int64, n int) {
	for i := range n {
		*q = append(*q, plainChunk{id, rangeNumber, i, n})
	}
}

func (q *plainQueue) take(sent map[string]int) plainChunk {
	if len(*q) == 0 {
		return plainChunk{}
	}
	least := 0
	for i, c := range *q {
		if sent[c.name()] < sent[(*q)[least].name()] {
			least = i
		}
	}
	taken := (*q)[least]
	sent[taken.name()]++
	*q = slices.Delete(*q, least, least+1)
	return taken
}

// BenchmarkQueue takes what is wished in 200 sessions at the same time, about the same 64 MiB in orders of their own.
func BenchmarkQueue(b *testing.B) {
	for _, sessions := range []int{1, 200} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 2))
			for left := 0; left < b.N; {
				b.StopTimer()
				queues := newTestQueues(sessions)
				for _, q := range queues {
					for i, number := range random.Perm(60) {
						q.addWish(b, uint64(i+1), int64(number), 28)
					}
				}
				b.StartTimer()
				for range 60 * 28 {
					for _, q := range queues {
						if _, ok := q.take(); !ok {
							b.Fatal("nothing is left")
						}
						left++
					}
				}
			}
		})
	}
}
