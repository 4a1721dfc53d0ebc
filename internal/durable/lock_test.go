package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/swarmsync/swarmsync/internal/durable"
)

func TestLockPathIsHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	writeText(t, path, "what a much longer lock file of another day says")
	for range 2 { // it can be locked again once it is closed
		first, err := durable.LockPath(path)
		if err != nil {
			t.Fatal(err)
		}
		second, err := durable.LockPath(path)
		var locked *durable.LockedError
		if !errors.As(err, &locked) || !errors.Is(err, durable.ErrLocked) {
			t.Fatalf("locked twice: %v, error %v", second, err)
		}
		if locked.PID != os.Getpid() || locked.Path != path {
			t.Errorf("%s is locked by process %d, want %s and %d", locked.Path, locked.PID, path, os.Getpid())
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
