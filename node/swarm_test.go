package node_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// inStep makes holders send in turns: none is more than so many chunks ahead of the slowest of them, as long as that one
// has not left.
type inStep struct {
	mu      sync.Mutex
	changed *sync.Cond
	sent    map[int]int // by holder
}

func newInStep(holders int) *inStep {
	s := &inStep{sent: make(map[int]int)}
	s.changed = sync.NewCond(&s.mu)
	for i := range holders {
		s.sent[i] = 0
	}
	return s
}

func (s *inStep) send(ctx context.Context, holder int) {
	defer context.AfterFunc(ctx, s.changed.Broadcast)()
	s.mu.Lock()
	defer s.mu.Unlock()
	const ahead = 10
	for ctx.Err() == nil {
		slowest := s.sent[holder]
		for _, sent := range s.sent {
			slowest = min(slowest, sent)
		}
		if s.sent[holder]-slowest < ahead {
			break
		}
		s.changed.Wait()
	}
	if _, ok := s.sent[holder]; ok {
		s.sent[holder]++
	}
	s.changed.Broadcast()
}

func (s *inStep) leave(holder int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sent, holder)
	s.changed.Broadcast()
}

func TestSeveralHoldersShareTheWork(t *testing.T) {
	t.Parallel()
	content := noise(24<<20, 17)
	for _, holders := range []int{2, 4} {
		t.Run(fmt.Sprint(holders), func(t *testing.T) {
			t.Parallel()
			receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
			// A holder joins in when it has its session, so that all have one before the work is done.
			step := newInStep(holders)
			link := node.Link{}
			for i := range holders {
				h := hold(t, content)
				h.chunk = func(ctx context.Context, _ protocol.ChunkAt, data []byte) ([]byte, error) {
					step.send(ctx, i)
					return data, nil
				}
				link.Root, link.Peers = h.Root(), append(link.Peers, h.serve(t))
			}
			output := filepath.Join(t.TempDir(), "output")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			// Who has sent all that it was asked for must not hold up the others.
			done := fetch(ctx, receiver, link, node.FetchOptions{Output: output, Events: func(event node.Event) {
				if event.Kind == node.EventProgress && event.Fetched > int64(len(content)/2) {
					for i := range holders {
						step.leave(i)
					}
				}
			}})
			<-done.done
			if done.err != nil {
				t.Fatal(done.err)
			}
			assertFile(t, output, content)
			assertSums(t, done.result)
			// At the very end a chunk may be asked for twice when a holder has gone quiet, as on a busy machine.
			spare := int64(len(content) / 500)
			if done.result.Duplicate > spare || len(done.result.Peers) != holders {
				t.Errorf("%d bytes came twice, from %d peers; want at most %d, from %d",
					done.result.Duplicate, len(done.result.Peers), spare, holders)
			}
			for _, share := range done.result.Peers {
				if share.Bytes == 0 || share.Dropped != "" || share.Source != "named" || !share.Complete {
					t.Errorf("share %+v, want every holder used to the end", share)
				}
			}
			if wire := done.result.WireIn; wire < done.result.Fetched || wire > done.result.Fetched+done.result.Fetched/100 {
				t.Errorf("%d bytes came over the wire for %d of content", wire, done.result.Fetched)
			}
		})
	}
}

