package node_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// edited returns content with 2,000 other bytes at each offset, and 700 bytes more after each second.
func edited(content []byte, offsets ...int) []byte {
	changed := slices.Clone(content)
	for i, offset := range slices.Backward(offsets) {
		copy(changed[offset:], noise(2000, byte(100+i)))
		if i%2 == 1 {
			changed = slices.Insert(changed, offset, noise(700, byte(50+i))...)
		}
	}
	return changed
}

// Of chunks that changed only what is new in them is sent, by a holder that never had the old version.
func TestFetchSendsWhatIsNewInChunks(t *testing.T) {
	t.Parallel()
	content := noise(12<<20, 7)
	offsets := []int{100, 3 << 20, 5<<20 - 900, 5<<20 + 200_000, 9 << 20, 12<<20 - 3000}
	for _, test := range []struct {
		name     string
		old, new []byte
		related  bool // the old version is where the new one is to be
		most     int64
		private  bool // the old version
	}{
		{"in the place of the old version", content, edited(content, offsets...), true, 30_000, false},
		{"elsewhere, by its root alone", content, edited(content, offsets...), false, 80_000, false},
		{"in the place of a private root", content, edited(content, offsets...), true, 30_000, true},
		{"elsewhere, a private root", content, edited(content, offsets...), false, 1 << 20, true},
		{"a file of one chunk", content[:30_000], edited(content[:30_000], 10_000), true, 6000, false},
		{"the start and the end of a file", content[:3<<20], edited(content[:3<<20], 0, 3<<20-2000), true, 10_000, false},
		{"a file that got longer", content[:3<<20], slices.Concat(content[:3<<20], noise(20_000, 3)), true, 40_000, false},
		{"a file that got shorter", content[:3<<20], content[:3<<20-10_000], true, 10_000, false},
		{"equal chunks between the edits", slices.Repeat(content[:1<<20], 6), edited(slices.Repeat(content[:1<<20], 6), 2<<20+500_000), true, 60_000, false},
		{"another file", content[:3<<20], noise(3<<20, 99), true, 4 << 20, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			holder := start(t, node.Config{DisableDHT: true})
			link := add(t, holder, test.new)
			link.Peers = []peer.AddrInfo{at(t, holder)}
			receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
			old, output := filepath.Join(t.TempDir(), "old"), filepath.Join(t.TempDir(), "output")
			if test.related {
				old = output
			}
			if err := os.WriteFile(old, test.old, 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := receiver.Add(t.Context(), old, node.AddOptions{Private: test.private}); err != nil {
				t.Fatal(err)
			}
			result, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output, Force: test.related})
			if err != nil {
				t.Fatal(err)
			}
			assertFile(t, output, test.new)
			if sent := result.Fetched - result.Saved; sent > test.most {
				t.Errorf("%d bytes of chunks were sent, at most %d were expected; %d were fetched", sent, test.most, result.Fetched)
			}
			if secret := test.private && !test.related; secret && result.WireOut > 2000 {
				t.Errorf("%d bytes were sent to the holder of something that it may not know of", result.WireOut)
			}
			if out := result.WireOut; out > 70_000 { // two percent of the largest that has nothing in common
				t.Errorf("%d bytes were sent to the holder", out)
			}
		})
	}
}

// deltaHolder answers wishes in range order; mistakes is how many chunks that it has sums for it sends as deltas that make
// something else, or pages.
func (h *held) deltaHolder(t *testing.T, mistakes int, pages bool) (at peer.AddrInfo, plain chan bool) {
	plain = make(chan bool, 100)
	return h.serveRaw(t, func(ctx context.Context, stream network.Stream) {
		in := bufio.NewReader(stream)
		var signed []int
		for {
			kind, body, err := readFrame(in)
			if err != nil {
				return
			}
			switch kind {
			case framePages:
				if len(signed) > 0 && mistakes > 0 && pages {
					mistakes--
					var answer bytes.Buffer
					if h.answerPages(ctx, &answer, body) != nil {
						return
					}
					answers := bufio.NewReader(&answer)
					_, first, err := readFrame(answers)
					if err != nil {
						return
					}
					first = append(first[:2], 128, 0, 3, 0, 0, 1) // behind id and number, of a byte each: the first block alone
					rest, err := io.ReadAll(answers)
					if err != nil {
						return
					}
					if _, err := stream.Write(append(frame(framePage, first), rest...)); err != nil {
						return
					}
				} else if h.answerPages(ctx, stream, body) != nil {
					return
				} else if mistakes == 0 && len(signed) == 0 {
					plain <- true
				}
				signed = nil
			case frameSigs:
				_, n := binary.Uvarint(body)
				number, _ := binary.Uvarint(body[n:])
				signed = append(signed, int(number))
			case frameWish:
				id, number, _ := firstOfWish(body)
				chunks, err := h.Chunks(ctx, int64(number))
				if err != nil {
					return
				}
				bits := protocol.Bits(body[len(body)-protocol.BitsLen(len(chunks)):])
				for chunk := range bits.Ones() {
					data, err := h.store.Get(ctx, chunks[chunk].Key, nil)
					if err != nil {
						return
					}
					encoding := 0
					if slices.Contains(signed, chunk) && mistakes > 0 && !pages {
						mistakes--
						encoding = 2
						data = slices.Concat([]byte{0, 3, 0, 0, 1}, make([]byte, len(data)-512)) // the first block, and zeros
					} else if mistakes == 0 && !slices.Contains(signed, chunk) {
						plain <- true
					}
					if _, err := stream.Write(frame(frameChunk, id, chunk, encoding, data)); err != nil {
						return
					}
				}
				signed = nil
			}
		}
	}), plain
}

