package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/internal/durable"
	"github.com/swarmsync/swarmsync/protocol"
)

// In a directory that others can write to, the temporary name can be foreseen: what somebody puts there must neither be
// followed nor changed.
func TestOutputDoesNotFollowASymlink(t *testing.T) {
	dir := t.TempDir()
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	key := protocol.DiscoveryKey{1}
	temporary := filepath.Join(dir, ".film."+key.Short()+".partial")
	if err := os.Symlink(victim, temporary); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	out, err := createOutput(t.Context(), memory.New(), filepath.Join(dir, "film"), key, 1<<20, false)
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("output %v, error %v; want fs.ErrExist", out, err)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
		t.Errorf("the victim holds %q now, %v", text, err)
	}
}

func TestOutputIsWrittenByOneFetchAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "film")
	first, err := createOutput(t.Context(), memory.New(), path, protocol.DiscoveryKey{1}, 1000, false)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := createOutput(t.Context(), memory.New(), path, protocol.DiscoveryKey{1}, 1000, false); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("a second output %v, error %v; want durable.ErrLocked", second, err)
	}
	if err := first.discard(); err != nil {
		t.Fatal(err)
	}
	again, err := createOutput(t.Context(), memory.New(), path, protocol.DiscoveryKey{1}, 1000, false)
	if err != nil {
		t.Fatalf("after the first was discarded: %v", err)
	}
	if err := errors.Join(again.publish(t.Context(), cafs.Key{}), again.close()); err != nil {
		t.Fatal(err)
	}
}
