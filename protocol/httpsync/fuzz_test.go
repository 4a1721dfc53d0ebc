package httpsync_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
	"github.com/swarmsync/swarmsync/shuffle"
)

// The targets here run each input in a bubble of testing/synctest: whatever waits forever, or is left behind, is a
// deadlock there, which is found at once, and time that passes without need shows.

// ending is how a body ends.
type ending uint8

const (
	endsPlainly ending = iota // io.EOF behind the last bytes
	endsAtOnce                // io.EOF together with the last bytes
	breaksOff                 // an error, as of a connection that is gone
	staysOpen                 // nothing more comes, until the body is closed
	endings
)

var (
	errBroken = errors.New("the connection is broken")
	errClosed = errors.New("the body is closed")
)

// scriptedBody is a body that gives some bytes at a time and then ends in one of the ways above.
type scriptedBody struct {
	rest   []byte
	step   int
	ending ending
	close  sync.Once
	gone   chan struct{}
	closed atomic.Bool // by Close
}

// newScriptedBody returns a body of data. The lower 2 bits of how are its ending, the next 3 the steps in which it comes.
func newScriptedBody(data []byte, how uint16) *scriptedBody {
	return &scriptedBody{rest: data, step: 1 << (how >> 2 & 7), ending: ending(how) % endings, gone: make(chan struct{})}
}

func (b *scriptedBody) Read(p []byte) (int, error) {
	select {
	case <-b.gone:
		return 0, errClosed
	default:
	}
	n := copy(p, b.rest[:min(len(b.rest), b.step)])
	b.rest = b.rest[n:]
	if len(b.rest) > 0 || n > 0 && b.ending != endsAtOnce {
		return n, nil
	}
	switch b.ending {
	case breaksOff:
		return n, errBroken
	case staysOpen:
		<-b.gone
		return n, errClosed
	}
	return n, io.EOF
}

func (b *scriptedBody) Close() error {
	b.closed.Store(true)
	b.end()
	return nil
}

func (b *scriptedBody) end() { b.close.Do(func() { close(b.gone) }) }

// scriptedAnswer is a ResponseWriter that keeps what is written, up to some bytes.
type scriptedAnswer struct {
	header    http.Header
	status    int
	data      bytes.Buffer
	room      int                // what it takes before it fails; negative: anything
	deadlines func(at time.Time) // is told the read deadlines; nil: they are not supported
}

func (a *scriptedAnswer) Header() http.Header { return a.header }

func (a *scriptedAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *scriptedAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.room >= 0 && len(p) > a.room {
		n, _ := a.data.Write(p[:a.room])
		a.room = 0
		return n, errBroken
	}
	if a.room > 0 {
		a.room -= len(p)
	}
	return a.data.Write(p)
}

func (a *scriptedAnswer) FlushError() error {
	a.WriteHeader(http.StatusOK)
	return nil
}

func (a *scriptedAnswer) EnableFullDuplex() error { return nil }

func (a *scriptedAnswer) SetReadDeadline(at time.Time) error {
	if a.deadlines == nil {
		return http.ErrNotSupported
	}
	a.deadlines(at)
	return nil
}

// postTo runs one POST within the process. It reports whether the handler broke the answer off, as it is to.
func postTo(t testing.TB, h http.Handler, w http.ResponseWriter, body io.ReadCloser) (broke bool) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
	r.Close = true
	defer func() {
		if reason := recover(); reason != nil {
			if reason != http.ErrAbortHandler {
				panic(reason)
			}
			broke = true
		}
	}()
	h.ServeHTTP(w, r)
	return false
}

// raw returns the list of c for what shares no code with what is tested.
func (c *content) raw() rawInfo {
	info := rawInfo{Perm: c.info.Perm}
	if len(info.Perm) == 0 {
		info.Perm = []int{0}
	}
	for _, data := range c.chunks {
		info.Chunks = append(info.Chunks, struct {
			Key  string
			Size int
		}{rawKey(data), len(data)})
	}
	return info
}

// due returns what a wishlist is due: the chunk data up to the first bit that is wrong, and whether the list is right.
func (c *content) due(list []byte) (data []byte, right bool) {
	places := c.raw().places()
	length := (len(places) + 7) / 8
	for i := range 8 * length {
		if i/8 >= len(list) {
			return data, false
		}
		if list[i/8]&(0x80>>(i%8)) == 0 {
			continue
		}
		if i >= len(places) || places[i] < 0 || len(c.chunks[places[i]]) == 0 {
			return data, false
		}
		data = appendItem(data, c.chunks[places[i]])
	}
	return data, len(list) == length
}

