package protocol

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// deltaVector is a golden case of a delta: see docs/protocol.md, "Test vectors".
type deltaVector struct {
	vector
	sig    signature
	old    []byte
	result []byte
	nonce  [nonceSize]byte
	size   int
	zstd   bool
}

func loadDeltaVectors(t testing.TB) (vectors []deltaVector) {
	t.Helper()
	number := func(v vector, name string) int {
		n, err := strconv.Atoi(v.fields[name])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, v := range loadVectors(t, "delta") {
		old := unhex(t, v.fields["old"])
		vectors = append(vectors, deltaVector{
			vector: v,
			sig:    signature{number(v, "block"), len(old), unhex(t, v.fields["sums"])},
			old:    old, result: unhex(t, v.fields["result"]),
			nonce: [nonceSize]byte(unhex(t, v.fields["nonce"])),
			size:  number(v, "size"), zstd: v.fields["zstd"] == "true",
		})
	}
	return vectors
}

func TestDeltaVectors(t *testing.T) {
	for _, v := range loadDeltaVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			mac := newBlockMAC(v.nonce)
			if signed := sign(mac, v.old); signed.blockBytes != v.sig.blockBytes || !bytes.Equal(signed.sums, v.sig.sums) {
				t.Errorf("the sums in blocks of %d are\n%x, not\n%x", signed.blockBytes, signed.sums, v.sig.sums)
			}
			got, err := applyDelta(nil, v.raw, v.old, v.sig.blockBytes, v.size, unpacks(v.zstd))
			if v.fields["expect"] == "error" {
				if err == nil {
					t.Errorf("it makes %x", got)
				}
				return
			}
			if err != nil || !bytes.Equal(got, v.result) {
				t.Fatalf("it makes\n%x, not\n%x: %v", got, v.result, err)
			}
			checkDelta(t, mac, v.old, v.result, v.zstd)
		})
	}
}

// checkDelta makes the delta between two byte sequences and applies it, if there is one. It returns its length.
func checkDelta(t testing.TB, mac *blockMAC, old, chunk []byte, zstd bool) int {
	t.Helper()
	s := sign(mac, old)
	delta := appendDelta(nil, mac, chunk, s, packs(zstd))
	if len(delta) == 0 {
		return 0
	}
	if len(delta) >= len(chunk) {
		t.Errorf("a delta of %d bytes for a chunk of %d", len(delta), len(chunk))
	}
	got, err := applyDelta(nil, delta, old, s.blockBytes, len(chunk), unpacks(zstd))
	if err != nil {
		t.Fatalf("apply what was made: %v", err)
	}
	if !bytes.Equal(got, chunk) {
		t.Fatal("what was made is not the chunk")
	}
	return len(delta)
}

var (
	testCompressor   compressor
	testDecompressor decompressor
)

func packs(zstd bool) *compressor {
	if zstd {
		return &testCompressor
	}
	return nil
}

func unpacks(zstd bool) *decompressor {
	if zstd {
		return &testDecompressor
	}
	return nil
}

func randomBytes(rng *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	return data
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// What a delta costs depends on the edits, not on the chunk.
func TestDeltaSizes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	old := randomBytes(rng, 40_000)
	novel := randomBytes(rng, 3000)
	zeros := make([]byte, 40_000)
	for _, test := range []struct {
		name       string
		old, chunk []byte
		least      int
		most       int
	}{
		{"the same", old, old, 1, 20},
		{"an insertion", old, concat(old[:20_000], novel, old[20_000:]), 3000, 3000 + 530},
		{"an overwrite", old, concat(old[:20_000], novel, old[23_000:]), 3000, 3000 + 1040},
		{"a deletion", old, concat(old[:20_000], old[30_000:]), 1, 540},
		{"an insertion at the start", old, concat(novel, old), 3000, 3020},
		{"an insertion at the end", old, concat(old, novel), 3000, 3100}, // the last block is shorter and not at the end
		{"the end moved to the start", old, concat(old[30_000:], old[:30_000]), 1, 1100},
		{"a part", old, old[10_000:30_000], 1, 1040},
		{"zeros", zeros, zeros[:30_000], 1, 600},
		{"more zeros", zeros[:5000], zeros, 1, 800},
		{"nothing in common", old, randomBytes(rng, 40_000), 0, 0},
		{"old bytes shorter than a block", old[:100], concat(novel, old[:100]), 3000, 3010},
		{"old bytes shorter than a block, elsewhere", old[:100], concat(old[:100], novel), 0, 0},
		{"a chunk shorter than a block", old, old[39_800:], 1, 150},
		{"the end of a chunk shorter than a block", old, old[78*512:], 1, 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := checkDelta(t, newBlockMAC([nonceSize]byte{1}), test.old, test.chunk, false)
			if n < test.least || n > test.most {
				t.Errorf("%d bytes, want %d to %d", n, test.least, test.most)
			}
		})
	}
}

