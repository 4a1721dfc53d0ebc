package httpsync_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
	"github.com/swarmsync/swarmsync/shuffle"
)

// endless is a body that has a start and then the same again and again. It counts what is read.
type endless struct {
	start, again []byte
	read         int64
	closed       atomic.Bool
	each         func(read int64) // is called with each read; may be nil
}

func newEndless(start, again string) *endless {
	// A long piece makes the reads of it few.
	return &endless{start: []byte(start), again: bytes.Repeat([]byte(again), 1+4096/len(again))}
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.start) == 0 {
		e.start = e.again
	}
	n := copy(p, e.start)
	e.start = e.start[n:]
	e.read += int64(n)
	if e.each != nil {
		e.each(e.read)
	}
	return n, nil
}

func (e *endless) Close() error {
	e.closed.Store(true)
	return nil
}

// allocated returns how many bytes of memory a call takes, those included that are given back.
func allocated(call func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	call()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// noBody is what a server that is not to be asked has for an answer.
func noBody() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// TestListBombs: a list that never ends is given up soon, and takes no memory to speak of.
func TestListBombs(t *testing.T) {
	const item = `{"Key":"abababababababababababababababababababababababababababababababab","Size":1},`
	for _, c := range []struct {
		name         string
		start, again string
		readMax      int64 // 0: 64 KiB
	}{
		{"blanks first", "", " \n\t\r", 0},
		{"blanks behind", `{"Chunks":null,"Perm":[0]}`, " ", 0},
		{"blanks before a name", `{"Chunks":null,`, "\n", 0},
		{"blanks before a value", `{"Chunks":`, "\t", 0},
		{"blanks in the permutation", `{"Chunks":null,"Perm":[`, " ", 0},
		{"blanks between items", `{"Perm":[0],"Chunks":[` + item, " ", 0},
		{"lists in lists", "", "[", 0},
		{"objects in objects", "", `{"Chunks":`, 0},
		{"lists among the chunks", `{"Chunks":`, "[", 0},
		{"objects among the chunks", `{"Chunks":[`, `{"Key":`, 0},
		{"lists for a key", `{"Chunks":[{"Key":`, "[", 0},
		{"lists for a size", `{"Chunks":[{"Size":`, "[", 0},
		{"lists for a place", `{"Perm":[0,`, "[", 0},
		{"lists in a member that is none", `{"Chunks":null,"Perm":[0],"More":`, "[", 0},
		{"a size of many digits", `{"Chunks":[{"Size":1`, "0", 0},
		{"a size with many zeros before it", `{"Chunks":[{"Size":0`, "0", 0},
		{"a fraction", `{"Chunks":[{"Size":1.`, "1", 0},
		{"an exponent", `{"Chunks":[{"Size":1e`, "1", 0},
		{"a place of many digits", `{"Perm":[1`, "0", 0},
		{"signs", `{"Perm":[`, "-", 0},
		{"a key of many digits", `{"Chunks":[{"Key":"`, "ab", 0},
		{"a key of escapes", `{"Chunks":[{"Key":"`, `\u0041`, 0},
		{"a key of backslashes", `{"Chunks":[{"Key":"`, `\\`, 0},
		{"a long name", `{"`, "Chunks", 0},
		{"a list that comes again", ``, `{"Chunks":null,"Perm":[0]}`, 0},
		{"members again and again", "{", `"Chunks":null,`, 0},
		{"chunks that are null", `{"Chunks":[`, "null,", 0},
		{"chunks that are empty", `{"Chunks":[`, "{},", 0},
		{"chunks without a key", `{"Chunks":[`, `{"Size":1},`, 0},
		{"places", `{"Chunks":null,"Perm":[`, "0,", 2*protocol.PermMax + 64<<10},
		{"octets that are no text", `{"Chunks":[{"Key":"`, "\xff\x00", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := newEndless(c.start, c.again)
			server := &scriptedServer{list: list, data: noBody()}
			var err error
			took := allocated(func() {
				_, err = httpsync.SyncFrom(t.Context(), memory.New(), server.client(), "http://bomb/", "test")
			})
			if err == nil || server.posts > 0 || !list.closed.Load() {
				t.Errorf("error %v, %d POSTs, body closed: %v", err, server.posts, list.closed.Load())
			}
			readMax, allocMax := int64(64<<10), uint64(1<<20)
			if c.readMax > 0 { // for each place a token of some dozen bytes is read
				readMax, allocMax = c.readMax, uint64(64*c.readMax)
			}
			if list.read > readMax || took > allocMax {
				t.Errorf("%d bytes were read, and %d of memory taken; want at most %d and %d", list.read, took, readMax, allocMax)
			}
		})
	}
}

