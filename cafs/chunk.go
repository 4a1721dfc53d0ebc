package cafs

import "fmt"

// Sizes of a chunk in bytes. A chunk is never empty, and never larger than what the origin's wire format allows.
const (
	ChunkSizeMin = 1
	ChunkSizeMax = 131072
)

// ChunkInfo names a chunk of some content: its key, and its size in bytes.
type ChunkInfo struct {
	Key  Key
	Size int
}

// Chunk is a key together with the bytes that hash to it. Whoever holds a Chunk may trust that they match: the only
// ways to make one are NewChunk, which computes the key, and VerifyChunk, which checks it.
type Chunk struct {
	key  Key
	data []byte
}

// NewChunk hashes data, which the chunk keeps a reference to; it must have between ChunkSizeMin and ChunkSizeMax bytes.
func NewChunk(data []byte) (Chunk, error) {
	if err := checkChunkSize(len(data)); err != nil {
		return Chunk{}, err
	}
	return Chunk{KeyOf(data), data}, nil
}

// VerifyChunk returns the chunk named by want if data has exactly the size and the key that it says, and an error
// that wraps ErrCorrupt otherwise. The chunk keeps a reference to data. Bytes that come from a peer, or from a place
// that may have changed, become a chunk here and nowhere else.
func VerifyChunk(want ChunkInfo, data []byte) (Chunk, error) {
	if err := checkChunkSize(want.Size); err != nil {
		return Chunk{}, err
	}
	if len(data) != want.Size {
		return Chunk{}, fmt.Errorf("chunk %s: %d bytes instead of %d: %w", want.Key, len(data), want.Size, ErrCorrupt)
	}
	if KeyOf(data) != want.Key {
		return Chunk{}, fmt.Errorf("chunk %s: the bytes hash to something else: %w", want.Key, ErrCorrupt)
	}
	return Chunk{want.Key, data}, nil
}

// Key returns the SHA-256 of the chunk's bytes.
func (c Chunk) Key() Key { return c.key }

// Data returns the chunk's bytes, which must not be changed.
func (c Chunk) Data() []byte { return c.data }

// Info returns the chunk's key and size.
func (c Chunk) Info() ChunkInfo { return ChunkInfo{c.key, len(c.data)} }

func checkChunkSize(size int) error {
	if size < ChunkSizeMin || size > ChunkSizeMax {
		return fmt.Errorf("chunk of %d bytes: want %d to %d", size, ChunkSizeMin, ChunkSizeMax)
	}
	return nil
}