func TestDeltaCompressesLiterals(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	old := randomBytes(rng, 40_000)
	chunk := concat(old[:20_000], bytes.Repeat([]byte("all the same "), 300), old[20_000:])
	mac := newBlockMAC([nonceSize]byte{1})
	raw, packed := checkDelta(t, mac, old, chunk, false), checkDelta(t, mac, old, chunk, true)
	if raw < 3900 || packed > 700 {
		t.Errorf("%d bytes, compressed %d", raw, packed)
	}
}

func TestDeltaAtRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(randomSeed(t), 0))
	for range 200 {
		old := randomBytes(rng, 1+rng.IntN(OldChunkMax))
		if rng.IntN(4) == 0 { // few different blocks
			copy(old, bytes.Repeat(old[:1+rng.IntN(min(len(old), 700))], 400))
		}
		var chunk []byte
		for len(chunk) < 1+rng.IntN(cafs.ChunkSizeMax) {
			if from := rng.IntN(len(old)); rng.IntN(2) == 0 {
				chunk = append(chunk, old[from:min(len(old), from+rng.IntN(20_000))]...)
			} else {
				chunk = append(chunk, randomBytes(rng, rng.IntN(2000))...)
			}
		}
		chunk = chunk[:min(len(chunk), cafs.ChunkSizeMax)]
		if len(chunk) > 0 {
			checkDelta(t, newBlockMAC([nonceSize]byte{7}), old, chunk, rng.IntN(2) == 0)
		}
	}
}

func TestSignatureFits(t *testing.T) {
	for _, n := range []int{1, 511, 512, 513, 40_000, 131_072, 131_073, OldChunkMax} {
		s := sign(newBlockMAC([nonceSize]byte{}), make([]byte, n))
		body := sigsBody{1, 0, s}.append(nil)
		m, err := decodeSigs(body)
		if err != nil || m.oldBytes != n || len(s.sums) > SigsSumsMax {
			t.Errorf("%d bytes in blocks of %d, %d bytes of sums: %v", n, s.blockBytes, len(s.sums), err)
		}
	}
}

// A delta or compressed data that says that it makes much must not cost more memory than the chunk.
func TestUnpackingAllocatesNoMoreThanTheChunk(t *testing.T) {
	bomb := packs(true).compress(nil, make([]byte, cafs.ChunkSizeMax))
	// Frames without a content size, of blocks that repeat a byte: 128 KiB for each 4 bytes.
	endless := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38}
	for range 10_000 {
		endless = append(endless, 0x02, 0x00, 0x10, 0) // RLE, 131,072 bytes
	}
	wide := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xf8, 0x01, 0x00, 0x00}              // a window of terabytes
	if _, err := unpacks(true).decompress(nil, bomb, cafs.ChunkSizeMax); err != nil { // the decoder is there from here on
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"bomb": bomb, "endless": endless, "wide": wide} {
		const size = 1000
		var err error
		allocated := allocatedBy(func() { _, err = unpacks(true).decompress(nil, data, size) })
		if err == nil || allocated > 1<<20 {
			t.Errorf("%s: %d bytes allocated for %d: %v", name, allocated, size, err)
		}
	}
	old := make([]byte, OldChunkMax)
	delta := []byte{literalsRaw}
	var runs []byte
	for range 1000 {
		runs = append(runs, 1, 0, 0x80, 0x01) // 128 KiB at a time
	}
	delta = append(appendCounted(delta, runs), make([]byte, 1000)...)
	allocated := allocatedBy(func() {
		if _, err := applyDelta(nil, delta, old, 1024, cafs.ChunkSizeMax, unpacks(true)); err == nil {
			t.Error("a delta of 128 MiB was taken")
		}
	})
	if allocated > 1<<20 {
		t.Errorf("%d bytes allocated for a delta of %d", allocated, len(delta))
	}
}

// FuzzApplyDelta applies any bytes as a delta: it fails, or makes exactly the chunk's size out of what is there.
func FuzzApplyDelta(f *testing.F) {
	for _, v := range loadDeltaVectors(f) {
		f.Add(v.raw, v.old, uint16(v.size), v.zstd)
	}
	f.Fuzz(func(t *testing.T, delta, old []byte, size uint16, zstd bool) {
		if len(old) == 0 || len(old) > OldChunkMax || size == 0 {
			return
		}
		if page, err := applyPageDelta(delta, old, PageBlockMin); err == nil && len(page) > PageMax {
			t.Errorf("a page of %d bytes", len(page))
		}
		made, err := applyDelta(nil, delta, old, DeltaBlockMin, int(size), unpacks(zstd))
		if err == nil && len(made) != int(size) {
			t.Errorf("%d bytes instead of %d", len(made), size)
		}
	})
}

// FuzzDelta makes a delta between any two byte sequences, and applies it.
func FuzzDelta(f *testing.F) {
	for _, v := range loadDeltaVectors(f) {
		f.Add(v.old, v.result, v.zstd)
	}
	f.Fuzz(func(t *testing.T, old, chunk []byte, zstd bool) {
		if len(old) == 0 || len(old) > OldChunkMax || len(chunk) == 0 || len(chunk) > cafs.ChunkSizeMax {
			return
		}
		checkDelta(t, newBlockMAC([nonceSize]byte{}), old, chunk, zstd)
	})
}

