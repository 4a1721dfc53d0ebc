package durable_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/swarmsync/swarmsync/internal/durable"
)

func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"first, and long", "second", ""} {
		if err := durable.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != content {
			t.Errorf("file holds %q, want %q", got, content)
		}
		if _, err := os.Lstat(durable.TempName(path)); !os.IsNotExist(err) {
			t.Errorf("unfinished file after success: %v", err)
		}
	}
}

func TestWriteFileKeepsOldContentOnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := durable.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A directory in the place of the unfinished file makes the write fail, whoever runs the test.
	if err := os.Mkdir(durable.TempName(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("new"), 0o600); err == nil {
		t.Fatal("no error")
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "old" {
		t.Errorf("file holds %q, want the old content", got)
	}
}

func TestWriteFileReplacesLeftover(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(durable.TempName(path), bytes.Repeat([]byte("x"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "new" {
		t.Errorf("file holds %q", got)
	}
}

// The directory that a leftover is in may be one that has to be empty.
func TestWriteFileLeavesNothingOnAFullDisk(t *testing.T) {
	const full = "/dev/full" // every write to it finds the disk full
	if _, err := os.Stat(full); err != nil {
		t.Skipf("no disk that is always full: %v", err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.Symlink(full, durable.TempName(path)); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("content"), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v, want ENOSPC", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("the directory holds %v, %v; want nothing", entries, err)
	}
}

func TestWriteFileLeavesNothingWhenItCannotRename(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.MkdirAll(filepath.Join(path, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteFile(path, []byte("content"), 0o600); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v; want what was there", entries, err)
	}
}

func TestMkdirAll(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "b", "c")
	for range 2 {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			t.Fatalf("%v, %v", info, err)
		}
	}
	file := filepath.Join(top, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.MkdirAll(filepath.Join(file, "below"), 0o700); err == nil {
		t.Error("made a directory below a file")
	}
}

func TestSyncAndWriteback(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 8192)); err != nil {
		t.Fatal(err)
	}
	durable.StartWriteback(f, 0, 8192)
	if err := durable.SyncData(f); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := durable.SyncData(f); err == nil {
		t.Error("no error for a closed file")
	}
}

func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ballast")
	for range 2 {
		if err := durable.Reserve(path, 3<<20, 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != 3<<20 {
			t.Errorf("%d bytes, want %d", info.Size(), 3<<20)
		}
	}
}