// appendItem appends a chunk as it stands in chunk data.
func appendItem(data, chunk []byte) []byte {
	return append(binary.AppendVarint(data, int64(len(chunk))), chunk...)
}

// oddContent has what the golden vectors lack: empty chunks, and large ones.
func oddContent(t testing.TB) *content {
	t.Helper()
	large := bytes.Repeat([]byte("large "), 20_000)
	chunks := slices.Concat(numbered(5), [][]byte{nil, large}, numbered(7), [][]byte{large, nil, nil})
	return newContent(t, shuffle.Permutation{3, 0, 4, 1, 2}, chunks...)
}

// FuzzFileHandler posts wishlists, right and wrong ones, whose bodies come in pieces and end in several ways, to clients
// that may be gone after some bytes.
func FuzzFileHandler(f *testing.F) {
	const (
		noDeadlines = 1 << 5 // the server knows none
		inHTTP2     = 1 << 6
	)
	contents := []*content{oddContent(f)}
	right := [][]byte{packed(first(contents[0].raw().wishes(nil)))}
	for _, c := range goldenCases(f) {
		contents, right = append(contents, c.content(f)), append(right, c.WishList)
	}
	var handlers []http.Handler
	for i, c := range contents {
		handlers = append(handlers, c.handler(f))
		list := right[i]
		for end := range uint16(endings) {
			f.Add(uint8(i), end|uint16(i%8)<<2, uint16(0), list)
			f.Add(uint8(i), end|noDeadlines, uint16(40), list)
		}
		f.Add(uint8(i), uint16(inHTTP2), uint16(0), list[:len(list)/2])
		f.Add(uint8(i), uint16(staysOpen), uint16(0), append(slices.Clone(list), 0))
		f.Add(uint8(i), uint16(noDeadlines), uint16(0), bytes.Repeat([]byte{0xff}, len(list)))
		f.Add(uint8(i), uint16(staysOpen|noDeadlines), uint16(0), bytes.Repeat([]byte{0}, 5000))
	}
	f.Fuzz(func(t *testing.T, which uint8, how, room uint16, list []byte) {
		synctest.Test(t, func(t *testing.T) {
			c, h := contents[int(which)%len(contents)], handlers[int(which)%len(contents)]
			body := newScriptedBody(list, how)
			out := &scriptedAnswer{header: http.Header{}, room: int(room)}
			if room == 0 {
				out.room = -1
			}
			if how&noDeadlines == 0 {
				out.deadlines = func(at time.Time) {
					if !at.IsZero() && at.Before(time.Now()) {
						body.end()
					}
				}
			}
			want, right := c.due(list)
			begun := time.Now()
			broke := postTo(t, inVersion(h, how&inHTTP2 != 0), out, body)
			took, got := time.Since(begun), out.data.Bytes()

			if out.status != http.StatusOK {
				t.Errorf("status %d", out.status)
			}
			if !bytes.HasPrefix(want, got) {
				t.Errorf("%x was served for %x, of which %x was wished", got, list, want)
			}
			fits := out.room < 0 || int(room) >= len(want)
			ends := body.ending == endsPlainly || body.ending == endsAtOnce
			if complete := right && fits && ends; broke == complete {
				t.Errorf("broken off: %v, though the list is right: %v, fits: %v, ends: %v", broke, right, fits, ends)
			}
			// What is read too much or breaks may end the transfer before the wishes before it are fulfilled.
			late := len(list) > len(packed(first(c.raw().wishes(nil)))) || body.ending == breaksOff
			if fits && !late && len(got) != len(want) {
				t.Errorf("%d bytes were served for %x, want %d", len(got), list, len(want))
			}
			if took != 0 && (took != 10*time.Minute || body.ending != staysOpen) {
				t.Errorf("it took %v", took)
			}
			if out.deadlines != nil && body.closed.Load() {
				t.Error("the body was closed while it was read")
			}
		})
	})
}

func first[A, B any](a A, _ B) A { return a }

// inVersion makes the requests to a handler those of HTTP/2.
func inVersion(h http.Handler, two bool) http.Handler {
	if !two {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Proto, r.ProtoMajor, r.ProtoMinor, r.Close = "HTTP/2.0", 2, 0, false
		h.ServeHTTP(w, r)
	})
}

