package disk

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// What the catalog knows of a root, in a pack and in the index alike; the root itself is the key of it:
//
//	version u8 (1) ‖ flags u8 (bit 0: complete, bit 1: damaged) ‖ added: seconds since 1970 i64 ‖ nanoseconds u32
//	‖ length u16 ‖ record ‖ length u16 ‖ name ‖ length u16 ‖ place
//
// The numbers are little-endian, and nothing follows.
const (
	rootVersion  = 1
	rootComplete = 1 << 0
	rootDamaged  = 1 << 1
)

// encodeRoot encodes what is known of a root that passed its Check, which bounds the lengths.
func encodeRoot(info cafs.RootInfo) []byte {
	var flags byte
	if info.Complete {
		flags |= rootComplete
	}
	if info.Damaged {
		flags |= rootDamaged
	}
	data := []byte{rootVersion, flags}
	data = binary.LittleEndian.AppendUint64(data, uint64(info.Added.Unix()))
	data = binary.LittleEndian.AppendUint32(data, uint32(info.Added.Nanosecond()))
	for _, field := range []string{string(info.Record), info.Name, info.Place} {
		data = binary.LittleEndian.AppendUint16(data, uint16(len(field)))
		data = append(data, field...)
	}
	return data
}

// decodeRoot decodes what encodeRoot made of root, and nothing else; the error wraps cafs.ErrCorrupt.
func decodeRoot(root cafs.Key, data []byte) (cafs.RootInfo, error) {
	bad := func(what string) (cafs.RootInfo, error) {
		return cafs.RootInfo{}, fmt.Errorf("catalog entry of root %s: %s: %w", root.Short(), what, cafs.ErrCorrupt)
	}
	const fixed = 1 + 1 + 8 + 4
	if len(data) < fixed || len(data) > rootDataMax {
		return bad("wrong length")
	}
	if data[0] != rootVersion {
		return bad("unknown version")
	}
	if data[1]&^(rootComplete|rootDamaged) != 0 || data[1] == rootComplete|rootDamaged {
		return bad("unknown flags")
	}
	seconds := int64(binary.LittleEndian.Uint64(data[2:]))
	nanoseconds := binary.LittleEndian.Uint32(data[10:])
	if nanoseconds > 999_999_999 {
		return bad("more nanoseconds than a second has")
	}
	var fields [3][]byte
	rest := data[fixed:]
	for i := range fields {
		var ok bool
		if fields[i], rest, ok = cutField(rest); !ok {
			return bad("cut short")
		}
	}
	if len(rest) > 0 {
		return bad("trailing bytes")
	}
	info := cafs.RootInfo{
		Root:     root,
		Record:   append([]byte(nil), fields[0]...),
		Name:     string(fields[1]),
		Place:    string(fields[2]),
		Complete: data[1]&rootComplete != 0,
		Damaged:  data[1]&rootDamaged != 0,
		Added:    time.Unix(seconds, int64(nanoseconds)).UTC(),
	}
	if err := info.Check(); err != nil {
		return cafs.RootInfo{}, fmt.Errorf("catalog entry: %w: %w", err, cafs.ErrCorrupt)
	}
	return info, nil
}

// cutField cuts a field and the length before it from data.
func cutField(data []byte) (field, rest []byte, ok bool) {
	if len(data) < 2 {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(data))
	if len(data) < 2+n {
		return nil, nil, false
	}
	return data[2 : 2+n], data[2+n:], true
}
