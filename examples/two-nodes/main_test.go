package main

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmsync/swarmsync/node"
)

func TestAFileIsShared(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	source, target := filepath.Join(dir, "source"), filepath.Join(dir, "target")
	content := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // never fails
	if err := os.WriteFile(source, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(t.Context(), &out, source, target); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Errorf("%d bytes arrived that differ from the %d shared", len(got), len(content))
	}
	text := out.String()
	if !strings.HasPrefix(text, "link: swarmsync:") || !strings.Contains(text, "1048576 of them fetched") {
		t.Errorf("printed %q", text)
	}
	if err := run(t.Context(), &out, source, target); !errors.Is(err, node.ErrExists) {
		t.Errorf("onto a file that exists: %v, want %v", err, node.ErrExists)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	if err := run(t.Context(), new(strings.Builder)); err == nil {
		t.Error("no error without arguments")
	}
}
