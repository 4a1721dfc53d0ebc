package protocol

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/shuffle"
)

// Limits of what is taken for a SyncInfo.
const (
	// SyncInfoChunksMax is the largest number of chunks. At the mean size of 37 KiB they are 74 GiB of content, and a list
	// in memory of 80 MiB, which grows no faster than the list comes in. Larger content goes by its root.
	SyncInfoChunksMax = 1 << 21
	// PermMax is the longest permutation. Both sides hold as many chunk infos, 3 MiB, and each wishlist has as many bits
	// on top, 8 KiB; a longer one would mix no better.
	PermMax = 1 << 16
)

// ChunkInfo is the key and the size in bytes of a chunk. In a SyncInfo the size may also be 0, with the SHA-256 of
// nothing as the key: the origin's lists can hold such an empty chunk, which both sides have.
type ChunkInfo = cafs.ChunkInfo

// SyncInfo is what both sides of a transfer agree on. The zero SyncInfo is empty content in plain order. It may be read
// concurrently, but not while it is changed.
type SyncInfo struct {
	// Chunks are those of the content, in its order, equal ones as often as they occur.
	Chunks []ChunkInfo
	// Perm is the cyclic permutation in which chunks are wished and sent. An empty one stands for the trivial one.
	Perm shuffle.Permutation
}

// SetChunksFromFile makes the chunks of file those of s. It reads the list of the file and not its content. If it
// fails, s is as before.
func (s *SyncInfo) SetChunksFromFile(ctx context.Context, file cafs.File) error {
	if file.NumChunks() > SyncInfoChunksMax {
		return fmt.Errorf("list the chunks of a file: %w", tooManyChunks(file.NumChunks()))
	}
	chunks := make([]ChunkInfo, 0, file.NumChunks())
	for chunk, err := range file.Chunks(ctx) {
		if err != nil {
			return fmt.Errorf("list the chunks of a file: %w", err)
		}
		chunks = append(chunks, chunk)
	}
	s.Chunks = chunks
	return nil
}

// SetPermutation makes a copy of perm that of s. If it is none, or longer than PermMax, it returns an error and s is as
// before.
func (s *SyncInfo) SetPermutation(perm shuffle.Permutation) error {
	if len(perm) > PermMax {
		return permTooLong(len(perm))
	}
	if err := perm.Validate(); err != nil {
		return err
	}
	s.Perm = slices.Clone(perm)
	return nil
}

// SetTrivialPermutation makes s one in plain order.
func (s *SyncInfo) SetTrivialPermutation() { s.Perm = shuffle.Trivial() }

// Validate returns nil if both sides can work with s: no more than SyncInfoChunksMax chunks, each of a size that a chunk
// can have, and a permutation no longer than PermMax. What came from the other side has been through it.
func (s SyncInfo) Validate() error {
	if err := s.validateChunks(); err != nil {
		return err
	}
	if len(s.Perm) > PermMax {
		return permTooLong(len(s.Perm))
	}
	return s.perm().Validate()
}

func (s SyncInfo) validateChunks() error {
	if len(s.Chunks) > SyncInfoChunksMax {
		return tooManyChunks(int64(len(s.Chunks)))
	}
	for i, chunk := range s.Chunks {
		if err := checkChunkInfo(chunk); err != nil {
			return fmt.Errorf("item %d: %w", i, err)
		}
	}
	return nil
}

// perm returns the permutation that s means.
func (s SyncInfo) perm() shuffle.Permutation {
	if len(s.Perm) == 0 {
		return shuffle.Trivial()
	}
	return s.Perm
}

// blank is what stands in a shuffled list where no chunk is. No chunk equals it: of size 0 there is but the empty one.
var blank = ChunkInfo{}

// eachShuffled calls step with the chunks and the blanks in shuffled order until it returns an error.
func (s SyncInfo) eachShuffled(step func(ChunkInfo) error) error {
	shuffled, err := shuffle.NewStreamShuffler(s.perm(), blank, step)
	if err != nil {
		return err
	}
	for _, chunk := range s.Chunks {
		if err := shuffled.Put(chunk); err != nil {
			return err
		}
	}
	return shuffled.End()
}

// Shuffle returns the chunks in the order in which they are wished and sent, without the blanks, and with the trivial
// permutation. The error says why s is not valid.
func (s SyncInfo) Shuffle() (SyncInfo, error) {
	if err := s.Validate(); err != nil {
		return SyncInfo{}, fmt.Errorf("shuffle a list of chunks: %w", err)
	}
	shuffled := SyncInfo{Chunks: make([]ChunkInfo, 0, len(s.Chunks)), Perm: shuffle.Trivial()}
	err := s.eachShuffled(func(chunk ChunkInfo) error {
		if chunk != blank {
			shuffled.Chunks = append(shuffled.Chunks, chunk)
		}
		return nil
	})
	return shuffled, err
}

