// Package cafstest holds stores to the contract of package cafs: Run is the suite that every cafs.Store must pass, the
// ones of this project and those of others.
//
// Chunk, File and Root make the content that the suite works with; they serve other tests as well.
package cafstest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// Maker tells Run how to get stores.
type Maker struct {
	// Open returns a new, empty store. Run closes it.
	Open func(t *testing.T) cafs.Store

	// Reopen closes a store that Open or Reopen returned, and opens what it held again. It is nil for stores that keep
	// nothing; the tests of what survives are then left out.
	Reopen func(t *testing.T, store cafs.Store) cafs.Store

	// OpenLimited returns a new, empty store with a quota of quotaBytes, which are at least 64 MiB. Run closes it.
	OpenLimited func(t *testing.T, quotaBytes int64) cafs.Store
}

// Run runs the suite, each test on a store of its own. Stores that have the role of cafs.Referrer are held to it as well.
func Run(t *testing.T, maker Maker) {
	tests := []struct {
		name string
		run  func(t *testing.T, store cafs.Store)
	}{
		{"Empty", testEmpty},
		{"PutGet", testPutGet},
		{"PutNothing", testPutNothing},
		{"PutTwice", testPutTwice},
		{"PutZeroChunk", testPutZeroChunk},
		{"Buffers", testBuffers},
		{"Has", testHas},
		{"ReadRow", testReadRow},
		{"Check", testCheck},
		{"Canceled", testCanceled},
		{"ConcurrentChunks", testConcurrentChunks},
		{"ConcurrentSameChunk", testConcurrentSameChunk},
		{"Roots", testRoots},
		{"RootFields", testRootFields},
		{"RootOwnership", testRootOwnership},
		{"RootRefused", testRootRefused},
		{"RootErrors", testRootErrors},
		{"RootsEnumeration", testRootsEnumeration},
		{"ConcurrentRoots", testConcurrentRoots},
		{"RemovedRootKeepsChunks", testRemovedRootKeepsChunks},
		{"Sync", testSync},
		{"Close", testClose},
		{"CloseUnderLoad", testCloseUnderLoad},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, openStore(t, maker)) })
	}
	runReclaimer(t, maker)
	if _, ok := openStore(t, maker).(cafs.Referrer); ok {
		runReferrer(t, maker)
	}
	if maker.Reopen == nil {
		return
	}
	t.Run("Reopen", func(t *testing.T) { testReopen(t, maker) })
	t.Run("ReopenWithoutSync", func(t *testing.T) { testReopenWithoutSync(t, maker) })
}

func openStore(t *testing.T, maker Maker) cafs.Store {
	t.Helper()
	store := maker.Open(t)
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return store
}

// Chunk returns a chunk of size bytes that look random and are the same in every run; chunks of different id differ if
// they have at least 8 bytes. It panics if size is not between cafs.ChunkSizeMin and cafs.ChunkSizeMax.
func Chunk(id uint64, size int) cafs.Chunk {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], id)
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(data) // never fails
	chunk, err := cafs.NewChunk(data)
	if err != nil {
		panic("cafstest: " + err.Error())
	}
	return chunk
}

// Root returns a root that any store takes: it is incomplete, its record is not one that cafs could parse, and its
// fields follow from id alone.
func Root(id uint64) cafs.RootInfo {
	record := fmt.Appendf(nil, "record %d", id)
	return cafs.RootInfo{
		Root:   cafs.KeyOf(record),
		Record: record,
		Name:   fmt.Sprintf("name %d", id),
		Place:  fmt.Sprintf("/place/%d", id),
		Added:  time.Unix(1_700_000_000, int64(id%1_000_000_000)).UTC(),
	}
}
