package httpsync_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
	"github.com/swarmsync/swarmsync/shuffle"
)

// slowConn passes on a few bytes at a time, each after a pause.
type slowConn struct {
	net.Conn
	r *rand.Rand
}

func (c slowConn) Read(p []byte) (int, error) {
	time.Sleep(time.Duration(c.r.IntN(3)) * time.Second)
	return c.Conn.Read(p[:min(len(p), 1+c.r.IntN(4000))])
}

// TestSlowClient: a client that reads and wishes slowly, over a connection that holds nothing, is served to the end. It
// takes most of an hour of virtual time.
func TestSlowClient(t *testing.T) {
	r := random(t)
	synctest.Test(t, func(t *testing.T) {
		chunks := numbered(64)
		for i := range chunks {
			chunks[i] = bytes.Repeat(chunks[i], 1+100_000/len(chunks[i]))
		}
		c := newContent(t, shuffle.Random(20, r), chunks...)
		listener, _, stop := servePipe(t, c.handler(t))
		defer stop()
		transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			conn, err := listener.Dial()
			return slowConn{conn, r}, err
		}}
		defer transport.CloseIdleConnections()
		begun := time.Now()
		file, err := httpsync.SyncFrom(t.Context(), memory.New(), &http.Client{Transport: transport}, "http://pipe/", "test")
		if err != nil {
			t.Fatalf("after %v: %v", time.Since(begun), err)
		}
		mustHold(t, file, c.whole)
		if took := time.Since(begun); took < 30*time.Minute {
			t.Errorf("it took %v, which is not slow", took)
		}
	})
}

// TestClientStalls: a client that takes nothing, or wishes nothing, loses its transfer after the time for that.
func TestClientStalls(t *testing.T) {
	for _, c := range []struct {
		name  string
		wish  []byte
		after time.Duration
	}{
		{"takes nothing", []byte{0x80}, 2 * time.Minute},
		{"wishes nothing", nil, 10 * time.Minute},
		{"wishes no more", []byte{0x00}, 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				content := newContent(t, shuffle.Trivial(), numbered(9)...)
				ended := make(chan time.Time, 1)
				h := content.handler(t)
				listener, _, stop := servePipe(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					defer func() { ended <- time.Now() }() // with the panic that breaks off the answer
					h.ServeHTTP(w, r)
				}))
				defer stop()
				conn, err := listener.Dial()
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
				begun := time.Now()
				raw := &pipeConn{t: t, Conn: conn}
				raw.say(postHead)
				raw.head()
				for _, octet := range c.wish {
					raw.wish(octet)
				}
				if took := (<-ended).Sub(begun); took < c.after || took > c.after+time.Second {
					t.Errorf("it ended after %v, want %v", took, c.after)
				}
			})
		})
	}
}

// pipeConn is a raw client over a connection that holds nothing.
type pipeConn struct {
	t testing.TB
	net.Conn
}

func (c *pipeConn) say(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatal(err)
	}
}

func (c *pipeConn) wish(octet byte) { c.say("1\r\n" + string([]byte{octet}) + "\r\n") }

// head reads up to the empty line behind the head of the answer, byte by byte, so that nothing else is taken.
func (c *pipeConn) head() {
	c.t.Helper()
	var head []byte
	for octet := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, octet...) {
		if _, err := io.ReadFull(c, octet); err != nil {
			c.t.Fatal(err)
		}
	}
}

// TestServeWhatArrives: a client that wishes for what is not there yet gets each chunk when it comes, though the chunks
// come in another order and the server is itself a client that is still receiving.
func TestServeWhatArrives(t *testing.T) {
	r := random(t)
	for range 5 {
		c := randomContent(t, r, 1+r.IntN(100))
		source := serve(t, c.handler(t))

		middle := protocol.NewArrivals(memory.New())
		onward := c.info
		onward.Perm = shuffle.Random(1+r.IntN(100), r)
		h, err := httpsync.NewFileHandlerFromSyncInfo(onward, middle)
		if err != nil {
			t.Fatal(err)
		}
		node := serve(t, h)
		served := make(chan error)
		go func() {
			file, err := httpsync.SyncFrom(t.Context(), memory.New(), newClient(t), node.URL, "second")
			if err == nil {
				mustHold(t, file, c.whole)
			}
			served <- err
		}()
		file, err := httpsync.SyncFrom(t.Context(), middle, newClient(t), source.URL, "first")
		middle.End(errors.New("the reception is over"))
		if err != nil {
			t.Fatal(err)
		}
		mustHold(t, file, c.whole)
		if err := <-served; err != nil {
			t.Fatal(err)
		}
	}
}

// TestArrivalWakes: the wait for a chunk takes as long as the chunk, and not a moment longer: in virtual time, where a
// look every so often would show.
func TestArrivalWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContent(t, shuffle.Trivial(), numbered(3)...)
		arrivals := protocol.NewArrivals(memory.New())
		h, err := httpsync.NewFileHandlerFromSyncInfo(c.info, arrivals)
		if err != nil {
			t.Fatal(err)
		}
		_, client, stop := servePipe(t, h)
		defer stop()
		begun := time.Now()
		type result struct {
			file cafs.File
			err  error
		}
		done := make(chan result)
		go func() {
			file, err := httpsync.SyncFrom(t.Context(), memory.New(), client, "http://pipe/", "test")
			done <- result{file, err}
		}()
		for i := len(c.chunks) - 1; i >= 0; i-- {
			time.Sleep(20 * time.Minute) // longer than any client may be silent
			put(t, arrivals, c.chunks[i])
		}
		got := <-done
		if got.err != nil {
			t.Fatal(got.err)
		}
		mustHold(t, got.file, c.whole)
		if took := time.Since(begun); took != time.Hour {
			t.Errorf("it took %v, want 1h0m0s", took)
		}
	})
}
