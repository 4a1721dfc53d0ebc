package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/swarmsync/swarmsync/cafs/disk"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

// TestManyNodesMakeOneHome starts several at once where there is no home yet: at any time one of them has it, and the
// others are told that it is in use, whoever was first.
func TestManyNodesMakeOneHome(t *testing.T) {
	t.Parallel()
	for _, withStore := range []bool{true, false} {
		for range 10 {
			home := filepath.Join(t.TempDir(), "new", "home")
			var nodes sync.WaitGroup
			var mu sync.Mutex
			ids := make(map[string]bool)
			began := make(chan struct{})
			for range 6 {
				nodes.Go(func() {
					cfg := node.Config{Home: home, Offline: true}
					if !withStore {
						cfg.Store = memory.New() // without the lock that a store has of its own
					}
					<-began
					n, err := node.New(t.Context(), cfg)
					var locked *disk.LockedError
					if errors.As(err, &locked) {
						if locked.Dir != home {
							t.Errorf("%s is said to be in use, want %s", locked.Dir, home)
						}
						return
					}
					if err != nil {
						t.Errorf("make a home beside others: %v", err)
						return
					}
					mu.Lock()
					ids[n.ID().String()] = true
					mu.Unlock()
					if err := n.Close(); err != nil {
						t.Error(err)
					}
				})
			}
			close(began)
			nodes.Wait()
			if len(ids) != 1 {
				t.Fatalf("with a store of its own %t: the nodes were %v, want one identity", withStore, ids)
			}
			if n := start(t, node.Config{Home: home, Offline: true}); !ids[n.ID().String()] {
				t.Errorf("the node is %s now", n.ID())
			}
		}
	}
}

// A lock and a part of the version are what a process leaves that was killed while it made a home.
func TestHomeThatWasCutOffIsMade(t *testing.T) {
	t.Parallel()
	for _, left := range [][]string{{}, {"lock"}, {"version.tmp"}, {"lock", "version.tmp"}} {
		home := t.TempDir()
		for _, name := range left {
			if err := os.WriteFile(filepath.Join(home, name), []byte("swarm"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		n, err := node.New(t.Context(), node.Config{Home: home, Offline: true})
		if err != nil {
			t.Errorf("%v are left: %v", left, err)
			continue
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHomeIsLockedThoughItsStoreIsElsewhere(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	start(t, node.Config{Home: home, Store: memory.New(), Offline: true})
	_, err := node.New(t.Context(), node.Config{Home: home, Store: memory.New(), Offline: true})
	var locked *disk.LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() {
		t.Errorf("a second node: %v, want a LockedError that names process %d", err, os.Getpid())
	}
}
