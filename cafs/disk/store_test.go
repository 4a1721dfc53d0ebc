package disk_test

import (
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
	"github.com/swarmsync/swarmsync/cafs/disk"
)

// openAt opens the store in dir, which the caller closes.
func openAt(t testing.TB, dir string) *disk.Store { return openWith(t, dir, disk.Options{}) }

func openWith(t testing.TB, dir string, opts disk.Options) *disk.Store {
	t.Helper()
	store, err := disk.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestConformance(t *testing.T) {
	dirs := make(map[cafs.Store]string)
	open := func(t *testing.T, dir string) cafs.Store {
		store := openAt(t, dir)
		dirs[store] = dir
		return store
	}
	cafstest.Run(t, cafstest.Maker{
		Open: func(t *testing.T) cafs.Store { return open(t, t.TempDir()) },
		OpenLimited: func(t *testing.T, quotaBytes int64) cafs.Store {
			return openWith(t, t.TempDir(), disk.Options{Quota: quotaBytes})
		},
		Reopen: func(t *testing.T, store cafs.Store) cafs.Store {
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, dirs[store])
		},
	})
}
