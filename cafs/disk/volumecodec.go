package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"

	"github.com/swarmsync/swarmsync/cafs"
)

const (
	// lookSize is what an identity and a time of hashing take.
	lookSize = 6 * 8
	// fileRowSize is what the row of a file volume has before its path.
	fileRowSize = 1 + lookSize + cafs.KeySize
)

// appendLook appends what a file was when it was hashed, and when that was.
func appendLook(value []byte, id identity, hashed int64) []byte {
	for _, number := range []uint64{
		id.device, id.inode, uint64(id.size), uint64(id.mtime), uint64(id.ctime), uint64(hashed),
	} {
		value = binary.LittleEndian.AppendUint64(value, number)
	}
	return value
}

// readLook reads what appendLook wrote; ok is false if no file has that size.
func readLook(value []byte) (id identity, hashed int64, ok bool) {
	number := func(i int) uint64 { return binary.LittleEndian.Uint64(value[8*i:]) }
	return identity{
		device: number(0),
		inode:  number(1),
		size:   int64(number(2)),
		mtime:  int64(number(3)),
		ctime:  int64(number(4)),
	}, int64(number(5)), number(2) <= offsetMax
}

// encodeFile encodes what is known of a volume in a file or a tree; the path was checked.
func encodeFile(info fileInfo) []byte {
	value := make([]byte, 0, fileRowSize+len(info.path))
	kind := byte(volumeFile)
	if info.tree {
		kind = volumeTree
	}
	value = appendLook(append(value, kind), info.identity, info.hashed)
	value = append(value, info.root[:]...)
	return append(value, info.path...)
}

// decodeFile decodes what encodeFile made, and nothing else; the error wraps errIndexBad.
func decodeFile(value []byte) (fileInfo, error) {
	if len(value) <= fileRowSize || len(value) > fileRowSize+volumePathMax || value[0] != volumeFile && value[0] != volumeTree {
		return fileInfo{}, fmt.Errorf("index entry of a volume: wrong kind or length: %w", errIndexBad)
	}
	id, hashed, ok := readLook(value[1:])
	path := value[fileRowSize:]
	tree := value[0] == volumeTree
	if !ok || bytes.IndexByte(path, 0) >= 0 || tree && id.size != 0 {
		return fileInfo{}, fmt.Errorf("index entry of a volume: size %d, path %q: %w", id.size, path, errIndexBad)
	}
	return fileInfo{identity: id, hashed: hashed, root: cafs.Key(value[1+lookSize:]), path: string(path), tree: tree}, nil
}

// treeRow is what is known of a file of a tree.
type treeRow struct {
	end      int64 // in the data stream
	identity identity
	hashed   int64
	path     string // below the directory, with slashes
}

// start returns where the file begins in the data stream.
func (r treeRow) start() int64 { return r.end - r.identity.size }

func treeFileKey(volume uint64, end int64) []byte {
	key := binary.BigEndian.AppendUint64([]byte{prefixTreeFile}, volume)
	return binary.BigEndian.AppendUint64(key, uint64(end))
}

func encodeTreeRow(volume uint64, r treeRow) (key, value []byte) {
	return treeFileKey(volume, r.end), append(appendLook(nil, r.identity, r.hashed), r.path...)
}

// decodeTreeRow decodes the row of a file of a tree; the error wraps errIndexBad.
func decodeTreeRow(key, value []byte) (treeRow, error) {
	if len(key) != 1+8+8 || len(value) <= lookSize || len(value) > lookSize+cafs.PathSizeMax {
		return treeRow{}, fmt.Errorf("index entry of a file in a tree: wrong length: %w", errIndexBad)
	}
	r := treeRow{end: int64(binary.BigEndian.Uint64(key[9:])), path: string(value[lookSize:])}
	var ok bool
	if r.identity, r.hashed, ok = readLook(value); !ok || r.identity.size < 1 || r.identity.size > r.end {
		return treeRow{}, fmt.Errorf("index entry of a file in a tree: size %d, end %d: %w", r.identity.size, r.end, errIndexBad)
	}
	if !filepath.IsLocal(filepath.FromSlash(r.path)) {
		return treeRow{}, fmt.Errorf("index entry of a file in a tree: path %q: %w", r.path, errIndexBad)
	}
	return r, nil
}
