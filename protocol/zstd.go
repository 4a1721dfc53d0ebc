package protocol

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/swarmsync/swarmsync/cafs"
)

// compressMin is the least that is worth compressing: frames of zstd have a head of their own.
const compressMin = 64

// Both have no state between calls, and may be called concurrently. They are made when first needed, because they hold some
// MB; two of a kind work at a time.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil,
			zstd.WithEncoderConcurrency(zstdConcurrency), zstd.WithEncoderLevel(zstd.SpeedDefault),
			zstd.WithWindowSize(cafs.ChunkSizeMax), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic("protocol: make an encoder: " + err.Error())
		}
		return e
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(zstdConcurrency), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(cafs.ChunkSizeMax), zstd.WithDecoderMaxWindow(cafs.ChunkSizeMax),
			zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic("protocol: make a decoder: " + err.Error())
		}
		return d
	})
)

const zstdConcurrency = 2

// compress appends data, at most a chunk, compressed.
func compress(dst, data []byte) []byte { return zstdEncoder().EncodeAll(data, dst) }

// decompress returns what data is compressed from, which must be exactly size bytes, in buf if its capacity suffices. No
// more than that is ever made.
func decompress(buf, data []byte, size int) ([]byte, error) {
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	// The decoder goes no further than the capacity.
	made, err := zstdDecoder().DecodeAll(data, buf[:0:size])
	if err != nil {
		return buf[:0], fmt.Errorf("decompress: %w", err)
	}
	if len(made) != size {
		return buf[:0], fmt.Errorf("decompress: %d bytes instead of %d", len(made), size)
	}
	return buf[:size], nil
}
