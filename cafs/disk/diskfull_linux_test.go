package disk

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
)

// smallDisk mounts a file system of a size in bytes.
func smallDisk(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skipf("a small file system can't be mounted, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// occupy writes a file that leaves no byte on its disk.
func occupy(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRealDiskFull fills a disk with chunks, and then the rest of it with something else, so that the index finds it
// full in its turn.
func TestRealDiskFull(t *testing.T) {
	disk := smallDisk(t, "size=64m")
	dir, filler, other := filepath.Join(disk, "store"), filepath.Join(disk, "filler"), filepath.Join(disk, "other")
	if err := os.WriteFile(other, make([]byte, 24<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	store := mustOpen(t, dir, Options{})
	mustPutRoot(t, store, cafstest.Root(1))
	small := testChunks(1<<20, 20_000, 20) // 1.3 MB in the index, not one of them there yet
	mustPut(t, store, small...)
	var chunks []cafs.Chunk
	for {
		chunk := cafstest.Chunk(uint64(len(chunks)), cafs.ChunkSizeMax)
		if err := store.Put(t.Context(), chunk); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, chunk)
	}
	occupy(t, filler)

	mustSync(t, store)
	checkHolds(t, store, chunks...)
	checkHolds(t, store, small[:100]...)
	if err := store.Put(t.Context(), cafstest.Chunk(1<<40, 131072)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put on a full disk: %v, want ENOSPC", err)
	}
	if err := store.PutRoot(t.Context(), cafstest.Root(2)); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put root on a full disk: %v, want ENOSPC or that it fits", err)
	}

	// Without ballast and without a byte left it may be opened or not; it must say why, and harm nothing.
	occupy(t, filler+"2")
	mustClose(t, store)
	store, err := Open(dir, Options{})
	if err == nil {
		checkHolds(t, store, chunks...)
		err = store.Put(t.Context(), cafstest.Chunk(1<<40, 131072))
		mustClose(t, store)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("open or put without a byte left: %v, want ENOSPC", err)
	}

	for _, path := range []string{filler, filler + "2", other} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	store = mustOpen(t, dir, Options{})
	mustPut(t, store, cafstest.Chunk(1<<41, 100))
	mustClose(t, store)
	store = mustOpen(t, dir, Options{})
	checkHolds(t, store, chunks...)
	checkHolds(t, store, small...)
	if _, err := store.Root(t.Context(), cafstest.Root(1).Root); err != nil {
		t.Error(err)
	}
}

func TestReadOnlyDisk(t *testing.T) {
	disk := smallDisk(t, "size=40m")
	dir := filepath.Join(disk, "store")
	store := mustOpen(t, dir, Options{})
	mustPut(t, store, cafstest.Chunk(1, 1000))
	mustClose(t, store)
	if err := unix.Mount("", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if store, err := Open(dir, Options{}); !errors.Is(err, syscall.EROFS) {
		if err == nil {
			_ = store.Close()
		}
		t.Errorf("open on a read-only disk: %v, want EROFS", err)
	}
}
