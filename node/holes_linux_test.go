package node_test

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/node"
)

// diskBytes returns what a file takes on the disk.
func diskBytes(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

func TestHolesStayHoles(t *testing.T) {
	t.Parallel()
	const size, dataSize, offset = 64 << 20, 1 << 20, 31<<20 + 12345
	data := noise(dataSize, 111)
	source, output := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "output")
	writeFile(t, source, nil)
	if err := os.Truncate(source, size); err != nil {
		t.Fatal(err)
	}
	editInPlace(t, source, offset, data)
	if diskBytes(t, source) > 2*dataSize {
		t.Skip("the file system has no holes")
	}
	holder := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	added, err := holder.Add(t.Context(), source, node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	link := node.Link{Root: added.Root, Peers: []peer.AddrInfo{at(t, holder)}}
	result, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, slices.Concat(make([]byte, offset), data, make([]byte, size-offset-dataSize)))
	// A block of the file system that two chunks share stays.
	if took := diskBytes(t, output); took > 2*dataSize+size/32 {
		t.Errorf("the output takes %d bytes on the disk, want not much more than the %d that are no zeros", took, dataSize)
	}
	if result.Fetched > 2*dataSize {
		t.Errorf("%d bytes were fetched, want the zeros once", result.Fetched)
	}
}
