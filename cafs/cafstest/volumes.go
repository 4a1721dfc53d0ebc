package cafstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// referrer is a store with the role that these tests are about.
type referrer interface {
	cafs.Store
	cafs.Referrer
}

// runReferrer runs the tests of cafs.Referrer.
func runReferrer(t *testing.T, maker Maker) {
	tests := []struct {
		name string
		run  func(t *testing.T, store referrer)
	}{
		{"VolumeRefer", testVolumeRefer},
		{"VolumeRefuses", testVolumeRefuses},
		{"VolumeEdited", testVolumeEdited},
		{"VolumeChangedWhileRead", testVolumeChangedWhileRead},
		{"VolumeWritten", testVolumeWritten},
		{"VolumeAndPut", testVolumeAndPut},
		{"VolumeElsewhere", testVolumeElsewhere},
		{"VolumeLocate", testVolumeLocate},
		{"VolumeReplaced", testVolumeReplaced},
		{"Volumes", testVolumes},
		{"VolumeCanceled", testVolumeCanceled},
		{"VolumeConcurrent", testVolumeConcurrent},
		{"VolumeClosed", testVolumeClosed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, openStore(t, maker).(referrer)) })
	}
	if maker.Reopen != nil {
		t.Run("VolumeReopen", func(t *testing.T) { testVolumeReopen(t, maker) })
	}
}

// volumeFile is a file made of chunks.
type volumeFile struct {
	path   string
	chunks []cafs.Chunk
	refs   []cafs.ChunkRef
}

// File writes a file at path that consists of n chunks of size bytes, the first of them Chunk(id, size), and lets it look
// as if it had been left alone for an hour, as far as that can be done. It returns where the chunks are.
func File(t testing.TB, path string, id uint64, n, size int) ([]cafs.Chunk, []cafs.ChunkRef) {
	t.Helper()
	var content []byte
	var chunks []cafs.Chunk
	var refs []cafs.ChunkRef
	for i := range n {
		chunk := Chunk(id+uint64(i), size)
		chunks = append(chunks, chunk)
		refs = append(refs, cafs.ChunkRef{Chunk: chunk.Info(), Offset: int64(len(content))})
		content = append(content, chunk.Data()...)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, then, then); err != nil {
		t.Fatal(err)
	}
	return chunks, refs
}

func newVolumeFile(t *testing.T, id uint64) volumeFile {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	chunks, refs := File(t, path, id, 10, 5000)
	return volumeFile{path, chunks, refs}
}

func mustOpenVolume(t *testing.T, store referrer, path string, opts cafs.VolumeOptions) cafs.Volume {
	t.Helper()
	v, err := store.OpenVolume(t.Context(), path, opts)
	if err != nil {
		t.Fatalf("open volume: %v", err)
	}
	t.Cleanup(func() { _ = v.Close() }) // those that matter are closed before, and checked
	return v
}

// mustAdd makes a file a sealed volume of a root.
func mustAdd(t *testing.T, store referrer, file volumeFile, root cafs.Key) {
	t.Helper()
	v := mustOpenVolume(t, store, file.path, cafs.VolumeOptions{})
	if err := v.Refer(t.Context(), file.refs...); err != nil {
		t.Fatalf("refer: %v", err)
	}
	if err := v.Seal(t.Context(), file.path, root); err != nil {
		t.Fatalf("seal: %v", err)
	}
	if err := v.Close(); err != nil {
		t.Fatalf("close volume: %v", err)
	}
}

func checkVolume(t *testing.T, store referrer, path string, root cafs.Key, states ...cafs.VolumeState) {
	t.Helper()
	info, err := store.Volume(t.Context(), path)
	if err != nil {
		t.Errorf("volume: %v", err)
	} else if info.Path != path || info.Root != root || !slices.Contains(states, info.State) {
		t.Errorf("volume %+v, want path %s, root %s and a state of %v", info, path, root, states)
	}
}

