// Command mirror keeps copies of what a list of links names: it fetches each of them into its store, and serves them
// until it is interrupted. Run again, it fetches only what it does not have yet.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/swarmsync/swarmsync/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, node.Config{}, os.Args[1:]...)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mirror:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, cfg node.Config, args ...string) (err error) {
	if len(args) != 2 {
		return errors.New("usage: mirror HOME LIST; LIST is a file with a link or a root on each line, or - for standard input")
	}
	links, err := readLinks(args[1])
	if err != nil {
		return fmt.Errorf("read %s: %w", args[1], err)
	}
	cfg.Home = args[0]
	n, err := node.New(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()

	for _, link := range links {
		err := mirror(ctx, n, link, out)
		if ctx.Err() != nil {
			return nil // what has come is kept for the next run
		}
		if err != nil {
			// That nobody has it now does not keep the others from being mirrored.
			fmt.Fprintf(out, "%s: %v\n", link.Root.Short(), err)
		}
	}
	fmt.Fprintln(out, "serving; interrupt to stop")
	<-ctx.Done()
	return nil
}

// mirror fetches the content of a link, and prints a link to the copy. Content that is here already is only looked up.
func mirror(ctx context.Context, n *node.Node, link node.Link, out io.Writer) error {
	// Without an Output it goes into the store. From its first chunk on others can get it here.
	result, err := n.Fetch(ctx, link, node.FetchOptions{})
	if err != nil {
		return err
	}
	own, err := n.Link(ctx, link.Root)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %d of %d bytes fetched\n", own, result.Fetched, result.Bytes)
	return err
}

// readLinks reads a list of links; blank lines and those that begin with # count for nothing.
func readLinks(path string) ([]node.Link, error) {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return nil, err
		}
		defer func() { _ = file.Close() }() // it was only read
	}
	var links []node.Link
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		link, err := node.ParseLink(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		links = append(links, link)
	}
	return links, lines.Err()
}
