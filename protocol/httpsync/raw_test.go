package httpsync_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
)

// What is here speaks the origin's format over plain TCP connections and shares no code with what is tested.

// rawInfo is a SyncInfo as JSON has it.
type rawInfo struct {
	Chunks []struct {
		Key  string
		Size int
	}
	Perm []int
}

// rawKey is the text of a key.
func rawKey(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// places returns for each place of the wishlist the number of the chunk, or -1.
func (i rawInfo) places() []int {
	k := len(i.Perm)
	slots := make([]int, k)
	for s := range slots {
		slots[s] = -1
	}
	var places []int
	for step := range len(i.Chunks) + k - 1 {
		in := -1
		if step < len(i.Chunks) {
			in = step
		}
		slots[i.Perm[step%k]] = in
		places = append(places, slots[step%k])
		slots[step%k] = -1
	}
	return places
}

// wishes returns the bits of a wishlist, and the chunks that they are for.
func (i rawInfo) wishes(present map[cafs.Key]bool) (bits []bool, wished []int) {
	seen := map[string]bool{rawKey(nil): true}
	for key := range present {
		seen[key.String()] = true
	}
	for _, place := range i.places() {
		wish := place >= 0 && !seen[i.Chunks[place].Key]
		if wish {
			seen[i.Chunks[place].Key] = true
			wished = append(wished, place)
		}
		bits = append(bits, wish)
	}
	return bits, wished
}

func packed(bits []bool) []byte {
	octets := make([]byte, (len(bits)+7)/8)
	for i, bit := range bits {
		if bit {
			octets[i/8] |= 0x80 >> (i % 8)
		}
	}
	return octets
}

// rawGet asks for a SyncInfo.
func rawGet(t testing.TB, address string) rawInfo {
	t.Helper()
	c := dialRaw(t, address)
	c.say("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
	if got := c.head(); got.StatusCode != http.StatusOK {
		t.Fatalf("GET: %s", got.Status)
	}
	var info rawInfo
	d := json.NewDecoder(c.body)
	d.DisallowUnknownFields()
	if err := d.Decode(&info); err != nil {
		t.Fatal(err)
	}
	return info
}

// rawConn is the client's end of a connection.
type rawConn struct {
	t testing.TB
	*net.TCPConn
	in   *bufio.Reader
	body *bufio.Reader // of the answer, when its head has been read
}

func dialRaw(t testing.TB, address string) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &rawConn{t: t, TCPConn: conn.(*net.TCPConn), in: bufio.NewReader(conn)}
}

func (c *rawConn) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

// head reads the head of the answer.
func (c *rawConn) head() *http.Response {
	c.t.Helper()
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	c.body = bufio.NewReader(answer.Body)
	return answer
}

const postHead = "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

// wish sends bytes of the wishlist.
func (c *rawConn) wish(octets ...byte) {
	c.t.Helper()
	c.say(fmt.Sprintf("%x\r\n%s\r\n", len(octets), octets))
}

func (c *rawConn) endWishes() {
	c.t.Helper()
	c.say("0\r\n\r\n")
}

// chunk reads one chunk of the chunk data.
func (c *rawConn) chunk() ([]byte, error) {
	size, err := binary.ReadVarint(c.body)
	if err != nil {
		return nil, err
	}
	if size < 1 || size > 131072 {
		return nil, fmt.Errorf("size %d", size)
	}
	data := make([]byte, size)
	_, err = io.ReadFull(c.body, data)
	return data, err
}

// rawServer serves content by hand, one connection at a time each in its goroutine.
type rawServer struct {
	t       testing.TB
	content *content
	address string

	// serve answers a POST; nil: as it should be.
	serve func(conn net.Conn, wishes *bufio.Reader, out io.Writer) error
	// json answers a GET; empty: as it should be.
	json string
	// identity leaves the transfer encoding out: the answer ends with the connection.
	identity bool
}

// start listens until the test ends.
func (s *rawServer) start() string {
	s.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.handle(conn)
		}
	}()
	s.t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	s.address = "http://" + listener.Addr().String() + "/file"
	return s.address
}

// handle serves one request.
func (s *rawServer) handle(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if r.Method == http.MethodGet {
		text := s.json
		if text == "" {
			text = s.info()
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
		return
	}
	if r.Method != http.MethodPost || !strings.EqualFold(r.Header.Get("Connection"), "close") || r.URL.Path != "/file" {
		s.t.Errorf("%s %s with the header %v", r.Method, r.URL, r.Header)
		return
	}
	var out io.Writer = conn
	if s.identity {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
	} else {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
		out = rawChunked{conn}
	}
	serve := s.serve
	if serve == nil {
		serve = s.send
	}
	if err := serve(conn, bufio.NewReader(r.Body), out); err == nil && !s.identity {
		_, _ = io.WriteString(conn, "0\r\n\r\n")
	}
}

func (s *rawServer) info() string {
	var text strings.Builder
	text.WriteString(`{"Chunks":`)
	if len(s.content.chunks) == 0 {
		text.WriteString("null")
	}
	for i, data := range s.content.chunks {
		text.WriteByte("[,"[min(i, 1)])
		fmt.Fprintf(&text, `{"Key":"%s","Size":%d}`, rawKey(data), len(data))
	}
	if len(s.content.chunks) > 0 {
		text.WriteByte(']')
	}
	perm, err := json.Marshal([]int(s.content.info.Perm))
	if err != nil {
		s.t.Error(err)
	}
	fmt.Fprintf(&text, `,"Perm":%s}`, perm)
	return text.String()
}

// send answers a wishlist.
func (s *rawServer) send(_ net.Conn, wishes *bufio.Reader, out io.Writer) error {
	var info rawInfo
	if err := json.Unmarshal([]byte(s.info()), &info); err != nil {
		return err
	}
	var octet byte
	for i, place := range info.places() {
		if i%8 == 0 {
			var err error
			if octet, err = wishes.ReadByte(); err != nil {
				return err
			}
		}
		if octet&(0x80>>(i%8)) == 0 {
			continue
		}
		data := s.content.chunks[place]
		if _, err := out.Write(append(binary.AppendVarint(nil, int64(len(data))), data...)); err != nil {
			return err
		}
	}
	if _, err := wishes.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("behind the wishlist: %w", err)
	}
	return nil
}

// rawChunked writes the chunked transfer encoding.
type rawChunked struct{ io.Writer }

func (w rawChunked) Write(p []byte) (int, error) {
	if _, err := fmt.Fprintf(w.Writer, "%x\r\n%s\r\n", len(p), p); err != nil {
		return 0, err
	}
	return len(p), nil
}
