package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/swarmsync/swarmsync/cafs"
)

// fileRowSize is what the row of a file volume has before its path.
const fileRowSize = 1 + 6*8 + cafs.KeySize

// encodeFile encodes what is known of a file volume; the path was checked.
func encodeFile(info fileInfo) []byte {
	value := make([]byte, 0, fileRowSize+len(info.path))
	value = append(value, volumeFile)
	for _, number := range []uint64{
		info.identity.device, info.identity.inode, uint64(info.identity.size),
		uint64(info.identity.mtime), uint64(info.identity.ctime), uint64(info.hashed),
	} {
		value = binary.LittleEndian.AppendUint64(value, number)
	}
	value = append(value, info.root[:]...)
	return append(value, info.path...)
}

// decodeFile decodes what encodeFile made, and nothing else; the error wraps errIndexBad.
func decodeFile(value []byte) (fileInfo, error) {
	if len(value) <= fileRowSize || len(value) > fileRowSize+volumePathMax || value[0] != volumeFile {
		return fileInfo{}, fmt.Errorf("index entry of a file volume: wrong kind or length: %w", errIndexBad)
	}
	number := func(i int) uint64 { return binary.LittleEndian.Uint64(value[1+8*i:]) }
	path := value[fileRowSize:]
	if size := number(2); size > offsetMax || bytes.IndexByte(path, 0) >= 0 {
		return fileInfo{}, fmt.Errorf("index entry of a file volume: size %d, path %q: %w", size, path, errIndexBad)
	}
	return fileInfo{
		identity: identity{
			device: number(0),
			inode:  number(1),
			size:   int64(number(2)),
			mtime:  int64(number(3)),
			ctime:  int64(number(4)),
		},
		hashed: int64(number(5)),
		root:   cafs.Key(value[1+6*8:]),
		path:   string(path),
	}, nil
}
