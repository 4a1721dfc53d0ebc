package httpsync_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2phttp "github.com/libp2p/go-libp2p/p2p/http"
	"github.com/libp2p/go-libp2p/p2p/net/gostream"
	"go.uber.org/goleak"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
	"github.com/swarmsync/swarmsync/shuffle"
)

// carrier is something else than HTTP/1.1 over TCP that the interfaces of net/http reach.
type carrier struct {
	name  string
	major int // that of the version that the handler is to see
	start func(t testing.TB, h http.Handler) link
	// deaf tells that a server reads no more behind a request, so that it does not hear that the client is gone.
	deaf bool
}

// link is a server, and a client that knows it.
type link struct {
	url    string
	client *http.Client
	// dropServer and dropClient end all connections at one end, as when its process is killed.
	dropServer, dropClient func()
}

var carriers = []carrier{
	{"HTTP2 with TLS", 2, overTLS, false},
	{"HTTP2 in the clear", 2, inTheClear, false},
	{"libp2p streams over TCP", 1, overDialedStreams, false},
	{"p2p/http over QUIC", 1, overStreamsOfTheirOwn, true},
}

// serve serves h until the test ends.
func (c carrier) serve(t testing.TB, h http.Handler) link {
	t.Helper()
	return c.start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != c.major {
			t.Errorf("the request is one of %s", r.Proto)
		}
		h.ServeHTTP(w, r)
	}))
}

// dialer remembers its connections.
type dialer struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.conns = append(d.conns, conn)
	}
	return conn, err
}

func (d *dialer) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		_ = conn.Close()
	}
}

func overTLS(t testing.TB, h http.Handler) link {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.StartTLS()
	return linkTo(t, server, server.Client().Transport.(*http.Transport))
}

// unencrypted is HTTP/2 without TLS, and nothing else.
func unencrypted() *http.Protocols {
	versions := new(http.Protocols)
	versions.SetUnencryptedHTTP2(true)
	return versions
}

func inTheClear(t testing.TB, h http.Handler) link {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.Protocols = unencrypted()
	server.Start()
	return linkTo(t, server, &http.Transport{Protocols: unencrypted()})
}

func linkTo(t testing.TB, server *httptest.Server, transport *http.Transport) link {
	t.Helper()
	var dialed dialer
	transport.DialContext = dialed.dial
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if t.Failed() { // perhaps because a request does not end, which Close would wait for
			server.CloseClientConnections()
		}
		server.Close()
	})
	return link{server.URL, &http.Client{Transport: transport}, server.CloseClientConnections, dialed.drop}
}

// streamProtocol is that of HTTP/1.1 over streams of libp2p.
const streamProtocol = "/http/1.1"

// overDialedStreams has a Transport of net/http whose connections are streams.
func overDialedStreams(t testing.TB, h http.Handler) link {
	t.Helper()
	server, client := newHosts(t, "/ip4/127.0.0.1/tcp/0")
	serveStreams(t, server, h)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return gostream.Dial(ctx, client, server.ID(), streamProtocol)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return streamLink(server, client, transport)
}

// overStreamsOfTheirOwn is go-libp2p's own package for HTTP: a stream for each request, whose end is that of the
// stream's one half.
func overStreamsOfTheirOwn(t testing.TB, h http.Handler) link {
	t.Helper()
	server, client := newHosts(t, "/ip4/127.0.0.1/udp/0/quic-v1")
	mux := http.NewServeMux()
	mux.Handle("/file", h)
	serving := &libp2phttp.Host{StreamHost: server, ServeMux: mux}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := serving.Serve(); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	_ = serving.Addrs() // waits until it listens
	t.Cleanup(func() {
		_ = serving.Close()
		<-served
	})
	transport, err := (&libp2phttp.Host{StreamHost: client}).NewConstrainedRoundTripper(peer.AddrInfo{ID: server.ID()})
	if err != nil {
		t.Fatal(err)
	}
	return streamLink(server, client, transport)
}

func streamLink(server, client host.Host, transport http.RoundTripper) link {
	return link{
		"http://libp2p/file", &http.Client{Transport: transport},
		func() { _ = server.Network().ClosePeer(client.ID()) },
		func() { _ = client.Network().ClosePeer(server.ID()) },
	}
}

// newHosts returns two hosts that are connected until the test ends.
func newHosts(t testing.TB, listen string) (server, client host.Host) {
	t.Helper()
	var hosts [2]host.Host
	for i := range hosts {
		h, err := libp2p.New(libp2p.ListenAddrStrings(listen), libp2p.DisableRelay(), libp2p.DisableMetrics())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		hosts[i] = h
	}
	server, client = hosts[0], hosts[1]
	if err := client.Connect(t.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
		t.Fatal(err)
	}
	return server, client
}

