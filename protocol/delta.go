package protocol

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
)

// A delta says what a chunk is made of: blocks of old bytes that the receiver has, and literals. The holder never sees the
// old bytes; it finds their blocks in the chunk by the sums of a signature.

// sumBytes is the length of the sums of one block: its rolling sum, and the beginning of its MAC.
const (
	rollingBytes = 4
	macBytes     = 4
	sumBytes     = rollingBytes + macBytes
)

// signature is what SIGS tells of old bytes. All blocks have blockBytes but the last, which has what is left.
type signature struct {
	blockBytes int
	oldBytes   int
	sums       []byte // sumBytes for each block
}

func (s signature) blocks() int { return blocksOf(s.oldBytes, s.blockBytes) }

func blocksOf(oldBytes, blockBytes int) int { return (oldBytes + blockBytes - 1) / blockBytes }

// lastBytes returns the length of the last block.
func (s signature) lastBytes() int { return s.oldBytes - (s.blocks()-1)*s.blockBytes }

func (s signature) rolling(block int) uint32 { return binary.BigEndian.Uint32(s.sums[block*sumBytes:]) }

func (s signature) mac(block int) uint32 {
	return binary.BigEndian.Uint32(s.sums[block*sumBytes+rollingBytes:])
}

// blockSize returns the size of the blocks for old bytes, at least as given: an edit costs about a block of literals and 8
// bytes of sums a block, which for chunks of the usual size is least with DeltaBlockMin. Longer ones keep to SigsSumsMax.
func blockSize(oldBytes, least int) int {
	size := least
	for size < DeltaBlockMax && blocksOf(oldBytes, size)*sumBytes > SigsSumsMax {
		size *= 2
	}
	return size
}

// blockMAC computes the second sum of blocks: keyed by the nonce of OPEN, so that nobody can make two blocks whose sums
// are equal in sessions to come. It is used by one goroutine at a time.
type blockMAC struct {
	mac hash.Hash
	sum [sha256.Size]byte
}

func newBlockMAC(nonce [nonceSize]byte) *blockMAC {
	return &blockMAC{mac: hmac.New(sha256.New, nonce[:])}
}

func (m *blockMAC) of(block []byte) uint32 {
	m.mac.Reset()
	m.mac.Write(block)
	return binary.BigEndian.Uint32(m.mac.Sum(m.sum[:0]))
}

// sign returns the signature of old, 1 to OldChunkMax bytes.
func sign(mac *blockMAC, old []byte) signature {
	return signBlocks(mac, old, blockSize(len(old), DeltaBlockMin))
}

func signBlocks(mac *blockMAC, old []byte, blockBytes int) signature {
	s := signature{blockBytes: blockBytes, oldBytes: len(old)}
	s.sums = make([]byte, 0, s.blocks()*sumBytes)
	for rest := old; len(rest) > 0; {
		block := rest[:min(len(rest), s.blockBytes)]
		rest = rest[len(block):]
		s.sums = binary.BigEndian.AppendUint32(s.sums, rollingSum(block))
		s.sums = binary.BigEndian.AppendUint32(s.sums, mac.of(block))
	}
	return s
}

// rollingBase is the base of the rolling sum, a polynomial modulo 2^32: its powers take as long as possible to repeat.
const rollingBase = 1664525

func rollingSum(block []byte) uint32 {
	sum := uint32(0)
	for _, octet := range block {
		sum = sum*rollingBase + uint32(octet)
	}
	return sum
}

// leaving is what a byte takes with it when it leaves a window of a given length.
type leaving [256]uint32

func newLeaving(windowBytes int) *leaving {
	power := uint32(1)
	for range windowBytes {
		power *= rollingBase
	}
	var l leaving
	for octet := range l {
		l[octet] = uint32(octet) * power
	}
	return &l
}

// blockTable finds the full blocks of a signature by their rolling sums.
type blockTable struct {
	heads [1 << blockTableBits]int16 // 1 + the first block of a slot
	next  []int16                    // 1 + the one after it
}

// blockTableBits makes 16 slots for each of the most blocks, so that nearly all positions of a chunk end at the first look.
const blockTableBits = 12

