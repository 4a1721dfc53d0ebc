package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Most file systems here rename in one step; others must behave the same.
func TestRenameByLink(t *testing.T) {
	dir := t.TempDir()
	old, path := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	for name, text := range map[string]string{old: "mine", path: "theirs"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := renameByLink(old, path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("error %v, want fs.ErrExist", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := renameByLink(old, path); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if _, errOld := os.Lstat(old); err != nil || string(text) != "mine" || !errors.Is(errOld, fs.ErrNotExist) {
		t.Errorf("the new name holds %q, %v; the old one %v", text, err, errOld)
	}
}
