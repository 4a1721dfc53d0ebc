package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
	"github.com/swarmsync/swarmsync/cafs/memory"
)

// TestConformance holds the store to the contract, as every other one. A store that keeps something has Reopen too.
func TestConformance(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the stores of package cafs are held to it under the race detector as well")
	}
	cafstest.Run(t, cafstest.Maker{
		Open: func(*testing.T) cafs.Store { return &countingStore{Store: memory.New()} },
		OpenLimited: func(_ *testing.T, quotaBytes int64) cafs.Store {
			return &countingStore{Store: memory.NewLimited(quotaBytes)}
		},
	})
}

func TestWhatNodesDoIsCounted(t *testing.T) {
	t.Parallel()
	const size = 200_000
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // never fails
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(t.Context(), &out, path); err != nil {
		t.Fatal(err)
	}
	var sourcePut, sourceGot, targetPut, targetGot int64
	format := "holder: %d bytes put, %d got\nreceiver: %d bytes put, %d got\n"
	if _, err := fmt.Sscanf(out.String(), format, &sourcePut, &sourceGot, &targetPut, &targetGot); err != nil {
		t.Fatalf("printed %q: %v", out.String(), err)
	}
	if sourcePut < size || sourceGot < size || targetPut < size {
		t.Errorf("printed %q: content of %d bytes went from one to the other", out.String(), size)
	}
}
