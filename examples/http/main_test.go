package main

import (
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
)

func TestALaterVersionTakesLittle(t *testing.T) {
	t.Parallel()
	const size = 2 << 20
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // never fails
	changed := slices.Insert(slices.Clone(content), size/2, []byte("an insertion")...)
	var out strings.Builder
	if err := run(t.Context(), &out, write(t, "old", content), write(t, "new", changed)); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("printed %q, want a line for each file", out.String())
	}
	first, both := taken(t, lines[0]), taken(t, lines[1])
	if first < size {
		t.Errorf("content of %d bytes takes %d", size, first)
	}
	// The insertion changes one chunk or two, and the list.
	if more := both - first; more == 0 || more > size/4 {
		t.Errorf("the changed version takes %d bytes more", more)
	}
}

func TestOtherContentIsRefused(t *testing.T) {
	t.Parallel()
	source, target := memory.New(), memory.New()
	handler, root, err := publish(t.Context(), source, write(t, "file", []byte("something else")))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	if err := receive(t.Context(), target, server.URL, root); err != nil {
		t.Error(err)
	}
	if err := receive(t.Context(), target, server.URL, cafs.KeyOf([]byte("another record"))); err == nil {
		t.Error("content of another root was taken")
	}
}

func write(t *testing.T, name string, content []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// taken returns how many bytes a line says that the store takes.
func taken(t *testing.T, line string) (bytes int64) {
	t.Helper()
	_, rest, _ := strings.Cut(line, "takes ")
	if _, err := fmt.Sscanf(rest, "%d bytes", &bytes); err != nil {
		t.Fatalf("printed %q: %v", line, err)
	}
	return bytes
}