const (
	frameSigs = 13
)

// A delta that makes another chunk may be a chance: it is asked for again as it is. A second one is not.
func TestDeltaThatIsNotTheChunk(t *testing.T) {
	t.Parallel()
	content := noise(12<<20, 8)
	changed := edited(content, 300_000, 700_000, 1_200_000, 1_700_000)
	for _, test := range []struct {
		name     string
		mistakes int
		pages    bool
		dropped  bool
	}{{"once", 1, false, false}, {"again and again", 100, false, true}, {"a page", 1, true, false}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := hold(t, changed)
			first, plain := h.deltaHolder(t, test.mistakes, test.pages)
			link := h.link(first)
			honest := start(t, node.Config{DisableDHT: true})
			receiver := start(t, node.Config{DisableDHT: true})
			add(t, receiver, content)
			dropped := newDrops()
			if test.dropped {
				if got := add(t, honest, changed); got.Root != link.Root {
					t.Fatalf("the same content has the roots %s and %s", got.Root, link.Root)
				}
			}
			fetched := make(chan error, 1)
			output := filepath.Join(t.TempDir(), "output")
			go func() {
				_, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output, Events: dropped.see})
				fetched <- err
			}()
			if test.dropped {
				<-dropped.happens
				if said := dropped.of(first.ID); !strings.Contains(said, "wrong bytes") {
					t.Errorf("dropped because %q", said)
				}
				if err := receiver.Join(t.Context(), at(t, honest)); err != nil {
					t.Fatal(err)
				}
			}
			if err := <-fetched; err != nil {
				t.Fatal(err)
			}
			assertFile(t, output, changed)
			if !test.dropped && (len(plain) == 0 || dropped.of(first.ID) != "") {
				t.Errorf("it was asked plainly %d times, and dropped because %q", len(plain), dropped.of(first.ID))
			}
		})
	}
}

// What compresses is compressed, and arrives as it was.
func TestFetchCompresses(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("line after line of a log file that says the same\n"), 20_000)
	holder := start(t, node.Config{DisableDHT: true})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}
	receiver := start(t, node.Config{DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	result, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	// How much is compressed depends on how busy the machine is.
	if result.Saved < 200_000 || result.WireIn > result.Bytes-result.Saved+10_000 {
		t.Errorf("%d bytes came for %d, of which %d were saved", result.WireIn, result.Bytes, result.Saved)
	}
}

// holdSmallChunks makes content of 3,000 bytes a chunk, so that its list is as deep as that of a GiB.
func holdSmallChunks(t *testing.T, content []byte) *held {
	t.Helper()
	store := memory.New()
	put := func(chunks ...cafs.Chunk) error { return store.Put(t.Context(), chunks...) }
	list := cafs.NewListBuilder(func(page cafs.Chunk) error { return put(page) })
	for data := range slices.Chunk(content, 3000) {
		chunk, err := cafs.NewChunk(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(put(chunk), list.Add(chunk.Info())); err != nil {
			t.Fatal(err)
		}
	}
	data, err := list.Finish()
	if err != nil || data.Depth != 2 {
		t.Fatalf("a list of depth %d, want 2: %v", data.Depth, err)
	}
	return holdRecord(t, store, cafs.Record{Kind: cafs.KindFile, Data: data})
}

// Of the list of a new version only the pages come that changed.
func TestFetchTakesPagesOfTheOldList(t *testing.T) {
	t.Parallel()
	old := noise(36_000_000, 12)
	receiver := start(t, node.Config{DisableDHT: true})
	h := holdSmallChunks(t, old)
	if _, err := receiver.Fetch(t.Context(), h.link(h.serve(t)), node.FetchOptions{}); err != nil {
		t.Fatal(err)
	}
	changed := slices.Clone(old)
	changed[20_000_000]++
	h = holdSmallChunks(t, changed)
	output := filepath.Join(t.TempDir(), "output")
	result, err := receiver.Fetch(t.Context(), h.link(h.serve(t)), node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, changed)
	if result.Fetched != 3000 || result.WireIn > 20_000 {
		t.Errorf("%d bytes of chunks and %d in all came for one edit", result.Fetched, result.WireIn)
	}
}
