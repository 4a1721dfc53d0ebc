package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
)

// serveHTTP serves a node over HTTP until the test ends.
func serveHTTP(t *testing.T, n *node.Node) (url string) {
	t.Helper()
	server := httptest.NewServer(n.HTTPHandler())
	t.Cleanup(server.Close)
	return server.URL
}

func TestFetchByHTTP(t *testing.T) {
	t.Parallel()
	content := noise(5<<20, 121)
	for _, private := range []bool{false, true} {
		t.Run(fmt.Sprintf("private=%v", private), func(t *testing.T) {
			t.Parallel()
			holder := start(t, node.Config{DisableDHT: true})
			added, err := holder.AddReader(t.Context(), bytes.NewReader(content), node.AddOptions{Private: private})
			if err != nil {
				t.Fatal(err)
			}
			url := serveHTTP(t, holder) + "/" + added.Root.String()
			receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
			output := filepath.Join(t.TempDir(), "output")
			result, err := receiver.Fetch(t.Context(), node.Link{Root: added.Root}, node.FetchOptions{Output: output, HTTP: url})
			if err != nil {
				t.Fatal(err)
			}
			assertFile(t, output, content)
			if result.Fetched != int64(len(content)) || result.Reused != 0 || len(result.Peers) != 1 || result.Peers[0].Address != url {
				t.Errorf("the result is %+v", result)
			}
			if !rootOf(t, receiver, added.Root).Complete {
				t.Error("the root is not complete")
			}
		})
	}
}

// A client that knows no roots, but the format alone.
func TestPlainClientReadsARoot(t *testing.T) {
	t.Parallel()
	content := noise(2<<20, 123)
	holder := start(t, node.Config{DisableDHT: true})
	link := add(t, holder, content)
	file, err := httpsync.SyncFrom(t.Context(), memory.New(), nil, serveHTTP(t, holder)+"/"+link.Root.String(), "test")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, file.Size())
	if _, err := file.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
		t.Errorf("other content, or %v", err)
	}
}

// A server that nobody told of a record, as another program's would be.
func TestFetchFromAnotherServer(t *testing.T) {
	t.Parallel()
	content := noise(2<<20, 124)
	store := memory.New()
	record, err := cafs.AddFile(t.Context(), store, bytes.NewReader(content), cafs.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file, err := cafs.OpenFile(store, record)
	if err != nil {
		t.Fatal(err)
	}
	handler, err := httpsync.NewFileHandlerFromFile(t.Context(), file, nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	receiver := start(t, node.Config{DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	mustFetch(t, receiver, node.Link{Root: record.Root()}, node.FetchOptions{Output: output, HTTP: server.URL})
	assertFile(t, output, content)

	// And one that has something else.
	other := cafs.KeyOf([]byte("other"))
	_, err = receiver.Fetch(t.Context(), node.Link{Root: other}, node.FetchOptions{HTTP: server.URL, Wait: time.Millisecond})
	if !errors.Is(err, cafs.ErrBadRoot) || !errors.Is(err, node.ErrNoHolder) {
		t.Errorf("%v", err)
	}
}

// A server that is of no use does not keep the swarm from being asked.
func TestSwarmHelpsWhereHTTPFails(t *testing.T) {
	t.Parallel()
	content := noise(2<<20, 125)
	holder := start(t, node.Config{DisableDHT: true})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}
	real := holder.HTTPHandler()
	for name, handler := range map[string]http.HandlerFunc{
		"nothing there":  http.NotFound,
		"no such format": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"breaks off": func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				panic(http.ErrAbortHandler)
			}
			real.ServeHTTP(w, r)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(handler)
			t.Cleanup(server.Close)
			receiver := start(t, node.Config{DisableDHT: true})
			output := filepath.Join(t.TempDir(), "output")
			mustFetch(t, receiver, link, node.FetchOptions{Output: output, HTTP: server.URL + "/" + link.Root.String()})
			assertFile(t, output, content)
		})
	}
}

