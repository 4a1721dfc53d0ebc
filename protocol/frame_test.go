package protocol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// vector is a golden case: what stands in a file of testdata/vectors.
type vector struct {
	name   string
	fields map[string]string
	raw    []byte // what comes over the stream
}

// loadVectors reads all cases of one directory.
func loadVectors(t testing.TB, dir string) []vector {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "vectors", dir, "*.txt"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vectors for %s: %v", dir, err)
	}
	var vectors []vector
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		vectors = append(vectors, parseVector(t, path, strings.ReplaceAll(string(text), "\r\n", "\n")))
	}
	return vectors
}

func parseVector(t testing.TB, path, text string) vector {
	t.Helper()
	v := vector{name: strings.TrimSuffix(filepath.Base(path), ".txt"), fields: make(map[string]string)}
	head, body, _ := strings.Cut(text, "\n\n")
	for line := range strings.Lines(head) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok && !strings.HasSuffix(name, ":") {
			t.Fatalf("%s: the line %q has no name", path, line)
		}
		v.fields[strings.TrimSuffix(name, ":")] = value
	}
	raw, err := hex.DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	v.raw = raw
	return v
}

// ranges is the number of ranges that a HAVE is decoded for.
func (v vector) ranges() int64 {
	ranges, err := strconv.ParseInt(v.fields["ranges"], 10, 64)
	if err != nil {
		return RangesMax
	}
	return ranges
}

// recode decodes the body of a frame and encodes what it says.
func recode(t frameType, body []byte, ranges int64) ([]byte, error) {
	switch t {
	case frameOpen:
		m, err := decodeOpen(body)
		return m.append(nil), err
	case frameAccept:
		return recodeAccept(body, ranges)
	case frameRefuse:
		m, err := decodeRefuse(body)
		return m.append(nil), err
	case frameWish:
		m, err := decodeWish(body)
		return m.append(nil), err
	case framePages:
		m, err := decodePages(body)
		return m.append(nil), err
	case framePage:
		m, err := decodePage(body)
		return m.append(nil), err
	case frameChunk:
		m, err := decodeChunk(body)
		return m.append(nil), err
	case frameDone:
		m, err := decodeDone(body)
		return m.append(nil), err
	case frameCancel:
		m, err := decodeCancel(body)
		return m.append(nil), err
	case frameAck:
		m, err := decodeAck(body)
		return m.append(nil), err
	case frameHave:
		items, err := decodeHave(body, ranges)
		return recodeHave(items, err)
	case framePeers:
		m, err := decodePeers(body)
		return m.append(nil), err
	case frameSigs:
		m, err := decodeSigs(body)
		return m.append(nil), err
	}
	panic("no such frame")
}

func recodeAccept(body []byte, ranges int64) ([]byte, error) {
	unproved, shown, err := splitProof(body)
	if err != nil {
		return nil, err
	}
	m, err := decodeAccept(unproved)
	if err != nil {
		return nil, err
	}
	items, err := decodeHaveMap(m.haveMap, m.complete, ranges)
	if m.haveMap, err = recodeHave(items, err); err != nil {
		return nil, err
	}
	return append(m.append(nil), shown[:]...), nil
}

// recodeHave encodes items, which must be as a caller may give them.
func recodeHave(items []HaveItem, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if err := checkHave(items); err != nil {
		panic(err)
	}
	encoded, rest := appendHave(nil, items, HaveMax)
	if len(rest) > 0 {
		panic("a decoded list does not fit")
	}
	return encoded, nil
}

// readVector reads the one frame that is not skipped and recodes it.
func readVector(v vector) (t frameType, recoded []byte, err error) {
	r := newFrameReader(bytes.NewReader(v.raw), controlBufferBytes)
	t, body, err := r.next(nil)
	if err != nil {
		return t, nil, err
	}
	recoded, err = recode(t, body, v.ranges())
	if err != nil {
		return t, nil, violation(t, RuleMalformed, "%w", err)
	}
	if _, _, err := r.next(nil); err != io.EOF {
		return t, nil, errors.New("more than one frame")
	}
	return t, appendFrame(nil, t, recoded), nil
}

func TestVectors(t *testing.T) {
	dirs := []string{"any"}
	for kind := range frameTable {
		if frameType(kind).known() {
			dirs = append(dirs, vectorDir(frameType(kind)))
		}
	}
	for _, dir := range dirs {
		for _, v := range loadVectors(t, dir) {
			t.Run(dir+"/"+v.name, func(t *testing.T) { checkVector(t, dir, v) })
		}
	}
}

func vectorDir(t frameType) string { return strings.ToLower(t.String()) }

