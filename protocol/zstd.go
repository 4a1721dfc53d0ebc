package protocol

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/swarmsync/swarmsync/cafs"
)

// compressMin is the least that is worth compressing: frames of zstd have a head of their own.
const compressMin = 64

// compressor compresses chunks, and is shared by sessions: it holds about 1 MB once it is used, and compresses one at a
// time. The zero value is ready.
type compressor struct {
	using   sync.Mutex // guards what follows, and is held while it compresses
	encoder *zstd.Encoder
	out     []byte
}

// prepare makes the encoder, if that was not done. Callers hold c.using.
func (c *compressor) prepare() {
	if c.encoder != nil {
		return
	}
	var err error
	c.out = make([]byte, 0, cafs.ChunkSizeMax+zstdOverhead)
	c.encoder, err = zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithWindowSize(cafs.ChunkSizeMax), zstd.WithSingleSegment(true), zstd.WithEncoderCRC(false))
	if err != nil {
		panic("protocol: make an encoder: " + err.Error())
	}
}

// zstdOverhead is more than what compressing adds to a chunk that does not get shorter.
const zstdOverhead = 1024

// compress appends data, at most a chunk, compressed, if that is shorter.
func (c *compressor) compress(dst, data []byte) []byte {
	c.using.Lock()
	defer c.using.Unlock()
	c.prepare()
	return c.compressPrepared(dst, data)
}

// compressPrepared is compress for callers that hold c.using and have called prepare.
func (c *compressor) compressPrepared(dst, data []byte) []byte {
	if packed := c.encoder.EncodeAll(data, c.out[:0]); len(packed) < len(data) {
		return append(dst, packed...)
	}
	return dst
}

// decompressor is the other side of compressor, and shared alike.
type decompressor struct {
	once    sync.Once
	decoder *zstd.Decoder
}

func (d *decompressor) prepare() {
	d.once.Do(func() {
		var err error
		d.decoder, err = zstd.NewReader(nil,
			zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(cafs.ChunkSizeMax), zstd.WithDecoderMaxWindow(cafs.ChunkSizeMax),
			zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic("protocol: make a decoder: " + err.Error())
		}
	})
}

// decompress returns what data is compressed from, which must be exactly size bytes, in buf if its capacity suffices. No
// more than that is ever made.
func (d *decompressor) decompress(buf, data []byte, size int) ([]byte, error) {
	d.prepare()
	if cap(buf) < size {
		buf = make([]byte, size)
	}
	// The decoder goes no further than the capacity.
	made, err := d.decoder.DecodeAll(data, buf[:0:size])
	if err != nil {
		return buf[:0], fmt.Errorf("decompress: %w", err)
	}
	if len(made) != size {
		return buf[:0], fmt.Errorf("decompress: %d bytes instead of %d", len(made), size)
	}
	return buf[:size], nil
}
