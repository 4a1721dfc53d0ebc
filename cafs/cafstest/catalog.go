package cafstest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

func mustPutRoot(t *testing.T, store cafs.Store, info cafs.RootInfo) {
	t.Helper()
	if err := store.PutRoot(t.Context(), info); err != nil {
		t.Fatalf("put root %q: %v", info.Name, err)
	}
}

// differ tells what is different in two roots, or "".
func differ(got, want cafs.RootInfo) string {
	switch {
	case got.Root != want.Root:
		return fmt.Sprintf("root %s, want %s", got.Root, want.Root)
	case !bytes.Equal(got.Record, want.Record):
		return fmt.Sprintf("record %q, want %q", got.Record, want.Record)
	case got.Name != want.Name:
		return fmt.Sprintf("name %q, want %q", got.Name, want.Name)
	case got.Place != want.Place:
		return fmt.Sprintf("place %q, want %q", got.Place, want.Place)
	case got.Complete != want.Complete || got.Damaged != want.Damaged:
		return fmt.Sprintf("complete %v, damaged %v, want %v, %v", got.Complete, got.Damaged, want.Complete, want.Damaged)
	case !got.Added.Equal(want.Added):
		return fmt.Sprintf("added %v, want %v", got.Added, want.Added)
	}
	return ""
}

func checkRoot(t *testing.T, store cafs.Store, want cafs.RootInfo) {
	t.Helper()
	got, err := store.Root(t.Context(), want.Root)
	if err != nil {
		t.Errorf("root %q: %v", want.Name, err)
	} else if d := differ(got, want); d != "" {
		t.Errorf("root %q: %s", want.Name, d)
	}
}

// checkRoots fails the test unless the catalog holds exactly want and enumerates it in the order of the keys.
func checkRoots(t *testing.T, store cafs.Store, want ...cafs.RootInfo) {
	t.Helper()
	slices.SortFunc(want, func(a, b cafs.RootInfo) int { return bytes.Compare(a.Root[:], b.Root[:]) })
	i := 0
	for got, err := range store.Roots(t.Context()) {
		if err != nil {
			t.Fatalf("roots: %v", err)
		}
		if i == len(want) {
			t.Fatalf("roots: more than %d", len(want))
		}
		if d := differ(got, want[i]); d != "" {
			t.Errorf("roots: number %d: %s", i, d)
		}
		i++
	}
	if i < len(want) {
		t.Errorf("roots: %d, want %d", i, len(want))
	}
}

func testRoots(t *testing.T, store cafs.Store) {
	a, b, c := Root(1), Root(2), Root(3)
	mustPutRoot(t, store, a)
	checkRoots(t, store, a)
	mustPutRoot(t, store, b)
	mustPutRoot(t, store, c)
	checkRoots(t, store, a, b, c)

	b.Complete = true
	b.Name = "another name"
	b.Place = ""
	mustPutRoot(t, store, b)
	checkRoot(t, store, b)
	checkRoots(t, store, a, b, c)

	if err := store.RemoveRoot(t.Context(), a.Root); err != nil {
		t.Fatalf("remove root: %v", err)
	}
	checkRoots(t, store, b, c)
	if _, err := store.Root(t.Context(), a.Root); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("root after its removal: %v, want ErrNotFound", err)
	}
	if err := store.RemoveRoot(t.Context(), a.Root); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("second removal: %v, want ErrNotFound", err)
	}
	mustPutRoot(t, store, a)
	checkRoots(t, store, a, b, c)
	// A catalogued root is not a chunk: its record is nowhere but in the catalog.
	checkMissing(t, store, a.Root)
}

