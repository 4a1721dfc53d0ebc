package node_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/swarmsync/swarmsync/node"
)

// TestAddOfWhatDoesNotFit adds a file that is far larger than the disk, and of which there is nothing.
func TestAddOfWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "huge")
	if err := os.WriteFile(path, []byte("small"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := start(t, node.Config{Home: t.TempDir(), Offline: true})
	if _, err := n.Add(t.Context(), path, node.AddOptions{Copy: true}); err != nil {
		t.Fatal(err)
	}
	other := path + "2"
	for _, path := range []string{path, other} {
		file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(file.Truncate(8<<40), file.Close()); err != nil {
			t.Skipf("no sparse file of 8 TiB: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := n.Add(ctx, other, node.AddOptions{Copy: true}); !errors.Is(err, node.ErrNoSpace) || strings.Count(err.Error(), "add") != 1 {
		t.Errorf("add of 8 TiB: %v, want ErrNoSpace", err)
	}
	// A file that was added before may have next to nothing that is new.
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := n.Add(ctx, path, node.AddOptions{Copy: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("add of 8 TiB again: %v, want that it is read", err)
	}
}

func TestAddSaysOnceWhatFailed(t *testing.T) {
	t.Parallel()
	n := start(t, node.Config{Offline: true})
	broken := errors.New("broken")
	_, err := n.AddReader(t.Context(), iotest.ErrReader(broken), node.AddOptions{})
	if !errors.Is(err, broken) || strings.Count(err.Error(), "add:") != 1 {
		t.Errorf("reader that fails: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(broken)
	_, err = n.AddReader(ctx, strings.NewReader("content"), node.AddOptions{})
	if !errors.Is(err, broken) || strings.Count(err.Error(), "add:") != 1 {
		t.Errorf("cancelled: %v", err)
	}
}
