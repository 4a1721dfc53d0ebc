package node_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// smallDisk mounts a file system of a size such as "64m".
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a small file system can't be mounted, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

func TestOutputThatDoesNotFitIsRefused(t *testing.T) {
	t.Parallel()
	h := hold(t, noise(12<<20, 41))
	receiver := start(t, quick(node.Config{Home: t.TempDir()}))
	disk := smallDisk(t, "8m")
	_, err := receiver.Fetch(t.Context(), h.link(h.serve(t)), node.FetchOptions{Output: filepath.Join(disk, "output")})
	if !errors.Is(err, node.ErrNoSpace) || !strings.Contains(err.Error(), disk) {
		t.Errorf("fetch of 12 MiB to a disk of 8: %v, want ErrNoSpace that names it", err)
	}
	assertNothing(t, disk)
}

// TestDiskThatFillsUpEndsTheFetch has somebody else write to the disk of the store in the middle of a fetch, and make
// room again.
func TestDiskThatFillsUpEndsTheFetch(t *testing.T) {
	t.Parallel()
	content := noise(24<<20, 42)
	h := hold(t, content)
	disk := smallDisk(t, "96m")
	home, filler := filepath.Join(disk, "home"), filepath.Join(disk, "filler")
	midway, full := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	sent := 0
	h.chunk = func(ctx context.Context, _ protocol.ChunkAt, data []byte) ([]byte, error) {
		mu.Lock()
		sent++
		if sent == 100 {
			close(midway)
		}
		wait := sent >= 100
		mu.Unlock()
		if wait {
			select {
			case <-full:
			case <-ctx.Done():
			}
		}
		return data, nil
	}
	link := h.link(h.serve(t))
	receiver, err := node.New(t.Context(), loopback(node.Config{Home: home, DisableDHT: true}))
	if err != nil {
		t.Fatal(err)
	}
	output := filepath.Join(t.TempDir(), "output")
	fetching := fetch(t.Context(), receiver, link, node.FetchOptions{})
	fetching.until(t, midway)
	occupy(t, filler)
	close(full)
	<-fetching.done
	if !errors.Is(fetching.err, unix.ENOSPC) || !strings.Contains(fetching.err.Error(), home) {
		t.Errorf("fetch to a full disk: %v, want ENOSPC that names the home", fetching.err)
	}
	for _, share := range fetching.result.Peers {
		if share.Dropped != "" {
			t.Errorf("the holder is blamed: %s", share.Dropped)
		}
	}
	if err := receiver.Close(); err != nil {
		t.Logf("close of a node on a full disk: %v", err)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	receiver = start(t, node.Config{Home: home, DisableDHT: true})
	result, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	assertSums(t, result)
	if result.Reused == 0 || result.Reused < fetching.result.Fetched {
		t.Errorf("%d bytes were reused of %d that had been fetched", result.Reused, fetching.result.Fetched)
	}
}

// occupy writes a file that leaves no room on its disk.
func occupy(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
