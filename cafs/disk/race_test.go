package disk_test

import (
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/swarmsync/swarmsync/cafs/disk"
)

// TestOpenBesideOthers makes a store in several goroutines at once: some get it one after the other, and no other is told
// anything but that it is in use.
func TestOpenBesideOthers(t *testing.T) {
	for range 10 {
		dir := filepath.Join(t.TempDir(), "store")
		var opens sync.WaitGroup
		began := make(chan struct{})
		for range 8 {
			opens.Go(func() {
				<-began
				store, err := disk.Open(dir, disk.Options{})
				var locked *disk.LockedError
				switch {
				case err == nil:
					if err := store.Close(); err != nil {
						t.Error(err)
					}
				case !errors.As(err, &locked):
					t.Errorf("open beside others: %v, want a LockedError", err)
				}
			})
		}
		close(began)
		opens.Wait()
	}
}
