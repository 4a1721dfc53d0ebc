package node_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmsync/swarmsync/node"
)

// snapshot returns the content of every file below dir that a node does not change while it runs.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		files[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// usedHome returns a home that a node has used, and the node's ID.
func usedHome(t *testing.T) (dir, id string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "home")
	n, err := node.New(t.Context(), node.Config{Home: dir, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	add(t, n, noise(10_000, 30))
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, n.ID().String()
}

func TestHomesThatAreRefusedStayAsTheyAre(t *testing.T) {
	write := func(name, content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		damage func(t *testing.T, dir string)
		want   error  // nil: any
		says   string // in the message, beside the directory
	}{
		{"newer", write("version", "swarmsync home 2\n"), node.ErrNewerHome, "swarmsync home 2"},
		{"much newer", write("version", "swarmsync home 10 beta\n"), node.ErrNewerHome, "swarmsync home 10 beta"},
		{"version cut", write("version", "swarmsync ho"), node.ErrForeignHome, "version"},
		{"version without an end", write("version", "swarmsync home 1"), node.ErrForeignHome, "version"},
		{"version empty", write("version", ""), node.ErrForeignHome, "version"},
		{"version of something else", write("version", "11.2\n"), node.ErrForeignHome, "version"},
		{"no version", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "version")); err != nil {
				t.Fatal(err)
			}
		}, node.ErrForeignHome, "version"},
		{"version a directory", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "version")
			if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, nil, "version"},
		{"identity empty", write("identity", ""), nil, "identity"},
		{"identity garbage", write("identity", "not a key at all"), nil, "identity"},
		{"identity cut", func(t *testing.T, dir string) {
			path := filepath.Join(dir, "identity")
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write("identity", string(raw[:len(raw)/2]))(t, dir)
		}, nil, "identity"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir, _ := usedHome(t)
			test.damage(t, dir)
			before := snapshot(t, dir)
			n, err := node.New(t.Context(), node.Config{Home: dir, Offline: true})
			if err == nil {
				_ = n.Close()
				t.Fatal("the home was opened")
			}
			if test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("open: %v, want %v", err, test.want)
			}
			if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("open says %q, want the directory and %q", err, test.says)
			}
			after := snapshot(t, dir)
			for _, name := range []string{"version", "identity"} {
				path := filepath.Join(dir, name)
				if before[path] != after[path] {
					t.Errorf("the file %s was changed to %q", name, after[path])
				}
			}
			if test.want != nil && !maps.Equal(before, after) {
				t.Error("something in the home was changed")
			}
		})
	}
}

func TestDirectoryOfSomethingElseIsNoHome(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), []byte("years of work"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := node.New(t.Context(), node.Config{Home: dir, Offline: true}); !errors.Is(err, node.ErrForeignHome) {
		t.Errorf("open: %v, want ErrForeignHome", err)
	}
	if files := snapshot(t, dir); len(files) != 1 {
		t.Errorf("the directory now holds %v", files)
	}
	file := filepath.Join(dir, "thesis.tex")
	if _, err := node.New(t.Context(), node.Config{Home: file, Offline: true}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("open of a file: %v, want an error that names it", err)
	}
}

// TestHomeBegunByACrashedNodeIsUsed has what is there when the first node ends before it has written its first file.
func TestHomeBegunByACrashedNodeIsUsed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "version.tmp"), []byte("swarm"), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, node.Config{Home: dir, Offline: true})
}

func TestHomeKeepsItsIdentityAndContent(t *testing.T) {
	dir, id := usedHome(t)
	again := start(t, node.Config{Home: dir, Offline: true})
	if again.ID().String() != id {
		t.Errorf("the node was %s and is %s", id, again.ID())
	}
	roots := 0
	for status, err := range again.Roots(t.Context()) {
		if err != nil || !status.Complete {
			t.Errorf("root %+v, %v", status, err)
		}
		roots++
	}
	if roots != 1 {
		t.Errorf("%d roots, want 1", roots)
	}
}

func TestSecondNodeOnAHomeIsRefused(t *testing.T) {
	dir, _ := usedHome(t)
	first := start(t, node.Config{Home: dir, Offline: true})
	_, err := node.New(t.Context(), node.Config{Home: dir, Offline: true})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "process") {
		t.Errorf("second node: %v, want an error that names the home and the process", err)
	}
	// The first one is as well as before.
	for _, err := range first.Roots(t.Context()) {
		if err != nil {
			t.Error(err)
		}
	}
}
