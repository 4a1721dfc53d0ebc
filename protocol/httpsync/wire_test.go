package httpsync_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"reflect"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
	"github.com/swarmsync/swarmsync/shuffle"
)

// permLengths are those that are tested: around the bits of a byte, and up to a thousand.
var permLengths = []int{1, 2, 3, 7, 8, 9, 64, 255, 1000}

// TestRawClient: a client that shares no code with the handler gets what it wishes for.
func TestRawClient(t *testing.T) {
	r := random(t)
	for _, k := range permLengths {
		for range 3 {
			c := randomContent(t, r, k)
			server := serve(t, c.handler(t))
			address := server.Listener.Addr().String()
			info := rawGet(t, address)
			_, present := c.some(t, r)
			bits, wished := info.wishes(present)
			for name, transfer := range map[string]func(*rawConn, []byte, []bool) [][]byte{
				"all wishes first": rawAllFirst, "byte by byte": rawInTurns,
			} {
				conn := dialRaw(t, address)
				conn.say(postHead)
				got := transfer(conn, packed(bits), bits)
				if len(got) != len(wished) {
					t.Fatalf("%s: %d chunks for %d wishes", name, len(got), len(wished))
				}
				for i, place := range wished {
					if !bytes.Equal(got[i], c.chunks[place]) {
						t.Fatalf("%s: wish %d got %q, want %q", name, i, got[i], c.chunks[place])
					}
				}
			}
		}
	}
}

// rawAllFirst sends all wishes, then reads all chunks.
func rawAllFirst(c *rawConn, octets []byte, _ []bool) (got [][]byte) {
	if len(octets) > 0 {
		c.wish(octets...)
	}
	c.endWishes()
	c.head()
	for {
		data, err := c.chunk()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			c.t.Fatal(err)
		}
		got = append(got, data)
	}
}

// rawInTurns sends a byte of wishes when it has all chunks of the last one, as a small window does: a server that
// waited for the whole request would never answer.
func rawInTurns(c *rawConn, octets []byte, bits []bool) (got [][]byte) {
	for i, octet := range octets {
		c.wish(octet)
		if i == 0 {
			c.head()
		}
		for _, bit := range bits[8*i : min(8*i+8, len(bits))] {
			if !bit {
				continue
			}
			data, err := c.chunk()
			if err != nil {
				c.t.Fatal(err)
			}
			got = append(got, data)
		}
	}
	c.endWishes()
	if len(octets) == 0 {
		c.head()
	}
	if _, err := c.chunk(); !errors.Is(err, io.EOF) {
		c.t.Fatalf("behind the last chunk: %v", err)
	}
	return got
}

// TestRawServer: SyncFrom takes what a server gives that shares no code with it.
func TestRawServer(t *testing.T) {
	r := random(t)
	for _, k := range permLengths {
		for round := range 3 {
			c := randomContent(t, r, k)
			server := &rawServer{t: t, content: c, identity: round == 1}
			store, _ := c.some(t, r)
			file, err := httpsync.SyncFrom(t.Context(), store, newClient(t), server.start(), "test")
			if err != nil {
				t.Fatal(err)
			}
			mustHold(t, file, c.whole)
		}
	}
}

// TestBothEnds: the two ends of this package with each other, over HTTP/1.1.
func TestBothEnds(t *testing.T) {
	r := random(t)
	for _, k := range permLengths {
		c := randomContent(t, r, k)
		store, _ := c.some(t, r)
		server := serve(t, c.handler(t))
		file, err := httpsync.SyncFrom(t.Context(), store, newClient(t), server.URL, "test")
		if err != nil {
			t.Fatal(err)
		}
		mustHold(t, file, c.whole)
	}
}

// TestFromFile: a handler from a file serves what one from its list serves.
func TestFromFile(t *testing.T) {
	r := random(t)
	c := newContent(t, shuffle.Random(13, r), numbered(100)...)
	for _, perm := range []shuffle.Permutation{nil, c.info.Perm} {
		h, err := httpsync.NewFileHandlerFromFile(t.Context(), cafs.NewFile(c.store, c.info.Chunks), perm)
		if err != nil {
			t.Fatal(err)
		}
		server := serve(t, h)
		if got := rawGet(t, server.Listener.Addr().String()); len(got.Perm) != max(1, len(perm)) || len(got.Chunks) != 100 {
			t.Errorf("%d chunks and a permutation of length %d", len(got.Chunks), len(got.Perm))
		}
		file, err := httpsync.SyncFrom(t.Context(), memory.New(), newClient(t), server.URL, "test")
		if err != nil {
			t.Fatal(err)
		}
		mustHold(t, file, c.whole)
	}
}

