package cafs_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

// update rewrites the golden vectors, which is right only together with the text of the format, before its release.
var update = flag.Bool("update", false, "rewrite testdata/vectors.json")

const vectorsFile = "testdata/vectors.json"

// vector is one case of the golden vectors; docs/format.md describes the fields.
type vector struct {
	Name        string   `json:"name"`
	Content     string   `json:"content"`
	Size        int64    `json:"size"`
	Salt        string   `json:"salt,omitempty"`
	Chunks      int64    `json:"chunks"`
	Sizes       []int    `json:"sizes,omitempty"`
	ItemsSHA256 string   `json:"items_sha256"`
	Depth       int      `json:"depth"`
	Pages       []int    `json:"pages"`
	PagesSHA256 string   `json:"pages_sha256"`
	Record      string   `json:"record"`
	Root        cafs.Key `json:"root"`
}

// The kinds of content of the vectors.
const (
	contentKeystream = "chacha8"
	contentZeros     = "zeros"
	contentList      = "list"
)

type vectorInput struct {
	content string
	size    int // bytes; chunks if the content is a list
	salt    []byte
}

func (in vectorInput) name() string {
	name := fmt.Sprintf("%s-%d", in.content, in.size)
	if in.salt != nil {
		name += "-salt"
	}
	return name
}

func (in vectorInput) bytes() []byte {
	if in.content == contentZeros {
		return make([]byte, in.size)
	}
	return keystream(0, in.size)
}

func vectorInputs() []vectorInput {
	var inputs []vectorInput
	for _, size := range []int{0, 1, 8191, 8192, 8193, 32768, 131072, 131073, 8 << 20} {
		inputs = append(inputs, vectorInput{contentKeystream, size, nil})
	}
	inputs = append(inputs, vectorInput{contentKeystream, 1, bytes.Repeat([]byte{0x5a}, cafs.SaltSize)})
	inputs = append(inputs, vectorInput{contentZeros, 1 << 20, nil})
	for _, chunks := range []int{117, 118, 20_000, 100_000} {
		inputs = append(inputs, vectorInput{contentList, chunks, nil})
	}
	return inputs
}

// measure returns the vector of in as the package makes it.
func measure(t *testing.T, in vectorInput) vector {
	t.Helper()
	store := newMapStore()
	rec := cafs.Record{Kind: cafs.KindFile, Salt: in.salt}
	if in.content == contentList {
		rec.Data = buildList(t, store, madeUpChunks(0, in.size))
	} else {
		var err error
		rec, err = cafs.AddFile(t.Context(), store, bytes.NewReader(in.bytes()), cafs.AddOptions{Salt: in.salt})
		if err != nil {
			t.Fatal(err)
		}
	}
	o := newOutline(t, rec.Data)
	if err := o.Load(t.Context(), store); err != nil || !o.Complete() {
		t.Fatalf("%s: complete is %v (error %v)", in.name(), o.Complete(), err)
	}
	v := vector{
		Name: in.name(), Content: in.content, Size: rec.Data.Bytes, Salt: hex.EncodeToString(in.salt),
		Chunks: rec.Data.Items, Depth: rec.Data.Depth, Pages: []int{},
		Record: hex.EncodeToString(rec.Encode()), Root: rec.Root(),
	}
	items := sha256.New()
	for c, err := range openFile(t, store, rec).Chunks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		items.Write(refLeafItem(c).encoded)
		if in.content != contentList {
			v.Sizes = append(v.Sizes, c.Size)
		}
	}
	v.ItemsSHA256 = hex.EncodeToString(items.Sum(nil))
	keys := sha256.New()
	for level := range rec.Data.Depth {
		n := 0
		pages, _ := o.PagesFor(level, 0, rec.Data.Items-1, 1<<30)
		for _, p := range pages {
			if p.Level == level {
				keys.Write(p.Key[:])
				n++
			}
		}
		v.Pages = append(v.Pages, n)
	}
	v.PagesSHA256 = hex.EncodeToString(keys.Sum(nil))
	return v
}

