package swarmsync_test

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

// What follows up to the end mark stands in README.md, word for word.
//
// README: begin

// share adds the file at path and returns a link to it, which works for as long as the node runs.
func share(ctx context.Context, n *node.Node, path string) (string, error) {
	added, err := n.Add(ctx, path, node.AddOptions{})
	if err != nil {
		return "", err
	}
	link, err := n.Link(ctx, added.Root)
	return link.String(), err
}

// receive fetches the content of a link, from everybody who has it, into the file at path.
func receive(ctx context.Context, n *node.Node, text, path string) error {
	link, err := node.ParseLink(text)
	if err != nil {
		return err
	}
	result, err := n.Fetch(ctx, link, node.FetchOptions{Output: path})
	fmt.Printf("%d bytes fetched, %d were here already\n", result.Fetched, result.Reused)
	return err
}

// README: end

func TestREADMEShowsTheCodeThatIsTested(t *testing.T) {
	source := readText(t, "readme_test.go")
	_, rest, begun := strings.Cut(source, "// README: begin\n")
	code, _, ended := strings.Cut(rest, "// README: end\n")
	if !begun || !ended {
		t.Fatal("the marks are gone")
	}
	block := "```go\n" + strings.TrimSpace(code) + "\n```\n"
	if !strings.Contains(readText(t, "README.md"), block) {
		t.Errorf("README.md does not have this block:\n%s", block)
	}
}

func TestREADMELibraryExample(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dir := t.TempDir()
	source, target := filepath.Join(dir, "source"), filepath.Join(dir, "target")
	content := bytes.Repeat([]byte("some content, of more than one chunk\n"), 10_000)
	if err := os.WriteFile(source, content, 0o600); err != nil {
		t.Fatal(err)
	}
	link, err := share(ctx, startNode(t), source)
	if err != nil {
		t.Fatal(err)
	}
	if err := receive(ctx, startNode(t), link, target); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(target)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, content) {
		t.Errorf("%d bytes arrived that differ from the %d shared", len(got), len(content))
	}
}

// startNode runs a node on loopback, which finds others by links alone, until the test ends.
func startNode(t *testing.T) *node.Node {
	t.Helper()
	n, err := node.New(t.Context(), node.Config{
		Home:        t.TempDir(),
		Listen:      []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")},
		DisableDHT:  true,
		DisableMDNS: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("close the node: %v", err)
		}
	})
	return n
}

var (
	markdownLink  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	markdownTitle = regexp.MustCompile(`(?m)^#+ (.+)$`)
	fencedBlock   = regexp.MustCompile("(?ms)^```.*?^```$")
	notInAnchor   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	documents, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(documents) == 0 {
		t.Fatal("there are no documents")
	}
	for _, document := range append(documents, "README.md", "CONTRIBUTING.md", "CHANGELOG.md") {
		text := fencedBlock.ReplaceAllString(readText(t, document), "")
		for _, match := range markdownLink.FindAllStringSubmatch(text, -1) {
			target, err := url.Parse(match[1])
			if err != nil {
				t.Errorf("%s: link %s: %v", document, match[1], err)
			} else if !target.IsAbs() {
				checkLink(t, document, target)
			}
		}
	}
}

// checkLink reports a link to a file or title that is not there.
func checkLink(t *testing.T, document string, target *url.URL) {
	t.Helper()
	path := document
	if target.Path != "" {
		path = filepath.Join(filepath.Dir(document), filepath.FromSlash(target.Path))
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("%s: link to %s: %v", document, target, err)
		return
	}
	if target.Fragment != "" && !hasTitle(readText(t, path), target.Fragment) {
		t.Errorf("%s: link to %s: no title of that name", document, target)
	}
}

// hasTitle reports whether a document has a title with the anchor that code hosts make of it.
func hasTitle(text, anchor string) bool {
	for _, match := range markdownTitle.FindAllStringSubmatch(fencedBlock.ReplaceAllString(text, ""), -1) {
		made := notInAnchor.ReplaceAllString(strings.ToLower(match[1]), "")
		if strings.ReplaceAll(made, " ", "-") == anchor {
			return true
		}
	}
	return false
}

// readText returns a file of this module with the ends of lines that it has in the repository.
func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}
