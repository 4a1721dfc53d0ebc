package disk

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
)

func mustOpen(t *testing.T, dir string, opts Options) *Store {
	t.Helper()
	store, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // those that matter are closed before, and checked
	return store
}

func mustPut(t *testing.T, store *Store, chunks ...cafs.Chunk) {
	t.Helper()
	if err := store.Put(t.Context(), chunks...); err != nil {
		t.Fatal(err)
	}
}

func mustPutRoot(t *testing.T, store *Store, info cafs.RootInfo) {
	t.Helper()
	if err := store.PutRoot(t.Context(), info); err != nil {
		t.Fatal(err)
	}
}

func mustSync(t *testing.T, store *Store) {
	t.Helper()
	if err := store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t *testing.T, store *Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

func checkHolds(t *testing.T, store *Store, chunks ...cafs.Chunk) {
	t.Helper()
	for i, chunk := range chunks {
		got, err := store.Get(t.Context(), chunk.Key(), nil)
		if err != nil || !bytes.Equal(got, chunk.Data()) {
			t.Errorf("chunk %d of %d: %d bytes, want %d, error %v", i, len(chunks), len(got), len(chunk.Data()), err)
		}
	}
}

func checkLacks(t *testing.T, store *Store, chunk cafs.Chunk) {
	t.Helper()
	have, err := store.Has(t.Context(), []cafs.Key{chunk.Key()})
	if err != nil || have[0] {
		t.Errorf("has a lost chunk: %v, error %v", have, err)
	}
	if _, err := store.Get(t.Context(), chunk.Key(), nil); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("get of a lost chunk: %v, want ErrNotFound", err)
	}
}

func checkCatalog(t *testing.T, store *Store, want ...cafs.RootInfo) {
	t.Helper()
	n := 0
	for _, err := range store.Roots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d roots, want %d", n, len(want))
	}
	for _, info := range want {
		got, err := store.Root(t.Context(), info.Root)
		if err != nil || got.Name != info.Name || got.Complete != info.Complete {
			t.Errorf("root %q: %+v, error %v", info.Name, got, err)
		}
	}
}

func testChunks(from, n uint64, size int) []cafs.Chunk {
	chunks := make([]cafs.Chunk, n)
	for i := range chunks {
		chunks[i] = cafstest.Chunk(from+uint64(i), size)
	}
	return chunks
}

// copyDir copies a directory as it is at the moment, which is what kill -9 leaves: the kernel keeps what was written.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{versionName, lockName} {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{packsName, indexName} { // but not the ballast, which is large
		if err := os.CopyFS(filepath.Join(to, name), os.DirFS(filepath.Join(from, name))); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func packPath(dir string, id uint64) string { return filepath.Join(dir, packsName, packName(id)) }