// What is still being fetched is served as it arrives, and not when all is there.
func TestServeByHTTPWhatIsArriving(t *testing.T) {
	t.Parallel()
	content := noise(1_000_000, 126) // one range, whose chunks come in their order
	holder := start(t, node.Config{DisableDHT: true, UpLimit: 512 << 10})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}
	between := start(t, node.Config{DisableDHT: true})
	url := serveHTTP(t, between) + "/" + link.Root.String()
	fetched := make(chan error, 1)
	begun := make(chan struct{})
	var some atomic.Bool
	var passedOn, atEnd atomic.Int64 // to the receiver
	go func() {
		_, err := between.Fetch(t.Context(), link, node.FetchOptions{Events: func(event node.Event) {
			if event.Kind == node.EventProgress && event.Fetched > 0 && !some.Swap(true) {
				close(begun)
			}
		}})
		atEnd.Store(passedOn.Load())
		fetched <- err
	}()
	<-begun
	receiver := start(t, node.Config{DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	mustFetch(t, receiver, node.Link{Root: link.Root}, node.FetchOptions{Output: output, HTTP: url, Events: func(event node.Event) {
		passedOn.Store(max(passedOn.Load(), event.Fetched))
	}})
	assertFile(t, output, content)
	if err := <-fetched; err != nil {
		t.Error(err)
	}
	if n := atEnd.Load(); n < int64(len(content))/2 {
		t.Errorf("%d bytes were passed on when the last had come", n)
	}
}

func TestHTTPHandlerRefuses(t *testing.T) {
	t.Parallel()
	holder := start(t, node.Config{DisableDHT: true})
	link := add(t, holder, noise(100_000, 127))
	url := serveHTTP(t, holder)
	for path, want := range map[string]int{
		"/":                                   http.StatusNotFound,
		"/x":                                  http.StatusNotFound,
		"/" + strings.Repeat("0", 64):         http.StatusNotFound,
		"/" + link.Root.String() + "/entries": http.StatusNotFound,
		"/" + link.Root.String() + "/other":   http.StatusNotFound,
		"/" + link.Root.String():              http.StatusOK,
	} {
		answer, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, answer.Status, want)
		}
	}
}

// webLatency is how far away a webServer is: on nearer ones requests are small.
const webLatency = 20 * time.Millisecond

// webServer serves a file, and counts the requests and the bytes asked for.
func webServer(t *testing.T, content []byte) (url string, requests, asked *atomic.Int64) {
	t.Helper()
	requests, asked = new(atomic.Int64), new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		time.Sleep(webLatency)
		http.ServeContent(w, r, "file", time.Time{}, bytes.NewReader(content))
		if n, err := strconv.ParseInt(w.Header().Get("Content-Length"), 10, 64); err == nil {
			asked.Add(n)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/file", requests, asked
}

// listOnly returns a holder of the list of some content, but of none of its chunks.
func listOnly(t *testing.T, content []byte) (*node.Node, node.Link) {
	t.Helper()
	full, store := memory.New(), memory.New()
	record, err := cafs.AddFile(t.Context(), full, bytes.NewReader(content), cafs.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file, err := cafs.OpenFile(full, record)
	if err != nil {
		t.Fatal(err)
	}
	list := cafs.NewListBuilder(func(page cafs.Chunk) error { return store.Put(t.Context(), page) })
	for chunk, err := range file.Chunks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if err := list.Add(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := list.Finish(); err != nil {
		t.Fatal(err)
	}
	info := cafs.RootInfo{Root: record.Root(), Record: record.Encode(), Added: time.Now()}
	if err := store.PutRoot(t.Context(), info); err != nil {
		t.Fatal(err)
	}
	holder := start(t, node.Config{Store: store, DisableDHT: true})
	return holder, node.Link{Root: info.Root, Peers: []peer.AddrInfo{at(t, holder)}}
}

func TestFetchFromAWebSeed(t *testing.T) {
	t.Parallel()
	content := noise(9<<20, 128)
	_, link := listOnly(t, content)
	url, requests, asked := webServer(t, content)
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	result := mustFetch(t, receiver, link, node.FetchOptions{Output: output, WebSeeds: []string{url}})
	assertFile(t, output, content)
	if n := requests.Load(); n > 150 { // for some 250 chunks; fewer where processors are free
		t.Errorf("%d requests for 9 MiB", n)
	}
	if n := asked.Load(); n > 2*int64(len(content)) { // some is taken over by another session
		t.Errorf("%d bytes were asked for", n)
	}
	bytes := int64(0)
	for _, share := range result.Peers {
		if share.Transport == "webseed" && share.Address == url {
			bytes += share.Bytes
		}
	}
	if bytes != int64(len(content)) {
		t.Errorf("%d bytes came from the server; %+v", bytes, result)
	}
}

// A web seed is a holder beside others.
func TestWebSeedBesideAHolder(t *testing.T) {
	t.Parallel()
	content := noise(16<<20, 129)
	holder := start(t, node.Config{DisableDHT: true, UpLimit: 4 << 20})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}
	url, _, _ := webServer(t, content)
	receiver := start(t, node.Config{DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	result := mustFetch(t, receiver, link, node.FetchOptions{Output: output, WebSeeds: []string{url}})
	assertFile(t, output, content)
	var byWeb int64
	for _, share := range result.Peers {
		if share.Transport == "webseed" {
			byWeb += share.Bytes
		}
	}
	if byWeb == 0 {
		t.Errorf("nothing came from the server: %+v", result.Peers)
	}
}

// breakingWriter sends 1 KiB, and then nothing until the connection breaks.
type breakingWriter struct {
	http.ResponseWriter
	broken <-chan struct{}
}

func (w breakingWriter) Write(p []byte) (int, error) {
	_, _ = w.ResponseWriter.Write(p[:min(len(p), 1<<10)])
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	<-w.broken
	panic(http.ErrAbortHandler)
}

// A web seed that breaks all connections, and has no time for a moment, is asked again, also when nobody else is left.
func TestWebSeedThatPauses(t *testing.T) {
	t.Parallel()
	const (
		breaks = 5200 * time.Millisecond // when a search may end because everybody has answered
		pause  = 500 * time.Millisecond
	)
	content := noise(3<<20, 133)
	receiver, link := listOnly(t, content)
	link.Peers = nil
	began := time.Now()
	broken := make(chan struct{})
	time.AfterFunc(breaks, func() { close(broken) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch since := time.Since(began); {
		case since < breaks:
			w = breakingWriter{w, broken}
		case since < breaks+pause:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		http.ServeContent(w, r, "file", time.Time{}, bytes.NewReader(content))
	}))
	t.Cleanup(server.Close)
	if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{WebSeeds: []string{server.URL}}); err != nil {
		t.Error(err)
	}
}

// A server without the file is no trouble for the others.
func TestWebSeedThatIsNone(t *testing.T) {
	t.Parallel()
	content := noise(3<<20, 130)
	other, _, _ := webServer(t, noise(3<<20, 131))
	short, _, _ := webServer(t, content[:1<<20])
	whole := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }))
	t.Cleanup(whole.Close)
	absent := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(absent.Close)
	for name, url := range map[string]string{
		"other bytes": other, "a shorter file": short, "no ranges": whole.URL, "no file": absent.URL, "no server": "http://127.0.0.1:1/",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holder := start(t, node.Config{DisableDHT: true, UpLimit: 8 << 20})
			link := add(t, holder, content)
			link.Peers = []peer.AddrInfo{at(t, holder)}
			receiver := start(t, node.Config{DisableDHT: true})
			output := filepath.Join(t.TempDir(), "output")
			mustFetch(t, receiver, link, node.FetchOptions{Output: output, WebSeeds: []string{url}})
			assertFile(t, output, content)
		})
	}
	t.Run("alone", func(t *testing.T) {
		t.Parallel()
		_, link := listOnly(t, content)
		receiver := start(t, node.Config{DisableDHT: true})
		_, err := receiver.Fetch(t.Context(), link, node.FetchOptions{WebSeeds: []string{other}, Wait: 2 * time.Second})
		if !errors.Is(err, node.ErrNoHolder) || !strings.Contains(err.Error(), "other bytes") {
			t.Errorf("%v", err)
		}
	})
}

