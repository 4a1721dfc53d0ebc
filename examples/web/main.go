// Command web is a web server with a node in it. A GET of /ROOT, or of /ROOT/PATH if the root is a tree, fetches what is
// needed of that root and answers with the file, or with the list of what is in the directory.
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
	"path"
	"strings"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
)

// patience is how long a client waits while no holder is found, and how long it may take to say what it wants.
const patience = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, node.Config{}, os.Args[1:]...)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, cfg node.Config, args ...string) (err error) {
	if len(args) < 2 {
		return errors.New("usage: web HOME LISTEN [PEER...]")
	}
	cfg.Home = args[0]
	if cfg.Join, err = node.ParsePeers(args[2:]...); err != nil {
		return err
	}
	n, err := node.New(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{root}", func(w http.ResponseWriter, r *http.Request) { answer(n, w, r) })
	mux.HandleFunc("GET /{root}/{path...}", func(w http.ResponseWriter, r *http.Request) { answer(n, w, r) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: patience}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", args[1])
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "serving http://%s/\n", listener.Addr())
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func answer(n *node.Node, w http.ResponseWriter, r *http.Request) {
	root, err := cafs.ParseKey(r.PathValue("root"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	part := node.Part{Root: root, Path: strings.TrimSuffix(r.PathValue("path"), "/")}
	file, err := open(r.Context(), n, part)
	switch {
	case errors.Is(err, cafs.ErrNotFound):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
	default:
		w.Header().Set("Content-Security-Policy", "sandbox") // pages of different roots are not parts of one site
		w.Header().Set("ETag", `"`+root.String()+`"`)        // what a root names never changes
		http.ServeContent(w, r, path.Base(part.Path), time.Time{}, file)
	}
}

// open returns a file, which is fetched as it is read, or the list of what is in a directory.
func open(ctx context.Context, n *node.Node, part node.Part) (io.ReadSeeker, error) {
	link := node.Link{Root: part.Root}
	var names strings.Builder
	list := node.FetchOptions{Path: part.Path, List: true, Wait: patience, Events: func(event node.Event) {
		if event.Kind == node.EventEntry {
			fmt.Fprintln(&names, event.Entry.Path)
		}
	}}
	if _, err := n.Fetch(ctx, link, list); err != nil || names.Len() > 0 {
		return strings.NewReader(names.String()), err
	}
	return n.OpenLink(ctx, link, node.FetchOptions{Path: part.Path, Wait: patience})
}