// expect returns the vector of in as the second implementation makes it.
func expect(in vectorInput) vector {
	v := vector{Name: in.name(), Content: in.content, Salt: hex.EncodeToString(in.salt), Pages: []int{}}
	var chunks []cafs.ChunkInfo
	if in.content == contentList {
		chunks = madeUpChunks(0, in.size)
	} else {
		content := in.bytes()
		v.Sizes = refChunkSizes(content)
		for _, size := range v.Sizes {
			chunks = append(chunks, cafs.ChunkInfo{Key: cafs.KeyOf(content[:size]), Size: size})
			content = content[size:]
		}
	}
	items, keys := sha256.New(), sha256.New()
	for _, c := range chunks {
		items.Write(refLeafItem(c).encoded)
	}
	tree := refBuild(chunks)
	for _, level := range tree.levels {
		v.Pages = append(v.Pages, len(level))
		for _, p := range level {
			key := p.key()
			keys.Write(key[:])
		}
	}
	record := refRecord(in.salt, tree.list)
	v.Size, v.Chunks, v.Depth = tree.list.Bytes, tree.list.Items, tree.list.Depth
	v.ItemsSHA256, v.PagesSHA256 = hex.EncodeToString(items.Sum(nil)), hex.EncodeToString(keys.Sum(nil))
	v.Record, v.Root = hex.EncodeToString(record), sha256.Sum256(record)
	return v
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatal("no golden vectors")
	}
	return vectors
}

func TestGoldenVectors(t *testing.T) {
	var got []vector
	for _, in := range vectorInputs() {
		v := measure(t, in)
		if want := expect(in); !reflect.DeepEqual(v, want) {
			t.Errorf("%s: the package makes\n%+v, the text\n%+v", in.name(), v, want)
		}
		if in.content != contentList && v.Size != int64(in.size) || in.content == contentList && v.Chunks != int64(in.size) {
			t.Errorf("%s: %d bytes in %d chunks", in.name(), v.Size, v.Chunks)
		}
		got = append(got, v)
	}
	if *update && !t.Failed() {
		writeVectors(t, got)
	}
	want := readVectors(t)
	for i, v := range got {
		if i >= len(want) || !reflect.DeepEqual(v, want[i]) {
			t.Errorf("%s: not as in %s:\n%+v", v.Name, vectorsFile, v)
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d vectors: want %d", len(want), len(got))
	}
}

func writeVectors(t *testing.T, vectors []vector) {
	t.Helper()
	text := []byte("[")
	for i, v := range vectors {
		line, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(text, '\n'), line...)
	}
	if err := os.WriteFile(vectorsFile, append(text, "\n]\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The text, the vectors and the code change together or not at all.
func TestGoldenVectorsAreThoseOfTheText(t *testing.T) {
	text, err := os.ReadFile("../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range readVectors(t) {
		if row := fmt.Sprintf("| `%s` | %d | %d |", v.Name, v.Chunks, v.Depth); !bytes.Contains(text, []byte(row)) ||
			!bytes.Contains(text, []byte(v.Root.String())) {
			t.Errorf("%s is not in docs/format.md", v.Name)
		}
	}
}

// What is known of the vectors without any of this code.
func TestGoldenVectorsHoldTheFactsOfTheText(t *testing.T) {
	for _, v := range readVectors(t) {
		record, err := hex.DecodeString(v.Record)
		if err != nil || v.Root != sha256.Sum256(record) {
			t.Errorf("%s: the root is not the SHA-256 of the record", v.Name)
		}
		var sum int64
		for i, size := range v.Sizes {
			sum += int64(size)
			if size > 131072 || size < 8192 && i < len(v.Sizes)-1 {
				t.Errorf("%s: chunk %d has %d bytes", v.Name, i, size)
			}
		}
		if v.Content == contentList {
			continue
		}
		if sum != v.Size || int64(len(v.Sizes)) != v.Chunks {
			t.Errorf("%s: %d chunks have %d bytes: want %d with %d", v.Name, len(v.Sizes), sum, v.Chunks, v.Size)
		}
		if mean := sum / max(1, v.Chunks); v.Size == 8<<20 && (mean < 33_000 || mean > 43_000) {
			t.Errorf("%s: the mean is %d bytes: want about 37 KiB", v.Name, mean)
		}
	}
}
