package disk

import (
	"bytes"
	"slices"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

// rowOf returns the infos of chunks, and room for them.
func rowOf(chunks []cafs.Chunk) (row []cafs.ChunkInfo, room []byte) {
	bytes := 0
	for _, chunk := range chunks {
		row = append(row, chunk.Info())
		bytes += chunk.Info().Size
	}
	return row, make([]byte, bytes)
}

// readRow reads chunks, none of which may be another than it says, and returns how many there are.
func readRow(t *testing.T, store *Store, chunks []cafs.Chunk) (n int, damaged bool) {
	t.Helper()
	row, room := rowOf(chunks)
	got, damaged, err := store.ReadRow(t.Context(), row, room)
	if err != nil {
		t.Fatal(err)
	}
	for i, chunk := range got {
		if chunk.Data() == nil {
			continue
		}
		if n++; chunk.Key() != chunks[i].Key() || !bytes.Equal(chunk.Data(), chunks[i].Data()) {
			t.Errorf("chunk %d is another", i)
		}
	}
	return n, damaged
}

func TestReadRowReadsNeighboursAtOnce(t *testing.T) {
	s, file := openVolumeStore(t, t.TempDir()), newUserFile(t, 50, 20, 3000)
	mustAdd(t, s, file)
	mustPut(t, s.Store, newUserFile(t, 51, 1, 500).chunks...)
	packed := newUserFile(t, 51, 1, 500).chunks[0]
	chunks := slices.Insert(slices.Clone(file.chunks), 7, packed)
	s.files.reads.Store(0)
	if n, damaged := readRow(t, s.Store, chunks); n != 21 || damaged {
		t.Errorf("%d of 21 chunks, damaged: %v", n, damaged)
	}
	if reads := s.files.reads.Load(); reads != 2 {
		t.Errorf("%d reads of the file, want one on each side of the chunk that is elsewhere", reads)
	}
}

func TestVolumeAccidentBeforeReadRow(t *testing.T) {
	forEachAccident(t, func(t *testing.T, s volumeStore, file userVolume, a accident) {
		if n, _ := readRow(t, s.Store, file.chunks); n != 20 {
			t.Fatalf("%d of 20 chunks before", n)
		}
		if err := a.do(); err != nil {
			t.Fatal(err)
		}
		// The look of before still serves.
		n, damaged := readRow(t, s.Store, file.chunks)
		if n != a.gets || damaged != (n < 20) {
			t.Errorf("%d chunks, want %d; damaged: %v", n, a.gets, damaged)
		}
		s.clock.advance(checkInterval)
		if again, damaged := readRow(t, s.Store, file.chunks); again > n || damaged {
			t.Errorf("%d chunks after a look, %d before; damaged: %v", again, n, damaged)
		}
	})
}
