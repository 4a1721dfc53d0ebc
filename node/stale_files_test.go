package node_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

// editInPlace writes into a file without replacing it.
func editInPlace(t *testing.T, path string, offset int64, data []byte) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := file.WriteAt(data, offset); err != nil {
		t.Fatal(err)
	}
}

// A file is edited while it is served, again and again, and then put back as it was. Nothing of what was written into it
// is sent, and what is the old content again is offered again.
func TestFileEditedWhileItIsServed(t *testing.T) {
	t.Parallel()
	content := noise(24<<20, 81)
	source := filepath.Join(t.TempDir(), "source")
	writeFile(t, source, content)
	holder := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	added, err := holder.Add(t.Context(), source, node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	store := newGate(memory.New(), 50)
	receiver := start(t, node.Config{Store: store, DisableDHT: true})
	link := node.Link{Root: added.Root, Peers: []peer.AddrInfo{at(t, holder)}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	half := make(chan struct{})
	fetching := fetch(ctx, receiver, link, node.FetchOptions{Wait: 50 * time.Second, Events: func(event node.Event) {
		// What was not edited comes, but for what was outstanding and refused when the edit came.
		if event.Kind == node.EventProgress && event.Fetched > 10<<20 && half != nil {
			close(half)
			half = nil
		}
	}})
	unedited := half
	fetching.until(t, store.reached)
	for i := range 20 {
		editInPlace(t, source, 16<<20, noise(8<<20, byte(100+i)))
		if i == 10 {
			close(store.opened)
		}
	}
	fetching.until(t, unedited)
	editInPlace(t, source, 16<<20, content[16<<20:])
	<-fetching.done
	if fetching.err != nil {
		t.Fatal(fetching.err)
	}
	if result := fetching.result; result.Fetched != int64(len(content)) || len(result.Peers) != 1 || result.Peers[0].Dropped != "" {
		t.Errorf("%d bytes were fetched, from %+v; want all of them from a holder that never sent wrong ones", result.Fetched, result.Peers)
	}
}

// Part of a file is overwritten for good: the rest is offered after it was left alone, and no more.
func TestWhatIsLeftOfAnEditedFileIsServed(t *testing.T) {
	t.Parallel()
	content := noise(8<<20, 82)
	source := filepath.Join(t.TempDir(), "source")
	writeFile(t, source, content)
	holder := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	added, err := holder.Add(t.Context(), source, node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	editInPlace(t, source, 2<<20, noise(1<<20, 83))
	receiver := start(t, node.Config{DisableDHT: true})
	link := node.Link{Root: added.Root, Peers: []peer.AddrInfo{at(t, holder)}}
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the rest did not come"))
	defer cancel()
	enough := errors.New("enough")
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	result, err := receiver.Fetch(ctx, link, node.FetchOptions{Wait: 50 * time.Second, Events: func(event node.Event) {
		// 6.75 of the 7 MiB that are left; they may have come before the holder looks at the file again and tells.
		if event.Kind == node.EventProgress && event.Fetched > 27<<18 && !event.Shares[0].Complete {
			stop(enough)
		}
	}})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if result.Fetched > 7<<20 || result.Peers[0].Dropped != "" || result.Peers[0].Complete {
		t.Errorf("%d bytes were fetched, from %+v; want at most 7 MiB from a partial holder", result.Fetched, result.Peers)
	}
	// What came may have come before anybody looked at the file again.
	deadline := time.Now().Add(time.Minute)
	for status := rootOf(t, holder, added.Root); status.Complete || status.State != "stale" || status.Have < 27<<18; {
		if time.Now().After(deadline) {
			t.Fatalf("the holder's catalog says %+v; want a stale file with 7 MiB of the root", status)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
		status = rootOf(t, holder, added.Root)
	}
}
