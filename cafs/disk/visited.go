package disk

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/swarmsync/swarmsync/cafs"
)

// visitedChunks bounds the chunks of which the locations that were looked up last are kept, some 150 bytes each.
const visitedChunks = 1 << 14

// visited is what look-ups of many chunks at once have found of late, for who reads one after the other then: such a look-up
// takes a quarter of the time for each. It may be out of date. It may be used concurrently.
type visited struct {
	chunks [visitedChunks]atomic.Pointer[visitedChunk]
}

type visitedChunk struct {
	key       cafs.Key
	locations []location
}

func (v *visited) of(key cafs.Key) *atomic.Pointer[visitedChunk] {
	return &v.chunks[binary.LittleEndian.Uint64(key[:])%visitedChunks]
}

func (v *visited) note(key cafs.Key, locations []location) {
	v.of(key).Store(&visitedChunk{key, locations})
}

// get returns the locations of a chunk, none if they are not kept. Nobody may change them.
func (v *visited) get(key cafs.Key) []location {
	if chunk := v.of(key).Load(); chunk != nil && chunk.key == key {
		return chunk.locations
	}
	return nil
}

func (v *visited) forget(key cafs.Key) {
	at := v.of(key)
	if chunk := at.Load(); chunk != nil && chunk.key == key {
		at.CompareAndSwap(chunk, nil)
	}
}