// WriteToLegacyStream writes the chunks of s, each as its key and its size as a signed varint. The permutation is not
// written: both sides must know it from elsewhere. It writes nothing if the chunks are not valid.
func (s SyncInfo) WriteToLegacyStream(w io.Writer) error {
	if err := s.validateChunks(); err != nil {
		return fmt.Errorf("write a list of chunks: %w", err)
	}
	out := bufio.NewWriter(w)
	var item []byte
	for _, chunk := range s.Chunks {
		item = append(item[:0], chunk.Key[:]...)
		item = binary.AppendVarint(item, int64(chunk.Size))
		// Of the errors of out, Flush returns the first.
		_, _ = out.Write(item)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write a list of chunks: %w", err)
	}
	return nil
}

// ReadFromLegacyStream reads the chunks of s from r up to its end, and leaves the permutation alone. It reads some bytes
// ahead. The error wraps io.ErrUnexpectedEOF if r ends within an item; if there is an error, s is as before.
func (s *SyncInfo) ReadFromLegacyStream(r io.Reader) error {
	var chunks []ChunkInfo
	for in := bufio.NewReader(r); ; {
		chunk, err := readLegacyItem(in)
		if errors.Is(err, io.EOF) {
			s.Chunks = chunks
			return nil
		}
		if err == nil && len(chunks) == SyncInfoChunksMax {
			err = tooManyChunks(SyncInfoChunksMax + 1)
		}
		if err != nil {
			return fmt.Errorf("read a list of chunks: item %d: %w", len(chunks), err)
		}
		chunks = append(chunks, chunk)
	}
}

// readLegacyItem returns io.EOF itself, or an error that wraps it, only if in ends before the item.
func readLegacyItem(in *bufio.Reader) (ChunkInfo, error) {
	var chunk ChunkInfo
	if _, err := io.ReadFull(in, chunk.Key[:]); err != nil {
		return ChunkInfo{}, err
	}
	var err error
	if chunk.Size, err = readSize(in); err != nil {
		return ChunkInfo{}, noEOF(err)
	}
	return chunk, checkChunkInfo(chunk)
}

// MarshalJSON implements json.Marshaler with the form of WriteJSON.
func (s SyncInfo) MarshalJSON() ([]byte, error) {
	var out bytes.Buffer
	err := s.WriteJSON(&out)
	return out.Bytes(), err
}

// UnmarshalJSON implements json.Unmarshaler; it accepts what ReadJSON does. Data from the other side is better read with
// ReadJSON, which does not need all of it in memory.
func (s *SyncInfo) UnmarshalJSON(data []byte) error { return s.ReadJSON(bytes.NewReader(data)) }

// keyOfNothing is a constant in all but form: the key of the empty chunk.
var keyOfNothing = cafs.KeyOf(nil)

// checkChunkInfo returns nil if chunk is one that a SyncInfo can list.
func checkChunkInfo(chunk ChunkInfo) error {
	switch {
	case chunk.Size < 0 || chunk.Size > cafs.ChunkSizeMax:
		return fmt.Errorf("chunk %s: size %d: want 0 to %d", chunk.Key, chunk.Size, cafs.ChunkSizeMax)
	case chunk.Size == 0 != (chunk.Key == keyOfNothing):
		return fmt.Errorf("chunk %s: size %d: of the empty chunk, and of no other, the size is 0", chunk.Key, chunk.Size)
	}
	return nil
}

func tooManyChunks(n int64) error {
	return fmt.Errorf("%d chunks: want at most %d", n, SyncInfoChunksMax)
}

func permTooLong(n int) error {
	return fmt.Errorf("permutation of length %d: want at most %d", n, PermMax)
}

// readSize reads a chunk's size as a signed varint. The error is io.EOF if in ends before it, io.ErrUnexpectedEOF if in
// ends within it. A size that is none of a chunk, or is written with more bytes than it takes, is an error.
func readSize(in io.ByteReader) (int, error) {
	// 131,072 takes three bytes; what goes on after them can't be the size of a chunk.
	var raw [3]byte
	for i := range raw {
		octet, err := in.ReadByte()
		if err != nil {
			if i > 0 {
				err = noEOF(err)
			}
			return 0, err
		}
		raw[i] = octet
		if octet >= 0x80 {
			continue
		}
		if i > 0 && octet == 0 {
			return 0, fmt.Errorf("size %x: a varint that is longer than it need be", raw[:i+1])
		}
		size, _ := binary.Varint(raw[:i+1])
		if size < 0 || size > cafs.ChunkSizeMax {
			return 0, fmt.Errorf("size %d: want 0 to %d", size, cafs.ChunkSizeMax)
		}
		return int(size), nil
	}
	return 0, fmt.Errorf("size %x…: want 0 to %d", raw, cafs.ChunkSizeMax)
}

// noEOF turns the end of the input into an error that says it came too early.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