// The limits of nodes hold over HTTP as well.
func TestLimitsHoldOverHTTP(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	content := noise(2*limit, 132)
	for name, test := range map[string]struct {
		up, down int64
		webSeed  bool
	}{"up": {up: limit}, "down": {down: limit}, "down, web seed": {down: limit, webSeed: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holder := start(t, node.Config{DisableDHT: true, UpLimit: test.up})
			link := add(t, holder, content)
			opts := node.FetchOptions{HTTP: serveHTTP(t, holder) + "/" + link.Root.String()}
			if test.webSeed {
				_, link = listOnly(t, content)
				url, _, _ := webServer(t, content)
				opts = node.FetchOptions{WebSeeds: []string{url}}
			}
			receiver := start(t, node.Config{DisableDHT: true, DownLimit: test.down})
			if result := mustFetch(t, receiver, link, opts); result.Duration < 1500*time.Millisecond {
				t.Errorf("2 MiB took %v at 1 MiB/s", result.Duration)
			}
		})
	}
}

// Who comes when as many requests are being answered as may be is told to come again.
func TestHTTPHandlerIsFull(t *testing.T) {
	t.Parallel()
	const most = 64
	holder := start(t, node.Config{DisableDHT: true})
	link := add(t, holder, noise(100_000, 133))
	url := serveHTTP(t, holder) + "/" + link.Root.String()
	for range most {
		body, wishes := io.Pipe() // nothing is wished
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true
		answer, err := http.DefaultClient.Do(r) // it begins at once
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = wishes.Close(); _ = answer.Body.Close() }()
		if answer.StatusCode != http.StatusOK {
			t.Fatal(answer.Status)
		}
	}
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
		t.Errorf("%s with %v", answer.Status, answer.Header)
	}
}