// checkNoOther fails the test if a Get returns other bytes than those of the chunks, or fails in a way that does not
// say that they are not here. It returns how many it got.
func checkNoOther(t *testing.T, store cafs.Getter, chunks []cafs.Chunk) (got int) {
	t.Helper()
	for i, chunk := range chunks {
		data, err := store.Get(t.Context(), chunk.Key(), nil)
		switch {
		case err == nil && bytes.Equal(data, chunk.Data()):
			got++
		case err == nil:
			t.Errorf("chunk %d: other bytes", i)
		case !errors.Is(err, cafs.ErrNotFound) && !errors.Is(err, cafs.ErrCorrupt):
			t.Errorf("chunk %d: %v, want ErrNotFound or ErrCorrupt", i, err)
		}
	}
	return got
}

func testVolumeRefer(t *testing.T, store referrer) {
	file, root := newVolumeFile(t, 0), Root(1).Root
	v := mustOpenVolume(t, store, file.path, cafs.VolumeOptions{})
	checkMissing(t, store, file.chunks[0].Key())
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := store.Volume(t.Context(), file.path); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("volume in which nothing was referred to: %+v, error %v; want ErrNotFound", info, err)
	}
	v = mustOpenVolume(t, store, file.path, cafs.VolumeOptions{})
	for i, chunk := range file.chunks {
		data := make([]byte, len(chunk.Data()))
		if _, err := v.ReadAt(data, file.refs[i].Offset); err != nil || !bytes.Equal(data, chunk.Data()) {
			t.Fatalf("read chunk %d from the volume: error %v", i, err)
		}
	}
	if err := v.Refer(t.Context(), file.refs[:6]...); err != nil {
		t.Fatal(err)
	}
	checkChunk(t, store, file.chunks[5])
	checkHas(t, store, []cafs.Key{file.chunks[5].Key(), file.chunks[6].Key()}, []bool{true, false})
	if err := v.Refer(t.Context(), file.refs[3:]...); err != nil {
		t.Fatal(err)
	}
	checkVolume(t, store, file.path, cafs.Key{}, cafs.VolumeFresh, cafs.VolumeRacy)
	if err := v.Seal(t.Context(), file.path, root); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
		if n := checkNoOther(t, store, file.chunks); n != len(file.chunks) {
			t.Errorf("%d of %d chunks", n, len(file.chunks))
		}
	}
	checkVolume(t, store, file.path, root, cafs.VolumeFresh, cafs.VolumeRacy)
	if err := store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := checkNoOther(t, store, file.chunks); n != len(file.chunks) {
		t.Errorf("%d of %d chunks after a sync", n, len(file.chunks))
	}

	if err := store.RemoveVolume(t.Context(), file.path); err != nil {
		t.Fatal(err)
	}
	for _, chunk := range file.chunks {
		checkHas(t, store, []cafs.Key{chunk.Key()}, []bool{false})
		checkMissing(t, store, chunk.Key())
	}
	if err := store.RemoveVolume(t.Context(), file.path); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("second removal: %v, want ErrNotFound", err)
	}
	if _, err := store.Volume(t.Context(), file.path); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("volume that was removed: %v, want ErrNotFound", err)
	}
	if _, err := os.Stat(file.path); err != nil {
		t.Errorf("the file went with its volume: %v", err)
	}
	mustAdd(t, store, file, root)
	checkChunk(t, store, file.chunks[0])
}

