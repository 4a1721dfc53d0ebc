package cafs

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// holeMin is how many bytes of a hole are needed to know what is cut from its beginning without reading it: what follows a
// chunk has a say in where it ends.
const holeMin = 2 * ChunkSizeMax

// zeroChunk returns what zeros are cut into, as long as holeMin of them follow.
var zeroChunk = sync.OnceValue(func() Chunk {
	data, err := NewChunker(bytes.NewReader(make([]byte, holeMin))).Next()
	if err != nil {
		panic(err)
	}
	chunk, err := NewChunk(bytes.Clone(data))
	if err != nil {
		panic(err)
	}
	return chunk
})

// cutVolume is cutFile for a file that may have holes, which r reads from its beginning. They are not read: a disk image of
// terabytes takes the time of what is on the disk of it.
func cutVolume(b *batcher, volume Volume, r io.ReadSeeker) error {
	chunker := NewChunker(r)
	zeros := zeroChunk()
	for offset := int64(0); ; {
		next, err := chunker.Next()
		switch {
		case err == io.EOF: //nolint:errorlint // see cutFile
			return nil
		case err != nil:
			return fmt.Errorf("read content: %w", err)
		}
		if err := b.add(next); err != nil {
			return err
		}
		offset += int64(len(next))
		// Only behind zeros a hole is looked for, so that others cost nothing.
		if !bytes.Equal(next, zeros.Data()) {
			continue
		}
		before := offset
		for hole := volume.HoleAt(offset); hole >= holeMin; hole -= int64(len(next)) {
			if err := b.addKnown(zeros.Info()); err != nil {
				return err
			}
			offset += int64(len(next))
		}
		if offset == before {
			continue
		}
		if _, err := r.Seek(offset, io.SeekStart); err != nil {
			return fmt.Errorf("read content: %w", err)
		}
		chunker.Reset(r)
	}
}
