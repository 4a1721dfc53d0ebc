package node_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/node"
)

// sharingDisk mounts a new file system whose files can share space, or skips the test where that can't be had.
func sharingDisk(t *testing.T, kind string) (dir string) {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs." + kind)
	if err != nil || os.Getuid() != 0 {
		t.Skipf("needs root and mkfs.%s", kind)
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	writeFile(t, image, nil)
	if err := os.Truncate(image, 512<<20); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{mkfs, image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v: %s", command[0], err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// usedBytes returns how much of a file system is in use.
func usedBytes(t *testing.T, dir string) int64 {
	t.Helper()
	if out, err := exec.Command("sync", "-f", dir).CombinedOutput(); err != nil {
		t.Fatalf("sync: %v: %s", err, out)
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil {
		t.Fatal(err)
	}
	return int64(stat.Blocks-stat.Bfree) * stat.Bsize
}

// sharedExtents counts the parts of a file that share their space with others.
func sharedExtents(t *testing.T, path string) int {
	t.Helper()
	out, err := exec.Command("filefrag", "-v", path).CombinedOutput()
	if err != nil {
		t.Skipf("filefrag: %v: %s", err, out)
	}
	return strings.Count(string(out), "shared")
}

func TestOutputSharesSpaceWithAnOldVersion(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	old := noise(size, 121)
	latest := slices.Clone(old)
	copy(latest[20<<20+777:], noise(5000, 122))
	holder := start(t, node.Config{DisableDHT: true})
	links := make([]node.Link, 2)
	for i, content := range [][]byte{old, latest} {
		links[i] = add(t, holder, content)
		links[i].Peers = []peer.AddrInfo{at(t, holder)}
	}
	for _, kind := range []string{"xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := sharingDisk(t, kind)
			receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
			for i, content := range [][]byte{old, latest} {
				before := usedBytes(t, dir)
				output := filepath.Join(dir, strconv.Itoa(i), "output")
				if err := os.Mkdir(filepath.Dir(output), 0o700); err != nil {
					t.Fatal(err)
				}
				result, err := receiver.Fetch(t.Context(), links[i], node.FetchOptions{Output: output})
				if err != nil {
					t.Fatal(err)
				}
				assertFile(t, output, content)
				if i == 0 {
					continue
				}
				if result.Reused < size*9/10 {
					t.Errorf("%d bytes were here already, want nearly all", result.Reused)
				}
				if took := usedBytes(t, dir) - before; took > size/4 || sharedExtents(t, output) == 0 {
					t.Errorf("the second version took %d bytes of the disk, want little of its %d", took, size)
				}
			}
		})
	}
}