func testRootFields(t *testing.T, store cafs.Store) {
	withRecord := func(record []byte) cafs.RootInfo {
		return cafs.RootInfo{Root: cafs.KeyOf(record), Record: record}
	}
	large := withRecord(bytes.Repeat([]byte("r"), 16384))
	large.Name = strings.Repeat("n", 4096)
	large.Place = "/" + strings.Repeat("p", 32767)
	large.Complete = true
	large.Added = time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.FixedZone("", 3600))
	odd := withRecord([]byte{0})
	odd.Name = "not UTF-8 \xff, and a\x00zero"
	odd.Damaged = true
	odd.Added = time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC)
	infos := []cafs.RootInfo{withRecord(nil), large, odd}
	for _, info := range infos {
		mustPutRoot(t, store, info)
		checkRoot(t, store, info)
	}
	checkRoots(t, store, infos...)
}

func testRootOwnership(t *testing.T, store cafs.Store) {
	want := Root(1)
	put := want
	put.Record = bytes.Clone(want.Record)
	mustPutRoot(t, store, put)
	clear(put.Record)
	checkRoot(t, store, want)

	got, err := store.Root(t.Context(), want.Root)
	if err != nil {
		t.Fatal(err)
	}
	clear(got.Record)
	for got, err := range store.Roots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		clear(got.Record)
	}
	checkRoot(t, store, want)
}

func testRootRefused(t *testing.T, store cafs.Store) {
	wrongKey := Root(1)
	wrongKey.Root = Root(2).Root
	if err := store.PutRoot(t.Context(), wrongKey); !errors.Is(err, cafs.ErrCorrupt) {
		t.Errorf("put of a root under another's key: %v, want ErrCorrupt", err)
	}
	longRecord := Root(1)
	longRecord.Record = make([]byte, 16385)
	longRecord.Root = cafs.KeyOf(longRecord.Record)
	longName := Root(1)
	longName.Name = strings.Repeat("n", 4097)
	longPlace := Root(1)
	longPlace.Place = strings.Repeat("p", 32769)
	both := Root(1)
	both.Complete, both.Damaged = true, true
	for what, info := range map[string]cafs.RootInfo{
		"a long record": longRecord, "a long name": longName, "a long place": longPlace, "complete and damaged": both,
	} {
		if err := store.PutRoot(t.Context(), info); err == nil {
			t.Errorf("no error for a root with %s", what)
		}
	}
	checkRoots(t, store)
}

// Errors end up in logs and reports, and a root is a secret: they name it by its first digits.
func testRootErrors(t *testing.T, store cafs.Store) {
	wrongKey, longName := Root(1), Root(1)
	wrongKey.Root = Root(2).Root
	longName.Name = strings.Repeat("n", 4097)
	_, errRoot := store.Root(t.Context(), Root(1).Root)
	for name, err := range map[string]error{
		"put under another's key": store.PutRoot(t.Context(), wrongKey),
		"put with a long name":    store.PutRoot(t.Context(), longName),
		"look up of no root":      errRoot,
		"removal of no root":      store.RemoveRoot(t.Context(), Root(1).Root),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for id := range uint64(2) {
			if root := Root(1 + id).Root.String(); strings.Contains(err.Error(), root[:9]) {
				t.Errorf("%s: the error gives the root away: %v", name, err)
			}
		}
	}
}

func testRootsEnumeration(t *testing.T, store cafs.Store) {
	var all []cafs.RootInfo
	for id := range uint64(10) {
		all = append(all, Root(id))
		mustPutRoot(t, store, Root(id))
	}
	n := 0
	for _, err := range store.Roots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d roots before the early stop, want 3", n)
	}

	// What changes while the loop runs does not show in it.
	n = 0
	for info, err := range store.Roots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			mustPutRoot(t, store, Root(100))
			for _, gone := range all[:5] {
				if err := store.RemoveRoot(t.Context(), gone.Root); err != nil {
					t.Fatal(err)
				}
			}
		}
		if info.Root == Root(100).Root {
			t.Error("a root that came during the enumeration shows in it")
		}
		n++
	}
	if n != len(all) {
		t.Errorf("%d roots in an enumeration that began with %d", n, len(all))
	}
	checkRoots(t, store, append(slices.Clone(all[5:]), Root(100))...)

	// One enumeration can be run twice; the second shows the catalog as it is then.
	roots := store.Roots(t.Context())
	for range roots {
		break
	}
	n = 0
	for range roots {
		n++
	}
	if n != 6 {
		t.Errorf("%d roots in the second run, want 6", n)
	}
}