func checkVector(t *testing.T, dir string, v vector) {
	kind, recoded, err := readVector(v)
	switch v.fields["expect"] {
	case "ok":
		if err != nil {
			t.Fatal(err)
		}
		if dir == "any" { // What is skipped is not encoded again.
			recoded = v.raw[len(v.raw)-len(recoded):]
		} else if dir != vectorDir(kind) {
			t.Errorf("it is a %s", kind)
		}
		if !bytes.HasSuffix(v.raw, recoded) || dir != "any" && len(recoded) != len(v.raw) {
			t.Errorf("decoded and encoded again it is\n%x, not\n%x", recoded, v.raw)
		}
	case "error":
		var broken *ViolationError
		if !errors.As(err, &broken) || string(broken.Rule) != v.fields["rule"] {
			t.Errorf("got the error %v, want %s", err, v.fields["rule"])
		}
	default:
		t.Errorf("expect: %q", v.fields["expect"])
	}
}

// fuzzFrame checks that a decoder never panics, and that whatever it accepts has exactly one encoding.
func fuzzFrame(f *testing.F, kind frameType) {
	seeds := 0
	for _, v := range loadVectors(f, vectorDir(kind)) {
		if t, body, err := newFrameReader(bytes.NewReader(v.raw), controlBufferBytes).next(nil); err == nil && t == kind {
			f.Add(body)
			seeds++
		}
	}
	if seeds == 0 {
		f.Fatalf("no vector is a %s", kind)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > kind.bodyMax() {
			return
		}
		const ranges = 100
		recoded, err := recode(kind, body, ranges)
		if err == nil && !bytes.Equal(recoded, body) {
			t.Errorf("decoded and encoded again it is\n%x, not\n%x", recoded, body)
		}
	})
}

func FuzzOpen(f *testing.F)   { fuzzFrame(f, frameOpen) }
func FuzzAccept(f *testing.F) { fuzzFrame(f, frameAccept) }
func FuzzRefuse(f *testing.F) { fuzzFrame(f, frameRefuse) }
func FuzzWish(f *testing.F)   { fuzzFrame(f, frameWish) }
func FuzzPages(f *testing.F)  { fuzzFrame(f, framePages) }
func FuzzPage(f *testing.F)   { fuzzFrame(f, framePage) }
func FuzzChunk(f *testing.F)  { fuzzFrame(f, frameChunk) }
func FuzzDone(f *testing.F)   { fuzzFrame(f, frameDone) }
func FuzzCancel(f *testing.F) { fuzzFrame(f, frameCancel) }
func FuzzAck(f *testing.F)    { fuzzFrame(f, frameAck) }
func FuzzHave(f *testing.F)   { fuzzFrame(f, frameHave) }
func FuzzPeers(f *testing.F)  { fuzzFrame(f, framePeers) }
func FuzzSigs(f *testing.F)   { fuzzFrame(f, frameSigs) }

// FuzzFrames reads any bytes as a stream of frames: it ends with an error, and what was read fits what was announced.
func FuzzFrames(f *testing.F) {
	for kind := range frameTable {
		if frameType(kind).known() {
			for _, v := range loadVectors(f, vectorDir(frameType(kind))) {
				f.Add(v.raw)
			}
		}
	}
	for _, v := range loadVectors(f, "any") {
		f.Add(v.raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := newFrameReader(bytes.NewReader(raw), controlBufferBytes)
		for {
			kind, body, err := r.next(nil)
			if err != nil {
				return
			}
			if len(body) > kind.bodyMax() || len(body) > len(raw) {
				t.Fatalf("%s of %d bytes in %d", kind, len(body), len(raw))
			}
		}
	})
}

func TestFrameTooLongInside(t *testing.T) {
	page := pageBody{id: 1, data: make([]byte, PageMax+1)}
	if _, err := decodePage(page.append(nil)); err == nil {
		t.Error("a page that is too long was accepted")
	}
	page.data = page.data[:PageMax]
	if _, err := decodePage(page.append(nil)); err != nil {
		t.Error(err)
	}
	chunk := chunkBody{id: 1, data: make([]byte, 131073)}
	if _, err := decodeChunk(chunk.append(nil)); err == nil {
		t.Error("a chunk that is too long was accepted")
	}
	chunk.data = chunk.data[:131072]
	if _, err := decodeChunk(chunk.append(nil)); err != nil {
		t.Error(err)
	}
	accept := acceptBody{record: make([]byte, RecordMax+1)}
	if _, err := decodeAccept(accept.append(nil)); err == nil {
		t.Error("a root record that is too long was accepted")
	}
}

