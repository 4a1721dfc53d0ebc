package node_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/disk"
	"github.com/swarmsync/swarmsync/node"
)

// BenchmarkStartFullHome starts and stops a node on a home with 1,000 roots and 10,000,000 indexed chunks. Making the home
// takes minutes.
func BenchmarkStartFullHome(b *testing.B) {
	const roots, chunks, row = 1000, 10_000_000, 4096
	home := b.TempDir()
	n, err := node.New(b.Context(), node.Config{Home: home, Offline: true})
	if err != nil {
		b.Fatal(err)
	}
	if err := n.Close(); err != nil {
		b.Fatal(err)
	}
	store, err := disk.Open(filepath.Join(home, "store"), disk.Options{})
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "large")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.Truncate(path, chunks*32768); err != nil {
		b.Fatal(err)
	}
	volume, err := store.OpenVolume(b.Context(), path, cafs.VolumeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	refs := make([]cafs.ChunkRef, 0, row)
	for i := range chunks {
		// Nobody reads them, so any key will do.
		key := cafs.Key(sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i))))
		refs = append(refs, cafs.ChunkRef{Chunk: cafs.ChunkInfo{Key: key, Size: 32768}, Offset: int64(i) * 32768})
		if len(refs) == row || i == chunks-1 {
			if err := volume.Refer(b.Context(), refs...); err != nil {
				b.Fatal(err)
			}
			refs = refs[:0]
		}
	}
	for i := range roots {
		record, err := cafs.AddFile(b.Context(), store, strings.NewReader(fmt.Sprint("content ", i)), cafs.AddOptions{})
		if err != nil {
			b.Fatal(err)
		}
		info := cafs.RootInfo{Root: record.Root(), Record: record.Encode(), Name: fmt.Sprint(i), Complete: true, Added: time.Now()}
		if err := store.PutRoot(b.Context(), info); err != nil {
			b.Fatal(err)
		}
	}
	if err := volume.Close(); err != nil {
		b.Fatal(err)
	}
	stats, err := store.Stats()
	if err != nil {
		b.Fatal(err)
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		n, err := node.New(b.Context(), loopback(node.Config{Home: home}))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(stats.IndexBytes)/chunks, "index-B/chunk")
}