// reading is what a scripted server does with the wishlist.
type reading uint16

const (
	readsMeanwhile reading = iota // while it answers
	readsBefore                   // before it answers
	readsNothing                  // closes the request, as transports do when a server answers early
	refuses                       // answers with a status that is an error
	readings
)

// scriptedServer is a server within the process: the RoundTripper of the client that goes there. Each of its bodies is
// for one request.
type scriptedServer struct {
	list, data io.ReadCloser
	reading    reading
	posts      int
	wishes     []byte // if they are read before the answer
	meanwhile  sync.WaitGroup
}

func (s *scriptedServer) client() *http.Client { return &http.Client{Transport: s} }

// RoundTrip implements http.RoundTripper, and what its contract says about the body of the request.
func (s *scriptedServer) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, ContentLength: -1, Request: r, Body: s.list,
	}
	if r.Method == http.MethodGet {
		return answer, nil
	}
	s.posts++
	answer.Body = s.data
	switch s.reading {
	case readsMeanwhile:
		s.meanwhile.Go(func() {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		})
	case readsBefore:
		unwatch := context.AfterFunc(r.Context(), func() { _ = r.Body.Close() })
		defer unwatch()
		var err error
		s.wishes, err = io.ReadAll(r.Body)
		if err := errors.Join(r.Context().Err(), err, r.Body.Close()); err != nil {
			return nil, err
		}
	case readsNothing:
		_ = r.Body.Close()
	case refuses:
		_ = r.Body.Close()
		answer.StatusCode, answer.Status = http.StatusServiceUnavailable, "503 Service Unavailable"
	}
	return answer, nil
}

// held stores the chunks of some chunk data, as far as it is any, and returns which and how long they are.
func held(t testing.TB, store cafs.Putter, data []byte) (present map[cafs.Key]bool, sizes map[string]int) {
	t.Helper()
	present, sizes = make(map[cafs.Key]bool), make(map[string]int)
	for len(data) > 0 {
		size, n := binary.Varint(data)
		if n <= 0 || size < 1 || size > min(cafs.ChunkSizeMax, int64(len(data)-n)) {
			break
		}
		chunk := data[n : n+int(size)]
		data = data[n+int(size):]
		put(t, store, chunk)
		present[cafs.KeyOf(chunk)], sizes[rawKey(chunk)] = true, len(chunk)
	}
	return present, sizes
}

// fulfils reports whether chunk data is what was wished of a list, byte for byte.
func (i rawInfo) fulfils(wished []int, data []byte) bool {
	for _, place := range wished {
		size, n := binary.Varint(data)
		if n <= 0 || len(binary.AppendVarint(nil, size)) != n || size != int64(i.Chunks[place].Size) || int64(len(data)-n) < size {
			return false
		}
		if rawKey(data[n:n+int(size)]) != i.Chunks[place].Key {
			return false
		}
		data = data[n+int(size):]
	}
	return len(data) == 0
}

// isListOf reports whether content is what a list says.
func (i rawInfo) isListOf(content []byte) bool {
	for _, chunk := range i.Chunks {
		if len(content) < chunk.Size || rawKey(content[:chunk.Size]) != chunk.Key {
			return false
		}
		content = content[chunk.Size:]
	}
	return len(content) == 0
}

// twoSizes reports whether a list gives a chunk another size than it has, in the list itself or among those held.
func (i rawInfo) twoSizes(held map[string]int) bool {
	sizes := make(map[string]int)
	for _, chunk := range i.Chunks {
		size, known := sizes[chunk.Key]
		if !known {
			size, known = held[chunk.Key]
		}
		if known && size != chunk.Size {
			return true
		}
		sizes[chunk.Key] = chunk.Size
	}
	return false
}

