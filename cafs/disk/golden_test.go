package disk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
)

// goldenHomes are stores that the first release of each format version wrote. They are never written anew: a store that
// this test can't open is one that users can't open any more.
var goldenHomes = []struct {
	dir     string
	volumes bool
}{
	{"testdata/store-1", false},
	{"testdata/store-2", true},
}

// goldenContent is what is in the golden home: chunks, and roots of which one was changed and one removed.
func goldenContent() (chunks []cafs.Chunk, roots []cafs.RootInfo, removed cafs.RootInfo) {
	for i, size := range []int{1, 40, 4000, 20000} {
		chunks = append(chunks, cafstest.Chunk(uint64(i), size))
	}
	changed := cafstest.Root(2)
	changed.Complete = true
	return chunks, []cafs.RootInfo{cafstest.Root(1), changed}, cafstest.Root(3)
}

// goldenFiles are the user's files of the golden homes, which are on no disk.
type goldenFiles struct{}

// goldenFile is the content of the only one.
type goldenFile struct{ *bytes.Reader }

const goldenPath = "/golden/file"

// goldenVolume is what is referred to there.
func goldenVolume() (content []byte, chunks []cafs.Chunk, refs []cafs.ChunkRef) {
	for id := range uint64(4) {
		chunk := cafstest.Chunk(50+id, 300)
		chunks = append(chunks, chunk)
		refs = append(refs, cafs.ChunkRef{Chunk: chunk.Info(), Offset: int64(len(content))})
		content = append(content, chunk.Data()...)
	}
	return content, chunks, refs
}

func (goldenFile) Prefetch(int64, int64) {}

func (goldenFiles) open(string, bool) (userFile, error) {
	content, _, _ := goldenVolume()
	return goldenFile{bytes.NewReader(content)}, nil
}

func (goldenFiles) identity(string) (identity, error) {
	return identity{device: 1, inode: 2, size: 1200, mtime: 1_700_000_000_000_000_000, ctime: 1_700_000_000_000_000_001}, nil
}

func (goldenFile) timesTell() bool { return false }

func (goldenFile) eachLookTells() bool { return false }

func (goldenFile) holeAt(int64, int64) int64 { return 0 }

func (goldenFile) identity() (identity, error) { return goldenFiles{}.identity(goldenPath) }
func (goldenFile) SyncData() error             { return nil }
func (goldenFile) Close() error                { return nil }

// writeGolden is how the golden home was made. The next format gets a directory of its own the same way.
func writeGolden(t *testing.T, dir string) {
	options := Options{testOnlyUserFiles: goldenFiles{}}
	store := mustOpen(t, dir, options)
	chunks, roots, removed := goldenContent()
	mustPut(t, store, chunks[:2]...)
	mustPutRoot(t, store, cafstest.Root(2))
	mustPutRoot(t, store, removed)
	for _, info := range roots {
		mustPutRoot(t, store, info)
	}
	if err := store.RemoveRoot(t.Context(), removed.Root); err != nil {
		t.Fatal(err)
	}
	_, _, refs := goldenVolume()
	v := mustOpenVolume(t, store, goldenPath, cafs.VolumeOptions{})
	mustRefer(t, v, refs...)
	if err := errors.Join(v.Seal(t.Context(), goldenPath, roots[0].Root), v.Close()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, store)
	store = mustOpen(t, dir, options) // moves the index into tables
	mustPut(t, store, chunks[2:]...)
	mustClose(t, store)
	if err := os.Remove(filepath.Join(dir, ballastName)); err != nil {
		t.Fatal(err)
	}
}

func TestGoldenHome(t *testing.T) {
	if dir := os.Getenv("SWARMSYNC_WRITE_GOLDEN"); dir != "" {
		writeGolden(t, dir)
	}
	for _, home := range goldenHomes {
		t.Run(filepath.Base(home.dir), func(t *testing.T) { testGoldenHome(t, home.dir, home.volumes) })
	}
}

func testGoldenHome(t *testing.T, home string, volumes bool) {
	chunks, roots, _ := goldenContent()
	_, referred, _ := goldenVolume()
	for name, prepare := range map[string]func(dir string) error{
		"as it is":      func(string) error { return nil },
		"without index": func(dir string) error { return os.RemoveAll(filepath.Join(dir, indexName)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyDir(t, home)
			if err := prepare(dir); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				store := mustOpen(t, dir, Options{testOnlyUserFiles: goldenFiles{}})
				checkHolds(t, store, chunks...)
				checkCatalog(t, store, roots...)
				if volumes && name == "as it is" {
					checkHolds(t, store, referred...)
					if got := state(t, store, goldenPath); got != cafs.VolumeFresh {
						t.Errorf("the volume is %v, want fresh", got)
					}
				} else if n := count(t, store, referred); n != 0 {
					t.Errorf("has %d chunks that nothing tells of", n)
				}
				mustPut(t, store, cafstest.Chunk(100, 1000))
				mustClose(t, store)
				if version, err := checkVersion(dir); err != nil || version != formatVersion {
					t.Errorf("version %d, error %v; want %d", version, err, formatVersion)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, damagedName)); !os.IsNotExist(err) {
				t.Errorf("the index was taken for damaged (stat: %v)", err)
			}
		})
	}
}
