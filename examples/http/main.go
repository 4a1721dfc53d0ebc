// Command http sends files from one store to another over HTTP, with no node and no libp2p in between. Given versions of
// a file, it shows that of a later one only what is new is sent.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Args[1:]...)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "http:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args ...string) (err error) {
	if len(args) == 0 {
		return errors.New("usage: http FILE [VERSION...]")
	}
	source, target := memory.New(), memory.New()
	defer func() { err = errors.Join(err, source.Close(), target.Close()) }()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // if it fails, so does what is received
	defer func() {
		err = errors.Join(err, server.Shutdown(context.WithoutCancel(ctx)))
		serving.Wait()
	}()
	for i, name := range args {
		handler, root, err := publish(ctx, source, name)
		if err != nil {
			return err
		}
		path := fmt.Sprintf("/%d", i) // not the root, which the server need not tell
		mux.Handle(path, handler)
		if err := receive(ctx, target, "http://"+listener.Addr().String()+path, root); err != nil {
			return err
		}
		space, err := target.Space(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: received root %s, so that the store takes %d bytes\n", name, root.Short(), space.Used)
	}
	return nil
}

// publish puts a file into the store, and returns what serves it, and its root.
func publish(ctx context.Context, store cafs.Store, name string) (*httpsync.FileHandler, cafs.Key, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, cafs.Key{}, err
	}
	defer func() { _ = file.Close() }() // it was only read
	record, err := cafs.AddFile(ctx, store, file, cafs.AddOptions{})
	if err != nil {
		return nil, cafs.Key{}, err
	}
	content, err := cafs.OpenFile(store, record)
	if err != nil {
		return nil, cafs.Key{}, err
	}
	handler, err := httpsync.NewFileHandlerFromFile(ctx, content, nil)
	return handler, record.Root(), err
}

// receive fetches what is served at url. What comes is what the server lists; that this is the content of the root, which
// the receiver knows from elsewhere, shows when it is added.
func receive(ctx context.Context, store cafs.Store, url string, root cafs.Key) error {
	content, err := httpsync.SyncFrom(ctx, store, nil, url, url)
	if err != nil {
		return err
	}
	record, err := cafs.AddFile(ctx, store, content.Open(ctx), cafs.AddOptions{})
	if err == nil && record.Root() != root {
		err = fmt.Errorf("%s has the root %s, want %s", url, record.Root(), root)
	}
	return err
}
