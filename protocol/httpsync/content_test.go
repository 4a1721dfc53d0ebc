package httpsync_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
	"github.com/swarmsync/swarmsync/shuffle"
)

// TestMain fails if anything that was started is left when all tests are over.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0: the time")

// random returns a source whose seed is printed if the test fails.
func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("replay with -seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// content is some content, and the store of a server that has it.
type content struct {
	info   protocol.SyncInfo
	chunks [][]byte
	whole  []byte
	store  *protocol.Arrivals
}

func newContent(t testing.TB, perm shuffle.Permutation, chunks ...[]byte) *content {
	t.Helper()
	c := &content{chunks: chunks, store: protocol.NewArrivals(memory.New())}
	c.info.Perm = perm
	for _, data := range chunks {
		c.info.Chunks = append(c.info.Chunks, protocol.ChunkInfo{Key: cafs.KeyOf(data), Size: len(data)})
		c.whole = append(c.whole, data...)
		put(t, c.store, data)
	}
	return c
}

// numbered returns n different chunks of some bytes each.
func numbered(n int) [][]byte {
	chunks := make([][]byte, n)
	for i := range chunks {
		chunks[i] = fmt.Appendf(nil, "chunk number %d", i)
	}
	return chunks
}

// randomContent returns content with a permutation of length k, some of whose chunks are equal, some empty, some large.
func randomContent(t testing.TB, r *rand.Rand, k int) *content {
	t.Helper()
	chunks := make([][]byte, r.IntN(1+r.IntN(400)))
	variety := 1 + r.IntN(600)
	for i := range chunks {
		if which := r.IntN(variety); which > 0 {
			chunks[i] = bytes.Repeat(fmt.Appendf(nil, "chunk %d ", which), 1+which*which%300)
		}
	}
	return newContent(t, shuffle.Random(k, r), chunks...)
}

// put stores a chunk, unless it is the empty one, which no store takes.
func put(t testing.TB, store cafs.Putter, data []byte) {
	t.Helper()
	if len(data) == 0 {
		return
	}
	chunk, err := cafs.NewChunk(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(context.WithoutCancel(t.Context()), chunk); err != nil {
		t.Fatal(err)
	}
}

// some returns a store with some of the chunks, and which.
func (c *content) some(t testing.TB, r *rand.Rand) (*memory.Store, map[cafs.Key]bool) {
	t.Helper()
	store, present := memory.New(), make(map[cafs.Key]bool)
	share := r.Float64() * r.Float64()
	for i, data := range c.chunks {
		if r.Float64() < share {
			put(t, store, data)
			present[c.info.Chunks[i].Key] = true
		}
	}
	return store, present
}

// handler returns one that serves c.
func (c *content) handler(t testing.TB) *httpsync.FileHandler {
	t.Helper()
	h, err := httpsync.NewFileHandlerFromSyncInfo(c.info, c.store)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// serve serves a handler over HTTP/1.1 until the test ends, or fails if a request is not over by then.
func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

// newClient returns a client of its own, whose connections end with the test.
func newClient(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func mustHold(t testing.TB, file cafs.File, whole []byte) {
	t.Helper()
	r := file.Open(t.Context())
	defer func() { _ = r.Close() }()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, whole) {
		t.Fatalf("received %d bytes that are not the %d bytes of the content", len(got), len(whole))
	}
}