// TestEndlessList: a list of right items is read up to the limit, and takes the memory that SyncFrom says.
func TestEndlessList(t *testing.T) {
	if testing.Short() {
		t.Skip("it reads 180 MB of JSON")
	}
	const item = `{"Key":"abababababababababababababababababababababababababababababababab","Size":1},`
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	before, live, next := stats.HeapAlloc, uint64(0), int64(0)
	list := newEndless(`{"Perm":[0],"Chunks":[`, item)
	list.each = func(read int64) {
		if read < next {
			return
		}
		next = read + 8<<20
		runtime.GC()
		runtime.ReadMemStats(&stats)
		live = max(live, stats.HeapAlloc-min(before, stats.HeapAlloc))
	}
	server := &scriptedServer{list: list, data: noBody()}
	_, err := httpsync.SyncFrom(t.Context(), memory.New(), server.client(), "http://bomb/", "test")
	if err == nil || !strings.Contains(err.Error(), "want at most") || server.posts > 0 {
		t.Errorf("error %v, %d POSTs", err, server.posts)
	}
	if want := int64(protocol.SyncInfoChunksMax*len(item)) + 64<<10; list.read > want {
		t.Errorf("%d bytes were read, want at most %d", list.read, want)
	}
	if want := uint64(2*40*protocol.SyncInfoChunksMax) + 4<<20; live > want || live < want/8 {
		t.Errorf("%d bytes of memory were in use, want at most %d, and not much less", live, want)
	}
}

// TestListRefused: nothing is asked of a server whose list is wrong.
func TestListRefused(t *testing.T) {
	const key = "abababababababababababababababababababababababababababababababab"
	item := func(size string) string { return `{"Chunks":[{"Key":"` + key + `","Size":` + size + `}],"Perm":[0]}` }
	perm := func(places string) string { return `{"Chunks":null,"Perm":` + places + `}` }
	for _, c := range []struct {
		name, list string
		want       error // nil: any
	}{
		{"place too high", perm("[1]"), shuffle.ErrInvalid},
		{"place twice", perm("[0,0]"), shuffle.ErrInvalid},
		{"place missing", perm("[0,2]"), shuffle.ErrInvalid},
		{"largest place", perm("[2147483647]"), shuffle.ErrInvalid},
		{"place beyond an int", perm("[9223372036854775808]"), nil},
		{"negative place", perm("[-1]"), nil},
		{"no permutation", perm("[]"), nil},
		{"too long", perm("[0" + strings.Repeat(",0", protocol.PermMax) + "]"), nil},
		{"longest, but none", perm("[0" + strings.Repeat(",0", protocol.PermMax-1) + "]"), shuffle.ErrInvalid},
		{"size 131,073", item("131073"), nil},
		{"size 2^31", item("2147483648"), nil},
		{"size 2^64 + 1", item("18446744073709551617"), nil},
		{"negative size", item("-1"), nil},
		{"size 0 of a chunk", item("0"), nil},
		{"size with a fraction", item("1.0"), nil},
		{"early end", item("1")[:90], io.ErrUnexpectedEOF},
		{"nothing", "", io.ErrUnexpectedEOF},
		{"more behind it", item("1") + "1", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := &scriptedServer{list: io.NopCloser(strings.NewReader(c.list)), data: noBody()}
			_, err := httpsync.SyncFrom(t.Context(), memory.New(), server.client(), "http://wrong/", "test")
			if err == nil || c.want != nil && !errors.Is(err, c.want) || server.posts > 0 {
				t.Errorf("error %v and %d POSTs, want %v and none", err, server.posts, c.want)
			}
		})
	}
}

