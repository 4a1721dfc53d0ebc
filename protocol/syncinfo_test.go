package protocol_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

// emptyKey is the SHA-256 of nothing.
const emptyKey = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestSetChunksFromFile(t *testing.T) {
	c := newContent(t, nil, nil, []byte("a"), []byte("b"), []byte("a"))
	var info protocol.SyncInfo
	if err := info.SetChunksFromFile(t.Context(), cafs.NewFile(c.sender, c.info.Chunks)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(info.Chunks, c.info.Chunks) {
		t.Errorf("chunks are %v, want %v", info.Chunks, c.info.Chunks)
	}
	broken := cafs.NewFile(memory.New(), []protocol.ChunkInfo{{Size: -1}})
	if err := info.SetChunksFromFile(t.Context(), broken); err == nil || !slices.Equal(info.Chunks, c.info.Chunks) {
		t.Errorf("from a broken file: error %v, chunks %v", err, info.Chunks)
	}
}

func TestSetPermutation(t *testing.T) {
	var info protocol.SyncInfo
	perm := shuffle.Permutation{1, 2, 0}
	if err := info.SetPermutation(perm); err != nil {
		t.Fatal(err)
	}
	perm[0] = 7
	want := shuffle.Permutation{1, 2, 0}
	for name, wrong := range map[string]shuffle.Permutation{
		"empty": {}, "none": {0, 0}, "too long": make(shuffle.Permutation, protocol.PermMax+1),
	} {
		if err := info.SetPermutation(wrong); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
	if !slices.Equal(info.Perm, want) {
		t.Errorf("permutation is %v, want %v", info.Perm, want)
	}
	if info.SetTrivialPermutation(); !slices.Equal(info.Perm, shuffle.Permutation{0}) {
		t.Errorf("trivial permutation is %v", info.Perm)
	}
}

func TestLongestPermutation(t *testing.T) {
	var info protocol.SyncInfo
	longest := shuffle.Order(protocol.PermMax, [32]byte{})
	if err := info.SetPermutation(longest); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(info)
	if err != nil {
		t.Fatal(err)
	}
	var decoded protocol.SyncInfo
	if err := json.Unmarshal(encoded, &decoded); err != nil || !slices.Equal(decoded.Perm, longest) {
		t.Errorf("the longest permutation comes back as one of length %d, %v", len(decoded.Perm), err)
	}
	info.Perm = shuffle.Order(protocol.PermMax+1, [32]byte{})
	if err := info.Validate(); err == nil {
		t.Error("a longer one is valid")
	}
	text := fmt.Sprintf(`{"Chunks":null,"Perm":[%s0]}`, strings.Repeat("0,", protocol.PermMax))
	if err := decoded.ReadJSON(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("a longer one in JSON: %v", err)
	}
}

func TestShuffleRefuses(t *testing.T) {
	info := protocol.SyncInfo{Perm: shuffle.Permutation{3}}
	if _, err := info.Shuffle(); !errors.Is(err, shuffle.ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid", err)
	}
}

// TestZeroSyncInfo: it is empty content in plain order, and says so on the wire.
func TestZeroSyncInfo(t *testing.T) {
	encoded, err := json.Marshal(protocol.SyncInfo{})
	if err != nil || string(encoded) != `{"Chunks":null,"Perm":[0]}` {
		t.Errorf("JSON is %s, %v", encoded, err)
	}
	encoded, err = json.Marshal(&protocol.SyncInfo{Chunks: []protocol.ChunkInfo{}})
	if err != nil || string(encoded) != `{"Chunks":null,"Perm":[0]}` {
		t.Errorf("JSON of an empty list is %s, %v", encoded, err)
	}
}

func TestInvalidSyncInfoIsNotWritten(t *testing.T) {
	for name, info := range map[string]protocol.SyncInfo{
		"size":        {Chunks: []protocol.ChunkInfo{{Key: cafs.Key{1}, Size: 131073}}},
		"permutation": {Perm: shuffle.Permutation{1}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := info.WriteJSON(&out); err == nil || out.Len() != 0 {
				t.Errorf("JSON: error %v, %d bytes", err, out.Len())
			}
			if name == "permutation" {
				return // the legacy stream has none
			}
			if err := info.WriteToLegacyStream(&out); err == nil || out.Len() != 0 {
				t.Errorf("legacy stream: error %v, %d bytes", err, out.Len())
			}
		})
	}
}

func TestWritersReportErrors(t *testing.T) {
	wrong := errors.New("no way")
	out := writerFunc(func([]byte) (int, error) { return 0, wrong })
	info := newContent(t, nil, nil, []byte("a")).info
	if err := info.WriteJSON(out); !errors.Is(err, wrong) {
		t.Errorf("WriteJSON: %v", err)
	}
	if err := info.WriteToLegacyStream(out); !errors.Is(err, wrong) {
		t.Errorf("WriteToLegacyStream: %v", err)
	}
}

func TestReadFromLegacyStreamRefuses(t *testing.T) {
	key := bytes.Repeat([]byte{0xab}, 32)
	empty := cafs.KeyOf(nil)
	good := append(slices.Clone(key), 2)
	for _, c := range []struct {
		name string
		data []byte
		want error // nil: any
	}{
		{"ends in a key", slices.Concat(good, key[:31]), io.ErrUnexpectedEOF},
		{"ends after a key", slices.Concat(good, key), io.ErrUnexpectedEOF},
		{"ends in a size", slices.Concat(good, key, []byte{0x80}), io.ErrUnexpectedEOF},
		{"size 131,073", slices.Concat(key, []byte{0x82, 0x80, 0x10}), nil},
		{"size of 4 bytes", slices.Concat(key, []byte{0x80, 0x80, 0x80, 0x01}), nil},
		{"size -1", slices.Concat(key, []byte{1}), nil},
		{"size with a byte too many", slices.Concat(key, []byte{0x82, 0}), nil},
		{"size 0 of a chunk", slices.Concat(key, []byte{0}), nil},
		{"size 1 of the empty chunk", append(empty[:], 2), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := protocol.SyncInfo{Chunks: []protocol.ChunkInfo{{Key: cafs.Key{1}, Size: 1}}}
			info := before
			err := info.ReadFromLegacyStream(bytes.NewReader(c.data))
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if !reflect.DeepEqual(info, before) {
				t.Errorf("it changed to %v", info)
			}
		})
	}
}

