//go:build !windows

package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

// dirTree is what is in a directory, by path: the content of files, "dir" for directories, the target of links behind "-> ",
// each after a letter for its kind.
type dirTree map[string]string

func readTree(t testing.TB, dir string) dirTree {
	t.Helper()
	tree := make(dirTree)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(path, dir+string(filepath.Separator)))
		switch {
		case entry.IsDir():
			tree[rel] = "d"
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			tree[rel] = "l" + target
			return err
		default:
			content, err := os.ReadFile(path)
			kind := "f"
			if info.Mode()&0o100 != 0 {
				kind = "x"
			}
			tree[rel] = kind + string(content)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// write makes the tree in a directory.
func (tree dirTree) write(t testing.TB, dir string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(tree)) {
		full := filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch rest := tree[path][1:]; tree[path][0] {
		case 'd':
			err = os.MkdirAll(full, 0o755)
		case 'l':
			err = os.Symlink(rest, full)
		case 'x':
			err = os.WriteFile(full, []byte(rest), 0o755)
		default:
			err = os.WriteFile(full, []byte(rest), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func assertTree(t *testing.T, dir string, want dirTree) {
	t.Helper()
	got := readTree(t, dir)
	for _, path := range slices.Sorted(maps.Keys(want)) {
		switch there, ok := got[path]; {
		case !ok && want[path] != "d":
			t.Errorf("%s is missing", path)
		case ok && there != want[path]:
			t.Errorf("%s differs: %.20q instead of %.20q", path, there, want[path])
		}
	}
	for path := range got {
		isParent := slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(p string) bool { return strings.HasPrefix(p, path+"/") })
		if _, ok := want[path]; !ok && !isParent {
			t.Errorf("%s is there and should not be", path)
		}
	}
}

func someTree() dirTree {
	tree := dirTree{
		"README":           "fread me",
		"bin/tool":         "x#!/bin/sh\n",
		"bin/tool-2":       "x" + string(noise(200_000, 1)),
		"empty":            "d",
		"link":             "lREADME",
		"dangling":         "l../nowhere",
		"nothing":          "f",
		"a/b/c/d/deep":     "fdeep",
		"big":              "f" + string(noise(3<<20, 2)),
		"zeros":            "f" + string(make([]byte, 1<<20)),
		"ä ö\n\xff/odd 'n": "fodd",
	}
	for i := range 300 {
		tree[fmt.Sprintf("small/%02d/%03d", i/20, i)] = "f" + string(noise(i*13%3000, byte(i)))
	}
	return tree
}

// treeHolder returns a node that serves a directory, and a link to it.
func treeHolder(t *testing.T, tree dirTree) (holder *node.Node, dir string, link node.Link) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "source")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tree.write(t, dir)
	holder = start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	return holder, dir, addDir(t, holder, dir, node.AddOptions{})
}

func addDir(t *testing.T, holder *node.Node, dir string, opts node.AddOptions) node.Link {
	t.Helper()
	status, err := holder.Add(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	return node.Link{Root: status.Root, Name: filepath.Base(dir), Peers: []peer.AddrInfo{at(t, holder)}}
}

func TestTreeIsFetched(t *testing.T) {
	t.Parallel()
	tree := someTree()
	_, source, link := treeHolder(t, tree)
	for name, cfg := range map[string]node.Config{"on disk": {Home: t.TempDir()}, "in memory": {}} {
		cfg.DisableDHT = true
		receiver := start(t, cfg)
		output := filepath.Join(t.TempDir(), "output")
		result := mustFetch(t, receiver, link, node.FetchOptions{Output: output})
		assertTree(t, output, readTree(t, source))
		assertTree(t, output, tree)
		assertAlone(t, output)
		if result.Fetched+result.Reused != result.Bytes || result.Output != output {
			t.Errorf("%s: result %+v", name, result)
		}
		// The receiver serves it, from its files.
		link.Peers = []peer.AddrInfo{at(t, receiver)}
		third := filepath.Join(t.TempDir(), "third")
		mustFetch(t, start(t, node.Config{DisableDHT: true}), link, node.FetchOptions{Output: third})
		assertTree(t, third, tree)
		if name == "on disk" {
			again := mustFetch(t, receiver, link, node.FetchOptions{Output: output})
			if again.Fetched > 0 || again.Output != output {
				t.Errorf("fetched again: %+v", again)
			}
			if n := stored(t, cfg.Home); n > 1<<20 {
				t.Errorf("the store has %d bytes, though all is in files", n)
			}
		}
	}
}

// assertAlone fails if there is anything beside an output.
func assertAlone(t *testing.T, output string) {
	t.Helper()
	found, err := os.ReadDir(filepath.Dir(output))
	if err != nil || len(found) != 1 {
		t.Errorf("beside the output there is %v, %v", found, err)
	}
}

// The root of a tree depends neither on the machine's umask and times, nor on how its store keeps it.
func TestTreeHasOneRoot(t *testing.T) {
	t.Parallel()
	tree := someTree()
	_, _, link := treeHolder(t, tree)
	dir := filepath.Join(t.TempDir(), "copy")
	tree.write(t, dir)
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		old := time.Unix(1_000_000_000, 0)
		return errors.Join(os.Chmod(path, info.Mode().Perm()&0o711|0o600), os.Chtimes(path, old, old))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, copied := range []bool{false, true} {
		n := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
		if again := addDir(t, n, dir, node.AddOptions{Copy: copied}); again.Root != link.Root {
			t.Errorf("copied %v: another root", copied)
		}
		if kept := addDir(t, n, dir, node.AddOptions{Copy: copied, Times: true}); kept.Root == link.Root {
			t.Error("the times are not in the root")
		}
	}
}

func TestTreeIsUpdated(t *testing.T) {
	t.Parallel()
	old := someTree()
	holder, source, first := treeHolder(t, old)
	home := t.TempDir()
	receiver := start(t, node.Config{Home: home, DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	mustFetch(t, receiver, first, node.FetchOptions{Output: output})
	before := inodes(t, output)

	latest := maps.Clone(old)
	latest["small/03/065"] = "fchanged"                                                    // shares a chunk with its neighbours
	latest["big"] = old["big"][:1<<20] + "inserted" + old["big"][1<<20:]                   // other size
	latest["bin/tool-2"] = old["bin/tool-2"][:100_000] + "y" + old["bin/tool-2"][100_001:] // same size
	latest["README"] = "xread me"                                                          // executable now
	latest["link"] = "lbig"
	latest["new/file"] = "fnew"
	delete(latest, "small/03/066")
	delete(latest, "nothing")
	delete(latest, "empty")
	latest["empty"] = "fa file"
	delete(latest, "dangling")
	latest["dangling/file"] = "fa link became a directory"
	if err := os.RemoveAll(source); err != nil {
		t.Fatal(err)
	}
	latest.write(t, source)
	second := addDir(t, holder, source, node.AddOptions{})
	if second.Root == first.Root {
		t.Fatal("the same root")
	}
	precious := filepath.Join(output, "precious")
	if err := os.WriteFile(precious, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := receiver.Fetch(t.Context(), second, node.FetchOptions{Output: output})
	if !errors.Is(err, node.ErrExists) {
		t.Fatalf("without force: %v", err)
	}
	result := mustFetch(t, receiver, second, node.FetchOptions{Output: output, Force: true, KeepOld: true})
	if result.Fetched > 600_000 {
		t.Errorf("%d bytes were fetched", result.Fetched)
	}
	want := maps.Clone(latest)
	want["precious"], want["small/03/066"], want["nothing"] = "fmine", old["small/03/066"], old["nothing"]
	assertTree(t, output, want)
	after := inodes(t, output)
	for path, inode := range before {
		if old[path] == latest[path] && after[path] != inode {
			t.Errorf("%q was written though it has not changed", path)
		}
	}
	if status := rootOf(t, receiver, second.Root); !status.Complete {
		t.Errorf("%+v", status)
	}
	assertAlone(t, output)

	result = mustFetch(t, receiver, second, node.FetchOptions{Output: output, Force: true, Delete: true})
	if result.Output != output {
		t.Errorf("%+v", result)
	}
	// It stood there already: nothing was deleted. Back to the first version it is.
	result = mustFetch(t, receiver, first, node.FetchOptions{Output: output, Force: true, Delete: true})
	assertTree(t, output, old)
	if result.Deleted == 0 {
		t.Errorf("%+v", result)
	}
	// And the receiver still serves it after a restart.
	if err := receiver.Close(); err != nil {
		t.Fatal(err)
	}
	receiver = start(t, node.Config{Home: home, DisableDHT: true})
	first.Peers = []peer.AddrInfo{at(t, receiver)}
	third := filepath.Join(t.TempDir(), "third")
	mustFetch(t, start(t, node.Config{DisableDHT: true}), first, node.FetchOptions{Output: third})
	assertTree(t, third, old)
}

// inodes returns the inodes of the files with content.
func inodes(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	found := make(map[string]uint64)
	for path, entry := range readTree(t, dir) {
		if entry[0] != 'd' && entry[0] != 'l' {
			info, err := os.Lstat(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			found[path] = info.Sys().(*syscall.Stat_t).Ino
		}
	}
	return found
}

// A directory that nobody knows, such as one that another tool has written, is used as far as it goes.
func TestTreeOntoADirectoryThatIsNotKnown(t *testing.T) {
	t.Parallel()
	tree := someTree()
	_, _, link := treeHolder(t, tree)
	output := filepath.Join(t.TempDir(), "output")
	there := maps.Clone(tree)
	there["README"] = "fREAD ME"
	delete(there, "small/00/007")
	there.write(t, output)
	before := inodes(t, output)
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	result := mustFetch(t, receiver, link, node.FetchOptions{Output: output, Force: true})
	assertTree(t, output, tree)
	if result.Reused < 4<<20 {
		t.Errorf("%d bytes were reused", result.Reused)
	}
	after := inodes(t, output)
	for path, inode := range before {
		if path != "README" && after[path] != inode {
			t.Errorf("%q was written though it was as it should be", path)
		}
	}
}

// Whatever stands in the directory, nothing outside of it is touched.
func TestTreeThroughLinksThatStandInTheWay(t *testing.T) {
	t.Parallel()
	tree := dirTree{"a/b/file": "fnew", "a/other": "f" + string(noise(100_000, 1)), "c": "fnew", "d/e/f/g": "fnew", "h": "d"}
	_, _, link := treeHolder(t, tree)
	outside := dirTree{"b/file": "fold", "other": "f" + string(noise(100_000, 1)), "victim": "fold", "e/f/g": "fold"}
	out := filepath.Join(t.TempDir(), "outside")
	outside.write(t, out)
	for name, there := range map[string]dirTree{
		"directories":        {"a": "l" + out, "d": "l" + out, "h": "l" + out},
		"a directory inside": {"a/b": "l" + filepath.Join(out, "b"), "d/e": "l../../outside/e"},
		"files":              {"c": "l" + filepath.Join(out, "victim"), "a/other": "l" + filepath.Join(out, "other"), "h": "l" + filepath.Join(out, "none")},
		"links inside":       {"real/b/file": "fmine", "a": "lreal", "c": "lreal/b/file"},
	} {
		t.Run(name, func(t *testing.T) {
			output := filepath.Join(filepath.Dir(out), name)
			there.write(t, output)
			receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
			mustFetch(t, receiver, link, node.FetchOptions{Output: output, Force: true})
			want := maps.Clone(tree)
			if name == "links inside" {
				want["real/b/file"] = "fmine"
			}
			assertTree(t, output, want)
			assertTree(t, out, outside)
		})
	}
}

func TestTreeThatCannotTakeItsPlace(t *testing.T) {
	t.Parallel()
	_, _, link := treeHolder(t, dirTree{"a": "fnew", "b": "fnew"})
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	dirTree{"b/precious": "fmine"}.write(t, output)
	_, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output, Force: true})
	if !errors.Is(err, node.ErrExists) || !strings.Contains(err.Error(), "b is a directory") {
		t.Errorf("a directory in the place of a file: %v", err)
	}
	if got := readTree(t, output); got["b/precious"] != "fmine" {
		t.Errorf("it has %v", got)
	}
	mustFetch(t, receiver, link, node.FetchOptions{Output: output, Force: true, Delete: true})
	assertTree(t, output, dirTree{"a": "fnew", "b": "fnew"})

	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, []byte("mine"))
	if _, err = receiver.Fetch(t.Context(), link, node.FetchOptions{Output: file, Force: true}); !errors.Is(err, node.ErrExists) {
		t.Errorf("onto a file: %v", err)
	}
	if got, err := os.ReadFile(file); string(got) != "mine" {
		t.Errorf("the file has %q, %v", got, err)
	}
}

func TestTreeFetchContinues(t *testing.T) {
	t.Parallel()
	tree := someTree()
	_, _, link := treeHolder(t, tree)
	home := t.TempDir()
	output := filepath.Join(t.TempDir(), "output")
	receiver := start(t, node.Config{Home: home, DisableDHT: true, DownLimit: 2 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	result, err := receiver.Fetch(ctx, link, node.FetchOptions{Output: output, Events: func(event node.Event) {
		if event.Fetched > 1<<20 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := os.Lstat(output); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("the output is there: %v", err)
	}
	if err := receiver.Close(); err != nil {
		t.Fatal(err)
	}
	receiver = start(t, node.Config{Home: home, DisableDHT: true})
	again := mustFetch(t, receiver, link, node.FetchOptions{Output: output})
	if again.Fetched > again.Bytes-result.Fetched/2 {
		t.Errorf("%d bytes were fetched, after %d of %d before", again.Fetched, result.Fetched, again.Bytes)
	}
	assertTree(t, output, tree)
	assertAlone(t, output)
}

func TestAddOfADirectoryLeavesOut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dirTree{
		".swarmignore": "f*.log\n/build/\n!keep.log\n", "a.log": "fx", "keep.log": "fx", "src/build/x": "fx", "build/x": "fx",
		"src/.swarmignore": "fsecret\n", "src/secret": "fx", "secret": "fx", "src/main": "fx", "tmp/cache": "fx",
		".swarmsync-0123.partial/x": "fx",
	}.write(t, dir)
	home := filepath.Join(dir, "home")
	holder := start(t, node.Config{Home: home, DisableDHT: true})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	var notes []string
	status, err := holder.Add(t.Context(), dir, node.AddOptions{Exclude: []string{"tmp/", "nothing"}, Events: func(event node.Event) {
		if event.Kind == node.EventNote {
			notes = append(notes, event.Message)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if status.Skipped != 1 || len(notes) != 1 || !strings.Contains(notes[0], "pipe: it is a named pipe") {
		t.Errorf("%d skipped, notes %q", status.Skipped, notes)
	}
	link := node.Link{Root: status.Root, Peers: []peer.AddrInfo{at(t, holder)}}
	output := filepath.Join(t.TempDir(), "output")
	mustFetch(t, start(t, node.Config{DisableDHT: true}), link, node.FetchOptions{Output: output})
	assertTree(t, output, dirTree{
		".swarmignore": "f*.log\n/build/\n!keep.log\n", "keep.log": "fx", "src/build/x": "fx",
		"src/.swarmignore": "fsecret\n", "secret": "fx", "src/main": "fx",
	})
	if _, err := holder.Add(t.Context(), dir, node.AddOptions{Exclude: []string{"[z-"}}); err == nil {
		t.Error("a pattern that is none was taken")
	}
}

func TestAddOfADirectoryAgainReadsWhatChanged(t *testing.T) {
	t.Parallel()
	tree := someTree()
	dir := filepath.Join(t.TempDir(), "source")
	tree.write(t, dir)
	old := time.Now().Add(-time.Hour)
	for path, entry := range tree {
		if entry[0] != 'd' && entry[0] != 'l' {
			if err := os.Chtimes(filepath.Join(dir, path), old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	holder := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	first := addDir(t, holder, dir, node.AddOptions{})
	if again := addDir(t, holder, dir, node.AddOptions{}); again.Root != first.Root {
		t.Error("another root for the same tree")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10 {
		path := fmt.Sprintf("small/%02d/%03d", rng.IntN(15), rng.IntN(300))
		tree[path] = fmt.Sprintf("f%d", rng.Uint64())
		writeTo(t, filepath.Join(dir, path), tree[path][1:])
	}
	second := addDir(t, holder, dir, node.AddOptions{})
	fresh := addDir(t, start(t, node.Config{DisableDHT: true}), dir, node.AddOptions{})
	if second.Root != fresh.Root {
		t.Fatal("the root differs from the one that is made without the old tree")
	}
	if status := rootOf(t, holder, first.Root); status.Complete || !strings.HasPrefix(status.State, "superseded") {
		t.Errorf("the old root is %+v", status)
	}
	output := filepath.Join(t.TempDir(), "output")
	mustFetch(t, start(t, node.Config{DisableDHT: true}), second, node.FetchOptions{Output: output})
	assertTree(t, output, readTree(t, dir))
}

func writeTo(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, path, []byte(content))
}

// What is kept of times and permissions comes out again.
func TestTreeKeepsAttributes(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "source")
	dirTree{"d/e/file": "fx", "run": "xx", "d/empty": "f"}.write(t, dir)
	modes := map[string]fs.FileMode{"d": 0o750, "d/e": 0o700, "d/e/file": 0o640, "run": 0o705, "d/empty": 0o400}
	for path, mode := range modes {
		if err := os.Chmod(filepath.Join(dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	touch := func(from int64) {
		for i, path := range []string{"d/e/file", "d/e", "run", "d/empty", "d"} {
			when := time.Unix(from+int64(i), 123)
			if err := os.Chtimes(filepath.Join(dir, path), when, when); err != nil {
				t.Fatal(err)
			}
		}
	}
	touch(1_500_000_000)
	holder, receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true}), start(t, node.Config{DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	fetch := func() {
		link := addDir(t, holder, dir, node.AddOptions{Times: true, Perms: true})
		mustFetch(t, receiver, link, node.FetchOptions{Output: output, Force: true})
		for path := range modes {
			want, err := os.Lstat(filepath.Join(dir, path))
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.Lstat(filepath.Join(output, path))
			if err != nil || got.Mode() != want.Mode() || !got.ModTime().Equal(want.ModTime()) {
				t.Errorf("%s: %v, %v instead of %v, %v (error %v)", path, got.Mode(), got.ModTime(), want.Mode(), want.ModTime(), err)
			}
		}
	}
	fetch()
	touch(1_600_000_000) // and of files that stay
	fetch()
	if err := os.Chmod(filepath.Join(dir, "d/e/file"), 0o604); err != nil {
		t.Fatal(err)
	}
	fetch()
}

func TestFileGoesIntoADirectoryUnderItsName(t *testing.T) {
	t.Parallel()
	holder := start(t, node.Config{DisableDHT: true})
	link := add(t, holder, noise(100_000, 1))
	link.Peers = []peer.AddrInfo{at(t, holder)}
	dir := t.TempDir()
	receiver := start(t, node.Config{DisableDHT: true})
	result := mustFetch(t, receiver, link, node.FetchOptions{Output: dir})
	if want := filepath.Join(dir, "content"); result.Output != want {
		t.Errorf("output %q instead of %q", result.Output, want)
	}
	assertFile(t, result.Output, noise(100_000, 1))
	if _, err := receiver.Fetch(t.Context(), node.Link{Root: cafs.KeyOf(nil)}, node.FetchOptions{Output: dir, Wait: time.Millisecond}); err == nil {
		t.Error("fetched")
	}
}

// Of a part of a tree only that part is fetched, and the root stays incomplete.
func TestPartOfATreeIsFetched(t *testing.T) {
	t.Parallel()
	tree := someTree()
	_, _, link := treeHolder(t, tree)
	for name, cfg := range map[string]node.Config{"on disk": {Home: t.TempDir()}, "in memory": {}} {
		t.Run(name, func(t *testing.T) {
			cfg.DisableDHT = true
			receiver := start(t, cfg)
			output := filepath.Join(t.TempDir(), "output")
			result := mustFetch(t, receiver, link, node.FetchOptions{Output: output, Path: "small/03"})
			want := make(dirTree)
			for path, entry := range tree {
				if below, ok := strings.CutPrefix(path, "small/03/"); ok {
					want[below] = entry
				}
			}
			assertTree(t, output, want)
			assertAlone(t, output)
			if result.Fetched > 200_000 || result.Bytes != result.Fetched+result.Reused {
				t.Errorf("%+v", result)
			}
			file := filepath.Join(t.TempDir(), "file")
			mustFetch(t, receiver, link, node.FetchOptions{Output: file, Path: "bin/tool-2"})
			assertFile(t, file, []byte(tree["bin/tool-2"][1:]))
			one := filepath.Join(t.TempDir(), "one") // in the middle of a chunk
			mustFetch(t, receiver, link, node.FetchOptions{Output: one, Path: "small/00/017"})
			assertFile(t, one, []byte(tree["small/00/017"][1:]))
			empty := filepath.Join(t.TempDir(), "empty")
			mustFetch(t, receiver, link, node.FetchOptions{Output: empty, Path: "nothing"})
			assertFile(t, empty, nil)
			if status := rootOf(t, receiver, link.Root); status.Complete || status.Have == 0 {
				t.Errorf("the root is %+v", status)
			}
			for path, want := range map[string]error{"none": cafs.ErrNotFound, "link": node.ErrUnsupported, "README/x": cafs.ErrNotFound} {
				_, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Path: path})
				if !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", path, err, want)
				}
			}
			// The rest is all that a fetch of the whole brings.
			whole := filepath.Join(t.TempDir(), "whole")
			if again := mustFetch(t, receiver, link, node.FetchOptions{Output: whole}); again.Reused < result.Fetched {
				t.Errorf("%+v", again)
			}
			assertTree(t, whole, tree)
		})
	}
}

func TestBytesOfAFileAreFetched(t *testing.T) {
	t.Parallel()
	tree := someTree()
	_, _, link := treeHolder(t, tree)
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	big := tree["big"][1:]
	for _, r := range [][2]int64{{0, 10}, {1 << 20, 1<<20 + 5000}, {3<<20 - 100, 0}, {5, 1 << 40}, {1 << 40, 0}} {
		part := node.Part{Root: link.Root, Path: "big", From: r[0], To: r[1]}
		result := mustFetch(t, receiver, link, node.FetchOptions{Path: part.Path, From: part.From, To: part.To})
		if r[1] == 10 && result.Fetched > 1<<18 || result.PathBytes != 3<<20 {
			t.Errorf("%v: %+v", r, result)
		}
		reader, err := receiver.OpenPart(t.Context(), part)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, reader.Size())
		if _, err := io.ReadFull(reader, got); err != nil {
			t.Fatal(err)
		}
		from, to := min(r[0], 3<<20), r[1]
		if to == 0 || to > 3<<20 {
			to = 3 << 20
		}
		if string(got) != big[from:to] {
			t.Errorf("%v: %d bytes, want %d", r, len(got), to-from)
		}
	}
}

func TestDryRunFetchesNoContent(t *testing.T) {
	t.Parallel()
	tree := someTree()
	holder, source, link := treeHolder(t, tree)
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	result := mustFetch(t, receiver, link, node.FetchOptions{Output: output, DryRun: true})
	// Zeros are in it more than once.
	if result.Fetched != 0 || result.Missing > result.Bytes || result.Missing < result.Bytes-1<<20 || result.Output != "" {
		t.Errorf("%+v", result)
	}
	if found, err := os.ReadDir(filepath.Dir(output)); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
	for status := range receiver.Roots(t.Context()) {
		t.Errorf("catalogued: %+v", status)
	}
	mustFetch(t, receiver, link, node.FetchOptions{Output: output})
	writeTo(t, filepath.Join(source, "README"), "changed")
	second := addDir(t, holder, source, node.AddOptions{})
	result = mustFetch(t, receiver, second, node.FetchOptions{DryRun: true})
	if result.Missing == 0 || result.Missing > 100_000 {
		t.Errorf("%+v", result)
	}
	var listed []string
	mustFetch(t, receiver, second, node.FetchOptions{List: true, Path: "small/00", Events: func(event node.Event) {
		if event.Kind == node.EventEntry {
			listed = append(listed, event.Entry.Path)
		}
	}})
	if len(listed) != 20 || listed[0] != "000" {
		t.Errorf("listed %q", listed)
	}
}

// A list of entries that takes many requests for pages. It is made in a store, as to make files takes longer.
func TestManyEntriesAreListed(t *testing.T) {
	t.Parallel()
	const dirs, each = 1000, 100
	store := memory.New()
	record, err := cafs.AddTree(t.Context(), store, func(yield func(cafs.SourceEntry, error) bool) {
		for i := range dirs * (each + 1) {
			e := cafs.Entry{Path: fmt.Sprintf("%04d", i/(each+1))}
			if n := i % (each + 1); n > 0 {
				e = cafs.Entry{Path: fmt.Sprintf("%s/%03d", e.Path, n), Type: cafs.TypeFile, Size: 1}
			}
			source := cafs.SourceEntry{Entry: e, Open: func(int64) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader("x")), nil
			}}
			if !yield(source, nil) {
				return
			}
		}
	}, cafs.TreeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	info := cafs.RootInfo{Root: record.Root(), Record: record.Encode(), Complete: true, Added: time.Now()}
	if err := store.PutRoot(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	holder := start(t, node.Config{Store: store, DisableDHT: true})
	link := node.Link{Root: info.Root, Peers: []peer.AddrInfo{at(t, holder)}}
	receiver := start(t, node.Config{DisableDHT: true})
	for _, path := range []string{"0017", ""} {
		listed := 0
		mustFetch(t, receiver, link, node.FetchOptions{List: true, Path: path, Events: func(event node.Event) {
			if event.Kind == node.EventEntry {
				listed++
			}
		}})
		if want := map[string]int{"0017": each, "": dirs * (each + 1)}[path]; listed != want {
			t.Errorf("%q: %d entries, want %d", path, listed, want)
		}
	}
}

// The home of the node itself may be in the directory that is updated.
func TestTreeOntoTheHomeOfItsNode(t *testing.T) {
	t.Parallel()
	tree := dirTree{"a": "fnew"}
	_, _, link := treeHolder(t, tree)
	output := filepath.Join(t.TempDir(), "output")
	home := filepath.Join(output, "share", "home")
	dirTree{"gone": "fold", "share/gone": "fold"}.write(t, output)
	receiver := start(t, node.Config{Home: home, DisableDHT: true})
	mustFetch(t, receiver, link, node.FetchOptions{Output: output, Force: true, Delete: true})
	got := readTree(t, output)
	if got["a"] != "fnew" || got["gone"] != "" || got["share/gone"] != "" {
		t.Errorf("it has %v", slices.Sorted(maps.Keys(got)))
	}
	if err := receiver.Close(); err != nil {
		t.Fatal(err)
	}
	receiver = start(t, node.Config{Home: home, DisableDHT: true})
	if status := rootOf(t, receiver, link.Root); !status.Complete {
		t.Errorf("the root is %+v", status)
	}
}

func TestTreeWithAFileInThePlaceOfTheHome(t *testing.T) {
	t.Parallel()
	_, _, link := treeHolder(t, dirTree{"share": "fnew"})
	output := filepath.Join(t.TempDir(), "output")
	dirTree{"share/other": "fold"}.write(t, output)
	receiver := start(t, node.Config{Home: filepath.Join(output, "share", "home"), DisableDHT: true})
	_, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output, Force: true, Delete: true})
	if !errors.Is(err, node.ErrExists) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(filepath.Join(output, "share", "home", "identity")); err != nil {
		t.Error(err)
	}
}

// A fetch that is refused leaves nothing behind.
func TestTreeThatIsRefusedLeavesNothing(t *testing.T) {
	t.Parallel()
	_, _, link := treeHolder(t, dirTree{"a": "fnew"})
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	there := dirTree{"precious": "fmine"}
	there.write(t, output)
	if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output}); !errors.Is(err, node.ErrExists) {
		t.Errorf("%v", err)
	}
	assertTree(t, output, there)
	assertAlone(t, output)
}

func TestPartsThatCannotBe(t *testing.T) {
	t.Parallel()
	_, _, link := treeHolder(t, dirTree{"dir/file": "f0123456789"})
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	dir := t.TempDir()
	for name, opts := range map[string]node.FetchOptions{
		"bytes into an output":  {Path: "dir/file", From: 2, Output: filepath.Join(dir, "output")},
		"before the beginning":  {Path: "dir/file", From: -1},
		"end before beginning":  {Path: "dir/file", From: 5, To: 3},
		"bytes of a directory":  {Path: "dir", To: 3},
		"bytes of a whole tree": {To: 3},
	} {
		if result, err := receiver.Fetch(t.Context(), link, opts); err == nil || errors.Is(err, node.ErrNoHolder) {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
	}
	assertNothing(t, dir)
}

// Of a tree that is edited while it is served the rest is still had, and nothing that was changed.
func TestTreeEditedWhileItIsServed(t *testing.T) {
	t.Parallel()
	tree := someTree()
	holder, source, link := treeHolder(t, tree)
	if err := os.WriteFile(filepath.Join(source, "bin/tool-2"), []byte("private"), 0o755); err != nil {
		t.Fatal(err)
	}
	receiver := start(t, quick(node.Config{Home: t.TempDir(), DisableDHT: true}))
	output := filepath.Join(t.TempDir(), "output")
	result, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output, Wait: time.Second})
	if !errors.Is(err, node.ErrNoHolder) || result.Fetched+result.Reused < 4<<20 {
		t.Errorf("%+v, %v", result, err)
	}
	if _, err := os.Lstat(output); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the output is there: %v", err)
	}
	// It is put back as it was, and looks changed: it is hashed, and offered again.
	if err := os.WriteFile(filepath.Join(source, "bin/tool-2"), []byte(tree["bin/tool-2"][1:]), 0o755); err != nil {
		t.Fatal(err)
	}
	mustFetch(t, receiver, link, node.FetchOptions{Output: output})
	assertTree(t, output, tree)
	if status := rootOf(t, holder, link.Root); status.Have != status.Bytes {
		t.Errorf("the holder has %+v", status)
	}
}