// FuzzSyncFrom has servers whose list and whose chunk data are anything, and come and end in any way. The client has
// some chunks.
func FuzzSyncFrom(f *testing.F) {
	const (
		readingShift = 5
		listShift    = 8
	)
	for i, c := range goldenCases(f) {
		var has []byte
		for _, place := range c.Has {
			has = appendItem(has, c.Chunks[place])
		}
		for how := range uint16(readings) {
			f.Add(how<<readingShift|uint16(i%8)<<2, []byte(c.JSON), []byte(c.ChunkData), has)
		}
		for end := range uint16(endings) {
			f.Add(end|uint16(readsBefore)<<readingShift, []byte(c.JSON), []byte(c.ChunkData), has)
			f.Add(end<<listShift|4<<2, []byte(c.JSON), []byte(c.ChunkData), has)
		}
		f.Add(uint16(0), []byte(c.JSON), []byte(c.ChunkData), []byte{})
	}
	good, err := json.Marshal(newContent(f, nil, []byte("some chunk")).info)
	if err != nil {
		f.Fatal(err)
	}
	// Those of TestSyncFromRefuses, and a list that gives one chunk two sizes.
	for _, list := range []string{
		strings.Replace(string(good), "[0]", "[1]", 1), "<html>", strings.Repeat("[", 1000), string(good[:len(good)/2]),
		strings.Replace(string(good), "10}", "11}", 1), strings.ToUpper(string(good)),
		strings.Replace(string(good), "}]", `},{"Size":11,`+string(good[12:81])+"}]", 1),
	} {
		f.Add(uint16(0), []byte(list), []byte("\x14some chunk"), []byte{})
		f.Add(uint16(readsBefore)<<readingShift, []byte(list), []byte{}, []byte("\x14some chunk"))
	}
	for _, data := range []string{
		"", "\x14some chunk", "\x14some", "\x14SOME chunk", "\x16some chunks", "\x14some chunk\x14some chunk", "\x01", "\x94\x00some chunk",
	} {
		f.Add(uint16(0), good, []byte(data), []byte{})
	}
	f.Fuzz(func(t *testing.T, how uint16, list, data, has []byte) {
		synctest.Test(t, func(t *testing.T) {
			listBody, dataBody := newScriptedBody(list, how>>listShift), newScriptedBody(data, how)
			server := &scriptedServer{list: listBody, data: dataBody, reading: reading(how>>readingShift) % readings}
			store := memory.New()
			present, sizes := held(t, store, has)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			begun := time.Now()
			file, err := httpsync.SyncFrom(ctx, store, server.client(), "http://fuzz/", "fuzz")
			took := time.Since(begun)
			server.meanwhile.Wait() // forever, if the wishlist never ends

			if took != 0 && (took != time.Hour || !errors.Is(err, context.DeadlineExceeded)) {
				t.Errorf("it took %v and ended with %v", took, err)
			}
			if !listBody.closed.Load() || server.posts > 0 && !dataBody.closed.Load() {
				t.Error("the body of an answer is still open")
			}
			var info protocol.SyncInfo
			if info.ReadJSON(bytes.NewReader(list)) != nil {
				if err == nil || server.posts > 0 {
					t.Errorf("there were %d POSTs and error %v for the list %q", server.posts, err, list)
				}
				return
			}
			var raw rawInfo
			if err := json.Unmarshal(list, &raw); err != nil {
				t.Fatalf("a list was taken that is none: %v", err)
			}
			for i := range raw.Chunks {
				raw.Chunks[i].Key = strings.ToLower(raw.Chunks[i].Key)
			}
			bits, wished := raw.wishes(present)
			fulfilled := raw.fulfils(wished, data)
			if err == nil {
				mustBeWhatIsListed(t, file, raw, sizes)
				if !fulfilled {
					t.Errorf("chunk data %x was taken for the list %s", data, list)
				}
				if server.reading == readsBefore && !bytes.Equal(server.wishes, packed(bits)) {
					t.Errorf("the wishlist is %x, want %x", server.wishes, packed(bits))
				}
				return
			}
			ends := listBody.ending <= endsAtOnce && dataBody.ending <= endsAtOnce
			held := server.reading == readsBefore && len(wished) > 1024 // beyond the window nothing is wished unanswered
			if fulfilled && ends && server.reading != refuses && !held && !raw.twoSizes(sizes) {
				t.Errorf("what is right was refused: %v", err)
			}
		})
	})
}

// mustBeWhatIsListed reads a file that was received. Only where the list lies about what was there before it may fail.
func mustBeWhatIsListed(t testing.TB, file cafs.File, list rawInfo, sizes map[string]int) {
	t.Helper()
	r := file.Open(t.Context())
	defer func() { _ = r.Close() }()
	content, err := io.ReadAll(r)
	switch {
	case err != nil && list.twoSizes(sizes):
	case err != nil:
		t.Errorf("the file can't be read: %v", err)
	case !list.isListOf(content):
		t.Errorf("the file is not what the list says, but %d bytes with the SHA-256 %s", len(content), rawKey(content))
	}
}