func TestReadFromLegacyStreamTakes(t *testing.T) {
	key := bytes.Repeat([]byte{0xab}, 32)
	empty := cafs.KeyOf(nil)
	data := slices.Concat(key, []byte{0x80, 0x80, 0x10}, empty[:], []byte{0}, key, []byte{2})
	perm := shuffle.Permutation{1, 0}
	info := protocol.SyncInfo{Perm: perm}
	if err := info.ReadFromLegacyStream(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	want := []protocol.ChunkInfo{{Key: cafs.Key(key), Size: 131072}, {Key: empty}, {Key: cafs.Key(key), Size: 1}}
	if !slices.Equal(info.Chunks, want) || !slices.Equal(info.Perm, perm) {
		t.Errorf("it is %v, want %v and the permutation of before", info, want)
	}
	wrong := errors.New("no way")
	if err := info.ReadFromLegacyStream(io.MultiReader(bytes.NewReader(key), failingReader{wrong})); !errors.Is(err, wrong) {
		t.Errorf("error %v, want that of the reader", err)
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// repeatingReader reads item again and again.
type repeatingReader struct {
	item []byte
	at   int
}

func (r *repeatingReader) Read(p []byte) (int, error) {
	n := copy(p, r.item[r.at:])
	r.at = (r.at + n) % len(r.item)
	return n, nil
}

// TestEndlessLegacyStream: the list ends at the limit, and with the first item beyond it.
func TestEndlessLegacyStream(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes memory for the longest list")
	}
	empty := cafs.KeyOf(nil)
	endless := &repeatingReader{item: bytes.Repeat(append(empty[:], 0), 1000)}
	var info protocol.SyncInfo
	err := info.ReadFromLegacyStream(endless)
	if want := fmt.Sprintf("item %d: ", protocol.SyncInfoChunksMax); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want one at %s", err, want)
	}
}

func TestReadJSON(t *testing.T) {
	const a = `{"Key":"` + emptyKey + `","Size":0}`
	const b = `{"Key":"ABababababababababababababababababababababababababababababababAB","Size":131072}`
	for _, c := range []struct {
		name string
		text string
		want int // chunks; -1: an error
	}{
		{"none", `{"Chunks":null,"Perm":[0]}`, 0},
		{"empty list", `{"Chunks":[],"Perm":[0]}`, 0},
		{"two", `{"Chunks":[` + a + `,` + b + `],"Perm":[0]}`, 2},
		{"blanks", " {\n\t\"Chunks\" : [ " + a + " ,\n" + b + " ] , \"Perm\" : [ 1 , 0 ] }\r\n", 2},
		{"other order", `{"Perm":[0],"Chunks":[{"Size":131072,` + b[1:73] + `}]}`, 1},
		{"long blanks", `{"Chunks":null,` + strings.Repeat(" ", 3000) + `"Perm":[0]}`, 0},

		{"nothing", ``, -1},
		{"null", `null`, -1},
		{"a list", `[]`, -1},
		{"a number", `1`, -1},
		{"cut", `{"Chunks":null,"Perm":[0]`, -1},
		{"data behind", `{"Chunks":null,"Perm":[0]}{}`, -1},
		{"comma behind", `{"Chunks":null,"Perm":[0],}`, -1},
		{"no chunks member", `{"Perm":[0]}`, -1},
		{"no permutation member", `{"Chunks":null}`, -1},
		{"null permutation", `{"Chunks":null,"Perm":null}`, -1},
		{"empty permutation", `{"Chunks":null,"Perm":[]}`, -1},
		{"permutation that is none", `{"Chunks":null,"Perm":[1]}`, -1},
		{"negative place", `{"Chunks":null,"Perm":[-1]}`, -1},
		{"place -0", `{"Chunks":null,"Perm":[-0]}`, -1},
		{"place 0.0", `{"Chunks":null,"Perm":[0.0]}`, -1},
		{"place 0e0", `{"Chunks":null,"Perm":[0e0]}`, -1},
		{"place in quotes", `{"Chunks":null,"Perm":["0"]}`, -1},
		{"huge place", `{"Chunks":null,"Perm":[99999999999999999999]}`, -1},
		{"unknown member", `{"Chunks":null,"Perm":[0],"More":1}`, -1},
		{"lower case", `{"chunks":null,"Perm":[0]}`, -1},
		{"member twice", `{"Chunks":null,"Chunks":null,"Perm":[0]}`, -1},
		{"chunks are an object", `{"Chunks":{},"Perm":[0]}`, -1},
		{"chunk is null", `{"Chunks":[null],"Perm":[0]}`, -1},
		{"chunk is empty", `{"Chunks":[{}],"Perm":[0]}`, -1},
		{"key twice", `{"Chunks":[{"Key":"` + emptyKey + `",` + a[1:] + `],"Perm":[0]}`, -1},
		{"no size", `{"Chunks":[{"Key":"` + emptyKey + `"}],"Perm":[0]}`, -1},
		{"short key", `{"Chunks":[{"Key":"ab","Size":1}],"Perm":[0]}`, -1},
		{"key is a number", `{"Chunks":[{"Key":1,"Size":1}],"Perm":[0]}`, -1},
		{"size of the empty chunk", `{"Chunks":[{"Key":"` + emptyKey + `","Size":1}],"Perm":[0]}`, -1},
		{"size 0", `{"Chunks":[` + strings.Replace(b, "131072", "0", 1) + `],"Perm":[0]}`, -1},
		{"size 131,073", `{"Chunks":[` + strings.Replace(b, "131072", "131073", 1) + `],"Perm":[0]}`, -1},
		{"size 1e3", `{"Chunks":[` + strings.Replace(b, "131072", "1e3", 1) + `],"Perm":[0]}`, -1},
		{"size null", `{"Chunks":[` + strings.Replace(b, "131072", "null", 1) + `],"Perm":[0]}`, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := protocol.SyncInfo{Perm: shuffle.Permutation{2, 1, 0}}
			info := before
			err := info.ReadJSON(strings.NewReader(c.text))
			switch {
			case c.want < 0 && (err == nil || !reflect.DeepEqual(info, before)):
				t.Errorf("it is taken as %v, error %v", info, err)
			case c.want >= 0 && (err != nil || len(info.Chunks) != c.want):
				t.Errorf("%d chunks and error %v, want %d chunks", len(info.Chunks), err, c.want)
			}
			if len(c.text) > 0 && (json.Unmarshal([]byte(c.text), &info) == nil) != (err == nil) {
				t.Error("json.Unmarshal is of another opinion")
			}
		})
	}
}

