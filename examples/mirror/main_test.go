package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

func TestTheCopiesOutliveTheirSource(t *testing.T) {
	t.Parallel()
	source := startNode(t)
	contents := []string{"the first content", "the second content"}
	list := "# what to mirror\n\n"
	for _, content := range contents {
		list += add(t, source, content) + "\n"
	}
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	lines, stop := startMirror(t, home, path)
	var copies []string
	for range contents {
		line := nextLine(t, lines)
		link, rest, _ := strings.Cut(line, ": ")
		if !strings.HasSuffix(rest, " bytes fetched") || strings.HasPrefix(rest, "0 of") {
			t.Errorf("printed %q", line)
		}
		copies = append(copies, link)
	}
	if line := nextLine(t, lines); line != "serving; interrupt to stop" {
		t.Errorf("printed %q", line)
	}
	if err := source.Close(); err != nil {
		t.Fatal(err)
	}

	receiver := startNode(t)
	for i, link := range copies {
		if got := fetch(t, receiver, link); got != contents[i] {
			t.Errorf("%q came from the mirror, want %q", got, contents[i])
		}
	}
	stop()

	// What is here needs nobody else.
	lines, _ = startMirror(t, home, path)
	for range contents {
		if line := nextLine(t, lines); !strings.Contains(line, ": 0 of ") {
			t.Errorf("the second time it printed %q", line)
		}
	}
	nextLine(t, lines)
}

func TestBadListIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte("\nno link\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := run(t.Context(), io.Discard, loopback(), t.TempDir(), path)
	if err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("%v, want one about line 2", err)
	}
}

// startMirror runs a mirror until stop is called, or the test ends.
func startMirror(t *testing.T, home, list string) (lines *bufio.Reader, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	in, out := io.Pipe()
	ended := make(chan struct{})
	var failure error
	go func() {
		defer close(ended)
		failure = run(ctx, out, loopback(), home, list)
		_ = out.CloseWithError(failure) // or else the test would wait for a line that never comes
	}()
	stop = func() {
		cancel()
		_ = in.Close() // nobody reads what it may have to say yet
		<-ended
		if failure != nil {
			t.Error(failure)
		}
	}
	t.Cleanup(stop)
	return bufio.NewReader(in), stop
}

func nextLine(t *testing.T, lines *bufio.Reader) string {
	t.Helper()
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func add(t *testing.T, n *node.Node, content string) (link string) {
	t.Helper()
	added, err := n.AddReader(t.Context(), strings.NewReader(content), node.AddOptions{})
	if err != nil {
		t.Fatal(err)
	}
	made, err := n.Link(t.Context(), added.Root)
	if err != nil {
		t.Fatal(err)
	}
	return made.String()
}

func fetch(t *testing.T, n *node.Node, text string) (content string) {
	t.Helper()
	link, err := node.ParseLink(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Fetch(t.Context(), link, node.FetchOptions{}); err != nil {
		t.Fatal(err)
	}
	file, err := n.Open(t.Context(), link.Root)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(file.Open(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func startNode(t *testing.T) *node.Node {
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