// goldenCase is what of a golden vector of the origin goes over HTTP.
type goldenCase struct {
	Name      string              `json:"name"`
	Chunks    []hexBytes          `json:"chunks_hex"`
	Perm      shuffle.Permutation `json:"perm"`
	Has       []int               `json:"receiver_has"`
	JSON      json.RawMessage     `json:"syncinfo_json"`
	WishList  hexBytes            `json:"wishlist_hex"`
	ChunkData hexBytes            `json:"chunk_data_hex"`
}

// hexBytes is a byte string that is written in hexadecimal.
type hexBytes []byte

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

func goldenCases(t testing.TB) []goldenCase {
	t.Helper()
	raw, err := os.ReadFile("../testdata/origin-remotesync.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 11 {
		t.Fatalf("%d golden vectors, want 11", len(cases))
	}
	return cases
}

func (c goldenCase) content(t testing.TB) *content {
	t.Helper()
	var chunks [][]byte
	for _, chunk := range c.Chunks {
		chunks = append(chunks, chunk)
	}
	return newContent(t, c.Perm, chunks...)
}

// TestGoldenServer: the handler's answers are the origin's, byte for byte.
func TestGoldenServer(t *testing.T) {
	for _, c := range goldenCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			server := serve(t, c.content(t).handler(t))
			address := server.Listener.Addr().String()
			conn := dialRaw(t, address)
			conn.say("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
			conn.head()
			got, err := io.ReadAll(conn.body)
			if err != nil {
				t.Fatal(err)
			}
			if !jsonEqual(t, got, c.JSON) {
				t.Errorf("the SyncInfo is %s, want %s", got, c.JSON)
			}
			conn = dialRaw(t, address)
			conn.say(postHead)
			if len(c.WishList) > 0 {
				conn.wish(c.WishList...)
			}
			conn.endWishes()
			conn.head()
			if got, err = io.ReadAll(conn.body); err != nil || !bytes.Equal(got, c.ChunkData) {
				t.Errorf("the chunk data is %x, %v, want %x", got, err, c.ChunkData)
			}
		})
	}
}

func jsonEqual(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

// TestGoldenClient: what SyncFrom wishes for is what the origin wishes for, byte for byte, and it takes the origin's
// chunk data.
func TestGoldenClient(t *testing.T) {
	for _, c := range goldenCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			content := c.content(t)
			store := memory.New()
			for _, i := range c.Has {
				put(t, store, c.Chunks[i])
			}
			server := &rawServer{t: t, content: content, json: string(c.JSON)}
			var wishes []byte
			server.serve = func(_ net.Conn, in *bufio.Reader, out io.Writer) (err error) {
				if wishes, err = io.ReadAll(in); err != nil { // they fit the window
					return err
				}
				if len(c.ChunkData) > 0 {
					_, err = out.Write(c.ChunkData)
				}
				return err
			}
			file, err := httpsync.SyncFrom(t.Context(), store, newClient(t), server.start(), "test")
			if err != nil {
				t.Fatal(err)
			}
			mustHold(t, file, content.whole)
			if !bytes.Equal(wishes, c.WishList) {
				t.Errorf("the wishlist is %x, want %x", wishes, c.WishList)
			}
		})
	}
}

// trickle cuts reads and writes into pieces of a few bytes.
type trickle struct {
	net.Conn
	r *rand.Rand
}

func (c trickle) Write(p []byte) (int, error) {
	for written := 0; written < len(p); {
		n, err := c.Conn.Write(p[written:min(len(p), written+1+c.r.IntN(5))])
		written += n
		if err != nil {
			return written, err
		}
	}
	return len(p), nil
}

// TestSlowServer: the answer comes in pieces of a few bytes, whose ends fall anywhere.
func TestSlowServer(t *testing.T) {
	r := random(t)
	c := newContent(t, shuffle.Random(20, r), numbered(300)...)
	server := &rawServer{t: t, content: c, identity: true}
	server.serve = func(conn net.Conn, in *bufio.Reader, _ io.Writer) error {
		return server.send(conn, in, trickle{conn, r})
	}
	file, err := httpsync.SyncFrom(t.Context(), memory.New(), newClient(t), server.start(), "test")
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, file, c.whole)
}
