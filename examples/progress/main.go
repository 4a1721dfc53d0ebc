// Command progress fetches the content of a link and prints what the fetch tells of itself on the way: whom it gets the
// content from, how far it is, and what each peer had a part in at the end.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/swarmsync/swarmsync/node"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, node.Config{}, os.Args[1:]...)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "progress:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, cfg node.Config, args ...string) (err error) {
	if len(args) != 2 {
		return errors.New("usage: progress LINK OUTPUT")
	}
	link, err := node.ParseLink(args[0])
	if err != nil {
		return err
	}
	n, err := node.New(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	result, err := n.Fetch(ctx, link, node.FetchOptions{
		Output: args[1],
		Events: func(event node.Event) { show(out, event) },
	})
	if err != nil {
		return err
	}
	for _, share := range result.Peers {
		fmt.Fprintf(out, "%d bytes from %s over %s (%s)\n", share.Bytes, share.Peer, share.Transport, share.Source)
	}
	fmt.Fprintf(out, "wrote %s: %d bytes in %v\n", result.Output, result.Bytes, result.Duration.Round(time.Millisecond))
	return nil
}

// show prints an event. Events come one at a time, so that it needs no lock; but the fetch waits for it, so that whoever
// has more to do than to print a line hands the event on. Peers have a say in messages, which a terminal must not obey.
func show(out io.Writer, event node.Event) {
	switch event.Kind {
	case node.EventPeer:
		fmt.Fprintf(out, "peer %s at %s\n", event.Peer, event.Address)
	case node.EventDropped:
		fmt.Fprintf(out, "dropped %s: %q\n", event.Peer, event.Message)
	case node.EventNote:
		fmt.Fprintf(out, "note: %q\n", event.Message)
	case node.EventProgress:
		if event.Total == 0 {
			return // nobody has told how large the content is yet
		}
		done := event.Reused + event.Fetched
		fmt.Fprintf(out, "%3d%%: %d of %d bytes, %d a second, from %d peers\n",
			done*100/event.Total, done, event.Total, event.Rate, event.Peers)
	}
}