// TestDataBombs: chunk data that is wrong, and never ends, is read no further than one chunk behind where that shows.
func TestDataBombs(t *testing.T) {
	c := newContent(t, nil, []byte("some chunk"), []byte("another one"))
	list, err := json.Marshal(c.info)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name         string
		start, again string
		has          bool
		want         error // nil: any
	}{
		{"data behind the last chunk", "\x14some chunk\x16another one", "\x00", false, nil},
		{"the last chunk again", "\x14some chunk", "\x16another one", false, nil},
		{"the first chunk again", "", "\x14some chunk", false, protocol.ErrUnexpectedChunk},
		{"the second chunk first", "", "\x16another one", false, protocol.ErrUnexpectedChunk},
		{"other bytes", "", "\x14", false, protocol.ErrUnexpectedChunk},
		{"longer than wished", "", "\x16", false, protocol.ErrUnexpectedChunk},
		{"shorter than wished", "", "\x02", false, protocol.ErrUnexpectedChunk},
		{"size 0", "", "\x00", false, protocol.ErrUnexpectedChunk},
		{"size 131,072", "\x80\x80\x10", "a", false, protocol.ErrUnexpectedChunk},
		{"size 131,073", "\x82\x80\x10", "a", false, nil},
		{"size -1", "\x01", "a", false, nil},
		{"a size that never ends", "", "\x80", false, nil},
		{"a size of all bits", "", "\xff", false, nil},
		{"a size that is longer than it need be", "\x94\x00some chunk", "a", false, nil},
		{"nothing was wished", "", "\x14some chunk", true, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			store := memory.New()
			if test.has {
				put(t, store, c.chunks[0])
				put(t, store, c.chunks[1])
			}
			for _, way := range []reading{readsMeanwhile, readsBefore, readsNothing} {
				data := newEndless(test.start, test.again)
				server := &scriptedServer{list: io.NopCloser(bytes.NewReader(list)), data: data, reading: way}
				var err error
				took := allocated(func() {
					_, err = httpsync.SyncFrom(t.Context(), store, server.client(), "http://bomb/", "test")
				})
				server.meanwhile.Wait()
				if err == nil || test.want != nil && !errors.Is(err, test.want) || !data.closed.Load() {
					t.Errorf("error %v, body closed: %v, want %v", err, data.closed.Load(), test.want)
				}
				if data.read > 256<<10 || took > 1<<20 {
					t.Errorf("%d bytes were read, and %d of memory taken", data.read, took)
				}
				if !test.has {
					store = memory.New() // for the next way
				}
			}
		})
	}
}

// TestDataCut: wherever the chunk data ends too early, the error says so, and what had come is there.
func TestDataCut(t *testing.T) {
	c := newContent(t, shuffle.Permutation{1, 0}, numbered(4)...)
	list, err := json.Marshal(c.info)
	if err != nil {
		t.Fatal(err)
	}
	_, wished := c.raw().wishes(nil)
	var data []byte
	var ends []int // of the chunks
	for _, place := range wished {
		data = appendItem(data, c.chunks[place])
		ends = append(ends, len(data))
	}
	for n := range data {
		store := memory.New()
		server := &scriptedServer{
			list: io.NopCloser(bytes.NewReader(list)), data: io.NopCloser(bytes.NewReader(data[:n])), reading: readsBefore,
		}
		_, err := httpsync.SyncFrom(t.Context(), store, server.client(), "http://cut/", "test")
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v, want io.ErrUnexpectedEOF", n, err)
		}
		for i, place := range wished {
			key := c.info.Chunks[place].Key
			has, err := store.Has(t.Context(), []cafs.Key{key})
			if err != nil || has[0] != (n >= ends[i]) {
				t.Errorf("cut after %d bytes: chunk %d is there: %v, %v", n, i, has, err)
			}
		}
	}
}

