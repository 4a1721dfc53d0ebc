package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/internal/durable"
	"github.com/swarmsync/swarmsync/protocol"
)

// TestPublishedOutputIsWrittenByNobodyElse lets fetches of one file run into each other, as those of several processes
// may: what appears under the final name must be whole, and stay so.
func TestPublishedOutputIsWrittenByNobodyElse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := protocol.DiscoveryKey{1}
	var writers sync.WaitGroup
	for writer := range 4 {
		writers.Go(func() {
			content := bytes.Repeat([]byte{byte('a' + writer)}, 50_000)
			for round := range 100 {
				// Each has a final name of its own below the same temporary one, so that nobody else may change it.
				path := filepath.Join(dir, strings.Repeat("n", 200)+fmt.Sprint(writer, round))
				out, err := createOutput(t.Context(), memory.New(), path, key, int64(len(content)), false)
				if errors.Is(err, durable.ErrLocked) {
					continue // another one writes just now
				}
				if err != nil {
					t.Error(err)
					return
				}
				_, err = out.file.WriteAt(content, 0)
				if round%4 == 0 {
					err = errors.Join(err, out.discard())
				} else {
					err = errors.Join(err, out.publish(t.Context(), cafs.Key{}), out.close())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d outputs, error %v", len(entries), err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		writer := strings.TrimLeft(entry.Name(), "n")[:1]
		if want := bytes.Repeat([]byte{'a' + writer[0] - '0'}, 50_000); !bytes.Equal(content, want) {
			t.Errorf("%s was written by another fetch too", entry.Name())
		}
	}
}

func TestOutputTakesOverALeftover(t *testing.T) {
	dir := t.TempDir()
	key := protocol.DiscoveryKey{1}
	leftover := filepath.Join(dir, ".film."+key.Short()+".partial")
	if err := os.WriteFile(leftover, bytes.Repeat([]byte("x"), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := createOutput(t.Context(), memory.New(), filepath.Join(dir, "film"), key, 10, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(out.publish(t.Context(), cafs.Key{}), out.close()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "film")); err != nil || !bytes.Equal(got, make([]byte, 10)) {
		t.Errorf("the output holds %q, %v; want nothing of the leftover", got, err)
	}
	if _, err := os.Lstat(leftover); !os.IsNotExist(err) {
		t.Errorf("the leftover is still there (%v)", err)
	}
}

func TestShortNameCutsNoRune(t *testing.T) {
	for _, test := range []struct {
		name string
		want int // bytes that are kept
	}{
		{"film.mkv", 8},
		{strings.Repeat("n", 200), 200},
		{strings.Repeat("n", 201), 200},
		{strings.Repeat("ü", 127), 200},
		{"n" + strings.Repeat("ü", 127), 199},
		{"n" + strings.Repeat("鯨", 84), 199},
		{"nn" + strings.Repeat("𝄞", 63), 198},
	} {
		got := shortName(test.name)
		if len(got) != test.want || !utf8.ValidString(got) || !strings.HasPrefix(test.name, got) {
			t.Errorf("%q: %d bytes %q, want %d that are whole letters", test.name, len(got), got, test.want)
		}
	}
	if got := shortName(strings.Repeat("\x80", 255)); len(got) > 200 || len(got) < 190 {
		t.Errorf("a name that is no text: %d bytes", len(got))
	}
}