// serveStreams serves the streams to a host over HTTP/1.1.
func serveStreams(t testing.TB, on host.Host, h http.Handler) {
	t.Helper()
	listener, err := gostream.Listen(on, streamProtocol)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
}

// bounded returns a context for what must not take long.
func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// eachCarrier runs a test for each carrier, and looks for what it leaves behind.
func eachCarrier(t *testing.T, test func(t *testing.T, c carrier)) {
	for _, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) }) // the last of all
			test(t, c)
		})
	}
}

// byHand serves content with the code of rawServer.
func (c *content) byHand(t testing.TB) http.Handler {
	t.Helper()
	raw := &rawServer{t: t, content: c}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = io.WriteString(w, raw.info())
			return
		}
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil && r.ProtoMajor == 1 {
			t.Error(err)
		}
		// Some clients wait for the head of the answer before they go on.
		if err := control.Flush(); err != nil {
			t.Error(err)
		}
		if err := raw.send(nil, bufio.NewReader(r.Body), flushing{w, control}); err != nil {
			t.Errorf("serve by hand: %v", err)
		}
	})
}

type flushing struct {
	io.Writer
	control *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	return n, errors.Join(err, f.control.Flush())
}

// fetchByHand fetches what present lacks, and sends each byte of the wishlist only when all chunks that were wished
// before are there. So it does not end unless requests and answers go both at the same time.
func fetchByHand(t testing.TB, l link, present map[cafs.Key]bool) (info rawInfo, wished []int, got [][]byte) {
	t.Helper()
	answer := doByHand(t, l, http.MethodGet, nil)
	if err := json.NewDecoder(answer.Body).Decode(&info); err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	bits, wished := info.wishes(present)
	octets := packed(bits)
	body, wishes := io.Pipe()
	turns := make(chan byte, 1)
	var wishing sync.WaitGroup
	wishing.Go(func() {
		for octet := range turns {
			if _, err := wishes.Write([]byte{octet}); err != nil {
				return
			}
		}
		_ = wishes.Close()
	})
	endWishes := sync.OnceFunc(func() { close(turns) })
	defer wishing.Wait()
	defer endWishes()
	defer func() { _ = body.Close() }()
	if len(octets) > 0 {
		turns <- octets[0] // without it some clients send nothing
	} else {
		endWishes()
	}
	answer = doByHand(t, l, http.MethodPost, body)
	defer func() { _ = answer.Body.Close() }()
	in := bufio.NewReader(answer.Body)
	for i := range octets {
		for _, bit := range bits[8*i : min(8*i+8, len(bits))] {
			if !bit {
				continue
			}
			data, err := (&rawConn{body: in}).chunk()
			if err != nil {
				t.Fatalf("the chunk of wish %d: %v", len(got), err)
			}
			got = append(got, data)
		}
		if i+1 < len(octets) {
			turns <- octets[i+1]
		} else {
			endWishes()
		}
	}
	if octet, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Fatalf("behind the last chunk: %x, %v", octet, err)
	}
	return info, wished, got
}

func doByHand(t testing.TB, l link, method string, body io.Reader) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(bounded(t), method, l.url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = method == http.MethodPost
	answer, err := l.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", method, answer.Status)
	}
	return answer
}

// TestCarriers has the two ends with each other, and each with an other end that shares no code with it.
func TestCarriers(t *testing.T) {
	r := random(t)
	eachCarrier(t, func(t *testing.T, carrier carrier) {
		for _, k := range []int{1, 1000} {
			c := randomContent(t, r, k)
			own := carrier.serve(t, c.handler(t))
			for name, l := range map[string]link{"own server": own, "other server": carrier.serve(t, c.byHand(t))} {
				store, _ := c.some(t, r)
				file, err := httpsync.SyncFrom(bounded(t), store, l.client, l.url, "test")
				if err != nil {
					t.Fatalf("permutation of length %d, %s: %v", k, name, err)
				}
				mustHold(t, file, c.whole)
			}
			_, present := c.some(t, r)
			info, wished, got := fetchByHand(t, own, present)
			if len(info.Chunks) != len(c.chunks) || len(got) != len(wished) {
				t.Fatalf("%d of %d chunks are listed, %d came for %d wishes", len(info.Chunks), len(c.chunks), len(got), len(wished))
			}
			for i, place := range wished {
				if !bytes.Equal(got[i], c.chunks[place]) {
					t.Fatalf("wish %d got %q, want %q", i, got[i], c.chunks[place])
				}
			}
		}
	})
}

