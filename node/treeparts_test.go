//go:build !windows

package node_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/iotest"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
)

func TestTreeIsFetchedByHTTP(t *testing.T) {
	t.Parallel()
	tree := dirTree{"empty": "d", "dir/executable": "xrun", "dir/link": "lexecutable", "large": "f" + string(noise(3<<20, 122))}
	for i := range 700 {
		tree[fmt.Sprintf("many/%03d", i)] = "f" + fmt.Sprint(i)
	}
	holder, _, link := treeHolder(t, tree)
	url := serveHTTP(t, holder) + "/" + link.Root.String()
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	mustFetch(t, receiver, node.Link{Root: link.Root}, node.FetchOptions{Output: output, HTTP: url})
	assertTree(t, output, tree)
}

func TestOpenLinkInATree(t *testing.T) {
	t.Parallel()
	content := noise(5000, 142)
	_, _, link := treeHolder(t, dirTree{"a": "fone", "dir/file": "f" + string(content), "z": "ftwo", "none": "f"})
	receiver := start(t, node.Config{DisableDHT: true})
	for _, opts := range []node.FetchOptions{{Path: "dir/file"}, {Path: "dir/file", From: 1000, To: 4000}, {Path: "none"}} {
		want := content
		if opts.To > 0 {
			want = content[opts.From:opts.To]
		} else if opts.Path == "none" {
			want = nil
		}
		reader, err := receiver.OpenLink(t.Context(), link, opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(reader, want); err != nil {
			t.Errorf("%+v: %v", opts, err)
		}
	}
	for path, want := range map[string]error{"": node.ErrUnsupported, "dir": node.ErrUnsupported, "other": cafs.ErrNotFound} {
		if _, err := receiver.OpenLink(t.Context(), link, node.FetchOptions{Path: path}); !errors.Is(err, want) {
			t.Errorf("%q: %v", path, err)
		}
	}
}
