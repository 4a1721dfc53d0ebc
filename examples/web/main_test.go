package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

func TestWhatTheSwarmHasIsServed(t *testing.T) {
	t.Parallel()
	big := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{}).Read(big) // never fails
	dir := t.TempDir()
	write(t, filepath.Join(dir, "big"), big)
	write(t, filepath.Join(dir, "docs", "page.html"), []byte("<p>hello, web"))
	holder := startHolder(t)
	tree, err := holder.Add(t.Context(), dir, node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	file, err := holder.AddReader(t.Context(), strings.NewReader("hello, file"), node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	site := startWeb(t, holder.Addresses()[0].String())
	ofTree, ofFile := site+tree.Root.String(), site+file.Root.String()
	for _, test := range []struct {
		name, url, bytes string
		status           int
		want             string
	}{
		{"file", ofFile, "", http.StatusOK, "hello, file"},
		{"file in a tree", ofTree + "/docs/page.html", "", http.StatusOK, "<p>hello, web"},
		{"bytes of a file", ofTree + "/big", "bytes=200000-200099", http.StatusPartialContent, string(big[200_000:200_100])},
		{"top of a tree", ofTree, "", http.StatusOK, "big\ndocs\ndocs/page.html\n"},
		{"directory", ofTree + "/docs/", "", http.StatusOK, "page.html\n"},
		{"missing", ofTree + "/docs/none", "", http.StatusNotFound, "entry \"docs/none\": not found\n"},
		{"path in a file", ofFile + "/docs", "", http.StatusNotFound, ""},
		{"no root", site + "favicon.ico", "", http.StatusBadRequest, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, got := get(t, test.url, test.bytes)
			if status != test.status || test.want != "" && !bytes.Equal(got, []byte(test.want)) {
				t.Errorf("status %d, want %d; %d bytes %.60q, want %d", status, test.status, len(got), got, len(test.want))
			}
		})
	}
}

func get(t *testing.T, url, bytes string) (status int, body []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bytes != "" {
		request.Header.Set("Range", bytes)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }() // it is read to its end
	if body, err = io.ReadAll(answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, body
}

// startWeb runs the web server until the test ends, and returns its URL.
func startWeb(t *testing.T, peer string) string {
	t.Helper()
	home := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	lines, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, out, loopback(), home, "127.0.0.1:0", peer)
		_ = out.CloseWithError(err) // or else the test would wait for a line that never comes
		ended <- err
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(lines).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, "serving "))
}

func startHolder(t *testing.T) *node.Node {
	t.Helper()
	n, err := node.New(t.Context(), loopback())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func loopback() node.Config {
	return node.Config{
		Listen:      []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")},
		DisableDHT:  true,
		DisableMDNS: true,
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
