package node_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/disk"
	"github.com/swarmsync/swarmsync/node"
)

// rootOf returns what the catalog of a node says of a root.
func rootOf(t *testing.T, n *node.Node, root cafs.Key) node.RootStatus {
	t.Helper()
	for status, err := range n.Roots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if status.Root == root {
			return status
		}
	}
	t.Fatalf("root %s is not in the catalog", root.Short())
	return node.RootStatus{}
}

// twoVersions returns a holder with two files of 8 MiB, the first half of which is the same, and links to them.
func twoVersions(t *testing.T) (old, latest []byte, links [2]node.Link) {
	t.Helper()
	old = noise(8<<20, 91)
	latest = append(slices.Clone(old[:4<<20]), noise(4<<20, 92)...)
	holder := start(t, node.Config{DisableDHT: true})
	for i, content := range [][]byte{old, latest} {
		links[i] = add(t, holder, content)
		links[i].Peers = []peer.AddrInfo{at(t, holder)}
	}
	return old, latest, links
}

func TestOutputReplacesTheFileOfAnotherRoot(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		old, latest, links := twoVersions(t)
		home := t.TempDir()
		receiver := start(t, node.Config{Home: home, DisableDHT: true})
		output := filepath.Join(t.TempDir(), "output")
		if _, err := receiver.Fetch(t.Context(), links[0], node.FetchOptions{Output: output}); err != nil {
			t.Fatal(err)
		}
		var notes []string
		opts := node.FetchOptions{Output: output, Force: true, KeepOld: keep, Events: func(event node.Event) {
			if event.Kind == node.EventNote {
				notes = append(notes, event.Message)
			}
		}}
		result, err := receiver.Fetch(t.Context(), links[1], opts)
		if err != nil {
			t.Fatal(err)
		}
		assertFile(t, output, latest)
		if result.Reused < 31<<17 {
			t.Errorf("%d bytes came from the file that was replaced, want nearly 4 MiB", result.Reused)
		}
		status, warned := rootOf(t, receiver, links[0].Root), strings.Contains(strings.Join(notes, "\n"), "8.4 MB of it are nowhere else")
		if !keep {
			if !warned || status.Complete || !strings.HasPrefix(status.State, "superseded by ") || status.Have < 31<<17 || status.Have > 4<<20 {
				t.Errorf("notes %q, and the old root is %+v; want a warning, and half of the root superseded", notes, status)
			}
			continue
		}
		if warned || !status.Complete || status.Place != "" {
			t.Errorf("notes %q, and the old root is %+v; want no warning, and it complete in the store", notes, status)
		}
		file, err := receiver.Open(t.Context(), links[0].Root)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(file.Open(t.Context()))
		if err != nil || !slices.Equal(content, old) {
			t.Errorf("the old content has %d bytes, %v; want it as it was", len(content), err)
		}
		if bytes := stored(t, home); bytes > 5<<20 {
			t.Errorf("the store has %d bytes, want no more than what is in one file only", bytes)
		}
	}
}

func TestOutputThatIsThereAlready(t *testing.T) {
	t.Parallel()
	_, latest, links := twoVersions(t)
	home, output := t.TempDir(), filepath.Join(t.TempDir(), "output")
	receiver := start(t, node.Config{Home: home, DisableDHT: true})
	if _, err := receiver.Fetch(t.Context(), links[1], node.FetchOptions{Output: output}); err != nil {
		t.Fatal(err)
	}
	if err := receiver.Close(); err != nil {
		t.Fatal(err)
	}
	offline(t, home, func(n *node.Node) {
		result, err := n.Fetch(t.Context(), links[1], node.FetchOptions{Output: output})
		if err != nil || result.Output != output || result.Reused != int64(len(latest)) {
			t.Errorf("fetch to where it is: %+v, %v", result, err)
		}
		editInPlace(t, output, 0, []byte("edited"))
		if _, err := n.Fetch(t.Context(), links[1], node.FetchOptions{Output: output}); !errors.Is(err, node.ErrExists) {
			t.Errorf("fetch to where it was before an edit: %v, want ErrExists", err)
		}
	})
}

// stopAtSeal is a disk store whose volumes call stop when their file was renamed and is to be sealed.
type stopAtSeal struct {
	*disk.Store
	stop func()
}

type stoppingVolume struct {
	cafs.Volume
	stop func()
}

func (s stopAtSeal) OpenVolume(ctx context.Context, path string, opts cafs.VolumeOptions) (cafs.Volume, error) {
	v, err := s.Store.OpenVolume(ctx, path, opts)
	return stoppingVolume{v, s.stop}, err
}

func (v stoppingVolume) Seal(ctx context.Context, path string, root cafs.Key) error {
	v.stop()
	return v.Volume.Seal(ctx, path, root)
}

// A process that is killed when its output has its name, and before its store knows, has lost nothing.
func TestKilledBetweenRenamingAndSealing(t *testing.T) {
	t.Parallel()
	_, latest, links := twoVersions(t)
	home, output := t.TempDir(), filepath.Join(t.TempDir(), "output")
	offline(t, home, func(*node.Node) {}) // makes the home
	store, err := disk.Open(filepath.Join(home, "store"), disk.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	killed := filepath.Join(t.TempDir(), "home")
	receiver := start(t, node.Config{Store: stopAtSeal{store, func() {
		if err := os.CopyFS(killed, os.DirFS(home)); err != nil { // what is there if the process is killed now
			t.Error(err)
		}
	}}, DisableDHT: true})
	if _, err := receiver.Fetch(t.Context(), links[1], node.FetchOptions{Output: output}); err != nil {
		t.Fatal(err)
	}
	offline(t, killed, func(n *node.Node) {
		status := rootOf(t, n, links[1].Root)
		if !status.Complete || status.Place != output {
			t.Errorf("the root is %+v, want it complete at %s", status, output)
		}
		result, err := n.Fetch(t.Context(), links[1], node.FetchOptions{Output: output})
		if err != nil || result.Reused != int64(len(latest)) {
			t.Errorf("the same fetch again: %+v, %v", result, err)
		}
	})
}