// FuzzDecompress decompresses any bytes: it fails, or makes exactly the size.
func FuzzDecompress(f *testing.F) {
	f.Add(packs(true).compress(nil, []byte("all the same all the same all the same all the same")), uint16(51))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		if size == 0 {
			return
		}
		made, err := unpacks(true).decompress(nil, data, int(size))
		if err == nil && len(made) != int(size) {
			t.Errorf("%d bytes instead of %d", len(made), size)
		}
	})
}

func TestThrift(t *testing.T) {
	const (
		size   = 32 << 10
		second = time.Second
	)
	known := func(rate, ratio float64) thrift {
		return thrift{trialTime: zstdTrial, tries: trialMin, spent: zstdTrial, rate: rate, ratio: ratio}
	}
	for _, test := range []struct {
		name   string
		thrift thrift
		path   float64
		waited time.Duration
		idle   time.Duration
		worth  bool
	}{
		{"nothing is known", thrift{trialTime: zstdTrial}, 0, 0, 0, true},
		{"in the trial, on a path of any rate", thrift{trialTime: zstdTrial, tries: 9, spent: zstdTrial - 1, rate: 1e8, ratio: 0.5}, 1e9, 0, 0, true},
		{"few tries, which took long", thrift{trialTime: zstdTrial, tries: trialMin - 1, spent: time.Second, rate: 1e6, ratio: 0.5}, 1e9, 0, 0, true},
		{"slow path", known(200e6, 0.5), 12.5e6, second, 0, true},
		{"path as fast as compressing", known(200e6, 0.5), 200e6, second, 0, false},
		{"path half as fast", known(200e6, 0.5), 99e6, second, 0, true},
		{"path half as fast, of which less is saved", known(200e6, 0.7), 99e6, second, 0, false},
		{"delta on a fast path", known(300e6, 0.03), 117e6, second, 0, true},
		{"path whose rate is not known", known(200e6, 0.5), 0, second, 0, false},
		{"slow path that nobody waited for", known(200e6, 0.5), 12.5e6, 0, 0, false},
		{"fast path, after nothing to send", known(200e6, 0.03), 1e9, 0, size * second / 100e6, true},
		{"fast path, after nothing to send for too short", known(200e6, 0.03), 1e9, 0, size * second / 300e6, false},
		{"content that does not get smaller, after nothing to send", known(200e6, 1), 1e9, 0, second, false},
		{"content that does not get smaller", known(200e6, 1), 1e6, second, 0, false},
		{"after one that did not get smaller", thrift{trialTime: zstdTrial, left: 1}, 0, 0, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.thrift.worth(size, test.path, test.waited, test.idle); got != test.worth {
				t.Errorf("worth it: %v", got)
			}
		})
	}
}

// Of content that does not get smaller next to nothing is tried.
func TestThriftPauses(t *testing.T) {
	random := thrift{trialTime: time.Hour}
	tries := 0
	for range 1000 {
		if random.worth(1000, 0, 0, 0) {
			tries++
			random.made(1000, 1000, time.Microsecond)
		}
	}
	if tries < 11 || tries > 18 {
		t.Errorf("%d of 1,000 chunks were tried", tries)
	}
	patient := thrift{trialTime: time.Hour, patient: true}
	for range 1000 {
		if patient.made(1000, 1000, time.Microsecond); !patient.worth(1000, 0, 0, 0) {
			t.Fatal("a chunk was left alone that is worth a try")
		}
	}
	for !random.worth(1000, 0, 0, 0) {
	}
	random.made(1000, 300, time.Microsecond)
	if !random.worth(1000, 0, 0, 0) {
		t.Error("content that gets smaller is left alone")
	}
}

func BenchmarkDelta(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	old := randomBytes(rng, 38_000)
	chunk := concat(old[:20_000], randomBytes(rng, 2000), old[20_000:])
	mac := newBlockMAC([nonceSize]byte{})
	s := sign(mac, old)
	b.Run("sign", func(b *testing.B) {
		b.SetBytes(int64(len(old)))
		b.ReportAllocs()
		for b.Loop() {
			sign(mac, old)
		}
	})
	var delta []byte
	b.Run("make", func(b *testing.B) {
		b.SetBytes(int64(len(chunk)))
		b.ReportAllocs()
		for b.Loop() {
			delta = appendDelta(delta[:0], mac, chunk, s, packs(true))
		}
	})
	b.Run("apply", func(b *testing.B) {
		b.SetBytes(int64(len(chunk)))
		b.ReportAllocs()
		out := make([]byte, 0, len(chunk))
		for b.Loop() {
			if _, err := applyDelta(out, delta, old, s.blockBytes, len(chunk), unpacks(true)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
