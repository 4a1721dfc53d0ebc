package disk

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
)

var seed = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one from the clock")

// newRand returns a source of random numbers that a failing test can be run with again.
func newRand(t *testing.T) *rand.Rand {
	t.Helper()
	s := *seed
	if s == 0 {
		s = uint64(time.Now().UnixNano())
	}
	t.Logf("-seed=%d", s)
	return rand.New(rand.NewPCG(s, 0))
}

func chunkRecord(chunk cafs.Chunk) []byte {
	rec, _ := appendRecord(nil, chunk.Key(), false, chunk.Data())
	return rec
}

func rootRecord(info cafs.RootInfo) []byte {
	rec, _ := appendRecord(nil, info.Root, true, encodeRoot(info))
	return rec
}

func mustChunk(t testing.TB, data []byte) cafs.Chunk {
	t.Helper()
	chunk, err := cafs.NewChunk(data)
	if err != nil {
		t.Fatal(err)
	}
	return chunk
}

// The vectors are what docs/format.md shows.
const (
	vectorChunk = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" + // SHA-256 of "abc"
		"03000000" + "dedbf0c0" + "616263"
	vectorRemoval = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" +
		"00000080" + "bc102d80"
	vectorFile = "02" + "0100000000000000" + "0200000000000000" + "0300000000000000" + "0400000000000000" +
		"fbffffffffffffff" + "0600000000000000" +
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" + "2f70"
	vectorRoot = "0101" + "00f1536500000000" + "07000000" + "0300" + "616263" + "0400" + "6e616d65" + "0200" + "2f70"
)