// TestCompressedAnswer: an answer that is compressed, though nobody asked for that, is not unpacked: it could be any size.
func TestCompressedAnswer(t *testing.T) {
	var bomb bytes.Buffer
	pack := gzip.NewWriter(&bomb)
	if _, err := pack.Write([]byte(`{"Chunks":null,"Perm":[0]}`)); err != nil {
		t.Fatal(err)
	}
	if err := pack.Close(); err != nil {
		t.Fatal(err)
	}
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("%s: what is accepted is %q", r.Method, got)
		}
		if r.Method != http.MethodGet {
			t.Error("the list was unpacked")
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	if _, err := httpsync.SyncFrom(t.Context(), memory.New(), newClient(t), server.URL, "test"); err == nil {
		t.Error("no error")
	}
}

// TestStatusError: another status than 200 is told, and no password with it.
func TestStatusError(t *testing.T) {
	for _, refused := range []string{http.MethodGet, http.MethodPost} {
		h := newContent(t, nil, []byte("some chunk")).handler(t)
		server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == refused {
				w.WriteHeader(http.StatusTeapot)
				return
			}
			h.ServeHTTP(w, r)
		}))
		url := strings.Replace(server.URL, "http://", "http://name:secret@", 1) + "/file"
		_, err := httpsync.SyncFrom(t.Context(), memory.New(), newClient(t), url, "test")
		var status *httpsync.StatusError
		if !errors.As(err, &status) {
			t.Fatalf("%s: error %v, want a StatusError", refused, err)
		}
		want := httpsync.StatusError{
			Method: refused, URL: strings.Replace(url, "secret", "xxxxx", 1), StatusCode: 418, Status: "418 I'm a teapot",
		}
		if *status != want || strings.Contains(err.Error(), "secret") {
			t.Errorf("it is %+v in %q, want %+v", *status, err, want)
		}
	}
}

// TestRedirects: the POST goes where the GET was sent to, and a GET that is sent around is not sent for ever.
func TestRedirects(t *testing.T) {
	c := newContent(t, nil, numbered(20)...)
	mux := http.NewServeMux()
	mux.Handle("/file", c.handler(t))
	mux.Handle("GET /once", http.RedirectHandler("/twice", http.StatusFound))
	mux.Handle("GET /twice", http.RedirectHandler("/file", http.StatusMovedPermanently))
	var rounds atomic.Int64
	mux.HandleFunc("GET /round", func(w http.ResponseWriter, r *http.Request) {
		rounds.Add(1)
		http.Redirect(w, r, "/round", http.StatusFound)
	})
	server := serve(t, mux)
	file, err := httpsync.SyncFrom(t.Context(), memory.New(), newClient(t), server.URL+"/once", "test")
	if err != nil {
		t.Fatal(err)
	}
	mustHold(t, file, c.whole)
	_, err = httpsync.SyncFrom(t.Context(), memory.New(), newClient(t), server.URL+"/round", "test")
	if n := rounds.Load(); err == nil || n > 10 {
		t.Errorf("error %v after %d rounds", err, n)
	}
}