// countingBody counts what is read of a request.
type countingBody struct {
	io.ReadCloser
	n atomic.Int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// firstWrite calls first before the first bytes are written.
type firstWrite struct {
	http.ResponseWriter
	first func()
	once  sync.Once
}

func (w *firstWrite) Write(p []byte) (int, error) {
	w.once.Do(w.first)
	return w.ResponseWriter.Write(p)
}

func (w *firstWrite) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestCarriersBothWays: with more chunks than the window takes, SyncFrom wishes for the last ones when the first ones
// have come, and not before: a carrier that goes one way after the other would never be done.
func TestCarriersBothWays(t *testing.T) {
	r := random(t)
	eachCarrier(t, func(t *testing.T, carrier carrier) {
		for _, k := range []int{1, 1000} {
			const chunks = 3000
			c := newContent(t, shuffle.Random(k, r), numbered(chunks)...)
			h := c.handler(t)
			var before atomic.Int64
			l := carrier.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					body := &countingBody{ReadCloser: r.Body}
					r.Body = body
					w = &firstWrite{ResponseWriter: w, first: func() { before.Store(body.n.Load()) }}
				}
				h.ServeHTTP(w, r)
			}))
			file, err := httpsync.SyncFrom(bounded(t), memory.New(), l.client, l.url, "test")
			if err != nil {
				t.Fatal(err)
			}
			mustHold(t, file, c.whole)
			// 1,024 wishes, and at most as many blanks as there are.
			if n := before.Load(); n < 1 || n > (1024+int64(k))/8+1 {
				t.Errorf("%d of the %d bytes of the wishlist had come before the first chunk went", n, (chunks+k+6)/8)
			}
		}
	})
}

// TestCarriersAtOnce: transfers that share a connection do not get in each other's way, nor does the end of one. In HTTP/2
// a request with Connection: close ends the connection under others that are about to begin: https://go.dev/issue/62450.
func TestCarriersAtOnce(t *testing.T) {
	r := random(t)
	eachCarrier(t, func(t *testing.T, carrier carrier) {
		c := newContent(t, shuffle.Random(100, r), numbered(2000)...)
		l := carrier.serve(t, c.handler(t))
		ctx := bounded(t)
		failed := make(chan error)
		const clients = 8
		for range clients {
			go func() {
				file, err := httpsync.SyncFrom(ctx, memory.New(), l.client, l.url, "test")
				if err == nil && file.Size() != int64(len(c.whole)) {
					err = fmt.Errorf("a file of %d bytes", file.Size())
				}
				failed <- err
			}()
		}
		for range clients {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
	})
}

// countingStore counts the chunks that are put.
type countingStore struct {
	*memory.Store
	puts    atomic.Int64
	await   int64
	reached chan struct{} // closed with the await-th
}

func (s *countingStore) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	err := s.Store.Put(ctx, chunks...)
	for range chunks {
		if s.puts.Add(1) == s.await {
			close(s.reached)
		}
	}
	return err
}

// TestGoneInTheMiddle: when one of the two is gone, both ends notice, whether all is wished already or not. What has come
// by then does not come again.
func TestGoneInTheMiddle(t *testing.T) {
	r := random(t)
	eachCarrier(t, func(t *testing.T, carrier carrier) {
		for _, way := range []struct {
			name  string
			leave func(l link, cancel func())
			want  error // nil: any
		}{
			{"the caller ends it", func(_ link, cancel func()) { cancel() }, context.Canceled},
			{"the server is gone", func(l link, _ func()) { l.dropServer() }, nil},
			{"the client is gone", func(l link, _ func()) { l.dropClient() }, nil},
		} {
			for _, chunks := range []int{60, 1500} { // less than the window, and more
				t.Run(fmt.Sprintf("%s, %d chunks", way.name, chunks), func(t *testing.T) {
					const middle = 30
					c := newContent(t, shuffle.Random(7, r), numbered(chunks)...)
					source, missing := c.without(t, middle)
					h, err := httpsync.NewFileHandlerFromSyncInfo(c.info, source)
					if err != nil {
						t.Fatal(err)
					}
					ended := make(chan struct{}, 1)
					l := carrier.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.Method == http.MethodPost {
							defer func() { ended <- struct{}{} }()
						}
						h.ServeHTTP(w, r)
					}))
					ctx, cancel := context.WithCancel(bounded(t))
					defer cancel()
					store := &countingStore{Store: memory.New(), await: middle, reached: make(chan struct{})}
					failed := make(chan error, 1)
					go func() {
						_, err := httpsync.SyncFrom(ctx, store, l.client, l.url, "test")
						failed <- err
					}()
					await(t, "the chunk in the middle", store.reached)
					way.leave(l, cancel)
					if err := await(t, "the end of SyncFrom", failed); err == nil || way.want != nil && !errors.Is(err, way.want) {
						t.Errorf("error %v, want %v", err, way.want)
					}
					if carrier.deaf && chunks == 60 {
						put(t, source, missing)
					}
					await(t, "the end of the handler", ended)

					put(t, source, missing)
					again := carrier.serve(t, h)
					file, err := httpsync.SyncFrom(bounded(t), store, again.client, again.url, "test")
					if err != nil {
						t.Fatal(err)
					}
					mustHold(t, file, c.whole)
					if n := store.puts.Load(); n != int64(chunks) {
						t.Errorf("%d chunks came, want %d", n, chunks)
					}
				})
			}
		}
	})
}