func TestReadJSONCut(t *testing.T) {
	whole := originCases(t)[2].JSON
	for n := range whole {
		var info protocol.SyncInfo
		if err := info.ReadJSON(bytes.NewReader(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d bytes: %v, want io.ErrUnexpectedEOF", n, err)
		}
	}
}

// TestEndlessJSON: the other side can't fill the memory with what never becomes a token.
func TestEndlessJSON(t *testing.T) {
	for name, start := range map[string]string{
		"string": `{"Chunks":[{"Key":"`, "name": `{"`, "number": `{"Perm":[1`, "blanks": "", "blanks in a list": `{"Perm":[`,
	} {
		t.Run(name, func(t *testing.T) {
			filler := "1"
			if strings.HasPrefix(name, "blanks") {
				filler = " "
			}
			read := &countingReader{r: io.MultiReader(strings.NewReader(start), &repeatingReader{item: bytes.Repeat([]byte(filler), 1000)})}
			var info protocol.SyncInfo
			if err := info.ReadJSON(read); err == nil {
				t.Error("no error")
			}
			if read.n > 64<<10 {
				t.Errorf("%d bytes were read", read.n)
			}
		})
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

func FuzzLegacyStream(f *testing.F) {
	for _, c := range originCases(f) {
		f.Add([]byte(c.Legacy))
	}
	f.Add(append(bytes.Repeat([]byte{1}, 32), 0x82, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		var info protocol.SyncInfo
		if err := info.ReadFromLegacyStream(bytes.NewReader(data)); err != nil {
			return
		}
		if err := info.Validate(); err != nil {
			t.Fatalf("it was taken and is not valid: %v", err)
		}
		var out bytes.Buffer
		if err := info.WriteToLegacyStream(&out); err != nil || !bytes.Equal(out.Bytes(), data) {
			t.Fatalf("%x comes back as %x, %v", data, out.Bytes(), err)
		}
	})
}

func FuzzSyncInfoJSON(f *testing.F) {
	for _, c := range originCases(f) {
		f.Add([]byte(c.JSON))
	}
	f.Add([]byte(`{"Perm":[0],"Chunks":[{"Size":0,"Key":"` + emptyKey + `"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var info, again protocol.SyncInfo
		if err := info.ReadJSON(bytes.NewReader(data)); err != nil {
			return
		}
		encoded, err := json.Marshal(info)
		if err != nil {
			t.Fatalf("it was taken and can't be written: %v", err)
		}
		// The general decoder must see the same in what came in, but for the case of digits.
		var plain struct {
			Chunks []protocol.ChunkInfo
			Perm   []int
		}
		if err := json.Unmarshal(data, &plain); err != nil {
			t.Fatalf("%s is taken and is no JSON: %v", data, err)
		}
		if !slices.Equal(plain.Chunks, info.Chunks) || !slices.Equal(plain.Perm, info.Perm) {
			t.Fatalf("%s is taken as %v", data, info)
		}
		if err := json.Unmarshal(encoded, &again); err != nil || !reflect.DeepEqual(again, info) {
			t.Fatalf("%v comes back as %v, %v", info, again, err)
		}
	})
}

func BenchmarkReadJSON(b *testing.B) {
	var info protocol.SyncInfo
	for i := range 10000 {
		info.Chunks = append(info.Chunks, protocol.ChunkInfo{Key: cafs.KeyOf(fmt.Append(nil, i)), Size: 1 + i})
	}
	encoded, err := json.Marshal(info)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(encoded)))
	for b.Loop() {
		if err := info.ReadJSON(bytes.NewReader(encoded)); err != nil {
			b.Fatal(err)
		}
	}
}