// TestHolderThatLeavesIsReplaced ends a holder's host when it has sent some chunks.
func TestHolderThatLeavesIsReplaced(t *testing.T) {
	t.Parallel()
	content := noise(24<<20, 18)
	stays := hold(t, content)
	left := make(chan struct{})
	leaver := start(t, node.Config{})
	add(t, leaver, content)
	stays.chunk = func(ctx context.Context, _ protocol.ChunkAt, data []byte) ([]byte, error) {
		select {
		case <-left:
		case <-ctx.Done():
		}
		return data, nil
	}
	receiver := start(t, node.Config{DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	var once sync.Once
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	seen := newDrops()
	link := stays.link(at(t, leaver), stays.serve(t))
	fetching := fetch(ctx, receiver, link, node.FetchOptions{Output: output, Events: func(event node.Event) {
		seen.see(event)
		if event.Kind == node.EventProgress && event.Fetched > 0 {
			once.Do(func() {
				go func() {
					_ = leaver.Close()
					close(left)
				}()
			})
		}
	}})
	<-fetching.done
	if fetching.err != nil {
		t.Fatal(fetching.err)
	}
	assertFile(t, output, content)
	assertSums(t, fetching.result)
	if seen.of(leaver.ID()) == "" {
		t.Error("nobody was told that a holder left")
	}
}

// TestPartialHoldersTogetherHaveAll fetches from two nodes of which each has another part, and from one that is still
// fetching.
func TestPartialHoldersTogetherHaveAll(t *testing.T) {
	t.Parallel()
	content := noise(8<<20, 19)
	all := hold(t, content)
	// Each gets the chunks of every second range from a holder that has no others, and is cut off then.
	var link node.Link
	for part := range 2 {
		partial := hold(t, content)
		partial.have = func() (items []protocol.HaveItem, complete bool) {
			for number := int64(part); number < partial.outline.RangesMax(); number += 2 {
				items = append(items, protocol.HaveItem{First: number, Count: 1, Op: protocol.HaveAll})
			}
			return items, false
		}
		holder := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
		_, err := holder.Fetch(t.Context(), partial.link(partial.serve(t)), node.FetchOptions{Wait: 300 * time.Millisecond})
		var none *node.NoHolderError
		if !errors.As(err, &none) || none.Verified < int64(len(content)/3) {
			t.Fatalf("fetch from a partial holder: %v", err)
		}
		link.Root, link.Peers = all.Root(), append(link.Peers, at(t, holder))
	}
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	result, err := receiver.Fetch(ctx, link, node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	assertSums(t, result)
	// They also tell of those that they have what they have from.
	if len(result.Peers) < 2 || result.Peers[0].Bytes == 0 || result.Peers[1].Bytes == 0 || result.Duplicate > 8<<20/500 {
		t.Errorf("peers %+v, want both used", result.Peers)
	}
	for _, share := range result.Peers {
		if share.Complete {
			t.Errorf("share %+v, want a partial holder", share)
		}
	}
}

// TestContentOfEveryShape fetches what is empty, tiny, of whole ranges, or full of equal chunks.
func TestContentOfEveryShape(t *testing.T) {
	t.Parallel()
	block := noise(100_000, 20)
	tests := []struct {
		name    string
		content []byte
		most    int64 // bytes of different chunks
	}{
		{"empty", nil, 0},
		{"one byte", []byte{42}, 1},
		{"one range", noise(cafs.RangeBytes, 21), cafs.RangeBytes},
		{"three ranges", noise(3*cafs.RangeBytes, 22), 3 * cafs.RangeBytes},
		{"zeros", make([]byte, 20<<20), 2 * cafs.ChunkSizeMax},
		{"a block again and again", slices.Repeat(block, 100), 20 * int64(len(block))},
		{"a file twice", slices.Repeat(noise(4<<20, 23), 2), 4<<20 + 10*cafs.ChunkSizeMax},
	}
	for _, test := range tests {
		for _, private := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, private %t", test.name, private), func(t *testing.T) {
				t.Parallel()
				holder := start(t, node.Config{})
				status, err := holder.AddReader(t.Context(), bytes.NewReader(test.content), node.AddOptions{Private: private})
				if err != nil {
					t.Fatal(err)
				}
				receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
				link := node.Link{Root: status.Root, Peers: []peer.AddrInfo{at(t, holder)}}
				output := filepath.Join(t.TempDir(), "output")
				result, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output})
				if err != nil {
					t.Fatal(err)
				}
				assertFile(t, output, test.content)
				assertSums(t, result)
				if result.Fetched > test.most || result.Bytes != int64(len(test.content)) || result.Duplicate != 0 {
					t.Errorf("fetched %d bytes, %d of them twice; want at most %d", result.Fetched, result.Duplicate, test.most)
				}
				for status, err := range receiver.Roots(t.Context()) {
					if err != nil || !status.Complete || status.Private != private || status.Place != output {
						t.Errorf("catalogued as %+v, %v", status, err)
					}
				}
			})
		}
	}
}

// TestFetchesOfOneRootWaitForEachOther starts several at once, some into files and one into the store.
func TestFetchesOfOneRootWaitForEachOther(t *testing.T) {
	t.Parallel()
	content := noise(6<<20, 24)
	holding := countSent(t, content, -1)
	link := holding.link(holding.serve(t))
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	dir := t.TempDir()
	var all []*background
	for i := range 4 {
		opts := node.FetchOptions{Output: filepath.Join(dir, fmt.Sprint(i))}
		if i == 3 {
			opts.Output = ""
		}
		all = append(all, fetch(t.Context(), receiver, link, opts))
	}
	fetched := int64(0)
	for i, f := range all {
		<-f.done
		if f.err != nil {
			t.Fatalf("fetch %d: %v", i, f.err)
		}
		assertSums(t, f.result)
		fetched += f.result.Fetched
		if f.result.Output == "" {
			continue
		}
		if got, err := os.ReadFile(f.result.Output); err != nil || !bytes.Equal(got, content) {
			t.Errorf("output %d has %d bytes that are not the content, %v", i, len(got), err)
		}
	}
	if fetched != int64(len(content)) || holding.twice() != 0 {
		t.Errorf("%d bytes were fetched in all, %d chunks twice; want each once", fetched, holding.twice())
	}
}
