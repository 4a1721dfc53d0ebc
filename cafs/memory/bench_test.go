package memory_test

import (
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
	"github.com/swarmsync/swarmsync/cafs/memory"
)

const (
	benchChunkSize = 37 << 10 // the mean
	benchChunks    = 1 << 10
)

// benchStore is a store of the chunks, and their keys; half of the keys that are asked for are not there.
func benchStore(b *testing.B) (store *memory.Store, chunks []cafs.Chunk, asked []cafs.Key) {
	b.Helper()
	store = memory.New()
	for i := range uint64(benchChunks) {
		chunk := cafstest.Chunk(i, benchChunkSize)
		chunks = append(chunks, chunk)
		asked = append(asked, chunk.Key(), cafs.KeyOf(chunk.Data()[1:]))
	}
	if err := store.Put(b.Context(), chunks...); err != nil {
		b.Fatal(err)
	}
	return store, chunks, asked
}

// BenchmarkPut stores a chunk of the mean size that is not there, over and over in new stores.
func BenchmarkPut(b *testing.B) {
	_, chunks, _ := benchStore(b)
	store := memory.New()
	b.SetBytes(benchChunkSize)
	i := 0
	for b.Loop() {
		if i == len(chunks) {
			store, i = memory.New(), 0
		}
		if err := store.Put(b.Context(), chunks[i]); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

// BenchmarkGet reads chunks of the mean size.
func BenchmarkGet(b *testing.B) {
	store, chunks, _ := benchStore(b)
	buf := make([]byte, cafs.ChunkSizeMax)
	b.SetBytes(benchChunkSize)
	i := 0
	for b.Loop() {
		if _, err := store.Get(b.Context(), chunks[i%len(chunks)].Key(), buf); err != nil {
			b.Fatal(err)
		}
		i += 7
	}
}

// BenchmarkHas asks for 2,048 keys, of which half are there.
func BenchmarkHas(b *testing.B) {
	store, _, asked := benchStore(b)
	for b.Loop() {
		if _, err := store.Has(b.Context(), asked); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(asked)), "ns/key")
}