// changeFile changes the content of a file.
func changeFile(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenAfterKill(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	var chunks []cafs.Chunk
	for round := range uint64(3) {
		more := testChunks(round*10, 10, 3000)
		mustPut(t, store, more...)
		chunks = append(chunks, more...)

		copied := mustOpen(t, copyDir(t, dir), Options{})
		checkHolds(t, copied, chunks...)
		next := cafstest.Chunk(1000+round, 100)
		mustPut(t, copied, next)
		mustPutRoot(t, copied, cafstest.Root(7))
		mustClose(t, copied)
		if round == 1 {
			mustSync(t, store)
		}
	}
}

func TestOpenTornEnd(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	synced, whole, torn := cafstest.Chunk(1, 1000), cafstest.Chunk(2, 1000), cafstest.Chunk(3, 1000)
	mustPut(t, store, synced)
	mustSync(t, store)
	mustPut(t, store, whole)
	mustPut(t, store, torn)
	for _, cut := range []int{1, 999, 1000, 1001, recordHeaderSize + 999} {
		copied := copyDir(t, dir)
		changeFile(t, packPath(copied, 0), func(content []byte) []byte { return content[:len(content)-cut] })
		store := mustOpen(t, copied, Options{})
		checkHolds(t, store, synced, whole)
		checkLacks(t, store, torn)
		if info, err := os.Stat(packPath(copied, 0)); err != nil || info.Size() != 2*(recordHeaderSize+1000) {
			t.Errorf("%d bytes missing: pack %v, error %v; want it cut to the whole records", cut, info.Size(), err)
		}
		mustPut(t, store, torn)
		mustClose(t, store)
		checkHolds(t, mustOpen(t, copied, Options{}), synced, whole, torn)
	}
}

// TestOpenLostSyncedEnd takes from a pack what was synced, which a broken disk may do.
func TestOpenLostSyncedEnd(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	kept, lost := cafstest.Chunk(1, 1000), cafstest.Chunk(2, 1000)
	mustPut(t, store, kept, lost)
	mustClose(t, store)
	changeFile(t, packPath(dir, 0), func(content []byte) []byte { return content[:len(content)-1] })
	for range 2 {
		store = mustOpen(t, dir, Options{})
		checkHolds(t, store, kept)
		if have, err := store.Has(t.Context(), []cafs.Key{lost.Key()}); err != nil || have[0] {
			t.Errorf("has a lost chunk: %v, error %v", have, err)
		}
		mustClose(t, store)
	}
	store = mustOpen(t, dir, Options{})
	mustPut(t, store, lost)
	checkHolds(t, store, kept, lost)
	mustClose(t, store)
	checkHolds(t, mustOpen(t, dir, Options{}), kept, lost)
}

func TestOpenWithoutPack(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	chunk := cafstest.Chunk(1, 1000)
	mustPut(t, store, chunk)
	mustPutRoot(t, store, cafstest.Root(1))
	mustClose(t, store)
	if err := os.Remove(packPath(dir, 0)); err != nil {
		t.Fatal(err)
	}
	store = mustOpen(t, dir, Options{})
	if have, err := store.Has(t.Context(), []cafs.Key{chunk.Key()}); err != nil || have[0] {
		t.Errorf("has a lost chunk: %v, error %v", have, err)
	}
	checkCatalog(t, store, cafstest.Root(1))
	mustPut(t, store, chunk)
	checkHolds(t, store, chunk)
	if _, err := os.Stat(packPath(dir, 0)); !os.IsNotExist(err) {
		t.Errorf("the id of a lost pack is used again (stat: %v)", err)
	}
}

func TestGetForgetsDamaged(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	other, chunk := cafstest.Chunk(1, 100), cafstest.Chunk(2, 1000)
	mustPut(t, store, other, chunk)
	mustSync(t, store)
	changeFile(t, packPath(dir, 0), func(content []byte) []byte {
		content[len(content)-500] ^= 4
		return content
	})
	if _, err := store.Get(t.Context(), chunk.Key(), nil); !errors.Is(err, cafs.ErrCorrupt) {
		t.Fatalf("get of a damaged chunk: %v, want ErrCorrupt", err)
	}
	checkLacks(t, store, chunk)
	checkHolds(t, store, other)
	mustPut(t, store, chunk)
	checkHolds(t, store, chunk)
	mustClose(t, store)
	checkHolds(t, mustOpen(t, dir, Options{}), other, chunk)
}

// A copy that was forgotten must not be there again for the next process, which would count it as one that it has.
func TestForgottenStaysForgotten(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	other, chunk := cafstest.Chunk(1, 100), cafstest.Chunk(2, 1000)
	mustPut(t, store, other, chunk)
	mustClose(t, store)
	changeFile(t, packPath(dir, 0), func(content []byte) []byte {
		content[len(content)-500] ^= 4
		return content
	})
	end := map[string]func(*Store){
		"closed": func(store *Store) { mustClose(t, store) },
		"synced": func(store *Store) { mustSync(t, store) },
	}
	for name, end := range end {
		t.Run(name, func(t *testing.T) {
			copied := copyDir(t, dir)
			store := mustOpen(t, copied, Options{})
			if _, err := store.Get(t.Context(), chunk.Key(), nil); !errors.Is(err, cafs.ErrCorrupt) {
				t.Fatalf("get of a damaged chunk: %v, want ErrCorrupt", err)
			}
			end(store)
			again := mustOpen(t, copyDir(t, copied), Options{}) // what is there if the process is killed now
			checkLacks(t, again, chunk)
			checkHolds(t, again, other)
		})
	}
}

// TestSecondCopy has a chunk at two places, as after damage, a second put and a new index; either may go bad.
func TestSecondCopy(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	chunk := cafstest.Chunk(1, 1000)
	mustPut(t, store, chunk)
	mustClose(t, store)
	changeFile(t, packPath(dir, 0), func(content []byte) []byte { return append(content, content...) })
	for _, bad := range []int{0, 1} {
		copied := copyDir(t, dir)
		store := mustOpen(t, copied, Options{})
		if locations, err := store.index.lookup(chunk.Key()); err != nil || len(locations) != 2 {
			t.Fatalf("locations %v, error %v; want 2", locations, err)
		}
		changeFile(t, packPath(copied, 0), func(content []byte) []byte {
			content[bad*len(content)/2+100] ^= 1
			return content
		})
		checkHolds(t, store, chunk)
		mustClose(t, store)
		checkHolds(t, mustOpen(t, copied, Options{}), chunk)
	}
}

// fill makes a store with several packs, roots that were put, changed and removed, and returns what it holds.
func fill(t *testing.T, dir string) ([]cafs.Chunk, []cafs.RootInfo) {
	t.Helper()
	store := mustOpen(t, dir, Options{PackSize: packSizeLeast})
	chunks := testChunks(0, 100, 100_000)
	changed := cafstest.Root(2)
	mustPutRoot(t, store, cafstest.Root(1))
	mustPutRoot(t, store, changed)
	mustPutRoot(t, store, cafstest.Root(3))
	mustPut(t, store, chunks[:50]...)
	changed.Complete = true
	changed.Name = "changed"
	mustPutRoot(t, store, changed)
	if err := store.RemoveRoot(t.Context(), cafstest.Root(3).Root); err != nil {
		t.Fatal(err)
	}
	mustPut(t, store, chunks[50:]...)
	mustClose(t, store)
	mustClose(t, mustOpen(t, dir, Options{})) // moves what is in the log of the index into tables
	return chunks, []cafs.RootInfo{cafstest.Root(1), changed}
}

func TestOpenWithoutIndex(t *testing.T) {
	home := t.TempDir()
	chunks, roots := fill(t, home)
	index := func(dir string) string { return filepath.Join(dir, indexName) }
	for name, damage := range map[string]func(t *testing.T, dir string){
		"index gone": func(t *testing.T, dir string) {
			if err := os.RemoveAll(index(dir)); err != nil {
				t.Fatal(err)
			}
		},
		"manifest damaged":       func(t *testing.T, dir string) { damageFiles(t, index(dir), "MANIFEST-*") },
		"manifest gone":          func(t *testing.T, dir string) { removeFiles(t, index(dir), "MANIFEST-*") },
		"marker gone":            func(t *testing.T, dir string) { removeFiles(t, index(dir), "marker.*") },
		"tables gone":            func(t *testing.T, dir string) { removeFiles(t, index(dir), "*.sst") },
		"everything but one log": func(t *testing.T, dir string) { removeFiles(t, index(dir), "[A-Zm]*") },
		"asked for": func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, rebuildName), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, home)
			damage(t, dir)
			for range 2 {
				store := mustOpen(t, dir, Options{PackSize: packSizeLeast})
				checkHolds(t, store, chunks...)
				checkCatalog(t, store, roots...)
				mustClose(t, store)
			}
			if _, err := os.Lstat(filepath.Join(dir, rebuildName)); !os.IsNotExist(err) {
				t.Errorf("the request for a new index is still there: %v", err)
			}
		})
	}
}