// TestWishlistRefused: a wishlist that is none breaks the answer off, behind chunks that were wished and no others.
func TestWishlistRefused(t *testing.T) {
	c := newContent(t, shuffle.Permutation{2, 0, 1}, []byte("a"), nil, []byte("b"), []byte("c"), nil, []byte("d"), []byte("e"))
	bits, _ := c.raw().wishes(nil)
	right := packed(bits) // 9 bits
	if len(right) != 2 {
		t.Fatalf("the wishlist has %d bytes", len(right))
	}
	with := func(bit int) []byte {
		list := slices.Clone(right)
		if list[bit/8]&(0x80>>(bit%8)) != 0 {
			t.Fatalf("bit %d is 1 anyway", bit)
		}
		list[bit/8] |= 0x80 >> (bit % 8)
		return list
	}
	blank, empty := -1, -1
	for i, place := range c.raw().places() {
		if place < 0 {
			blank = i
		} else if len(c.chunks[place]) == 0 {
			empty = i
		}
	}
	inPieces := func(list []byte, end string) string {
		return postHead + fmt.Sprintf("%x\r\n%s\r\n", len(list), list) + end
	}
	const lengthHead = "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: "
	for _, test := range []struct {
		name, request string
		list          []byte // the part of the request that is one
	}{
		{"empty", postHead + "0\r\n\r\n", nil},
		{"empty of length 0", lengthHead + "0\r\n\r\n", nil},
		{"no body", "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", nil},
		{"too short", inPieces(right[:1], "0\r\n\r\n"), right[:1]},
		{"too short by its length", lengthHead + "1\r\n\r\n" + string(right), right[:1]},
		{"too long", inPieces(append(slices.Clone(right), 0), "0\r\n\r\n"), right},
		{"too long by its length", lengthHead + "3\r\n\r\n" + string(right) + "\x00", right},
		{"a bit for a blank", inPieces(with(blank), "0\r\n\r\n"), with(blank)},
		{"a bit for the empty chunk", inPieces(with(empty), "0\r\n\r\n"), with(empty)},
		{"an unused bit", inPieces(with(15), "0\r\n\r\n"), with(15)},
		{"all bits", inPieces([]byte{0xff, 0xff}, "0\r\n\r\n"), []byte{0xff, 0xff}},
		{"no end", inPieces(right, ""), right},
		{"an end in a piece", postHead + "2\r\n" + string(right[:1]), right[:1]},
		{"an end before the length", lengthHead + "2\r\n\r\n" + string(right[:1]), right[:1]},
		{"a broken piece", inPieces(right[:1], "zz\r\n"), right[:1]},
		{"a huge piece", inPieces(right[:1], "ffffffffffffffff\r\n"), right[:1]},
		{"a trailer that is none", inPieces(right, "0\r\nnone"), right},
	} {
		t.Run(test.name, func(t *testing.T) {
			due, _ := c.due(test.list)
			conn := dialRaw(t, serve(t, c.handler(t)).Listener.Addr().String())
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			conn.say(test.request)
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if answer := conn.head(); answer.StatusCode != http.StatusOK {
				t.Fatalf("status %s", answer.Status)
			}
			got, err := io.ReadAll(conn.body)
			if err == nil || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the answer ends with %v", err)
			}
			if !bytes.HasPrefix(due, got) {
				t.Errorf("%q came, of which %q was wished", got, due)
			}
		})
	}
}

// TestEndlessWishlist: of a wishlist that never ends no more is read than a right one has, and what is read at once.
func TestEndlessWishlist(t *testing.T) {
	for _, again := range []string{"\x00", "\x80", "\xff"} {
		for _, n := range []int{0, 1, 1000} {
			c := newContent(t, nil, numbered(n)...)
			h := c.handler(t)
			list := newEndless("", again)
			out := &scriptedAnswer{header: http.Header{}, room: -1}
			var broke bool
			took := allocated(func() { broke = postTo(t, h, out, list) })
			if due, _ := c.due(bytes.Repeat([]byte(again), (n+7)/8)); !broke || !bytes.HasPrefix(due, out.data.Bytes()) {
				t.Errorf("%d chunks, %x: broken off: %v, %d bytes were served", n, again, broke, out.data.Len())
			}
			if list.read > int64((n+7)/8+2*4096) || took > 1<<20 {
				t.Errorf("%d chunks, %x: %d bytes were read, and %d of memory taken", n, again, list.read, took)
			}
		}
	}
}

