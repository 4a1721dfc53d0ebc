package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// roleCommand is the hidden first argument that makes this program one of the processes that a run starts.
const roleCommand = "as"

// role is such a process. It works until its context is done, which a signal does, or its work is.
type role struct {
	name string
	args int
	run  func(ctx context.Context, args []string) error
}

func roles() []role {
	return []role{
		{"files", 2, serveFiles},
		{"tracker", 1, serveTracker},
		{"bare-send", 2, bareSend},
		{"bare-receive", 3, bareReceive},
		{"cut", 1, cutAndHash},
		{"profile-serve", 2, profileServe},
		{"profile-get", 4, profileGet},
		{"profile-add", 3, profileAdd},
	}
}

// runRole returns the exit code.
func runRole(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for _, r := range roles() {
		if len(args) != 1+r.args || args[0] != r.name {
			continue
		}
		if err := r.run(ctx, args[1:]); err != nil && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", r.name, err)
			return 1
		}
		return 0
	}
	fmt.Fprintln(os.Stderr, "unknown role or wrong number of arguments")
	return 2
}

// serveFiles serves the directory args[0] on the address args[1], any port, and prints the URL.
func serveFiles(ctx context.Context, args []string) error {
	return serveHTTP(ctx, args[1], "", http.FileServer(http.Dir(args[0])))
}

// serveHTTP serves on an address, any port, until ctx is done, and prints the URL with the path behind it.
func serveHTTP(ctx context.Context, address, path string, handler http.Handler) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	fmt.Printf("http://%s%s\n", listener.Addr(), path)
	return server.Serve(listener)
}

// freePort returns a port that nobody listens on now, for tools that can't choose one by themselves.
func freePort() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return "", err
	}
	return port, listener.Close()
}

// cutAndHash is the reference of add: it reads args[0] as swarmsync does and drops what comes of it.
func cutAndHash(ctx context.Context, args []string) error {
	file, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	_, err = cafs.AddFile(ctx, dropped{}, file, cafs.AddOptions{})
	return err
}

// dropped is a store that keeps nothing.
type dropped struct{}

func (dropped) Put(context.Context, ...cafs.Chunk) error { return nil }

func (dropped) Sync(context.Context) error { return nil }

// awaitGo returns when the harness says go.
func awaitGo(in io.Reader) error {
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || line != "go\n" {
		return fmt.Errorf("told %q instead of go: %w", line, err)
	}
	return nil
}
