// Command two-nodes shares a file between two nodes of one process: one adds it and makes a link, and the other, which
// has nothing but the text of that link, fetches it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Args[1:]...)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "two-nodes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args ...string) (err error) {
	if len(args) != 2 {
		return errors.New("usage: two-nodes SOURCE TARGET")
	}
	// A home is made to be kept: it has the node's identity, and what is known of its files. These two are for once.
	homes, err := os.MkdirTemp("", "two-nodes-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(homes)) }()

	holder, err := start(ctx, filepath.Join(homes, "holder"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, holder.Close()) }()
	link, err := share(ctx, holder, args[0])
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "link:", link)

	receiver, err := start(ctx, filepath.Join(homes, "receiver"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, receiver.Close()) }()
	result, err := receive(ctx, receiver, link, args[1])
	if err != nil {
		return err
	}
	// What is in a file more than once is fetched once.
	fmt.Fprintf(out, "wrote %s: %d bytes, %d of them fetched\n", result.Output, result.Bytes, result.Fetched)
	return nil
}

// start runs a node that others of this machine can reach, and that is found by links alone.
func start(ctx context.Context, home string) (*node.Node, error) {
	return node.New(ctx, node.Config{
		Home:        home,
		Listen:      []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")},
		DisableDHT:  true,
		DisableMDNS: true,
	})
}

// share adds the file at path, which stays where it is and is served from there, and returns the text of a link to it.
func share(ctx context.Context, n *node.Node, path string) (string, error) {
	added, err := n.Add(ctx, path, node.AddOptions{})
	if err != nil {
		return "", err
	}
	link, err := n.Link(ctx, added.Root)
	if err != nil {
		return "", err
	}
	return link.String(), nil
}

// receive fetches the content of a link into the file at path, which appears when it is complete and verified.
func receive(ctx context.Context, n *node.Node, text, path string) (node.Result, error) {
	link, err := node.ParseLink(text)
	if err != nil {
		return node.Result{}, err
	}
	return n.Fetch(ctx, link, node.FetchOptions{Output: path})
}
