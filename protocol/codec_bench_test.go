package protocol

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// benchWishBits is a wish of every other chunk of a range of the usual 28.
func benchWishBits() Bits {
	bits := NewBits(28)
	for i := 0; i < 28; i += 2 {
		bits.Set(i)
	}
	return bits
}

// BenchmarkWishFrame encodes and decodes the body of a WISH.
func BenchmarkWishFrame(b *testing.B) {
	bits := benchWishBits()
	var body []byte
	b.ReportAllocs()
	for b.Loop() {
		body = binary.AppendUvarint(body[:0], 1234)
		body = binary.AppendUvarint(body, 567)
		body = binary.AppendUvarint(body, uint64(len(bits)))
		body = append(body, bits...)
		if _, err := decodeWish(body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWishlist reads the wishlist of a GiB, bit by bit as the origin's protocol does.
func BenchmarkWishlist(b *testing.B) {
	const chunks = 28 << 10
	list := NewBits(chunks)
	for i := 0; i < chunks; i += 3 {
		list.Set(i)
	}
	for b.Loop() {
		reader := wishReader{r: bytes.NewReader(list)}
		for range chunks {
			if _, err := reader.next(); err != nil {
				b.Fatal(err)
			}
		}
		if err := reader.end(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/chunks, "ns/bit")
}

// BenchmarkHaveFrame encodes and decodes news of 64 ranges that have some of their chunks.
func BenchmarkHaveFrame(b *testing.B) {
	const ranges = 64
	items := make([]HaveItem, ranges)
	for i := range items {
		items[i] = HaveItem{First: int64(2 * i), Count: 1, Op: HaveAdd, Bits: benchWishBits()}
	}
	var body []byte
	b.ReportAllocs()
	for b.Loop() {
		var rest []HaveItem
		if body, rest = appendHave(body[:0], items, HaveMax); len(rest) > 0 {
			b.Fatal("it does not fit")
		}
		if _, err := decodeHave(body, 2*ranges); err != nil {
			b.Fatal(err)
		}
	}
}