func fromHex(t testing.TB, text string) []byte {
	t.Helper()
	data, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func vectorInfo() cafs.RootInfo {
	return cafs.RootInfo{
		Root: cafs.KeyOf([]byte("abc")), Record: []byte("abc"), Name: "name", Place: "/p",
		Complete: true, Added: time.Unix(1_700_000_000, 7).UTC(),
	}
}

func TestRecordVectors(t *testing.T) {
	key := cafs.KeyOf([]byte("abc"))
	if got := chunkRecord(mustChunk(t, []byte("abc"))); hex.EncodeToString(got) != vectorChunk {
		t.Errorf("chunk record %x, want %s", got, vectorChunk)
	}
	if got, _ := appendRecord(nil, key, true, nil); hex.EncodeToString(got) != vectorRemoval {
		t.Errorf("removal %x, want %s", got, vectorRemoval)
	}
	if got := encodeRoot(vectorInfo()); hex.EncodeToString(got) != vectorRoot {
		t.Errorf("root %x, want %s", got, vectorRoot)
	}
	rec, err := decodeRecord(fromHex(t, vectorChunk))
	if err != nil || rec.key != key || rec.isRoot || string(rec.data) != "abc" {
		t.Errorf("decoded chunk record %+v, error %v", rec, err)
	}
	rec, err = decodeRecord(fromHex(t, vectorRemoval))
	if err != nil || rec.key != key || !rec.isRoot || len(rec.data) != 0 {
		t.Errorf("decoded removal %+v, error %v", rec, err)
	}
}

func TestDecodeRecordRejects(t *testing.T) {
	whole := fromHex(t, vectorChunk)
	for i := range whole {
		if _, err := decodeRecord(whole[:i]); !errors.Is(err, errRecordShort) {
			t.Errorf("first %d of %d bytes: %v, want errRecordShort", i, len(whole), err)
		}
		for bit := range 8 {
			flipped := bytes.Clone(whole)
			flipped[i] ^= 1 << bit
			if rec, err := decodeRecord(flipped); err == nil {
				t.Errorf("bit %d of byte %d flipped: no error, record %+v", bit, i, rec)
			}
		}
	}
	key := cafs.KeyOf([]byte("abc"))
	for name, rec := range map[string][]byte{
		"empty chunk":    first(appendRecord(nil, key, false, nil)),
		"long chunk":     first(appendRecord(nil, key, false, make([]byte, cafs.ChunkSizeMax+1))),
		"long root":      first(appendRecord(nil, key, true, make([]byte, rootDataMax+1))),
		"nothing at all": make([]byte, 100),
	} {
		if _, err := decodeRecord(rec); !errors.Is(err, errRecordBad) {
			t.Errorf("%s: %v, want errRecordBad", name, err)
		}
	}
}

func first(data []byte, _ uint32) []byte { return data }

func TestDecodeRootRejects(t *testing.T) {
	info := vectorInfo()
	whole := fromHex(t, vectorRoot)
	if got, err := decodeRoot(info.Root, whole); err != nil || got.Name != info.Name || !got.Added.Equal(info.Added) {
		t.Fatalf("decoded %+v, error %v", got, err)
	}
	for i := range whole {
		if _, err := decodeRoot(info.Root, whole[:i]); !errors.Is(err, cafs.ErrCorrupt) {
			t.Errorf("first %d of %d bytes: %v, want ErrCorrupt", i, len(whole), err)
		}
	}
	change := func(i int, b byte) []byte {
		changed := bytes.Clone(whole)
		changed[i] = b
		return changed
	}
	for name, data := range map[string][]byte{
		"version 0":       change(0, 0),
		"version 2":       change(0, 2),
		"unknown flag":    change(1, 3),
		"nanoseconds":     change(13, 0x7f),
		"another record":  change(16, 'x'),
		"trailing":        append(bytes.Clone(whole), 0),
		"name too long":   encodeRoot(cafs.RootInfo{Root: info.Root, Record: info.Record, Name: string(make([]byte, 4097))}),
		"record too long": encodeRoot(cafs.RootInfo{Record: make([]byte, cafs.RecordSizeMax+1)}),
	} {
		if _, err := decodeRoot(info.Root, data); !errors.Is(err, cafs.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", name, err)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(fromHex(f, vectorChunk))
	f.Add(fromHex(f, vectorRemoval))
	f.Add(rootRecord(vectorInfo()))
	f.Add(chunkRecord(cafstest.Chunk(1, cafs.ChunkSizeMax)))
	f.Fuzz(func(t *testing.T, pack []byte) {
		rec, err := decodeRecord(pack)
		if err != nil {
			if !isDamage(err) {
				t.Fatalf("error %v", err)
			}
			return
		}
		again, crc := appendRecord(nil, rec.key, rec.isRoot, rec.data)
		if !bytes.HasPrefix(pack, again) || crc != rec.crc || int64(len(again)) != rec.size() {
			t.Fatalf("a record of %d bytes does not encode to what it was decoded from", rec.size())
		}
	})
}

func FuzzDecodeRoot(f *testing.F) {
	for _, info := range []cafs.RootInfo{vectorInfo(), cafstest.Root(1), {Root: cafs.KeyOf(nil)}} {
		f.Add(info.Record, encodeRoot(info))
	}
	f.Fuzz(func(t *testing.T, rootRecord, data []byte) {
		root := cafs.KeyOf(rootRecord)
		info, err := decodeRoot(root, data)
		if err != nil {
			if !errors.Is(err, cafs.ErrCorrupt) {
				t.Fatalf("error %v, want ErrCorrupt", err)
			}
			return
		}
		if again := encodeRoot(info); !bytes.Equal(again, data) {
			t.Fatalf("encodes to %x, decoded from %x", again, data)
		}
	})
}

func FuzzDecodeLocations(f *testing.F) {
	f.Add(appendLocations(nil, []location{{1, 40, 3, 5}}))
	f.Add(appendLocations(nil, []location{{1, 40, 3, 5}, {1 << 40, 1 << 50, 131072, 1 << 31}}))
	f.Fuzz(func(t *testing.T, value []byte) {
		locations, err := decodeLocations(value)
		if err != nil {
			if !errors.Is(err, errIndexBad) {
				t.Fatalf("error %v, want errIndexBad", err)
			}
			return
		}
		if again := appendLocations(nil, locations); !bytes.Equal(again, value) {
			t.Fatalf("encodes to %x, decoded from %x", again, value)
		}
	})
}

func FuzzDecodeVolume(f *testing.F) {
	f.Add(volumeKey(7), encodePack(volumeInfo{1000, 3}))
	f.Add(volumeKey(8), fromHex(f, vectorFile))
	f.Add(volumeKey(9), encodeFile(fileInfo{path: "/p"}))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		all := volumes{packs: make(map[uint64]volumeInfo), files: make(map[uint64]fileInfo)}
		if err := all.add(key, value); err != nil {
			if !errors.Is(err, errIndexBad) {
				t.Fatalf("error %v, want errIndexBad", err)
			}
			return
		}
		for id, info := range all.packs {
			if !bytes.Equal(encodePack(info), value) || !bytes.Equal(volumeKey(id)[1:], key[1:]) {
				t.Fatalf("pack %d %+v does not encode to what it was decoded from", id, info)
			}
		}
		for id, info := range all.files {
			if !bytes.Equal(encodeFile(info), value) || !bytes.Equal(volumeKey(id)[1:], key[1:]) {
				t.Fatalf("file %d %+v does not encode to what it was decoded from", id, info)
			}
		}
		if len(all.packs)+len(all.files) != 1 {
			t.Fatalf("%d packs and %d files from one entry", len(all.packs), len(all.files))
		}
	})
}

func vectorFileInfo() fileInfo {
	return fileInfo{
		identity: identity{device: 1, inode: 2, size: 3, mtime: 4, ctime: -5},
		hashed:   6,
		root:     cafs.KeyOf([]byte("abc")),
		path:     "/p",
	}
}

func TestFileRow(t *testing.T) {
	if got := encodeFile(vectorFileInfo()); hex.EncodeToString(got) != vectorFile {
		t.Errorf("row %x, want %s", got, vectorFile)
	}
	whole := fromHex(t, vectorFile)
	if got, err := decodeFile(whole); err != nil || got != vectorFileInfo() {
		t.Errorf("decoded %+v, error %v", got, err)
	}
	change := func(i int, b byte) []byte {
		changed := bytes.Clone(whole)
		changed[i] = b
		return changed
	}
	for name, value := range map[string][]byte{
		"empty":         nil,
		"kind of packs": change(0, volumePack),
		"unknown kind":  change(0, 3),
		"no path":       whole[:fileRowSize],
		"huge size":     change(24, 0x7f),
		"NUL in path":   change(fileRowSize, 0),
		"long path":     append(bytes.Clone(whole), bytes.Repeat([]byte("p"), volumePathMax-1)...),
	} {
		if got, err := decodeFile(value); !errors.Is(err, errIndexBad) {
			t.Errorf("%s: %+v, error %v; want errIndexBad", name, got, err)
		}
	}
}

// scanned is what a scan finds in a pack: the keys of chunks, and of roots.
func scanned(t testing.TB, pack []byte, from int64) (chunks, roots []cafs.Key, end int64) {
	t.Helper()
	s := newScan(bytes.NewReader(pack), from, int64(len(pack)))
	for {
		rec, offset, err := s.next()
		if errors.Is(err, io.EOF) {
			return chunks, roots, end
		}
		if err != nil {
			t.Fatal(err)
		}
		if end = offset + rec.size(); rec.isRoot {
			roots = append(roots, rec.key)
			continue
		}
		if cafs.KeyOf(rec.data) != rec.key {
			t.Fatal("a chunk whose bytes are not those of its key")
		}
		chunks = append(chunks, rec.key)
	}
}

func TestScanTornEnd(t *testing.T) {
	head := chunkRecord(cafstest.Chunk(1, 100))
	last := chunkRecord(cafstest.Chunk(2, 50))
	for n := range len(last) {
		chunks, _, end := scanned(t, append(bytes.Clone(head), last[:n]...), 0)
		if len(chunks) != 1 || end != int64(len(head)) {
			t.Fatalf("last record cut to %d bytes: %d chunks up to %d, want 1 up to %d", n, len(chunks), end, len(head))
		}
	}
	if chunks, _, _ := scanned(t, append(bytes.Clone(head), last...), 0); len(chunks) != 2 {
		t.Errorf("%d chunks in a whole pack, want 2", len(chunks))
	}
}

// TestScanDamage damages a pack at random and wants everything back but the records that the damage is in.
func TestScanDamage(t *testing.T) {
	rnd := newRand(t)
	const n = 30
	for range 50 {
		var pack []byte
		var ends []int
		for i := range n {
			pack = append(pack, chunkRecord(cafstest.Chunk(uint64(i), 1+rnd.IntN(3000)))...)
			ends = append(ends, len(pack))
		}
		// A bit, a row of zeros as of a block that was never written, or a row of noise.
		at := rnd.IntN(len(pack))
		end := at + 1
		if kind := rnd.IntN(3); kind == 0 {
			pack[at] ^= 1 << rnd.IntN(8)
		} else {
			end = min(at+rnd.IntN(8192), len(pack))
			for i := at; i < end; i++ {
				pack[i] = byte(rnd.Uint32() * uint32(kind-1))
			}
		}
		hurt := 0
		for i := range ends {
			start := 0
			if i > 0 {
				start = ends[i-1]
			}
			if start < end && at < ends[i] {
				hurt++
			}
		}
		chunks, _, _ := scanned(t, pack, 0)
		if len(chunks) < n-hurt {
			t.Errorf("bytes %d to %d of %d damaged: %d chunks, want at least %d", at, end, len(pack), len(chunks), n-hurt)
		}
	}
}

// TestScanBelievesNoEmbeddedRoot has a peer's content that looks like records, in a record that is damaged so that the
// scan passes through it.
func TestScanBelievesNoEmbeddedRoot(t *testing.T) {
	forged := rootRecord(cafstest.Root(1))
	liar, _ := appendRecord(nil, cafs.Key{1, 2, 3}, false, []byte("bytes of another key"))
	inner := chunkRecord(cafstest.Chunk(9, 77)) // harmless: it is what it says
	content := bytes.Join([][]byte{make([]byte, 100), forged, liar, inner, forged, make([]byte, 100)}, nil)
	carrier := chunkRecord(mustChunk(t, content))
	own, after := rootRecord(cafstest.Root(2)), chunkRecord(cafstest.Chunk(1, 500))

	pack := bytes.Join([][]byte{own, carrier, after}, nil)
	if chunks, roots, _ := scanned(t, pack, 0); len(chunks) != 2 || len(roots) != 1 {
		t.Fatalf("whole pack: %d chunks and %d roots, want 2 and 1", len(chunks), len(roots))
	}
	pack[len(own)+cafs.KeySize+2] ^= 0x04 // the length of the carrier now leads nowhere
	chunks, roots, _ := scanned(t, pack, 0)
	if len(roots) != 1 || roots[0] != cafstest.Root(2).Root {
		t.Errorf("roots %v, want the store's own only", roots)
	}
	if len(chunks) != 2 || chunks[0] != cafstest.Chunk(9, 77).Key() || chunks[1] != cafstest.Chunk(1, 500).Key() {
		t.Errorf("chunks %v, want the harmless one and the one after the damage", chunks)
	}
}

func TestScanGoesOnBehindDamagedData(t *testing.T) {
	chunk, root := chunkRecord(cafstest.Chunk(1, 500)), rootRecord(cafstest.Root(2))
	pack := append(bytes.Clone(chunk), root...)
	pack[100] ^= 1
	chunks, roots, _ := scanned(t, pack, 0)
	if len(chunks) != 0 || len(roots) != 1 {
		t.Errorf("%d chunks and %d roots, want 0 and 1", len(chunks), len(roots))
	}
}

func TestScanLargerThanItsWindow(t *testing.T) {
	var pack []byte
	const n = 40
	for i := range n {
		pack = append(pack, chunkRecord(cafstest.Chunk(uint64(i), cafs.ChunkSizeMax-i))...)
	}
	if chunks, _, end := scanned(t, pack, 0); len(chunks) != n || end != int64(len(pack)) {
		t.Errorf("%d chunks up to %d, want %d up to %d", len(chunks), end, n, len(pack))
	}
	from := int64(len(chunkRecord(cafstest.Chunk(0, cafs.ChunkSizeMax))))
	if chunks, _, _ := scanned(t, pack, from); len(chunks) != n-1 {
		t.Errorf("%d chunks behind the first, want %d", len(chunks), n-1)
	}
}

func FuzzScan(f *testing.F) {
	f.Add(fromHex(f, vectorChunk))
	f.Add(append(chunkRecord(cafstest.Chunk(1, 10))[:45], rootRecord(vectorInfo())...))
	f.Fuzz(func(t *testing.T, pack []byte) {
		_, _, end := scanned(t, pack, 0) // checks that chunks are authentic
		if end > int64(len(pack)) {
			t.Fatalf("records end at %d of %d", end, len(pack))
		}
	})
}

func TestPackNames(t *testing.T) {
	for _, id := range []uint64{0, 1, 0xabcdef, 1<<64 - 1} {
		if got, ok := parsePackName(packName(id)); !ok || got != id {
			t.Errorf("%s: %d, %v", packName(id), got, ok)
		}
	}
	for _, name := range []string{
		"", ".pack", "1.pack", "000000000000000A.pack", "00000000000000001.pack", "0000000000000001", "+000000000000001.pack",
		"0000000000000001.pack.tmp",
	} {
		if _, ok := parsePackName(name); ok {
			t.Errorf("%q taken for a pack", name)
		}
	}
}