func testVolumeRefuses(t *testing.T, store referrer) {
	file := newVolumeFile(t, 0)
	dir := filepath.Dir(file.path)
	paths := map[string]string{
		"relative path": "file", "empty path": "", "unclean path": dir + "/./file", "NUL": file.path + "\x00",
		"directory": dir, "no file": filepath.Join(dir, "nothing"),
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file.path, link); err == nil {
		paths["symbolic link"] = link
	}
	for name, path := range paths {
		for _, opts := range []cafs.VolumeOptions{{}, {Written: true}} {
			if v, err := store.OpenVolume(t.Context(), path, opts); err == nil {
				_ = v.Close()
				t.Errorf("%s: opened as a volume (%+v)", name, opts)
			}
		}
	}
	v := mustOpenVolume(t, store, file.path, cafs.VolumeOptions{})
	key := file.chunks[0].Key()
	for name, ref := range map[string]cafs.ChunkRef{
		"no bytes":        {Chunk: cafs.ChunkInfo{Key: key}},
		"too many bytes":  {Chunk: cafs.ChunkInfo{Key: key, Size: cafs.ChunkSizeMax + 1}},
		"negative offset": {Chunk: file.chunks[0].Info(), Offset: -1},
	} {
		if err := v.Refer(t.Context(), ref); err == nil {
			t.Errorf("%s: referred to", name)
		}
	}
	// Behind the end nothing is; who believes such a note must not return less or other than the chunk.
	far := cafs.ChunkRef{Chunk: file.chunks[0].Info(), Offset: 1 << 40}
	if err := v.Refer(t.Context(), far); err == nil {
		checkNoOther(t, store, file.chunks[:1])
	}
	if err := v.Seal(t.Context(), file.path, cafs.Key{}); err == nil {
		t.Error("sealed with the zero key as root")
	}
	if err := v.Seal(t.Context(), "file", Root(1).Root); err == nil {
		t.Error("sealed with a relative path")
	}
	if err := v.Seal(t.Context(), filepath.Join(dir, "nothing"), Root(1).Root); !errors.Is(err, cafs.ErrChanged) {
		t.Errorf("sealed where there is no file: %v, want ErrChanged", err)
	}
}

func testVolumeEdited(t *testing.T, store referrer) {
	file := newVolumeFile(t, 0)
	mustAdd(t, store, file, Root(1).Root)
	changeAt(t, file.path, file.refs[3].Offset+17)
	if n := checkNoOther(t, store, file.chunks); n != len(file.chunks)-1 {
		t.Errorf("got %d of %d chunks, one of which is not there any more", n, len(file.chunks))
	}
	checkVolume(t, store, file.path, Root(1).Root, cafs.VolumeStale)
	// The look of the Get just now showed the change.
	checkHas(t, store, []cafs.Key{file.chunks[3].Key(), file.chunks[4].Key()}, []bool{false, false})
	if err := os.Remove(file.path); err != nil {
		t.Fatal(err)
	}
	if n := checkNoOther(t, store, file.chunks); n != 0 {
		t.Errorf("got %d chunks from a file that is not there", n)
	}
	checkVolume(t, store, file.path, Root(1).Root, cafs.VolumeMissing)
}