func tableSlot(rolling uint32) uint32 { return rolling * 0x9e3779b1 >> (32 - blockTableBits) }

func newBlockTable(s signature) *blockTable {
	full := s.oldBytes / s.blockBytes
	t := &blockTable{next: make([]int16, full)}
	for block := full - 1; block >= 0; block-- {
		slot := tableSlot(s.rolling(block))
		t.next[block] = t.heads[slot]
		t.heads[slot] = int16(block + 1)
	}
	return t
}

// deltaBuilder gathers the runs and literals of a delta.
type deltaBuilder struct {
	chunk    []byte
	runs     []byte
	literals []byte
	done     int // of the chunk, what runs covers

	// The run that is not in runs yet, because it may go on.
	before, first, count int
}

// copy notes that the bytes from at to end are a block.
func (d *deltaBuilder) copy(at, end, block int) {
	if d.count > 0 && at == d.done && block == d.first+d.count {
		d.count++
		d.done = end
		return
	}
	d.flush()
	d.before, d.first, d.count = at-d.done, block, 1
	d.literals = append(d.literals, d.chunk[d.done:at]...)
	d.done = end
}

func (d *deltaBuilder) flush() {
	if d.count > 0 {
		d.runs = appendNumber(d.runs, int64(d.before))
		d.runs = appendNumber(d.runs, int64(d.first))
		d.runs = appendNumber(d.runs, int64(d.count))
	}
}

// findBlocks looks for the blocks of a signature in chunk. It returns no runs if there are none.
func findBlocks(mac *blockMAC, chunk []byte, s signature) (runs, literals []byte) {
	d := deltaBuilder{chunk: chunk}
	if len(chunk) >= s.blockBytes && s.oldBytes >= s.blockBytes {
		d.findFull(mac, s)
	}
	// Only the last block may be shorter, and only as the end of a chunk: there alone it is found by its sums at no cost.
	if n := s.lastBytes(); n < s.blockBytes && n <= len(chunk)-d.done {
		last, tail := s.blocks()-1, chunk[len(chunk)-n:]
		if rollingSum(tail) == s.rolling(last) && mac.of(tail) == s.mac(last) {
			d.copy(len(chunk)-n, len(chunk), last)
		}
	}
	d.flush()
	return d.runs, append(d.literals, chunk[d.done:]...)
}

func (d *deltaBuilder) findFull(mac *blockMAC, s signature) {
	n, chunk := s.blockBytes, d.chunk
	table, out := newBlockTable(s), newLeaving(n)
	sum := rollingSum(chunk[:n])
	for at := 0; ; {
		if head := table.heads[tableSlot(sum)]; head > 0 {
			if block, ok := d.match(mac, s, table, head, sum, at); ok {
				d.copy(at, at+n, block)
				if at += n; at+n > len(chunk) {
					return
				}
				sum = rollingSum(chunk[at : at+n])
				continue
			}
		}
		if at+n == len(chunk) {
			return
		}
		sum = sum*rollingBase + uint32(chunk[at+n]) - out[chunk[at]]
		at++
	}
}

// match returns the block that the window at a position is, of several the one that continues the run.
func (d *deltaBuilder) match(mac *blockMAC, s signature, table *blockTable, head int16, sum uint32, at int) (int, bool) {
	found, known := -1, false
	var window uint32
	for ; head > 0; head = table.next[head-1] {
		block := int(head - 1)
		if s.rolling(block) != sum {
			continue
		}
		if !known {
			window, known = mac.of(d.chunk[at:at+s.blockBytes]), true
		}
		if s.mac(block) != window {
			continue
		}
		if d.count > 0 && at == d.done && block == d.first+d.count {
			return block, true
		}
		if found < 0 {
			found = block
		}
	}
	return found, found >= 0
}

// Forms of the literals of a delta.
const (
	literalsRaw  = 0
	literalsZstd = 1
)

