package durable_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/swarmsync/swarmsync/internal/durable"
)

func TestWriteAllAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, pieces := range []int{0, 1, 2, 700, 2000} {
		var all [][]byte
		for range pieces {
			piece := make([]byte, 1+rand.IntN(3000))
			for i := range piece {
				piece[i] = byte(rand.Uint32())
			}
			all = append(all, piece)
		}
		if err := f.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteAllAt(f, all, 1000); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Join(all, nil)
		if pieces > 0 {
			want = append(make([]byte, 1000), want...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d pieces: other bytes", pieces)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := durable.WriteAllAt(f, [][]byte{{1}, {2}}, 0); err == nil {
		t.Error("a closed file was written")
	}
}
