package main

import (
	"context"
	"path/filepath"

	"github.com/swarmsync/swarmsync/test/bench/internal/corpus"
	"github.com/swarmsync/swarmsync/test/bench/internal/report"
)

// random makes a file of random bytes for a workload.
func (b *bench) random(size int64) (content, error) {
	dir, err := b.directory("content")
	if err != nil {
		return content{}, err
	}
	c := content{path: filepath.Join(dir, "content.bin"), size: b.size(size)}
	return c, corpus.Random(c.path, c.size, b.seed)
}

func cold(ctx context.Context, b *bench, w *report.Workload) error {
	file, err := b.random(1 << 30)
	if err != nil {
		return err
	}
	w.Baseline = "bare"
	w.Notes = []string{
		"bare: one libp2p TCP+TLS stream between two processes, from the page cache; the receiver hashes in another " +
			"goroutine and writes to a preallocated file",
		b.network(false),
	}
	t := transfer{content: file, holders: 1, receivers: 1}
	w.Rows = b.alternate(ctx, b.contest("", t,
		"bare", "swarmsync", "rsync", "curl", "libtorrent", "aria2", "desync", "casync", "kubo"))
	return nil
}
