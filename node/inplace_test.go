package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/node"
)

// stored returns how many bytes the files below a directory take.
func stored(t *testing.T, dir string) int64 {
	t.Helper()
	total := int64(0)
	err := filepath.WalkDir(filepath.Join(dir, "store"), func(path string, entry os.DirEntry, err error) error {
		// The ballast is a reserve of free space.
		if err != nil || entry.IsDir() || entry.Name() == "ballast" {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return total
}

func writeFile(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestContentIsStoredOnceOnBothSides(t *testing.T) {
	content := noise(16<<20, 50)
	source := filepath.Join(t.TempDir(), "source")
	writeFile(t, source, content)
	holderHome, receiverHome := t.TempDir(), t.TempDir()
	holder := start(t, node.Config{Home: holderHome, DisableDHT: true})
	receiver := start(t, node.Config{Home: receiverHome, DisableDHT: true})
	added, err := holder.Add(t.Context(), source, node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "output")
	link := node.Link{Root: added.Root, Peers: []peer.AddrInfo{at(t, holder)}}
	if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output}); err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	for _, home := range []string{holderHome, receiverHome} {
		if bytes := stored(t, home); bytes > 1<<20 {
			t.Errorf("the store has %d bytes besides the content of %d", bytes, len(content))
		}
	}

	// The output is served from where it is.
	third := start(t, node.Config{DisableDHT: true})
	link.Peers = []peer.AddrInfo{at(t, receiver)}
	again := filepath.Join(t.TempDir(), "again")
	if _, err := third.Fetch(t.Context(), link, node.FetchOptions{Output: again}); err != nil {
		t.Fatal(err)
	}
	assertFile(t, again, content)
}

func TestEditedFileIsNotServed(t *testing.T) {
	content := noise(8<<20, 51)
	source := filepath.Join(t.TempDir(), "source")
	writeFile(t, source, content)
	holder := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	added, err := holder.Add(t.Context(), source, node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, source, noise(8<<20, 52))

	for status, err := range holder.Roots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if status.Complete || status.State != "stale" {
			t.Errorf("the catalog says %+v of a root whose file was changed", status)
		}
	}
	receiver := start(t, node.Config{DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	link := node.Link{Root: added.Root, Peers: []peer.AddrInfo{at(t, holder)}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	result, err := receiver.Fetch(ctx, link, node.FetchOptions{Output: output, Wait: time.Second})
	if !errors.Is(err, node.ErrNoHolder) || result.Fetched != 0 {
		t.Errorf("%d bytes were fetched, error %v; want none, and ErrNoHolder", result.Fetched, err)
	}
}

// A hard link, or a chmod, changes a file's time of change and none of its bytes: it is served when it was hashed again.
func TestFileThatOnlyLooksChangedIsServed(t *testing.T) {
	content := noise(4<<20, 56)
	source := filepath.Join(t.TempDir(), "source")
	writeFile(t, source, content)
	holder := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	added, err := holder.Add(t.Context(), source, node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(source, source+"2"); err != nil {
		t.Skipf("no hard links here: %v", err)
	}
	// A look is good for a second, and times have the grain of the kernel's clock.
	deadline := time.Now().Add(20 * time.Second)
	for i := 0; !looksGone(t, holder); i++ {
		if time.Now().After(deadline) {
			t.Fatal("the file does not look changed; the test shows nothing")
		}
		if err := os.Link(source, fmt.Sprint(source, "-", i)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
	receiver := start(t, node.Config{DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	link := node.Link{Root: added.Root, Peers: []peer.AddrInfo{at(t, holder)}}
	if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output}); err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
}

// looksGone reports whether the file of the only root is called stale, and nothing of the root is counted as here.
func looksGone(t *testing.T, n *node.Node) (gone bool) {
	t.Helper()
	for status, err := range n.Roots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		gone = status.State == "stale" && status.Have == 0
	}
	return gone
}

func TestAddOfAnUnchangedFileDoesNotReadIt(t *testing.T) {
	source := filepath.Join(t.TempDir(), "source")
	writeFile(t, source, noise(1<<20, 53))
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(source, old, old); err != nil {
		t.Fatal(err)
	}
	n := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	progressed := false
	opts := node.AddOptions{Events: func(e node.Event) { progressed = progressed || e.Kind == node.EventProgress }}
	first, err := n.Add(t.Context(), source, opts)
	if err != nil || !progressed {
		t.Fatalf("first add: %v; progress %v", err, progressed)
	}
	// Times of change can't be set back, so the file is racy until it has been left alone for a while; then the second
	// add hashes it, and the third need not.
	deadline := time.Now().Add(20 * time.Second)
	for {
		progressed = false
		again, err := n.Add(t.Context(), source, opts)
		if err != nil || again.Root != first.Root {
			t.Fatalf("root %s, then %s, error %v", first.Root, again.Root, err)
		}
		if !progressed {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("an unchanged file is read each time")
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

func TestFetchIntoAnOutputThatIsThere(t *testing.T) {
	content := noise(1<<20, 54)
	holder := start(t, node.Config{DisableDHT: true})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output}); err != nil {
		t.Fatal(err)
	}
	other := add(t, holder, noise(1<<20, 55))
	other.Peers = link.Peers
	if _, err := receiver.Fetch(t.Context(), other, node.FetchOptions{Output: output}); !errors.Is(err, node.ErrExists) {
		t.Errorf("fetch over another root's file: %v, want ErrExists", err)
	}
	var notes []string
	events := func(e node.Event) {
		if e.Kind == node.EventNote {
			notes = append(notes, e.Message)
		}
	}
	if _, err := receiver.Fetch(t.Context(), other, node.FetchOptions{Output: output, Force: true, Events: events}); err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, noise(1<<20, 55))
	if len(notes) == 0 {
		t.Error("nobody was told that the other root becomes incomplete")
	}
	for status, err := range receiver.Roots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if status.Complete != (status.Root == other.Root) {
			t.Errorf("the catalog says %+v", status)
		}
	}
}
