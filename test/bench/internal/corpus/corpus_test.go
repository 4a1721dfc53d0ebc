package corpus

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRandomDependsOnTheSeed(t *testing.T) {
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	for path, seed := range map[string]uint64{a: 1, b: 1, c: 2} {
		if err := Random(path, 3<<20+17, seed); err != nil {
			t.Fatal(err)
		}
	}
	if err := Same(a, b); err != nil {
		t.Error(err)
	}
	if err := Same(a, c); err == nil {
		t.Error("two seeds gave the same bytes")
	}
	if len(read(t, a)) != 3<<20+17 {
		t.Error("wrong size")
	}
}

func TestEditsChangeWhatTheySay(t *testing.T) {
	dir := t.TempDir()
	old, changed := filepath.Join(dir, "old"), filepath.Join(dir, "changed")
	const size = 1 << 20
	if err := Random(old, size, 1); err != nil {
		t.Fatal(err)
	}
	edits := Edits{Insertions: 5, InsertionMax: 400, Overwrites: 5, OverwriteLen: 4096}
	novel, err := edits.Apply(old, changed, 2)
	if err != nil {
		t.Fatal(err)
	}
	grown := int64(len(read(t, changed))) - size
	if grown <= 0 || grown > 5*400 || novel < grown || novel > 5*400+5*4096 {
		t.Errorf("it grew by %d, %d bytes are new", grown, novel)
	}
	if novel == grown {
		t.Error("nothing was overwritten")
	}
	// What is not touched is still there, in order: the first bytes of each quarter unless an edit hit them.
	before, after, found := read(t, old), read(t, changed), 0
	for at := 0; at < size; at += size / 16 {
		if bytes.Contains(after, before[at:at+256]) {
			found++
		}
	}
	if found < 12 {
		t.Errorf("only %d of 16 places survived 10 edits", found)
	}
	if _, err := edits.Apply(changed, filepath.Join(dir, "again"), 2); err != nil {
		t.Error(err)
	}
}

func TestEditsOfATinyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tiny")
	write(t, path, "tiny")
	if _, err := (Edits{Overwrites: 1, OverwriteLen: 4}).Apply(path, path+".new", 1); err == nil {
		t.Error("a file that has no room for the edits was changed")
	}
}

func TestSame(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b map[string]string
		same bool
	}{
		{"equal", map[string]string{"x": "1", "d/y": "2"}, map[string]string{"x": "1", "d/y": "2"}, true},
		{"another byte", map[string]string{"x": "1"}, map[string]string{"x": "2"}, false},
		{"longer", map[string]string{"x": "1"}, map[string]string{"x": "12"}, false},
		{"shorter", map[string]string{"x": "12"}, map[string]string{"x": "1"}, false},
		{"one more", map[string]string{"x": "1"}, map[string]string{"x": "1", "y": "2"}, false},
		{"one less", map[string]string{"x": "1", "y": "2"}, map[string]string{"x": "1"}, false},
		{"whole buffers", map[string]string{"x": strings.Repeat("a", 2*bufferSize)}, map[string]string{"x": strings.Repeat("a", 2*bufferSize)}, true},
		{"end of a buffer", map[string]string{"x": strings.Repeat("a", bufferSize)}, map[string]string{"x": strings.Repeat("a", bufferSize) + "b"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
			for name, content := range c.a {
				write(t, filepath.Join(a, name), content)
			}
			for name, content := range c.b {
				write(t, filepath.Join(b, name), content)
			}
			if err := Same(a, b); (err == nil) != c.same {
				t.Errorf("same: %v, want %t", err, c.same)
			}
		})
	}
}

func TestTarDependsOnNamesAndContentsAlone(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	write(t, filepath.Join(a, "x/y"), "1")
	write(t, filepath.Join(a, "z"), "2")
	if err := CopyTree(a, b); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(b, "z"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tree := range []string{a, b} {
		if err := Tar(tree, tree+".tar"); err != nil {
			t.Fatal(err)
		}
	}
	if err := Same(a+".tar", b+".tar"); err != nil {
		t.Error(err)
	}
}

func TestSmallFiles(t *testing.T) {
	dir := t.TempDir()
	if err := SmallFiles(dir, 101, 16, 1); err != nil {
		t.Fatal(err)
	}
	if len(read(t, filepath.Join(dir, "0001", "00"))) != 16 {
		t.Error("wrong size")
	}
	if bytes.Equal(read(t, filepath.Join(dir, "0000", "00")), read(t, filepath.Join(dir, "0001", "00"))) {
		t.Error("two files are equal")
	}
}
