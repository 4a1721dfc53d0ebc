package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/swarmsync/swarmsync/internal/durable"
)

func TestRenameNewKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	old, path := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	writeText(t, old, "mine")
	writeText(t, path, "theirs")
	if err := durable.RenameNew(old, path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("error %v, want fs.ErrExist", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "theirs" {
		t.Fatalf("the file holds %q now", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := durable.RenameNew(old, path); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != "new" {
		t.Fatalf("the directory holds %v, want only new; error %v", entries, err)
	}
}

func TestRenameReplaces(t *testing.T) {
	dir := t.TempDir()
	old, path := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	writeText(t, old, "mine")
	writeText(t, path, "theirs")
	if err := durable.Rename(old, path); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "mine" {
		t.Fatalf("the file holds %q", got)
	}
}

func TestPreallocateKeepsContentAndSetsSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	const text = "0123456789"
	writeText(t, path, text)
	for _, size := range []int64{1 << 20, 4, 0} {
		file, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(durable.Preallocate(file, size), file.Close()); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		kept := text[:min(size, int64(len(text)))]
		if int64(len(got)) != size || string(got[:len(kept)]) != kept {
			t.Fatalf("%d bytes that begin with %.10q; want %d that begin with %q", len(got), got, size, kept)
		}
	}
}

func TestFreeSpace(t *testing.T) {
	free, err := durable.FreeSpace(t.TempDir())
	if err != nil || free <= 0 {
		t.Fatalf("%d bytes free, error %v", free, err)
	}
	if _, err := durable.FreeSpace(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Fatal("no error for a directory that is not there")
	}
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
