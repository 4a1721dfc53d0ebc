package cafs_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

func TestRecordRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 117, 118, 5000} {
		for _, salt := range [][]byte{nil, keystream(1, cafs.SaltSize)} {
			list := refBuild(madeUpChunks(n, n)).list
			encoded := refRecord(salt, list)
			rec, err := cafs.ParseRecord(encoded)
			if err != nil {
				t.Fatalf("%d chunks: %v", n, err)
			}
			if err := sameList(rec.Data, list); err != nil || rec.Kind != cafs.KindFile || !bytes.Equal(rec.Salt, salt) {
				t.Errorf("%d chunks: got a %v with salt %x (%v)", n, rec.Kind, rec.Salt, err)
			}
			if !bytes.Equal(rec.Encode(), encoded) || rec.Root() != cafs.KeyOf(encoded) {
				t.Errorf("%d chunks: encodes to something else", n)
			}
		}
	}
}

func TestParseRecordRefuses(t *testing.T) {
	good := refRecord(keystream(1, cafs.SaltSize), refBuild(madeUpChunks(0, 3)).list)
	set := func(i int, value byte) []byte {
		b := bytes.Clone(good)
		b[i] = value
		return b
	}
	tests := []struct {
		name    string
		encoded []byte
	}{
		{"nothing", nil},
		{"other magic", set(3, '2')},
		{"profile 0", set(5, 0)},
		{"profile 2", set(5, 2)},
		{"mtimes in a file", set(6, 1|2)},
		{"permission bits in a file", set(6, 1|4)},
		{"unknown flag", set(6, 1|0x80)},
		{"no salt, but a flag of it", refRecord(nil, cafs.List{})[:6:6]},
		{"byte after the end", append(bytes.Clone(good), 0)},
		{"too long", append(bytes.Clone(good), make([]byte, cafs.RecordSizeMax)...)},
		{"bytes not in their shortest form", []byte("SSR1\x01\x01\x00\x80\x00\x00\x00\x00")},
		{"items not in their shortest form", []byte("SSR1\x01\x01\x00\x00\x80\x00\x00\x00")},
		{"length not in its shortest form", []byte("SSR1\x01\x01\x00\x00\x00\x00\x80\x00")},
		{"number of 11 bytes", []byte("SSR1\x01\x01\x00\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x00\x00\x00")},
		{"2^44+1 bytes", []byte("SSR1\x01\x01\x00\x81\x80\x80\x80\x80\x80\x04\x00\x00\x00")},
		{"2^31+1 items", []byte("SSR1\x01\x01\x00\x00\x81\x80\x80\x80\x08\x00\x00")},
		{"top list of 4,097 bytes", append([]byte("SSR1\x01\x01\x00\x00\x00\x00\x81\x20"), make([]byte, 4097)...)},
	}
	for i := range good {
		tests = append(tests, struct {
			name    string
			encoded []byte
		}{"cut short", good[:i]})
	}
	for _, test := range tests {
		if _, err := cafs.ParseRecord(test.encoded); !errors.Is(err, cafs.ErrBadRoot) {
			t.Errorf("%s (%d bytes): got %v", test.name, len(test.encoded), err)
		}
	}
	if _, err := cafs.ParseRecord(refRecord(nil, cafs.List{})); err != nil {
		t.Errorf("the record of nothing: %v", err)
	}
}

func TestParseRecordSaysThatOtherKindsMayComeLater(t *testing.T) {
	_, err := cafs.ParseRecord([]byte("SSR1\x03\x01\x00\x00\x00\x00\x00"))
	if !errors.Is(err, errors.ErrUnsupported) || errors.Is(err, cafs.ErrBadRoot) {
		t.Errorf("got %v", err)
	}
}

// One root, one record: whatever is read differently has another root.
func TestEveryFlippedBitOfARecordShows(t *testing.T) {
	for _, n := range []int{3, 300} {
		good := refRecord(keystream(1, cafs.SaltSize), refBuild(madeUpChunks(0, n)).list)
		for i := range good {
			for bit := range 8 {
				flipped := bytes.Clone(good)
				flipped[i] ^= 1 << bit
				rec, err := cafs.ParseRecord(flipped)
				if err == nil && !bytes.Equal(rec.Encode(), flipped) {
					t.Fatalf("bit %d of byte %d: read, but encodes to something else", bit, i)
				}
			}
		}
	}
}

func TestEncodePanicsRatherThanMakeABadRecord(t *testing.T) {
	for _, rec := range []cafs.Record{
		{},
		{Kind: cafs.KindFile, Salt: []byte("short")},
		{Kind: cafs.KindFile, Times: true},
		{Kind: cafs.KindFile, Entries: cafs.List{Items: 1}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v with a salt of %d bytes was encoded", rec.Kind, len(rec.Salt))
				}
			}()
			rec.Encode()
		}()
	}
}

func BenchmarkParseRecord(b *testing.B) {
	encoded := refRecord(nil, refBuild(madeUpChunks(0, 28_700)).list)
	for b.Loop() {
		if _, err := cafs.ParseRecord(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
