package cafs

import (
	"io"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	"github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc"
)

// Chunking profile 1: what makes the chunks of equal content equal on every node. To change any of it is a new profile.
const (
	chunkAlgorithm  = "fastcdc-v1.0.0" // not "fastcdc", a legacy variant that takes no notice of the normal size
	chunkSizeCut    = 8192             // no chunk but the last is cut shorter
	chunkSizeNormal = 32768            // from here on a cut is more likely; the mean is about 37 KiB
)

// Chunker cuts a stream into chunks by its content (profile 1): equal stretches of bytes are cut equally wherever they
// stand. It is not safe for concurrent use.
type Chunker struct {
	cutter *chunkers.Chunker
	err    error // what the next call of Next returns
}

// NewChunker returns a Chunker of what r has, from here to its end. It reads ahead in r, and holds 256 KiB.
func NewChunker(r io.Reader) *Chunker {
	profile := &chunkers.ChunkerOpts{MinSize: chunkSizeCut, NormalSize: chunkSizeNormal, MaxSize: ChunkSizeMax}
	// The library takes options that it cannot work with unless it is asked.
	if err := new(fastcdc.FastCDC).Validate(profile); err != nil {
		panic("cafs: chunking profile 1: " + err.Error())
	}
	cutter, err := chunkers.NewChunker(chunkAlgorithm, r, profile)
	if err != nil {
		panic("cafs: chunking profile 1: " + err.Error())
	}
	return &Chunker{cutter: cutter}
}

// Reset makes the Chunker begin anew, at what r has.
func (c *Chunker) Reset(r io.Reader) {
	c.cutter.Reset(r)
	c.err = nil
}

// Next returns the bytes of the next chunk, which are valid until the next call. At the end of the stream it returns
// io.EOF itself, never wrapped, so that an error of the reader that happens to wrap io.EOF cannot pass for the end. Other
// errors are those of the reader; the bytes that came just before one may be lost.
func (c *Chunker) Next() ([]byte, error) {
	if c.err != nil {
		return nil, c.err
	}
	data, err := c.cutter.Next()
	if len(data) == 0 {
		c.err = err
		return nil, err
	}
	c.err = err // the library returns a short last chunk together with io.EOF
	return data, nil
}