func testConcurrentRoots(t *testing.T, store cafs.Store) {
	const workers, rounds = 4, 5
	var group sync.WaitGroup
	for worker := range uint64(workers) {
		group.Go(func() {
			for round := range uint64(rounds) {
				keep, drop := Root(worker*rounds+round), Root(1000+worker*rounds+round)
				for _, info := range []cafs.RootInfo{keep, drop} {
					if err := store.PutRoot(t.Context(), info); err != nil {
						t.Errorf("put root: %v", err)
					}
				}
				if err := store.RemoveRoot(t.Context(), drop.Root); err != nil {
					t.Errorf("remove root: %v", err)
				}
				for _, err := range store.Roots(t.Context()) {
					if err != nil {
						t.Errorf("roots: %v", err)
					}
				}
			}
		})
	}
	group.Wait()
	var want []cafs.RootInfo
	for id := range uint64(workers * rounds) {
		want = append(want, Root(id))
	}
	checkRoots(t, store, want...)
	checkOneRemovalWins(t, store, want[0].Root)
}

func checkOneRemovalWins(t *testing.T, store cafs.Store, root cafs.Key) {
	t.Helper()
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() { errs <- store.RemoveRoot(t.Context(), root) }()
	}
	removed := 0
	for range cap(errs) {
		switch err := <-errs; {
		case err == nil:
			removed++
		case !errors.Is(err, cafs.ErrNotFound):
			t.Errorf("remove root: %v", err)
		}
	}
	if removed != 1 {
		t.Errorf("%d of %d removals of one root at the same time succeeded, want 1", removed, cap(errs))
	}
}

func testRemovedRootKeepsChunks(t *testing.T, store cafs.Store) {
	mustPutRoot(t, store, Root(1))
	chunk := Chunk(1, 3000)
	mustPut(t, store, chunk)
	if err := store.RemoveRoot(t.Context(), Root(1).Root); err != nil {
		t.Fatal(err)
	}
	checkChunk(t, store, chunk)
}

func testReopen(t *testing.T, maker Maker) {
	store := openStore(t, maker)
	var chunks []cafs.Chunk
	for i, size := range sizes {
		chunks = append(chunks, Chunk(uint64(i), size))
	}
	root := Root(1)
	mustPutRoot(t, store, root)
	mustPutRoot(t, store, Root(2))
	for round := range 3 {
		mustPut(t, store, chunks...)
		if round == 1 {
			if err := store.RemoveRoot(t.Context(), Root(2).Root); err != nil {
				t.Fatal(err)
			}
		}
		root.Name = fmt.Sprintf("round %d", round)
		mustPutRoot(t, store, root)

		store = maker.Reopen(t, store)
		t.Cleanup(func() { _ = store.Close() })
		for _, chunk := range chunks {
			checkChunk(t, store, chunk)
			checkHas(t, store, []cafs.Key{chunk.Key(), {}}, []bool{true, false})
		}
		checkRoot(t, store, root)
		next := Chunk(uint64(1000+round), 700)
		mustPut(t, store, next)
		chunks = append(chunks, next)
	}
	checkRoots(t, store, root)
}

// testReopenWithoutSync holds Close to its promise that it syncs.
func testReopenWithoutSync(t *testing.T, maker Maker) {
	store := openStore(t, maker)
	chunk := Chunk(1, 131072)
	mustPut(t, store, chunk)
	store = maker.Reopen(t, store)
	t.Cleanup(func() { _ = store.Close() })
	checkChunk(t, store, chunk)
	checkRoots(t, store)
}