// without returns a source that lacks the chunk at a place in shuffled order, and that chunk: when those before it have
// come, everything rests.
func (c *content) without(t testing.TB, place int) (source *protocol.Arrivals, missing []byte) {
	t.Helper()
	shuffled, err := c.info.Shuffle()
	if err != nil {
		t.Fatal(err)
	}
	source = protocol.NewArrivals(memory.New())
	for i, data := range c.chunks {
		if c.info.Chunks[i] == shuffled.Chunks[place] {
			missing = data
		} else {
			put(t, source, data)
		}
	}
	return source, missing
}

// await waits for something that must not take long.
func await[T any](t testing.TB, what string, c <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not come", what)
	}
	return got
}

// TestHTTP2Silence: in HTTP/2, where a deadline that was for a write ends the whole stream when it comes, a transfer
// lives as long as chunks take to arrive, just as in HTTP/1.1.
func TestHTTP2Silence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContent(t, shuffle.Trivial(), numbered(3)...)
		arrivals := protocol.NewArrivals(memory.New())
		h, err := httpsync.NewFileHandlerFromSyncInfo(c.info, arrivals)
		if err != nil {
			t.Fatal(err)
		}
		_, client, stop := servePipeIn(t, h, unencrypted())
		defer stop()
		type result struct {
			file cafs.File
			err  error
		}
		done := make(chan result, 1)
		go func() {
			file, err := httpsync.SyncFrom(t.Context(), memory.New(), client, "http://pipe/", "test")
			done <- result{file, err}
		}()
		for _, data := range c.chunks {
			time.Sleep(20 * time.Minute) // longer than any client may be silent
			put(t, arrivals, data)
		}
		got := <-done
		if got.err != nil {
			t.Fatal(got.err)
		}
		mustHold(t, got.file, c.whole)
	})
}

// TestHTTP2Stalls is TestClientStalls for HTTP/2.
func TestHTTP2Stalls(t *testing.T) {
	large := make([][]byte, 64) // more than a client of net/http takes unread
	for i := range large {
		large[i] = binary.BigEndian.AppendUint64(make([]byte, cafs.ChunkSizeMax-8), uint64(i))
	}
	for _, c := range []struct {
		name   string
		wishes []byte
		after  time.Duration
	}{
		{"takes nothing", bytes.Repeat([]byte{0xff}, len(large)/8), 2 * time.Minute},
		{"wishes nothing", nil, 10 * time.Minute},
		{"wishes no more", []byte{0x80}, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newContent(t, shuffle.Trivial(), large...).handler(t)
				ended := make(chan time.Time, 1)
				_, client, stop := servePipeIn(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer func() { ended <- time.Now() }() // with the panic that breaks off the answer
					h.ServeHTTP(w, r)
				}), unencrypted())
				defer stop()
				body, wishes := io.Pipe()
				defer func() { _ = wishes.Close() }()
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://pipe/", body)
				if err != nil {
					t.Fatal(err)
				}
				begun := time.Now()
				answer, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = answer.Body.Close() }()
				if _, err := wishes.Write(c.wishes); err != nil {
					t.Fatal(err)
				}
				if took := (<-ended).Sub(begun); took < c.after || took > c.after+time.Second {
					t.Errorf("it ended after %v, want %v", took, c.after)
				}
				if _, err := io.Copy(io.Discard, answer.Body); err == nil {
					t.Error("the answer looks complete")
				}
			})
		})
	}
}
