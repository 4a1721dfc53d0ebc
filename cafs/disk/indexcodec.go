package disk

import (
	"encoding/binary"
	"fmt"

	"github.com/swarmsync/swarmsync/cafs"
)

// What a key of the index begins with. Other letters are free.
//
//	c ‖ chunk key[32]       → locations of the chunk, in packs, then in files, newest first: 1 to 8 times
//	                          volume u64 ‖ offset u64 ‖ length u32 ‖ crc u32 (0 in files)
//	r ‖ root[32]            → what the catalog knows of the root (see encodeRoot)
//	v ‖ volume u64 (BE)     → kind u8 (1: pack) ‖ end u64 ‖ chunks u64
//	                          kind u8 (2: file) ‖ device u64 ‖ inode u64 ‖ size u64 ‖ mtime i64 ‖ ctime i64 ‖ hashed i64
//	                          ‖ root[32] ‖ path, to the end
//	                          kind u8 (3: tree), else as a file; of the directory size, mtime and ctime are 0
//	t ‖ volume u64 (BE) ‖ end u64 (BE) → a file of a tree that ends there in the data stream:
//	                          device u64 ‖ inode u64 ‖ size u64 ‖ mtime i64 ‖ ctime i64 ‖ hashed i64 ‖ path below
//	n                       → u64: the smallest volume id that was never used
//
// Numbers in values are little-endian, times in nanoseconds since 1970. An entry of a file volume is written before the
// locations in it, together with n: ids of volumes that are gone must not come back, for locations in them may be left.
const (
	prefixChunk      = 'c'
	prefixRoot       = 'r'
	prefixVolume     = 'v'
	prefixTreeFile   = 't'
	prefixNextVolume = 'n'

	volumePack = 1
	volumeFile = 2
	volumeTree = 3

	locationSize   = 8 + 8 + 4 + 4
	volumeInfoSize = 1 + 8 + 8
)

// location tells where the bytes of a chunk are. It is comparable.
type location struct {
	volume uint64
	offset int64 // of the chunk's bytes, behind the header of its record if it has one
	length int
	crc    uint32 // as in the record; 0 in files
}

// volumeInfo is what the index knows of a pack.
type volumeInfo struct {
	end    int64 // the index knows of all whole records before it; they are synced
	chunks int64 // chunk records before end, those included that the index has forgotten
}

func keyWithPrefix(prefix byte, key cafs.Key) []byte {
	return append([]byte{prefix}, key[:]...)
}

func volumeKey(id uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixVolume}, id)
}

func appendLocations(value []byte, locations []location) []byte {
	for _, loc := range locations {
		value = binary.LittleEndian.AppendUint64(value, loc.volume)
		value = binary.LittleEndian.AppendUint64(value, uint64(loc.offset))
		value = binary.LittleEndian.AppendUint32(value, uint32(loc.length))
		value = binary.LittleEndian.AppendUint32(value, loc.crc)
	}
	return value
}

// decodeLocations reads the value of a chunk; the error wraps errIndexBad.
func decodeLocations(value []byte) ([]location, error) {
	if len(value) == 0 || len(value)%locationSize != 0 || len(value) > locationsMax*locationSize {
		return nil, fmt.Errorf("locations of a chunk: %d bytes: %w", len(value), errIndexBad)
	}
	locations := make([]location, 0, len(value)/locationSize)
	for ; len(value) > 0; value = value[locationSize:] {
		offset, length := binary.LittleEndian.Uint64(value[8:]), binary.LittleEndian.Uint32(value[16:])
		if offset > offsetMax || length < cafs.ChunkSizeMin || length > cafs.ChunkSizeMax {
			return nil, fmt.Errorf("location of a chunk: offset %d, length %d: %w", offset, length, errIndexBad)
		}
		locations = append(locations, location{
			volume: binary.LittleEndian.Uint64(value),
			offset: int64(offset),
			length: int(length),
			crc:    binary.LittleEndian.Uint32(value[20:]),
		})
	}
	return locations, nil
}

func encodePack(info volumeInfo) []byte {
	value := []byte{volumePack}
	value = binary.LittleEndian.AppendUint64(value, uint64(info.end))
	return binary.LittleEndian.AppendUint64(value, uint64(info.chunks))
}

// decodePack reads what is known of a pack; the error wraps errIndexBad.
func decodePack(value []byte) (volumeInfo, error) {
	if len(value) != volumeInfoSize || value[0] != volumePack {
		return volumeInfo{}, fmt.Errorf("index entry of a pack: wrong kind or length: %w", errIndexBad)
	}
	end, chunks := binary.LittleEndian.Uint64(value[1:]), binary.LittleEndian.Uint64(value[9:])
	if end > offsetMax || chunks > end {
		return volumeInfo{}, fmt.Errorf("index entry of a pack: end %d, %d chunks: %w", end, chunks, errIndexBad)
	}
	return volumeInfo{int64(end), int64(chunks)}, nil
}

// volumes are those that the index knows of.
type volumes struct {
	packs map[uint64]volumeInfo
	files map[uint64]fileInfo
	next  uint64 // the smallest id that is known to be free
}

// add takes the entry of a volume; the error wraps errIndexBad.
func (v *volumes) add(key, value []byte) error {
	if len(key) != 1+8 || len(value) == 0 {
		return fmt.Errorf("index entry of a volume: wrong length: %w", errIndexBad)
	}
	id := binary.BigEndian.Uint64(key[1:])
	var err error
	switch value[0] {
	case volumePack:
		v.packs[id], err = decodePack(value)
	case volumeFile, volumeTree:
		v.files[id], err = decodeFile(value)
	default:
		err = fmt.Errorf("index entry of a volume: unknown kind %d: %w", value[0], errIndexBad)
	}
	v.next = max(v.next, id+1)
	return err
}