func eachFile(t *testing.T, dir, pattern string, do func(path string)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatalf("no file %s in %s", pattern, dir)
	}
	for _, path := range paths {
		do(path)
	}
}

func removeFiles(t *testing.T, dir, pattern string) {
	t.Helper()
	eachFile(t, dir, pattern, func(path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	})
}

func damageFiles(t *testing.T, dir, pattern string) {
	t.Helper()
	eachFile(t, dir, pattern, func(path string) {
		changeFile(t, path, func(content []byte) []byte {
			for i := range content {
				content[i] ^= 0x55
			}
			return content
		})
	})
}

// TestIndexDamagedWhileOpen has a table of the index go bad under a look-up: the look-up fails, the next Open repairs.
func TestIndexDamagedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	chunks, roots := fill(t, dir)
	store := mustOpen(t, dir, Options{})
	damageFiles(t, filepath.Join(dir, indexName), "*.sst")
	// Some look-ups are answered from memory yet; those that are not must not say that the chunk is not there.
	for _, chunk := range chunks {
		if _, err := store.Get(t.Context(), chunk.Key(), nil); errors.Is(err, cafs.ErrNotFound) {
			t.Errorf("get with a damaged index: %v", err)
		}
	}
	mustClose(t, store)
	store = mustOpen(t, dir, Options{})
	checkHolds(t, store, chunks...)
	checkCatalog(t, store, roots...)
}

