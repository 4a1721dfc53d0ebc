package durable

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteZeros(t *testing.T) {
	const size = 3 << 20
	for name, write := range map[string]func(*os.File, int64, int64) error{"holes": WriteZeros, "no holes": writeZeros} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			want := bytes.Repeat([]byte{7}, size)
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, part := range []struct{ offset, n int64 }{{0, 1}, {5000, 10_000}, {1 << 20, 1<<20 + 1<<19}, {size - 100, 100}} {
				if err := write(f, part.offset, part.n); err != nil {
					t.Fatal(err)
				}
				clear(want[part.offset:][:part.n])
			}
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the file has %d bytes that differ from what was written, %v", len(got), err)
			}
		})
	}
}