// changeAt inverts a byte of a file.
func changeAt(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err = f.ReadAt(b[:], offset); err == nil {
		b[0] ^= 0xff
		_, err = f.WriteAt(b[:], offset)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func testVolumeChangedWhileRead(t *testing.T, store referrer) {
	for name, change := range map[string]func(path string) error{
		"grown":    func(path string) error { return os.Truncate(path, 60_000) },
		"replaced": func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, []byte("x"), 0o600)) },
		"removed":  os.Remove,
	} {
		file := newVolumeFile(t, 0)
		v := mustOpenVolume(t, store, file.path, cafs.VolumeOptions{})
		if err := v.Refer(t.Context(), file.refs...); err != nil {
			t.Fatal(err)
		}
		if err := change(file.path); err != nil {
			t.Logf("%s: left out: %v", name, err) // not every system removes open files
			continue
		}
		if err := v.Seal(t.Context(), file.path, Root(1).Root); !errors.Is(err, cafs.ErrChanged) {
			t.Errorf("%s: seal: %v, want ErrChanged", name, err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		checkNoOther(t, store, file.chunks)
	}
}

func testVolumeWritten(t *testing.T, store referrer) {
	file := newVolumeFile(t, 0)
	partial, final := filepath.Join(t.TempDir(), "partial"), file.path
	if err := os.Rename(final, final+".old"); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(partial)
	if err != nil {
		t.Fatal(err)
	}
	v := mustOpenVolume(t, store, partial, cafs.VolumeOptions{Written: true})
	for i, chunk := range file.chunks {
		if _, err := out.WriteAt(chunk.Data(), file.refs[i].Offset); err != nil {
			t.Fatal(err)
		}
		if err := v.Refer(t.Context(), file.refs[i]); err != nil {
			t.Fatal(err)
		}
		checkChunk(t, store, chunk)
		checkHas(t, store, []cafs.Key{chunk.Key()}, []bool{true})
		if i == 5 {
			if err := v.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(out.Close(), v.PrepareSeal(t.Context(), final, Root(1).Root)); err != nil {
		t.Fatal(err)
	}
	checkVolume(t, store, partial, cafs.Key{}, cafs.VolumeRacy)
	if err := os.Rename(partial, final); err != nil {
		t.Fatal(err)
	}
	if n := checkNoOther(t, store, file.chunks); n != len(file.chunks) {
		t.Errorf("got %d of %d chunks between renaming and sealing", n, len(file.chunks))
	}
	for name, path := range map[string]string{"the old path": partial, "the path of another file": final + ".old"} {
		if err := v.Seal(t.Context(), path, Root(1).Root); !errors.Is(err, cafs.ErrChanged) {
			t.Errorf("seal with %s: %v, want ErrChanged", name, err)
		}
	}
	if err := v.Seal(t.Context(), final, Root(1).Root); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	if n := checkNoOther(t, store, file.chunks); n != len(file.chunks) {
		t.Errorf("got %d of %d chunks", n, len(file.chunks))
	}
	checkHas(t, store, []cafs.Key{file.chunks[2].Key()}, []bool{true})
	checkVolume(t, store, final, Root(1).Root, cafs.VolumeRacy)
	if _, err := store.Volume(t.Context(), partial); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("volume at the old path: %v, want ErrNotFound", err)
	}
}

// testVolumeAndPut wants that a chunk that was put stays, whatever becomes of files with the same bytes.
func testVolumeAndPut(t *testing.T, store referrer) {
	file := newVolumeFile(t, 0)
	mustPut(t, store, file.chunks[:3]...)
	mustAdd(t, store, file, Root(1).Root)
	mustPut(t, store, file.chunks[2:6]...)
	if err := os.Remove(file.path); err != nil {
		t.Fatal(err)
	}
	for _, chunk := range file.chunks[:6] {
		checkChunk(t, store, chunk)
		checkHas(t, store, []cafs.Key{chunk.Key()}, []bool{true})
	}
	if n := checkNoOther(t, store, file.chunks[6:]); n != 0 {
		t.Errorf("got %d chunks from a file that is not there", n)
	}
	mustPut(t, store, file.chunks[6:]...)
	if n := checkNoOther(t, store, file.chunks); n != len(file.chunks) {
		t.Errorf("got %d of %d chunks that were put", n, len(file.chunks))
	}
}

// testVolumeElsewhere asks what is left without the volumes at a path.
func testVolumeElsewhere(t *testing.T, store referrer) {
	file, twin := newVolumeFile(t, 0), newVolumeFile(t, 8) // two chunks are in both
	mustAdd(t, store, file, Root(1).Root)
	mustAdd(t, store, twin, Root(2).Root)
	mustPut(t, store, file.chunks[:3]...)
	want := []bool{true, true, true, false, false, false, false, false, true, true, false}
	keys := make([]cafs.Key, 0, len(want))
	for _, chunk := range file.chunks {
		keys = append(keys, chunk.Key())
	}
	keys = append(keys, Chunk(1000, 10).Key())
	have, err := store.HasElsewhere(t.Context(), file.path, keys)
	if err != nil || !slices.Equal(have, want) {
		t.Errorf("has elsewhere %v, %v, want %v", have, err, want)
	}
	have, err = store.HasElsewhere(t.Context(), file.path+"-none", keys)
	if all, errHas := store.Has(t.Context(), keys); err != nil || errHas != nil || !slices.Equal(have, all) {
		t.Errorf("has elsewhere than where nothing is %v, %v, want what Has says: %v, %v", have, err, all, errHas)
	}
}

// testVolumeLocate asks where chunks are: in a file, elsewhere, and nowhere.
func testVolumeLocate(t *testing.T, store referrer) {
	file := newVolumeFile(t, 0)
	mustAdd(t, store, file, Root(1).Root)
	mustPut(t, store, Chunk(1000, 10), file.chunks[3])
	keys := []cafs.Key{Chunk(1000, 10).Key(), Chunk(1001, 10).Key()}
	want := []cafs.Location{{}, {}}
	for i, chunk := range file.chunks {
		keys = append(keys, chunk.Key())
		want = append(want, cafs.Location{Path: file.path, Offset: file.refs[i].Offset})
	}
	if got, err := store.Locate(t.Context(), keys); err != nil || !slices.Equal(got, want) {
		t.Errorf("located at %v, %v; want %v", got, err, want)
	}
}

// testVolumeReplaced adds a file again that has other content now.
func testVolumeReplaced(t *testing.T, store referrer) {
	old := newVolumeFile(t, 0)
	mustAdd(t, store, old, Root(1).Root)
	chunks, refs := File(t, old.path, 5, 10, 5000) // five of them were there before, at other places
	mustAdd(t, store, volumeFile{old.path, chunks, refs}, Root(2).Root)
	checkVolume(t, store, old.path, Root(2).Root, cafs.VolumeFresh, cafs.VolumeRacy)
	if n := checkNoOther(t, store, chunks); n != len(chunks) {
		t.Errorf("got %d of %d new chunks", n, len(chunks))
	}
	for _, chunk := range old.chunks[:5] {
		checkHas(t, store, []cafs.Key{chunk.Key()}, []bool{false})
		checkMissing(t, store, chunk.Key())
	}
}

func testVolumes(t *testing.T, store referrer) {
	for range store.Volumes(t.Context()) {
		t.Error("an empty store has a volume")
	}
	dir := t.TempDir()
	var want []string
	for i, name := range []string{"b", "c", "a"} {
		path := filepath.Join(dir, name)
		chunks, refs := File(t, path, uint64(i)*10, 3, 100)
		mustAdd(t, store, volumeFile{path, chunks, refs}, Root(uint64(i)).Root)
		want = append(want, path)
	}
	slices.Sort(want)
	if err := os.Remove(want[1]); err != nil {
		t.Fatal(err)
	}
	var got []string
	for info, err := range store.Volumes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Path)
		if gone := info.State == cafs.VolumeMissing; gone != (info.Path == want[1]) || info.Size != 300 {
			t.Errorf("volume %+v", info)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("volumes %v, want %v", got, want)
	}
	for info := range store.Volumes(t.Context()) {
		if err := store.RemoveVolume(t.Context(), info.Path); err != nil {
			t.Error(err)
		}
	}
	for range store.Volumes(t.Context()) {
		t.Error("a volume is left")
	}
}

func testVolumeCanceled(t *testing.T, store referrer) {
	file := newVolumeFile(t, 0)
	v := mustOpenVolume(t, store, file.path, cafs.VolumeOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	checkVolumeCalls(t, ctx, store, v, file, context.Canceled)
	checkMissing(t, store, file.chunks[0].Key())
}

func testVolumeClosed(t *testing.T, store referrer) {
	file := newVolumeFile(t, 0)
	for _, opts := range []cafs.VolumeOptions{{}, {Written: true}} {
		v := mustOpenVolume(t, store, file.path, opts)
		if err := v.Refer(t.Context(), file.refs...); err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := v.Close(); err != nil {
				t.Errorf("close of a volume of a closed store: %v", err)
			}
		}()
	}
	v := mustOpenVolume(t, store, file.path, cafs.VolumeOptions{})
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	checkVolumeCalls(t, t.Context(), store, v, file, cafs.ErrClosed)
}

// checkVolumeCalls wants that all calls fail with an error.
func checkVolumeCalls(t *testing.T, ctx context.Context, store referrer, v cafs.Volume, file volumeFile, want error) {
	t.Helper()
	check := func(call string, err error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", call, err, want)
		}
	}
	check("refer", v.Refer(ctx, file.refs...))
	check("sync", v.Sync(ctx))
	check("seal", v.Seal(ctx, file.path, Root(1).Root))
	_, err := store.HasElsewhere(ctx, file.path, []cafs.Key{file.chunks[0].Key()})
	check("has elsewhere", err)
	_, err = store.Locate(ctx, []cafs.Key{file.chunks[0].Key()})
	check("locate", err)
	_, err = store.OpenVolume(ctx, file.path, cafs.VolumeOptions{})
	check("open volume", err)
	_, err = store.Volume(ctx, file.path)
	check("volume", err)
	check("remove volume", store.RemoveVolume(ctx, file.path))
	errs := 0
	for _, err := range store.Volumes(ctx) {
		check("volumes", err)
		errs++
	}
	if errs != 1 {
		t.Errorf("volumes: %d errors, want 1", errs)
	}
}

