package cafs

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"runtime"
	"testing"
	"unsafe"
)

// Fuzz targets of the decoders. What they accept they must write again as the same bytes: one content, one encoding.

func FuzzParseRecord(f *testing.F) {
	for _, record := range vectorRecords(f) {
		f.Add(record)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := ParseRecord(data)
		if err != nil {
			return
		}
		if !bytes.Equal(rec.Encode(), data) {
			t.Fatalf("%x is read, but written as %x", data, rec.Encode())
		}
		if _, err := NewOutline(rec.Data); err != nil {
			t.Fatalf("the record is good, its list is not: %v", err)
		}
	})
}

func FuzzLeafPage(f *testing.F) { fuzzPage(f, 0) }

func FuzzRefPage(f *testing.F) { fuzzPage(f, 1) }

// fuzzPage decodes pages of a level. The items of top lists are those of a last page, so the vectors give the seeds.
func fuzzPage(f *testing.F, level int) {
	seeds := 0
	for _, record := range vectorRecords(f) {
		rec, err := ParseRecord(record)
		if err != nil {
			f.Fatal(err)
		}
		if min(rec.Data.Depth, 1) == level {
			f.Add(append([]byte{byte(level)}, rec.Data.Top...), true)
			f.Add(append([]byte{byte(level)}, rec.Data.Top...), false)
			seeds++
		}
	}
	if seeds == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, data []byte, last bool) {
		page, err := decodePage(0, level, data, last)
		if err != nil {
			return
		}
		if n := len(page.chunks) + len(page.refs); n == 0 || n > pageItemsMax || len(data) > PageSizeMax {
			t.Fatalf("page with %d items in %d bytes", n, len(data))
		}
		encoded := []byte{byte(level)}
		for _, c := range page.chunks {
			encoded = appendChunkInfo(encoded, c)
		}
		for _, r := range page.refs {
			encoded = appendRef(encoded, 0, r)
		}
		if !bytes.Equal(encoded, data) {
			t.Fatalf("%x is read, but written as %x", data, encoded)
		}
	})
}

// What a decoder allocates is bounded by the bytes that it was given, not by what they say.
func TestDecodersAllocateLittle(t *testing.T) {
	garbage := bytes.Repeat([]byte{0xff}, PageSizeMax)
	for level := range 2 {
		garbage[0] = byte(level)
		const rounds = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			if _, err := decodePage(0, level, garbage, true); err == nil {
				t.Fatal("nonsense was read")
			}
		}
		runtime.ReadMemStats(&after)
		allocated := (after.TotalAlloc - before.TotalAlloc) / rounds
		if allocated > 2*pageItemsMax*64 {
			t.Errorf("level %d: %d bytes for a page of nonsense", level, allocated)
		}
	}
}

func vectorRecords(f *testing.F) [][]byte {
	f.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		f.Fatal(err)
	}
	var vectors []struct{ Record string }
	if err := json.Unmarshal(text, &vectors); err != nil {
		f.Fatal(err)
	}
	var records [][]byte
	for _, v := range vectors {
		record, err := hex.DecodeString(v.Record)
		if err != nil {
			f.Fatal(err)
		}
		records = append(records, record)
	}
	return records
}

// What the documentation of Outline promises.
func TestOutlinePagesAreSmall(t *testing.T) {
	if size := unsafe.Sizeof(outlinePage{}); size > 80 {
		t.Errorf("%d bytes for each page: want at most 80", size)
	}
}

// FuzzEntryPage decodes leaf pages of entry tables; form is what the record says of times and permission bits.
func FuzzEntryPage(f *testing.F) {
	for form := range byte(4) {
		builder := NewEntryListBuilder(Record{Kind: KindTree, Times: form&1 != 0, Perms: form&2 != 0}, nil)
		for _, e := range []Entry{
			{Path: "a"},
			{Path: "a/b", Type: TypeFile, Size: 300},
			{Path: "a/c", Type: TypeSymlink, Target: "b"},
			{Path: "b", Type: TypeFile},
		} {
			if err := builder.Add(e); err != nil {
				f.Fatal(err)
			}
		}
		f.Add(append([]byte{0}, builder.flat...), form)
	}
	f.Fuzz(func(t *testing.T, data []byte, form byte) {
		rec := Record{Kind: KindTree, Times: form&1 != 0, Perms: form&2 != 0}
		page, err := decodePage(rec.entryForm(), 0, data, true)
		if err != nil {
			return
		}
		encoded, before := []byte{0}, ""
		for i, e := range page.entries {
			encoded = appendEntry(encoded, rec.entryForm(), before, e)
			before = e.Path
			if i > 0 && ComparePaths(page.entries[i-1].Path, e.Path) >= 0 {
				t.Fatalf("%q comes after %q", e.Path, page.entries[i-1].Path)
			}
		}
		if !bytes.Equal(encoded, data) {
			t.Fatalf("%x is read, but written as %x", data, encoded)
		}
	})
}

// FuzzEntryRefPage decodes pages of entry tables that refer to others.
func FuzzEntryRefPage(f *testing.F) {
	seed := []byte{1}
	for _, path := range []string{"a", "b/c"} {
		seed = appendRef(seed, formEntries, pageRef{size: 1000, items: 40, bytes: 7, path: path})
	}
	f.Add(seed, true)
	f.Fuzz(func(t *testing.T, data []byte, last bool) {
		page, err := decodePage(formEntries, 1, data, last)
		if err != nil {
			return
		}
		encoded := []byte{1}
		for _, r := range page.refs {
			encoded = appendRef(encoded, formEntries, r)
		}
		if !bytes.Equal(encoded, data) {
			t.Fatalf("%x is read, but written as %x", data, encoded)
		}
	})
}
