package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/swarmsync/swarmsync/cafs/cafstest"
	"github.com/swarmsync/swarmsync/cafs/disk"
)

// listing returns the paths of all files below dir with their contents.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			files[path] = "directory"
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

func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		name    string
		files   map[string]string
		want    error
		mention string
	}{
		{"somebody's files", map[string]string{"thesis.txt": "…"}, disk.ErrForeign, "thesis.txt"},
		{"packs without a version", map[string]string{"packs": "x"}, disk.ErrForeign, "packs"},
		{"newer", map[string]string{"version": "swarmsync store 4\n"}, disk.ErrNewerFormat, "version 4"},
		{"much newer", map[string]string{"version": "swarmsync store 999999999\n"}, disk.ErrNewerFormat, "999999999"},
		{"empty version", map[string]string{"version": ""}, disk.ErrBadVersion, "version"},
		{"truncated version", map[string]string{"version": "swarmsync store 1"}, disk.ErrBadVersion, "version"},
		{"version with more behind it", map[string]string{"version": "swarmsync store 1\n\n"}, disk.ErrBadVersion, "version"},
		{"version 0", map[string]string{"version": "swarmsync store 0\n"}, disk.ErrBadVersion, "version"},
		{"version of something else", map[string]string{"version": "1.0\n"}, disk.ErrBadVersion, "version"},
		{"huge version", map[string]string{"version": strings.Repeat("1", 1<<20)}, disk.ErrBadVersion, "version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range test.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := listing(t, dir)
			store, err := disk.Open(dir, disk.Options{})
			if err == nil {
				_ = store.Close()
			}
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.mention) || !strings.Contains(err.Error(), dir) {
				t.Errorf("open: %v, want %v with %q and the directory", err, test.want, test.mention)
			}
			after := listing(t, dir)
			if len(after) != len(before) {
				t.Errorf("%d files and directories before, %d after", len(before), len(after))
			}
			for path, content := range before {
				if after[path] != content {
					t.Errorf("%s was changed", path)
				}
			}
		})
	}
}

func TestOpenNotADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{path, filepath.Join(path, "below")} {
		if store, err := disk.Open(dir, disk.Options{}); err == nil {
			_ = store.Close()
			t.Errorf("opened a store in %s", dir)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("error without the path: %v", err)
		}
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "content" {
		t.Errorf("the file holds %q, error %v", content, err)
	}
}

// TestOpenCutOffCreation finds what an Open leaves that ended before the store was there.
func TestOpenCutOffCreation(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lock", "version.tmp"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := openAt(t, dir).Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenMakesDirectories(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	if err := openAt(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(dir, "version"))
	if err != nil || string(content) != "swarmsync store 3\n" {
		t.Errorf("version %q, error %v", content, err)
	}
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	store := openAt(t, dir)
	_, err := disk.Open(dir, disk.Options{})
	var locked *disk.LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("second open: %v, want a LockedError", err)
	}
	if locked.Dir != dir || locked.PID != os.Getpid() || locked.Err == nil {
		t.Errorf("error %+v, want the directory, process %d and a cause", locked, os.Getpid())
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if err := openAt(t, dir).Close(); err != nil {
		t.Errorf("close of a store opened after the other was closed: %v", err)
	}
}

func TestOptions(t *testing.T) {
	for _, size := range []int64{-1, 1, 4<<20 - 1, disk.PackSizeMax + 1} {
		dir := filepath.Join(t.TempDir(), "store")
		if store, err := disk.Open(dir, disk.Options{PackSize: size}); err == nil {
			_ = store.Close()
			t.Errorf("opened with packs of %d bytes", size)
		}
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("the directory was made (%v)", err)
		}
	}
}

func TestStats(t *testing.T) {
	store := openAt(t, t.TempDir())
	stats, err := store.Stats()
	if err != nil || stats.Packs != 0 || stats.PackBytes != 0 || stats.Chunks != 0 {
		t.Errorf("stats of an empty store: %+v, error %v", stats, err)
	}
	for range 2 {
		if err := store.Put(t.Context(), cafstest.Chunk(1, 1000), cafstest.Chunk(2, 500)); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	stats, err = store.Stats()
	if err != nil || stats.Packs != 1 || stats.PackBytes != 1500+2*40 || stats.Chunks != 2 || stats.IndexBytes == 0 {
		t.Errorf("stats %+v, error %v", stats, err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Stats(); err == nil {
		t.Error("stats of a closed store")
	}
}

// TestPrivate wants that nobody but the owner can look into a store: roots are secrets.
func TestPrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no permission bits")
	}
	dir := filepath.Join(t.TempDir(), "store")
	store := openAt(t, dir)
	if err := store.PutRoot(t.Context(), cafstest.Root(1)); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "index", "packs", "packs/0000000000000000.pack"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%q has permissions %v", name, info.Mode())
		}
	}
}
