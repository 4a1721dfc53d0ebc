package cafs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc"

	"github.com/swarmsync/swarmsync/cafs"
)

// What docs/format.md says, written down a second time in the plainest way, as the measure for the package.

// refChunkSizes cuts content as the text says, and returns the sizes of the chunks.
func refChunkSizes(content []byte) []int {
	var sizes []int
	for len(content) > 0 {
		n := refCut(content)
		sizes = append(sizes, n)
		content = content[n:]
	}
	return sizes
}

func refCut(content []byte) int {
	var window uint64
	for i := range content {
		if i < 8192 {
			continue
		}
		if i == 131072 {
			return i
		}
		mask := refMask(17)
		if i >= 32768 {
			mask = refMask(13)
		}
		window = window<<1 + fastcdc.G[content[i]]
		if window&mask == 0 {
			return i
		}
	}
	return len(content)
}

// refMask sets n bits of 64, evenly spread, from the top bit down.
func refMask(n int) uint64 {
	var mask uint64
	for i := range n {
		mask |= 1 << (63 - i*(64/n))
	}
	return mask
}

// refPage is a page, or with level -1 the top list, of a list tree.
type refPage struct {
	data         []byte
	first, items int64
	start, bytes int64
}

func (p refPage) key() cafs.Key { return cafs.KeyOf(p.data) }

type refTree struct {
	list   cafs.List
	levels [][]refPage
}

func (t refTree) put(s *mapStore) {
	for _, level := range t.levels {
		for _, p := range level {
			s.chunks[p.key()] = p.data
		}
	}
}

func (t refTree) pages() int {
	n := 0
	for _, level := range t.levels {
		n += len(level)
	}
	return n
}

// refItem is a list item of any level.
type refItem struct {
	key          cafs.Key
	encoded      []byte
	items, bytes int64
}

func refLeafItem(c cafs.ChunkInfo) refItem {
	return refItem{c.Key, binary.AppendVarint(append([]byte(nil), c.Key[:]...), int64(c.Size)), 1, int64(c.Size)}
}

func refRefItem(p refPage) refItem {
	key := p.key()
	b := binary.AppendUvarint(append([]byte(nil), key[:]...), uint64(len(p.data)))
	b = binary.AppendUvarint(b, uint64(p.items))
	return refItem{key, binary.AppendUvarint(b, uint64(p.bytes)), p.items, p.bytes}
}

func refBuild(chunks []cafs.ChunkInfo) refTree {
	var t refTree
	var items []refItem
	for _, c := range chunks {
		items = append(items, refLeafItem(c))
		t.list.Bytes += int64(c.Size)
		t.list.Items++
	}
	for {
		var all []byte
		for _, item := range items {
			all = append(all, item.encoded...)
		}
		if len(all) <= 4096 {
			t.list.Top = all
			return t
		}
		level := refCutPages(t.list.Depth, items)
		items = nil
		for _, p := range level {
			items = append(items, refRefItem(p))
		}
		t.levels = append(t.levels, level)
		t.list.Depth++
	}
}

func refCutPages(level int, items []refItem) []refPage {
	var pages []refPage
	page := refPage{data: []byte{byte(level)}}
	n := 0
	for i, item := range items {
		page.data = append(page.data, item.encoded...)
		page.items += item.items
		page.bytes += item.bytes
		n++
		if n >= 32 && item.key[31]&0x3f == 0 || n == 256 || i == len(items)-1 {
			pages = append(pages, page)
			page = refPage{data: []byte{byte(level)}, first: page.first + page.items, start: page.start + page.bytes}
			n = 0
		}
	}
	return pages
}

// refRecord encodes the record of a file.
func refRecord(salt []byte, l cafs.List) []byte {
	b := []byte{'S', 'S', 'R', '1', 1, 1, 0}
	if salt != nil {
		b[6] = 1
	}
	b = append(b, salt...)
	b = binary.AppendUvarint(b, uint64(l.Bytes))
	b = binary.AppendUvarint(b, uint64(l.Items))
	b = append(b, byte(l.Depth))
	b = binary.AppendUvarint(b, uint64(len(l.Top)))
	return append(b, l.Top...)
}

// seed replays a random test.
var seed = flag.Uint64("seed", 0, "seed of the random tests; 0 picks one")

// newRand returns a source of randomness whose seed the test prints.
func newRand(t testing.TB) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed=%d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// keystream returns n bytes of ChaCha8 with the seed that is all zero but for its first byte.
func keystream(first byte, n int) []byte {
	content := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{first}).Read(content)
	return content
}

// madeUpChunks returns n chunks that nobody has: the key of chunk i is the SHA-256 of from+i as 8 bytes, the highest
// first, its size 8192 + 7919·(from+i) mod 60000.
func madeUpChunks(from, n int) []cafs.ChunkInfo {
	chunks := make([]cafs.ChunkInfo, n)
	for i := range chunks {
		number := uint64(from + i)
		chunks[i] = cafs.ChunkInfo{
			Key:  sha256.Sum256(binary.BigEndian.AppendUint64(nil, number)),
			Size: 8192 + int(7919*number%60000),
		}
	}
	return chunks
}

// chunksOf cuts content and hashes the chunks.
func chunksOf(t testing.TB, content []byte) []cafs.ChunkInfo {
	t.Helper()
	var chunks []cafs.ChunkInfo
	for _, c := range cutAll(t, content) {
		chunks = append(chunks, cafs.ChunkInfo{Key: cafs.KeyOf(c), Size: len(c)})
	}
	return chunks
}

// buildList returns what ListBuilder makes of chunks, and puts the pages into s.
func buildList(t testing.TB, s *mapStore, chunks []cafs.ChunkInfo) cafs.List {
	t.Helper()
	b := cafs.NewListBuilder(func(c cafs.Chunk) error { return s.Put(context.Background(), c) })
	for _, c := range chunks {
		if err := b.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	list, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func sameList(a, b cafs.List) error {
	if a.Bytes != b.Bytes || a.Items != b.Items || a.Depth != b.Depth || !bytes.Equal(a.Top, b.Top) {
		return fmt.Errorf("lists differ: %d bytes, %d items, depth %d, top list of %d bytes; and %d, %d, %d, %d",
			a.Bytes, a.Items, a.Depth, len(a.Top), b.Bytes, b.Items, b.Depth, len(b.Top))
	}
	return nil
}

// mapStore is a Getter and Putter that its tests can look into and spoil.
type mapStore struct {
	mu     sync.Mutex
	chunks map[cafs.Key][]byte
}

func newMapStore() *mapStore { return &mapStore{chunks: map[cafs.Key][]byte{}} }

func (s *mapStore) Get(_ context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.chunks[key]
	if !ok {
		return nil, fmt.Errorf("chunk %s: %w", key, cafs.ErrNotFound)
	}
	return append(buf[:0:len(buf)], data...), nil
}

func (s *mapStore) Has(_ context.Context, keys []cafs.Key) ([]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := make([]bool, len(keys))
	for i, key := range keys {
		_, have[i] = s.chunks[key]
	}
	return have, nil
}

func (s *mapStore) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range chunks {
		s.chunks[c.Key()] = bytes.Clone(c.Data())
	}
	return ctx.Err()
}

func (s *mapStore) Sync(context.Context) error { return nil }

func (s *mapStore) clone() *mapStore { return &mapStore{chunks: maps.Clone(s.chunks)} }