// appendDelta appends the delta that makes chunk of old bytes with a signature; nothing if they have no block in common,
// or it would not be shorter than the chunk. Literals are compressed if zstd is not nil, and that makes them shorter.
func appendDelta(dst []byte, mac *blockMAC, chunk []byte, s signature, zstd *compressor) []byte {
	runs, literals := findBlocks(mac, chunk, s)
	if len(runs) == 0 {
		return dst
	}
	form := byte(literalsRaw)
	if zstd != nil && len(literals) >= compressMin {
		if packed := zstd.compress(nil, literals); len(packed) > 0 {
			form, literals = literalsZstd, packed
		}
	}
	before := len(dst)
	dst = appendCounted(append(dst, form), runs)
	if dst = append(dst, literals...); len(dst)-before >= len(chunk) {
		return dst[:before]
	}
	return dst
}

// applyDelta appends the chunk of size bytes that delta makes of old, which was signed in blocks of blockBytes. Compressed
// literals are refused if zstd is nil.
func applyDelta(dst, delta, old []byte, blockBytes, size int, zstd *decompressor) ([]byte, error) {
	most := byte(literalsRaw)
	if zstd != nil {
		most = literalsZstd
	}
	d, err := parseDelta(delta, most, len(old), blockBytes, size)
	if err != nil {
		return dst, err
	}
	if d.form == literalsZstd {
		if d.copied == size {
			return dst, errors.New("literals: none are left to be compressed")
		}
		if d.literals, err = zstd.decompress(nil, d.literals, size-d.copied); err != nil {
			return dst, fmt.Errorf("literals: %w", err)
		}
	}
	if made := d.copied + len(d.literals); made != size {
		return dst, fmt.Errorf("it makes %d bytes instead of %d", made, size)
	}
	return d.append(dst, old, blockBytes), nil
}

// applyPageDelta returns the page that delta makes of old. How long it should be only the caller of a session knows.
func applyPageDelta(delta, old []byte, blockBytes int) ([]byte, error) {
	d, err := parseDelta(delta, literalsRaw, len(old), blockBytes, PageMax)
	if err != nil {
		return nil, err
	}
	if made := d.copied + len(d.literals); made > PageMax {
		return nil, fmt.Errorf("it makes %d bytes, more than %d", made, PageMax)
	}
	return d.append(nil, old, blockBytes), nil
}

// parsedDelta is a delta whose runs are within the old bytes.
type parsedDelta struct {
	form     byte
	runs     []deltaRun
	literals []byte
	copied   int // bytes that the runs copy
}

type deltaRun struct{ before, first, count int }

// parseDelta takes a delta apart whose runs make at most size bytes.
func parseDelta(delta []byte, formMax byte, oldBytes, blockBytes, size int) (parsedDelta, error) {
	f := fields{rest: delta}
	d := parsedDelta{form: f.octet("literals", formMax)}
	runs := fields{rest: f.counted("runs", 1, len(delta))}
	if f.err != nil {
		return d, f.err
	}
	d.literals = f.rest
	blocks, made := blocksOf(oldBytes, blockBytes), 0
	for last := -1; runs.more(); {
		r := deltaRun{before: int(runs.number("literals before a run", 0, int64(size)))}
		r.first = int(runs.number("first block", 0, int64(blocks-1)))
		r.count = int(runs.number("blocks", 1, int64(blocks-r.first)))
		if runs.err != nil {
			break
		}
		if r.before == 0 && r.first == last {
			return d, errors.New("two runs that are one")
		}
		last = r.first + r.count
		bytes := min(oldBytes, last*blockBytes) - r.first*blockBytes
		d.copied += bytes
		if made += r.before + bytes; made > size {
			return d, fmt.Errorf("the runs make more than %d bytes", size)
		}
		if d.form == literalsRaw && made-d.copied > len(d.literals) {
			return d, errors.New("literals are missing")
		}
		d.runs = append(d.runs, r)
	}
	return d, runs.end()
}

// append makes what the delta says. All its literals are there, and not compressed any more.
func (d parsedDelta) append(dst, old []byte, blockBytes int) []byte {
	literals := d.literals
	for _, r := range d.runs {
		dst = append(dst, literals[:r.before]...)
		literals = literals[r.before:]
		dst = append(dst, old[r.first*blockBytes:min(len(old), (r.first+r.count)*blockBytes)]...)
	}
	return append(dst, literals...)
}