func testVolumeConcurrent(t *testing.T, store referrer) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for worker := range uint64(4) {
		path := filepath.Join(dir, fmt.Sprint(worker))
		chunks, refs := File(t, path, worker*5, 15, 2000) // neighbours share chunks
		group.Go(func() {
			for range 5 {
				v, err := store.OpenVolume(t.Context(), path, cafs.VolumeOptions{Written: worker%2 == 0})
				if err != nil {
					t.Error(err)
					return
				}
				for i := 0; i < len(refs); i += 3 {
					if err := v.Refer(t.Context(), refs[i:i+3]...); err != nil {
						t.Errorf("refer: %v", err)
					}
					checkNoOther(t, store, chunks[i:i+3])
				}
				if err := v.Seal(t.Context(), path, Root(worker).Root); err != nil {
					t.Errorf("seal: %v", err)
				}
				if err := v.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
				if n := checkNoOther(t, store, chunks); n != len(chunks) {
					t.Errorf("got %d of %d chunks", n, len(chunks))
				}
			}
		})
	}
	group.Wait()
}

func testVolumeReopen(t *testing.T, maker Maker) {
	store := openStore(t, maker)
	file, half := newVolumeFile(t, 0), newVolumeFile(t, 100)
	mustAdd(t, store.(referrer), file, Root(1).Root)
	v := mustOpenVolume(t, store.(referrer), half.path, cafs.VolumeOptions{Written: true})
	if err := v.Refer(t.Context(), half.refs[:5]...); err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		store = maker.Reopen(t, store)
		t.Cleanup(func() { _ = store.Close() })
		if n := checkNoOther(t, store, file.chunks); n != len(file.chunks) {
			t.Errorf("got %d of %d chunks", n, len(file.chunks))
		}
		checkVolume(t, store.(referrer), file.path, Root(1).Root, cafs.VolumeFresh, cafs.VolumeRacy)
		checkVolume(t, store.(referrer), half.path, cafs.Key{}, cafs.VolumeFresh, cafs.VolumeRacy)
		keys := []cafs.Key{half.chunks[4].Key(), half.chunks[5].Key(), file.chunks[9].Key()}
		checkHas(t, store, keys, []bool{true, false, true})
	}
	if err := store.(referrer).RemoveVolume(t.Context(), file.path); err != nil {
		t.Fatal(err)
	}
	store = maker.Reopen(t, store)
	t.Cleanup(func() { _ = store.Close() })
	if n := checkNoOther(t, store, file.chunks); n != 0 {
		t.Errorf("got %d chunks of a volume that was removed", n)
	}
}