// TestHandlerLimits: there is no handler for what no client would take.
func TestHandlerLimits(t *testing.T) {
	store := protocol.NewArrivals(memory.New())
	some := protocol.ChunkInfo{Key: cafs.Key{1}, Size: 1}
	for _, c := range []struct {
		name string
		info protocol.SyncInfo
		want error // nil: any
	}{
		{"a permutation that is none", protocol.SyncInfo{Perm: shuffle.Permutation{0, 0}}, shuffle.ErrInvalid},
		{"a negative place", protocol.SyncInfo{Perm: shuffle.Permutation{-1}}, shuffle.ErrInvalid},
		{"a permutation too long", protocol.SyncInfo{Perm: shuffle.Order(protocol.PermMax+1, [32]byte{})}, nil},
		{"size 131,073", protocol.SyncInfo{Chunks: []protocol.ChunkInfo{some, {Key: cafs.Key{1}, Size: 131073}}}, nil},
		{"size -1", protocol.SyncInfo{Chunks: []protocol.ChunkInfo{some, {Key: cafs.Key{1}, Size: -1}}}, nil},
		{"size 0 of a chunk", protocol.SyncInfo{Chunks: []protocol.ChunkInfo{some, {Key: cafs.Key{1}}}}, nil},
		{"size 1 of the empty chunk", protocol.SyncInfo{Chunks: []protocol.ChunkInfo{some, {Key: cafs.KeyOf(nil), Size: 1}}}, nil},
	} {
		if _, err := httpsync.NewFileHandlerFromSyncInfo(c.info, store); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
		_, err := httpsync.NewFileHandlerFromFile(t.Context(), cafs.NewFile(store, c.info.Chunks), c.info.Perm)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s, from a file: error %v, want %v", c.name, err, c.want)
		}
	}
}

// TestHandlerOfTooManyChunks: one chunk less is served.
func TestHandlerOfTooManyChunks(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes memory for the longest list")
	}
	store := protocol.NewArrivals(memory.New())
	chunks := make([]protocol.ChunkInfo, protocol.SyncInfoChunksMax+1)
	for i := range chunks {
		chunks[i] = protocol.ChunkInfo{Key: cafs.Key{1}, Size: 1}
	}
	for _, n := range []int{len(chunks), len(chunks) - 1} {
		_, err := httpsync.NewFileHandlerFromSyncInfo(protocol.SyncInfo{Chunks: chunks[:n]}, store)
		if tooMany := n > protocol.SyncInfoChunksMax; (err != nil) != tooMany {
			t.Errorf("%d chunks: %v", n, err)
		}
		_, err = httpsync.NewFileHandlerFromFile(t.Context(), cafs.NewFile(store, chunks[:n]), nil)
		if tooMany := n > protocol.SyncInfoChunksMax; (err != nil) != tooMany {
			t.Errorf("%d chunks of a file: %v", n, err)
		}
	}
}

// TestHandlerNeedsFullDuplex: in HTTP/1.1 a ResponseWriter that hides that of net/http is an error of the server's, and
// the client is told so.
func TestHandlerNeedsFullDuplex(t *testing.T) {
	h := newContent(t, nil, []byte("some chunk")).handler(t)
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
	}))
	_, err := httpsync.SyncFrom(t.Context(), memory.New(), newClient(t), server.URL, "test")
	var status *httpsync.StatusError
	if !errors.As(err, &status) || status.StatusCode != http.StatusInternalServerError || status.Method != http.MethodPost {
		t.Errorf("error %v, want one of the status 500 of the POST", err)
	}
}

// TestOtherMethods: the answer says which methods there are.
func TestOtherMethods(t *testing.T) {
	h := newContent(t, nil, []byte("some chunk")).handler(t)
	for _, method := range []string{"HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "post"} {
		out := httptest.NewRecorder()
		h.ServeHTTP(out, httptest.NewRequestWithContext(t.Context(), method, "/", newEndless("", "a")))
		if allow := out.Header().Get("Allow"); out.Code != http.StatusMethodNotAllowed || allow != "GET, POST" {
			t.Errorf("%s: status %d, Allow: %q", method, out.Code, allow)
		}
	}
}
