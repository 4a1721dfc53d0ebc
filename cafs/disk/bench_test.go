package disk_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
	"github.com/swarmsync/swarmsync/cafs/disk"
)

const (
	benchChunkSize = 37 << 10 // the mean
	benchBatch     = 32
)

// renew makes batch hold chunks that no store has seen, of the same buffers.
func renew(b *testing.B, batch []cafs.Chunk, data [][]byte, round uint64) {
	b.Helper()
	for i := range batch {
		binary.LittleEndian.PutUint64(data[i], round*benchBatch+uint64(i))
		chunk, err := cafs.NewChunk(data[i])
		if err != nil {
			b.Fatal(err)
		}
		batch[i] = chunk
	}
}

func benchData() [][]byte {
	data := make([][]byte, benchBatch)
	for i := range data {
		data[i] = append([]byte(nil), cafstest.Chunk(uint64(i), benchChunkSize).Data()...)
	}
	return data
}

// BenchmarkPut is one call with 32 new chunks of the mean size, syncs not included but for those that Put itself makes.
func BenchmarkPut(b *testing.B) {
	store := openAt(b, b.TempDir())
	data, batch := benchData(), make([]cafs.Chunk, benchBatch)
	b.SetBytes(benchBatch * benchChunkSize)
	round := uint64(0)
	for b.Loop() {
		b.StopTimer()
		renew(b, batch, data, round)
		round++
		b.StartTimer()
		if err := store.Put(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPageCache is what BenchmarkPut is to be held against: the same bytes written to a file at once.
func BenchmarkPageCache(b *testing.B) {
	f, err := os.Create(b.TempDir() + "/file")
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, benchBatch*benchChunkSize)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		if _, err := f.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPutSame is one call with 32 chunks that are there.
func BenchmarkPutSame(b *testing.B) {
	store := openAt(b, b.TempDir())
	data, batch := benchData(), make([]cafs.Chunk, benchBatch)
	renew(b, batch, data, 0)
	b.SetBytes(benchBatch * benchChunkSize)
	for b.Loop() {
		if err := store.Put(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkPutSync is a Put of 32 chunks and a Sync: two waits for the disk.
func BenchmarkPutSync(b *testing.B) {
	store := openAt(b, b.TempDir())
	data, batch := benchData(), make([]cafs.Chunk, benchBatch)
	b.SetBytes(benchBatch * benchChunkSize)
	round := uint64(0)
	for b.Loop() {
		renew(b, batch, data, round)
		round++
		if err := store.Put(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
		if err := store.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkGet reads chunks of the mean size that are in the page cache.
func BenchmarkGet(b *testing.B) {
	store := openAt(b, b.TempDir())
	data, batch := benchData(), make([]cafs.Chunk, benchBatch)
	var keys []cafs.Key
	for round := range uint64(100) { // 115 MiB
		renew(b, batch, data, round)
		for _, chunk := range batch {
			keys = append(keys, chunk.Key())
		}
		if err := store.Put(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
	}
	if err := store.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, cafs.ChunkSizeMax)
	b.SetBytes(benchChunkSize)
	i := 0
	for b.Loop() {
		if _, err := store.Get(b.Context(), keys[i%len(keys)], buf); err != nil {
			b.Fatal(err)
		}
		i += 7
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkHas asks a store of 60,000 chunks for 30,000, of which a part is there: about what a GiB takes.
func BenchmarkHas(b *testing.B) {
	const stored, asked = 60_000, 30_000
	content := func(i int) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(i)) }
	chunks := make([]cafs.Chunk, stored)
	for i := range chunks {
		chunk, err := cafs.NewChunk(content(i))
		if err != nil {
			b.Fatal(err)
		}
		chunks[i] = chunk
	}
	store := openAt(b, b.TempDir())
	if err := store.Put(b.Context(), chunks...); err != nil {
		b.Fatal(err)
	}
	if err := store.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	for _, percent := range []int{0, 2, 50, 98, 100} {
		keys := make([]cafs.Key, asked)
		for i := range keys {
			if keys[i] = cafs.KeyOf(content(stored + i)); i%100 < percent {
				keys[i] = chunks[i].Key()
			}
		}
		b.Run(fmt.Sprintf("present=%d%%", percent), func(b *testing.B) {
			for b.Loop() {
				if _, err := store.Has(b.Context(), keys); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/asked, "ns/key")
		})
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// benchFile is a file of n chunks of the mean size, and where they are.
func benchFile(b *testing.B, n int) (path string, refs []cafs.ChunkRef) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "file")
	_, refs = cafstest.File(b, path, 0, n, benchChunkSize)
	return path, refs
}

// BenchmarkRefer is one call with 32 new chunks of the mean size, which BenchmarkPut copies.
func BenchmarkRefer(b *testing.B) {
	store := openAt(b, b.TempDir())
	path, refs := benchFile(b, benchBatch)
	v, err := store.OpenVolume(b.Context(), path, cafs.VolumeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(benchBatch * benchChunkSize)
	round := uint64(0)
	for b.Loop() {
		for i := range refs { // made up, which costs less than stopping the clock
			binary.LittleEndian.PutUint64(refs[i].Chunk.Key[:], round*benchBatch+uint64(i))
			binary.BigEndian.PutUint64(refs[i].Chunk.Key[8:], round*benchBatch*0x9e3779b97f4a7c15)
		}
		round++
		if err := v.Refer(b.Context(), refs...); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(v.Close(), store.Close()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkGetFile reads chunks of the mean size from a user's file that is in the page cache, and hashes them.
// BenchmarkHash is the hashing alone, BenchmarkGet the same from a pack.
func BenchmarkGetFile(b *testing.B) {
	store := openAt(b, b.TempDir())
	const n = 3200 // 115 MiB
	path, refs := benchFile(b, n)
	v, err := store.OpenVolume(b.Context(), path, cafs.VolumeOptions{})
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(v.Refer(b.Context(), refs...), v.Close(), store.Sync(b.Context())); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, cafs.ChunkSizeMax)
	b.SetBytes(benchChunkSize)
	i := 0
	for b.Loop() {
		if _, err := store.Get(b.Context(), refs[i%n].Chunk.Key, buf); err != nil {
			b.Fatal(err)
		}
		i += 7
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkHash is what a chunk of the mean size takes to hash.
func BenchmarkHash(b *testing.B) {
	data := make([]byte, benchChunkSize)
	b.SetBytes(benchChunkSize)
	for b.Loop() {
		cafs.KeyOf(data)
	}
}

var reclaimGiB = flag.Int("reclaim", 1, "GiB of cache that BenchmarkReclaim frees")

// BenchmarkReclaim frees cache, a tenth of which stands between chunks that are needed, while somebody reads these one after
// the other: gap-ms is the longest time between two of them, and idle-gap-ms what it is in half the time without.
func BenchmarkReclaim(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		store, needed := fillToReclaim(b)
		stats, err := store.Stats()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(stats.IndexBytes)/(float64(stats.PackBytes)/(1<<30))/1e6, "index-MB/GiB")
		idle := longestGap(b, store, needed, func() { time.Sleep(3 * time.Second) })
		b.StartTimer()
		began := time.Now()
		var freed cafs.Reclaimed
		gap := longestGap(b, store, needed, func() {
			if freed, err = store.Reclaim(b.Context(), cafs.ReclaimOptions{}); err != nil {
				b.Fatal(err)
			}
		})
		gib := float64(freed.Bytes) / (1 << 30)
		b.ReportMetric(gib, "GiB")
		b.ReportMetric(time.Since(began).Seconds()/gib, "s/GiB")
		b.ReportMetric(float64(gap.Microseconds())/1000, "gap-ms")
		b.ReportMetric(float64(idle.Microseconds())/1000, "idle-gap-ms")
		b.StopTimer()
		if err := store.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// fillToReclaim makes a store with cache, and returns it with the keys of the chunks that a root of it needs.
func fillToReclaim(b *testing.B) (*disk.Store, []cafs.Key) {
	b.Helper()
	store := openAt(b, b.TempDir())
	data, batch := benchData(), make([]cafs.Chunk, benchBatch)
	var needed []cafs.Key
	list := cafs.NewListBuilder(func(page cafs.Chunk) error { return store.Put(b.Context(), page) })
	rounds := uint64(*reclaimGiB) << 30 / (benchBatch * benchChunkSize)
	for round := range rounds {
		renew(b, batch, data, round)
		if err := store.Put(b.Context(), batch...); err != nil {
			b.Fatal(err)
		}
		for _, chunk := range batch[:3] {
			if round > rounds*9/10 {
				break // all cache: these packs need only be removed
			}
			needed = append(needed, chunk.Key())
			if err := list.Add(chunk.Info()); err != nil {
				b.Fatal(err)
			}
		}
	}
	top, err := list.Finish()
	if err != nil {
		b.Fatal(err)
	}
	record := cafs.Record{Kind: cafs.KindFile, Data: top}.Encode()
	if err := store.PutRoot(b.Context(), cafs.RootInfo{Root: cafs.KeyOf(record), Record: record, Complete: true}); err != nil {
		b.Fatal(err)
	}
	return store, needed
}

// longestGap reads the chunks over and over until do is done, and returns the longest time that one took to come.
func longestGap(b *testing.B, store *disk.Store, keys []cafs.Key, do func()) (longest time.Duration) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var reader sync.WaitGroup
	reader.Go(func() {
		buf := make([]byte, cafs.ChunkSizeMax)
		last := time.Now()
		for i := 0; ctx.Err() == nil; i++ {
			if _, err := store.Get(b.Context(), keys[i%len(keys)], buf); err != nil {
				b.Error(err)
				return
			}
			now := time.Now()
			longest, last = max(longest, now.Sub(last)), now
		}
	})
	do()
	cancel()
	reader.Wait()
	return longest
}