func TestManyPacks(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{PackSize: packSizeLeast})
	const packs, each, packSize = openPacksMax + 8, 20, 100_000
	store.append.packSizeMax = packSize // less than an option may ask for
	chunks := testChunks(0, packs*each, packSize/each-recordHeaderSize)
	for i := 0; i < len(chunks); i += each {
		mustPut(t, store, chunks[i:i+each]...)
	}
	for range 2 {
		stats, err := store.Stats()
		if err != nil {
			t.Fatal(err)
		}
		want := int64(packs * packSize)
		if stats.Packs != packs || stats.PackBytes != want || stats.Chunks != int64(len(chunks)) {
			t.Errorf("stats %+v, want %d packs, %d bytes, %d chunks", stats, packs, want, len(chunks))
		}
		for id := range stats.Packs {
			if info, err := os.Stat(packPath(dir, uint64(id))); err != nil || info.Size() != packSize {
				t.Errorf("pack %d: %v, error %v; want %d bytes", id, info.Size(), err, packSize)
			}
		}
		for i := range chunks { // from pack to pack, so that the open ones change all the time
			checkHolds(t, store, chunks[i%packs*each+i/packs])
		}
		if n := len(store.packs.open); n > openPacksMax {
			t.Errorf("%d packs open, want at most %d", n, openPacksMax)
		}
		mustClose(t, store)
		store = mustOpen(t, dir, Options{PackSize: packSizeLeast})
	}
}

// TestPutSyncs puts more chunks than may wait for a sync.
func TestPutSyncs(t *testing.T) {
	dir := t.TempDir()
	store := mustOpen(t, dir, Options{})
	chunks := testChunks(0, overlayEntriesMax+2*groupChunksMax, 8)
	mustPut(t, store, chunks...)
	if n := store.index.overlaySize(); n >= overlayEntriesMax {
		t.Errorf("%d entries wait for a sync, want less than %d", n, overlayEntriesMax)
	}
	copied := mustOpen(t, copyDir(t, dir), Options{})
	keys := make([]cafs.Key, len(chunks))
	for i, chunk := range chunks {
		keys[i] = chunk.Key()
	}
	for _, store := range []*Store{store, copied} {
		have, err := store.Has(t.Context(), keys)
		if err != nil {
			t.Fatal(err)
		}
		for i := range have {
			if !have[i] {
				t.Fatalf("chunk %d of %d is missing", i, len(have))
			}
		}
	}
}

// childDir names the variable that makes the test binary the process that is killed, childOutput the one that makes it
// write a file.
const (
	childDir    = "SWARMSYNC_TEST_STORE"
	childOutput = "SWARMSYNC_TEST_OUTPUT"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		work := putForever
		if path := os.Getenv(childOutput); path != "" {
			work = func(dir string) error { return writeForever(dir, path) }
		}
		if err := work(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const childBatch = 20

// childRound returns what the child puts in a round.
func childRound(round uint64) ([]cafs.Chunk, cafs.RootInfo) {
	return testChunks(round*childBatch, childBatch, 1+int(round*7919%60000)), cafstest.Root(round)
}

// putForever puts chunks and roots, and prints a line after each round that is stored.
func putForever(dir string) error {
	store, err := Open(dir, Options{PackSize: packSizeLeast})
	if err != nil {
		return err
	}
	for round := uint64(0); ; round++ {
		chunks, root := childRound(round)
		if err := store.Put(context.Background(), chunks...); err != nil {
			return err
		}
		if round%8 == 7 {
			if err := store.PutRoot(context.Background(), root); err != nil {
				return err
			}
		}
		fmt.Println(round)
	}
}

// TestKill kills a process that puts chunks, several times at the same store, and wants all that was confirmed.
func TestKill(t *testing.T) {
	rnd := newRand(t)
	dir := t.TempDir()
	for range 3 {
		rounds := killChild(t, 1+rnd.IntN(60), childDir+"="+dir)
		store := mustOpen(t, dir, Options{PackSize: packSizeLeast})
		for round := range uint64(rounds) {
			chunks, root := childRound(round)
			checkHolds(t, store, chunks...)
			if round%8 != 7 {
				continue
			}
			if _, err := store.Root(t.Context(), root.Root); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			t.Fatalf("after %d rounds", rounds)
		}
		mustClose(t, store)
	}
}

// killChild kills the child when it has confirmed a number of rounds, and returns how many it had by then.
func killChild(t *testing.T, after int, env ...string) (rounds int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if rounds++; rounds == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if rounds < after || !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("child ended by itself after %d of %d rounds: %v, %s", rounds, after, err, stderr.String())
	}
	return rounds
}
