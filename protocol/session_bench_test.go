package protocol

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

// benchContent is an endless root whose chunks all are the same bytes.
type benchContent struct {
	infos []cafs.ChunkInfo
	data  []byte
}

const benchChunkBytes = 37 << 10 // the mean of the format's chunks

func newBenchContent() *benchContent {
	c := &benchContent{data: make([]byte, benchChunkBytes)}
	for range (1 << 20) / benchChunkBytes {
		c.infos = append(c.infos, cafs.ChunkInfo{Key: cafs.KeyOf(c.data), Size: benchChunkBytes})
	}
	return c
}

func (c *benchContent) Root() cafs.Key           { return cafs.KeyOf(c.Record()) }
func (c *benchContent) Record() []byte           { return []byte("record") }
func (c *benchContent) Have() ([]HaveItem, bool) { return nil, true }

func (c *benchContent) Chunks(context.Context, int64) ([]cafs.ChunkInfo, error) { return c.infos, nil }

func (c *benchContent) ReadChunk(_ context.Context, _ ChunkAt, buf []byte) ([]byte, error) {
	return append(buf[:0], c.data...), nil
}

func (c *benchContent) Pages(context.Context, PagesRequest) iter.Seq2[[]byte, error] {
	return func(func([]byte, error) bool) {}
}

// tcpPair returns the ends of a connection over loopback.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a, err = net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// BenchmarkSession moves a range an iteration, with 16 of them wished ahead, to a receiver that drops the chunks.
func BenchmarkSession(b *testing.B) {
	for name, pair := range map[string]func(testing.TB) (net.Conn, net.Conn){
		"TCP":  tcpPair,
		"Pipe": func(testing.TB) (net.Conn, net.Conn) { return net.Pipe() },
	} {
		b.Run(name, func(b *testing.B) {
			receiverEnd, holderEnd := pair(b)
			benchSession(b, receiverEnd, holderEnd)
		})
	}
}

func benchSession(b *testing.B, receiverEnd, holderEnd net.Conn) {
	c := newBenchContent()
	served := make(chan error, 1)
	go func() {
		h, err := Accept(holderEnd, HolderConfig{
			Network: "test", Local: holderID, Remote: receiverID,
			Find: func(DiscoveryKey) (Content, bool) { return c, true },
		})
		if err == nil {
			err = h.Run(context.Background())
		}
		served <- err
	}()
	r, _, err := Open(receiverEnd, ReceiverConfig{Root: c.Root(), Network: "test", Local: receiverID, Remote: holderID})
	if err != nil {
		b.Fatal(err)
	}
	const ahead = 16
	wished, left := 0, 0
	wish := func() {
		if wished < b.N {
			if _, err := r.Wish(int64(wished), allBits(len(c.infos)), c.infos); err != nil {
				b.Fatal(err)
			}
			wished++
			left += len(c.infos)
		}
	}
	buf := make([]byte, FrameBodyMax)
	b.SetBytes(int64(len(c.infos)) * benchChunkBytes)
	b.ReportAllocs()
	b.ResetTimer()
	for range ahead {
		wish()
	}
	for left > 0 {
		if _, err := r.Next(buf); err != nil {
			b.Fatal(err)
		}
		if left--; left%len(c.infos) == 0 {
			wish()
		}
	}
	b.StopTimer()
	r.Close()
	<-served
}

// BenchmarkPlain moves the same bytes in the same pieces without a protocol: what BenchmarkSession is held against.
func BenchmarkPlain(b *testing.B) {
	const piece = 256 << 10
	receiverEnd, holderEnd := tcpPair(b)
	b.SetBytes(1 << 20)
	go func() {
		defer holderEnd.Close()
		out := make([]byte, piece)
		for range b.N * (1 << 20) / piece {
			if _, err := holderEnd.Write(out); err != nil {
				return
			}
		}
	}()
	b.ResetTimer()
	in := make([]byte, piece)
	for left := b.N << 20; left > 0; {
		n, err := receiverEnd.Read(in)
		if err != nil {
			b.Fatal(err)
		}
		left -= n
	}
}

// BenchmarkChunkFrame encodes and decodes a CHUNK in memory.
func BenchmarkChunkFrame(b *testing.B) {
	for _, size := range []int{benchChunkBytes, cafs.ChunkSizeMax} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			data := make([]byte, size)
			var stream loop
			reader := newFrameReader(&stream, readBufferBytes)
			buf := make([]byte, FrameBodyMax)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			var out batch
			for b.Loop() {
				out = out[:0]
				out.reserve(size, 0)
				out.chunkHead(7, 3, encodingRaw, size)
				out.data(data)
				stream.rest = out
				_, body, err := reader.next(buf)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := decodeChunk(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// loop reads what was last put there.
type loop struct{ rest []byte }

func (l *loop) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}
