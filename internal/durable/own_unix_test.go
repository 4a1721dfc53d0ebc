//go:build !windows

package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/swarmsync/swarmsync/internal/durable"
)

func TestOpenOwnRefusesWhatOthersMayHavePutThere(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	writeText(t, victim, "precious")
	tests := []struct {
		name string
		put  func(path string) error
		says string
	}{
		{"a symbolic link", func(path string) error { return os.Symlink(victim, path) }, "regular"},
		{"a symbolic link to nowhere", func(path string) error { return os.Symlink(victim+"2", path) }, "regular"},
		{"a FIFO", func(path string) error { return unix.Mkfifo(path, 0o600) }, "regular"},
		{"a directory", func(path string) error { return os.Mkdir(path, 0o700) }, "regular"},
		{"a hard link", func(path string) error { return os.Link(victim, path) }, "another name"},
		{"a file of another user", func(path string) error {
			return errors.Join(os.WriteFile(path, []byte("theirs"), 0o666), os.Chown(path, 4141, -1))
		}, "another user"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := test.put(path); errors.Is(err, fs.ErrPermission) {
				t.Skip("it can't be put there:", err)
			} else if err != nil {
				t.Fatal(err)
			}
			f, err := durable.OpenOwn(path, 0o600)
			if err == nil {
				_ = f.Close()
				t.Fatal("it was opened")
			}
			if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want fs.ErrExist that says %q and the path", err, test.says)
			}
			if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
				t.Errorf("the victim holds %q now, %v", text, err)
			}
			if _, err := os.Lstat(victim + "2"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the target of a link was made (%v)", err)
			}
		})
	}
}

// The lock is what makes the names of a file hold still: until then another process may be renaming it.
func TestOpenOwnIsTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := durable.OpenOwn(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, path+" renamed"); err != nil {
		t.Fatal(err)
	}
	if second, err := durable.OpenOwn(path, 0o600); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("opened twice: %v, error %v; want ErrLocked", second, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if second, err := durable.OpenOwn(path, 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("opened with two names: %v, error %v; want fs.ErrExist", second, err)
	}
	if _, err := durable.OpenOwn(filepath.Join(path+" missing", "file"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened in a directory that is missing: error %v, want fs.ErrNotExist", err)
	}
}

func TestOpenOwnMakesAndKeeps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for range 2 {
		f, err := durable.OpenOwn(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("mine"), info.Size()); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "minemine" {
		t.Errorf("the file holds %q, %v", text, err)
	}
}
