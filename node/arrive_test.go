package node

import (
	"bytes"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

// A chunk that came a second time, when nothing more was awaited of its range, was once written to the start of the
// output. It happens when a session breaks while its last chunks wait to be stored, and another holder is asked for them.
func TestSecondCopyOfAChunkChangesNothing(t *testing.T) {
	first, second := bytes.Repeat([]byte{1}, cafs.ChunkSizeMax), bytes.Repeat([]byte{2}, 10_000)
	path := filepath.Join(t.TempDir(), "output")
	out, err := createOutput(t.Context(), memory.New(), path, protocol.DiscoveryKey{}, int64(len(first)+len(second)), false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.discard() }()
	f := &fetch{
		node:     &Node{store: memory.New()},
		out:      out,
		arrivals: protocol.NewArrivals(memory.New()),
		plan:     newPlan(shuffle.Order(2, [32]byte{}), 2<<20),
		ranges:   make(map[int64]cafs.RangeChunks),
		awaited:  make(map[cafs.Key][]placeAt),
		cancel:   func(error) {},
	}
	for number := range f.plan.toPrepare(func(int64) bool { return true }) {
		data, offset := first, int64(0)
		if number == 1 {
			data, offset = second, int64(len(first))
		}
		chunks := []cafs.ChunkInfo{{Key: cafs.KeyOf(data), Size: len(data)}}
		f.ranges[number] = cafs.RangeChunks{Offset: offset, Chunks: chunks}
		f.plan.prepared(number, chunks, protocol.Bits{0x80})
	}
	f.changed = sync.NewCond(&f.mu)
	asks := func(from peer.ID) arrival {
		t.Helper()
		holder := f.plan.addHolder(from, true, haveMap{}, time.Millisecond)
		for _, wish := range wishesOf(f.plan, holder, epoch) {
			if wish.number() == 1 {
				at := protocol.ChunkAt{Range: 1, Info: cafs.ChunkInfo{Key: cafs.KeyOf(second), Size: len(second)}}
				s := &session{peer: from, holder: holder, share: &PeerShare{}, dropped: errComplete}
				return arrival{from: s, wish: wish, message: protocol.ChunkMessage{At: at, Data: second}}
			}
		}
		t.Fatalf("%s is not asked", from)
		return arrival{}
	}
	one := asks("one")
	f.plan.removeHolder(one.from.holder)
	for _, a := range []arrival{one, asks("other")} {
		if err := f.storeBatch(t.Context(), []arrival{a}); err != nil {
			t.Fatal(err)
		}
	}

	got, err := os.ReadFile(out.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:len(first)], make([]byte, len(first))) || !bytes.Equal(got[len(first):], second) {
		t.Error("the output has bytes of the second chunk elsewhere than in its place")
	}
	if f.result.Fetched != int64(len(second)) || f.result.Duplicate != int64(len(second)) {
		t.Errorf("%d bytes are counted as fetched and %d as duplicate", f.result.Fetched, f.result.Duplicate)
	}
}

// All buffers were once made, in turns, by whoever reads one chunk at a time.
func TestBuffersAreMadeWhenNeeded(t *testing.T) {
	f := &fetch{buffers: make(chan []byte, buffersMax), unmade: make(chan struct{}, buffersMax)}
	for range buffersMax {
		f.unmade <- struct{}{}
	}
	take := func() []byte {
		buf, err := f.buffer(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return buf
	}
	for range 2 * buffersMax {
		f.buffers <- take()
	}
	if made := buffersMax - len(f.unmade); made != 1 {
		t.Errorf("%d buffers were made for one at a time", made)
	}
	for range buffersMax {
		if f.buffersInUse() {
			t.Fatal("buffers are said to be in use that are not")
		}
		take()
	}
	if !f.buffersInUse() {
		t.Error("there are more buffers than may be")
	}
}