// The longest of what the limits allow must fit the frames that carry it.
func TestFrameHoldsTheLongest(t *testing.T) {
	const id = 1<<63 - 1
	bits := bytes.Repeat([]byte{0xff}, BitsLen(RangeChunksMax))
	members := make([]Member, PeersMax)
	for i := range members {
		members[i] = Member{make([]byte, MemberRecordMax), make([]byte, MemberAddrMax)}
	}
	third := func(i int) Bits { return bytes.Repeat([]byte{0x92 >> i}, len(bits)) }
	for kind, body := range map[frameType][]byte{
		frameOpen:   openBody{network: strings.Repeat("n", NetworkNameMax), features: 1<<64 - 1, membership: make([]byte, 800)}.append(nil),
		frameAccept: acceptBody{record: make([]byte, RecordMax), features: 1<<64 - 1, haveMap: make([]byte, HaveMax)}.append(make([]byte, proofSize)),
		frameRefuse: refuseBody{RefuseBusy, RetryAfterMax}.append(nil),
		frameWish:   wishBody{id, RangesMax - 1, bits}.append(nil),
		framePages:  pagesBody{id, PagesRequest{1, PageLevelMax, LeafItemsMax - 1, LeafItemsMax - 1}}.append(nil),
		framePage:   pageBody{id, PagesMax - 1, make([]byte, PageMax)}.append(nil),
		frameChunk:  chunkBody{id, RangeChunksMax - 1, encodingRaw, make([]byte, 131072)}.append(nil),
		frameDone:   doneBody{id, []DonePart{{DoneMissing, third(0)}, {DoneCancelled, third(1)}, {DoneBusy, third(2)}}}.append(nil),
		frameCancel: cancelBody{id, bits}.append(nil),
		frameAck:    ackBody{id}.append(nil),
		framePeers:  peersBody{members}.append(nil),
	} {
		r := newFrameReader(bytes.NewReader(appendFrame(nil, kind, body)), controlBufferBytes)
		if _, _, err := r.next(nil); err != nil {
			t.Errorf("the longest %s, %d bytes: %v", kind, len(body), err)
		}
	}
}

func TestFrameEndOfStream(t *testing.T) {
	whole := appendFrame(nil, frameAck, ackBody{300}.append(nil))
	skipped := []byte{200, 3, 'a', 'b', 'c'}
	for _, raw := range [][]byte{whole, skipped} {
		for cut := range raw {
			_, _, err := newFrameReader(bytes.NewReader(raw[:cut]), controlBufferBytes).next(nil)
			if cut == 0 && err != io.EOF || cut > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d of %d bytes: got the error %v", cut, len(raw), err)
			}
		}
	}
}

// A header that announces more than comes, again and again, must not cost memory.
func TestFrameLengthIsNoAllocation(t *testing.T) {
	const frames = 1000
	lies := [][]byte{
		{byte(frameChunk), 0xff, 0xff, 0xff, 0x7f}, // 2^28 - 1 bytes
		{byte(frameWish), 0x80, 0x80, 0x08},        // 131,072 bytes
		{byte(frameOpen), 0xff, 0xff, 0x03},        // 65,535 bytes
		{130, 0xa1, 0x80, 0x08},                    // 131,105 bytes, of a frame that is skipped
	}
	var reader bytes.Reader
	r := newFrameReader(&reader, controlBufferBytes)
	allocated := allocatedBy(func() {
		for i := range frames {
			reader.Reset(lies[i%len(lies)])
			r.in.Reset(&reader)
			if _, _, err := r.next(nil); err == nil {
				t.Fatal("a frame that is not there was read")
			}
		}
	})
	if allocated > frames*2<<10 {
		t.Errorf("%d bytes allocated for %d lies", allocated, frames)
	}
}

// What a decoder allocates follows from the bytes that came, not from the numbers in them.
func TestDecodersAllocateInProportion(t *testing.T) {
	have := appendNumber(nil, 0)
	have = append(have, byte(HaveAll), 1)
	for len(have)+3 <= HaveMax {
		have = append(have, 1, byte(HaveAll), 1) // the shortest items that there are
	}
	var peers []byte
	for range PeersMax {
		peers = append(peers, 1, 'r', 1, 'a')
	}
	for kind, body := range map[frameType][]byte{frameHave: have, framePeers: peers} {
		var err error
		allocated := allocatedBy(func() {
			if kind == frameHave {
				_, err = decodeHave(body, RangesMax)
			} else {
				_, err = decodePeers(body)
			}
		})
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		// An item of 3 bytes becomes 56, in slices that grow by a quarter and are copied.
		if most := uint64(len(body)*120 + 16<<10); allocated > most {
			t.Errorf("%s: %d bytes allocated for %d, more than %d", kind, allocated, len(body), most)
		}
	}
}

func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
