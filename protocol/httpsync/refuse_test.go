package httpsync_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
)

// TestHandlerRefuses sends requests that say nothing more: the answer must not wait for a body that never comes.
func TestHandlerRefuses(t *testing.T) {
	c := newContent(t, nil, []byte("some chunk"))
	h, err := httpsync.NewFileHandlerFromSyncInfo(c.info, c.store)
	if err != nil {
		t.Fatal(err)
	}
	address := serve(t, h).Listener.Addr().String()
	for _, test := range []struct {
		head string
		want int
	}{
		{"POST / HTTP/1.1\r\nContent-Length: 9", http.StatusBadRequest},
		{"POST / HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: 9", http.StatusBadRequest},
		{"PUT / HTTP/1.1\r\nConnection: close\r\nContent-Length: 9", http.StatusMethodNotAllowed},
		{"DELETE / HTTP/1.1", http.StatusMethodNotAllowed},
		{"HEAD / HTTP/1.1", http.StatusMethodNotAllowed},
		{"ODD / HTTP/1.1", http.StatusMethodNotAllowed},
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "%s\r\nHost: test\r\n\r\n", test.head)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%q: %v", test.head, err)
		} else if answer.StatusCode != test.want {
			t.Errorf("%q: status %d, want %d", test.head, answer.StatusCode, test.want)
		}
		conn.Close()
	}
}

// TestSyncFromRefuses has servers that break the format, each in one way.
func TestSyncFromRefuses(t *testing.T) {
	c := newContent(t, nil, []byte("some chunk"))
	good, err := json.Marshal(c.info)
	if err != nil {
		t.Fatal(err)
	}
	noPermutation := bytes.Replace(good, []byte(`"Perm":[0]`), []byte(`"Perm":[1]`), 1)
	if bytes.Equal(noPermutation, good) {
		t.Fatalf("no permutation to break in %s", good)
	}
	for _, test := range []struct {
		name string
		info []byte
		data string
		want error // nil: any
	}{
		{"a permutation that is none", noPermutation, "", nil},
		{"no JSON", []byte("<html>"), "", nil},
		{"deep JSON", []byte(strings.Repeat("[", 1<<20)), "", nil},
		{"cut JSON", good[:len(good)/2], "", io.ErrUnexpectedEOF},
		{"no data", good, "", io.ErrUnexpectedEOF},
		{"early end", good, "\x14some", io.ErrUnexpectedEOF},
		{"other bytes", good, "\x14SOME chunk", protocol.ErrUnexpectedChunk},
		{"wrong length", good, "\x16some chunks", protocol.ErrUnexpectedChunk},
		{"a chunk nobody asked for", good, "\x14some chunk\x14some chunk", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					w.Write(test.info)
					return
				}
				io.Copy(io.Discard, r.Body)
				io.WriteString(w, test.data)
			}))
			defer server.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err := httpsync.SyncFrom(ctx, memory.New(), newClient(t), server.URL, "test")
			if err == nil || ctx.Err() != nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}
