package node_test

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

// TestOutputThatCannotBeIsRefusedAtOnce asks for outputs without any holder to be found: the place is looked at first.
func TestOutputThatCannotBeIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	receiver := start(t, quick(node.Config{}))
	tests := []struct {
		name, output string
		force        bool
		want         error
	}{
		{"a file that is there", file, false, node.ErrExists},
		{"a symbolic link", link, false, node.ErrExists},
		{"a symbolic link, by force", link, true, node.ErrExists},
		{"in a directory that is missing", filepath.Join(dir, "missing", "output"), false, fs.ErrNotExist},
		{"below a file", filepath.Join(file, "output"), false, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := receiver.Fetch(t.Context(), node.Link{Root: cafs.KeyOf([]byte("?"))},
				node.FetchOptions{Output: test.output, Force: test.force, Wait: 200 * time.Millisecond})
			if err == nil || errors.Is(err, node.ErrNoHolder) || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("fetch: %v, want %v", err, test.want)
			}
			if err != nil && !strings.Contains(err.Error(), filepath.Dir(test.output)) {
				t.Errorf("%q does not name the place", err)
			}
		})
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
		t.Errorf("the file that was there holds %q, %v", got, err)
	}
}

func TestForceReplacesAFile(t *testing.T) {
	t.Parallel()
	content := noise(100_000, 40)
	h := hold(t, content)
	receiver := start(t, quick(node.Config{}))
	output := filepath.Join(t.TempDir(), "output")
	if err := os.WriteFile(output, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := receiver.Fetch(t.Context(), h.link(h.serve(t)), node.FetchOptions{Output: output, Force: true}); err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
}

// hugeRecord is a record of a few bytes, correct as far as anybody can tell before a page was seen, that claims 8 TiB.
func hugeRecord(t *testing.T) cafs.Record {
	t.Helper()
	const bytes, items = 1 << 43, 1 << 27
	top := make([]byte, cafs.KeySize)
	for _, number := range []uint64{5000, items, bytes} {
		top = binary.AppendUvarint(top, number)
	}
	record := cafs.Record{Kind: cafs.KindFile, Data: cafs.List{Bytes: bytes, Items: items, Depth: 4, Top: top}}
	if _, err := cafs.ParseRecord(record.Encode()); err != nil {
		t.Fatal(err)
	}
	return record
}

// TestHugeClaimIsRefusedBeforeAnythingIsAllocated is not run beside others, whose memory would be counted.
func TestHugeClaimIsRefusedBeforeAnythingIsAllocated(t *testing.T) {
	h := holdRecord(t, memory.New(), hugeRecord(t)) // without any of its pages
	receiver := start(t, quick(node.Config{Home: t.TempDir()}))
	peer := h.serve(t)
	dir := t.TempDir()
	for name, output := range map[string]string{"with an output": filepath.Join(dir, "output"), "into the store": ""} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := receiver.Fetch(t.Context(), h.link(peer), node.FetchOptions{Output: output})
			runtime.ReadMemStats(&after)
			if !errors.Is(err, node.ErrNoSpace) || !strings.Contains(err.Error(), "8796093022208 are needed") {
				t.Errorf("fetch of 8 TiB: %v, want ErrNoSpace that tells how much is needed", err)
			}
			if took := after.TotalAlloc - before.TotalAlloc; took > 32<<20 {
				t.Errorf("%d bytes were allocated on a record's word", took)
			}
		})
	}
	assertNothing(t, dir)
	for status := range receiver.Roots(t.Context()) {
		t.Errorf("catalogued: %+v", status)
	}
	// Of a part only that must have room, and nothing of what is only looked at.
	for _, opts := range []node.FetchOptions{{DryRun: true}, {From: 1 << 42, To: 1<<42 + 1000}} {
		opts.Wait = 200 * time.Millisecond
		if _, err := receiver.Fetch(t.Context(), h.link(peer), opts); err == nil || errors.Is(err, node.ErrNoSpace) {
			t.Errorf("fetch with %+v: %v", opts, err)
		}
	}
}
