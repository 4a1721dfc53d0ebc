package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/swarmsync/swarmsync/cafs"
)

// A pack is a row of records:
//
//	key[32] ‖ length u32 ‖ crc u32 ‖ data
//
// The numbers are little-endian; crc is the CRC-32C of key, length and data. In a chunk record key is the SHA-256 of
// data. In a root record, whose length has the bit rootFlag set, key is a root, and data is what the catalog knows of
// it (see encodeRoot), or nothing if it was removed.
const (
	recordHeaderSize = cafs.KeySize + 8
	recordSizeMax    = recordHeaderSize + max(cafs.ChunkSizeMax, rootDataMax)
	rootFlag         = 1 << 31
)

var (
	// errRecordShort: the bytes end before the record does.
	errRecordShort = errors.New("record is cut short")
	// errRecordBad: no record has these bytes.
	errRecordBad = errors.New("record is damaged")
)

// castagnoli is never changed; the processor has an instruction for it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is a decoded record. Its data is a part of the bytes that it was decoded from.
type record struct {
	key    cafs.Key
	isRoot bool
	data   []byte
	crc    uint32
}

// size returns the bytes that the record takes in a pack.
func (r record) size() int64 { return recordHeaderSize + int64(len(r.data)) }

// appendRecord appends a record to pack, and returns the checksum that it carries.
func appendRecord(pack []byte, key cafs.Key, isRoot bool, data []byte) ([]byte, uint32) {
	start := len(pack)
	length := uint32(len(data))
	if isRoot {
		length |= rootFlag
	}
	pack = append(pack, key[:]...)
	pack = binary.LittleEndian.AppendUint32(pack, length)
	crc := checksum(pack[start:], data)
	pack = binary.LittleEndian.AppendUint32(pack, crc)
	return append(pack, data...), crc
}

// chunkChecksum returns the checksum in the record of a chunk.
func chunkChecksum(key cafs.Key, data []byte) uint32 {
	var head [cafs.KeySize + 4]byte
	copy(head[:], key[:])
	binary.LittleEndian.PutUint32(head[cafs.KeySize:], uint32(len(data)))
	return checksum(head[:], data)
}

func checksum(keyAndLength, data []byte) uint32 {
	return crc32.Update(crc32.Checksum(keyAndLength, castagnoli), castagnoli, data)
}

// recordLength reads the size of a record from its header, without looking at its data. The error is errRecordShort or
// errRecordBad.
func recordLength(pack []byte) (size int, isRoot bool, err error) {
	if len(pack) < recordHeaderSize {
		return 0, false, errRecordShort
	}
	length := binary.LittleEndian.Uint32(pack[cafs.KeySize:])
	isRoot = length&rootFlag != 0
	length &^= rootFlag
	if isRoot && length > rootDataMax || !isRoot && (length < cafs.ChunkSizeMin || length > cafs.ChunkSizeMax) {
		return 0, false, errRecordBad
	}
	return recordHeaderSize + int(length), isRoot, nil
}

// decodeRecord decodes the record that pack begins with and checks its checksum; whether a chunk's data hashes to its
// key is left to the caller. The error is errRecordShort or errRecordBad.
func decodeRecord(pack []byte) (record, error) {
	size, isRoot, err := recordLength(pack)
	if err != nil {
		return record{}, err
	}
	if len(pack) < size {
		return record{}, errRecordShort
	}
	rec := record{
		key:    cafs.Key(pack[:cafs.KeySize]),
		isRoot: isRoot,
		data:   pack[recordHeaderSize:size],
		crc:    binary.LittleEndian.Uint32(pack[cafs.KeySize+4:]),
	}
	if checksum(pack[:cafs.KeySize+4], rec.data) != rec.crc {
		return record{}, errRecordBad
	}
	return rec, nil
}
