package disk

import (
	"bytes"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

func TestVisitedChunksAreGuesses(t *testing.T) {
	store := mustOpen(t, t.TempDir(), Options{})
	chunk := newUserFile(t, 60, 1, 1000).chunks[0]
	mustPut(t, store, chunk)
	mustSync(t, store)
	if _, err := store.Has(t.Context(), []cafs.Key{chunk.Key()}); err != nil {
		t.Fatal(err)
	}
	if got := store.index.visited.get(chunk.Key()); len(got) != 1 {
		t.Errorf("%d locations are kept of a chunk that was just looked up, want 1", len(got))
	}
	store.index.visited.note(chunk.Key(), []location{{volume: 1000, offset: 5, length: 1000}}) // out of date
	data, err := store.Get(t.Context(), chunk.Key(), nil)
	if err != nil || !bytes.Equal(data, chunk.Data()) {
		t.Errorf("%d bytes, error %v, after a look-up that is out of date", len(data), err)
	}
	if got := store.index.visited.get(chunk.Key()); got != nil {
		t.Error("a location that is wrong is still kept")
	}
	mustSync(t, store)
	if _, err := store.Get(t.Context(), chunk.Key(), nil); err != nil {
		t.Error(err)
	}
}
