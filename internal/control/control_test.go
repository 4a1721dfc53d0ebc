package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"go.uber.org/goleak"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/internal/control"
	"github.com/swarmsync/swarmsync/node"
)

func TestMain(m *testing.M) {
	// net/http lingers for half a second on a connection whose request was not read to its end.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

var (
	someRoot = cafs.KeyOf([]byte("some root"))
	somePeer = peer.ID("\x00\x04peer")
)

// fakeNode does what its fields say; a method whose field is nil must not be called.
type fakeNode struct {
	control.Node

	add       func(ctx context.Context, path string, opts node.AddOptions) (node.RootStatus, error)
	addReader func(ctx context.Context, r io.Reader, opts node.AddOptions) (node.RootStatus, error)
	fetch     func(ctx context.Context, link node.Link, opts node.FetchOptions) (node.Result, error)
	content   func(ctx context.Context, root cafs.Key) (io.ReadCloser, error)
	find      func(ctx context.Context, yield func(node.Holder) bool) (string, error)
	roots     iter.Seq2[node.RootStatus, error]
	remove    func(root cafs.Key) error
	join      func(peers []peer.AddrInfo) error
	status    func() (node.Status, error)
}

func (f *fakeNode) Add(ctx context.Context, path string, opts node.AddOptions) (node.RootStatus, error) {
	return f.add(ctx, path, opts)
}

func (f *fakeNode) AddReader(ctx context.Context, r io.Reader, opts node.AddOptions) (node.RootStatus, error) {
	return f.addReader(ctx, r, opts)
}

func (f *fakeNode) Fetch(ctx context.Context, link node.Link, opts node.FetchOptions) (node.Result, error) {
	return f.fetch(ctx, link, opts)
}

func (f *fakeNode) Content(ctx context.Context, part node.Part) (io.ReadCloser, error) {
	return f.content(ctx, part.Root)
}

func (f *fakeNode) Find(ctx context.Context, _ node.Link, _ time.Duration, yield func(node.Holder) bool) (string, error) {
	return f.find(ctx, yield)
}

func (f *fakeNode) Roots(context.Context) iter.Seq2[node.RootStatus, error] { return f.roots }

func (f *fakeNode) Remove(_ context.Context, root cafs.Key) error { return f.remove(root) }

func (f *fakeNode) Join(_ context.Context, peers ...peer.AddrInfo) error { return f.join(peers) }

func (f *fakeNode) Status(context.Context) (node.Status, error) { return f.status() }

// shortDir returns a directory whose path leaves room for a socket; t.TempDir has the test's name in it.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serve offers fake on a new home.
func serve(t *testing.T, fake *fakeNode) (*control.Server, string) {
	t.Helper()
	home := shortDir(t)
	server, err := control.Listen(home, fake, control.Running{ID: somePeer, PID: 4711, Command: "serve", Network: "lab"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Errorf("close the server: %v", err)
		}
	})
	return server, home
}

func dial(t *testing.T, home string) *control.Client {
	t.Helper()
	client, err := control.Dial(t.Context(), home)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func attach(t *testing.T, fake *fakeNode) *control.Client {
	t.Helper()
	_, home := serve(t, fake)
	return dial(t, home)
}

func TestDialTellsWhatRuns(t *testing.T) {
	client := attach(t, &fakeNode{})
	got := client.Running()
	if got.ID != somePeer || got.PID != 4711 || got.Command != "serve" || got.Network != "lab" || got.Offline {
		t.Errorf("running: %+v", got)
	}
}

func TestDialWithoutNode(t *testing.T) {
	for name, home := range map[string]string{
		"empty home":   shortDir(t),
		"missing home": filepath.Join(shortDir(t), "missing"),
		"long home":    longHome(t),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := control.Dial(t.Context(), home); !errors.Is(err, control.ErrNotRunning) {
				t.Errorf("got %v, want ErrNotRunning", err)
			}
		})
	}
}

func TestFetchPassesEverythingOn(t *testing.T) {
	address := multiaddr.StringCast("/ip4/192.0.2.1/tcp/4141")
	link := node.Link{Root: someRoot, Name: "film", Peers: []peer.AddrInfo{{ID: somePeer, Addrs: []multiaddr.Multiaddr{address}}}}
	result := node.Result{Root: someRoot, Bytes: 3, Fetched: 2, Reused: 1, Peers: []node.PeerShare{{Peer: somePeer, Source: "lan"}}}
	event := node.Event{Kind: node.EventProgress, Total: 3, Peers: 1}
	all := node.FetchOptions{
		Path: "dir/file", From: 1, To: 2, DryRun: true, List: true, Output: "/out", Force: true, Delete: true, KeepOld: true,
		HTTP: "http://192.0.2.1/root", WebSeeds: []string{"http://192.0.2.1/file"}, Wait: time.Minute,
	}
	for field, value := range reflect.ValueOf(all).Fields() {
		if field.Name != "Events" && value.IsZero() {
			t.Errorf("%s has no value here, so that nobody sees whether it is passed on", field.Name)
		}
	}
	client := attach(t, &fakeNode{fetch: func(_ context.Context, got node.Link, opts node.FetchOptions) (node.Result, error) {
		if !reflect.DeepEqual(got, link) {
			t.Errorf("link: got %+v, want %+v", got, link)
		}
		opts.Events(event)
		opts.Events = nil
		if !reflect.DeepEqual(opts, all) {
			t.Errorf("options: got %+v, want %+v", opts, all)
		}
		return result, nil
	}})
	var events []node.Event
	opts := all
	opts.Events = func(e node.Event) { events = append(events, e) }
	got, err := client.Fetch(t.Context(), link, opts)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, result) {
		t.Errorf("result: got %+v, want %+v", got, result)
	}
	if !reflect.DeepEqual(events, []node.Event{event}) {
		t.Errorf("events: %+v", events)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	for _, want := range []error{
		node.ErrNoHolder, node.ErrExists, node.ErrNoSpace, node.ErrUnsupported, node.ErrOffline, node.ErrClosed,
		cafs.ErrNotFound, cafs.ErrCorrupt, cafs.ErrBadRoot, fs.ErrPermission, fs.ErrNotExist,
	} {
		t.Run(want.Error(), func(t *testing.T) {
			failure := fmt.Errorf("fetch film: %w", want)
			client := attach(t, &fakeNode{fetch: func(context.Context, node.Link, node.FetchOptions) (node.Result, error) {
				return node.Result{Reused: 7}, failure
			}})
			result, err := client.Fetch(t.Context(), node.Link{Root: someRoot}, node.FetchOptions{})
			if !errors.Is(err, want) {
				t.Errorf("got %v, want it to wrap %v", err, want)
			}
			if err == nil || err.Error() != failure.Error() {
				t.Errorf("got the text %q, want %q", err, failure)
			}
			for _, other := range []error{node.ErrNoHolder, cafs.ErrBadRoot} {
				if want != other && errors.Is(err, other) {
					t.Errorf("%v wraps %v too", err, other)
				}
			}
			if result.Reused != 7 {
				t.Errorf("the result of a failed fetch got lost: %+v", result)
			}
		})
	}
}

func TestHangUpCancelsTheCall(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	client := attach(t, &fakeNode{fetch: func(ctx context.Context, _ node.Link, _ node.FetchOptions) (node.Result, error) {
		close(started)
		<-ctx.Done()
		ended <- ctx.Err()
		return node.Result{}, ctx.Err()
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	if _, err := client.Fetch(ctx, node.Link{Root: someRoot}, node.FetchOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("client: got %v, want context.Canceled", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("server: got %v, want context.Canceled", err)
	}
}

func TestAddReaderStreams(t *testing.T) {
	content := bytes.Repeat([]byte("swarm"), 200_000)
	client := attach(t, &fakeNode{addReader: func(_ context.Context, r io.Reader, opts node.AddOptions) (node.RootStatus, error) {
		if opts.Name != "a b&c" || !opts.Private {
			t.Errorf("options: %+v", opts)
		}
		first := make([]byte, 1)
		if _, err := io.ReadFull(r, first); err != nil {
			return node.RootStatus{}, err
		}
		opts.Events(node.Event{Kind: node.EventProgress, Reused: 1}) // while the body is still being read
		rest, err := io.ReadAll(r)
		if !bytes.Equal(append(first, rest...), content) {
			t.Errorf("got %d bytes that are not the content", len(rest)+1)
		}
		return node.RootStatus{Root: someRoot}, err
	}})
	events := 0
	opts := node.AddOptions{Name: "a b&c", Private: true, Events: func(node.Event) { events++ }}
	added, err := client.AddReader(t.Context(), bytes.NewReader(content), opts)
	if err != nil || added.Root != someRoot || events != 1 {
		t.Errorf("got %+v, %v, %d events", added, err, events)
	}
}

// A source that breaks off must never look like shorter content to the node.
func TestAddReaderOfBrokenSource(t *testing.T) {
	broken := errors.New("the disk is on fire")
	seen := make(chan error, 1)
	client := attach(t, &fakeNode{addReader: func(_ context.Context, r io.Reader, _ node.AddOptions) (node.RootStatus, error) {
		_, err := io.Copy(io.Discard, r)
		seen <- err
		return node.RootStatus{Root: someRoot}, err
	}})
	source := io.MultiReader(bytes.NewReader(make([]byte, 300_000)), iotest.ErrReader(broken))
	if _, err := client.AddReader(t.Context(), source, node.AddOptions{}); !errors.Is(err, broken) {
		t.Errorf("client: got %v, want the error of the source", err)
	}
	if err := <-seen; err == nil {
		t.Error("the node saw the end of the content where the source broke off")
	}
}

func TestContent(t *testing.T) {
	content := bytes.Repeat([]byte("swarm"), 100_000)
	for name, failure := range map[string]error{"whole": nil, "cut short": cafs.ErrCorrupt} {
		t.Run(name, func(t *testing.T) {
			client := attach(t, &fakeNode{content: func(_ context.Context, root cafs.Key) (io.ReadCloser, error) {
				if root != someRoot {
					t.Errorf("root %s", root)
				}
				r := io.Reader(bytes.NewReader(content))
				if failure != nil {
					r = io.MultiReader(r, iotest.ErrReader(failure))
				}
				return io.NopCloser(r), nil
			}})
			r, err := client.Content(t.Context(), node.Part{Root: someRoot})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if !bytes.Equal(got, content) {
				t.Errorf("got %d bytes, want the %d of the content", len(got), len(content))
			}
			if !errors.Is(err, failure) {
				t.Errorf("got the error %v, want %v", err, failure)
			}
		})
	}
}

func TestContentNotHere(t *testing.T) {
	client := attach(t, &fakeNode{content: func(context.Context, cafs.Key) (io.ReadCloser, error) {
		return nil, fmt.Errorf("open: %w", cafs.ErrNotFound)
	}})
	r, err := client.Content(t.Context(), node.Part{Root: someRoot})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadAll(r); !errors.Is(err, cafs.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func TestFindUntilEnough(t *testing.T) {
	client := attach(t, &fakeNode{find: func(ctx context.Context, yield func(node.Holder) bool) (string, error) {
		for yield(node.Holder{Peer: somePeer}) {
		}
		<-ctx.Done()
		return "everywhere", nil
	}})
	found := 0
	_, err := client.Find(t.Context(), node.Link{Root: someRoot}, time.Minute, func(holder node.Holder) bool {
		found++
		return found < 3
	})
	if err != nil || found != 3 {
		t.Errorf("got %d holders, %v; want 3", found, err)
	}
}

func TestRoots(t *testing.T) {
	const count = 3 * 64 // more than may wait in the server: none may be dropped
	late := errors.New("late")
	client := attach(t, &fakeNode{roots: func(yield func(node.RootStatus, error) bool) {
		for i := range count {
			if !yield(node.RootStatus{Bytes: int64(i)}, nil) {
				return
			}
		}
		yield(node.RootStatus{}, late)
	}})
	next := int64(0)
	for status, err := range client.Roots(t.Context()) {
		if err != nil {
			if err.Error() != late.Error() {
				t.Errorf("got the error %v, want %v", err, late)
			}
			break
		}
		if status.Bytes != next {
			t.Fatalf("got root %d, want %d", status.Bytes, next)
		}
		next++
	}
	if next != count {
		t.Errorf("got %d roots, want %d", next, count)
	}
	for range client.Roots(t.Context()) {
		break // and nothing more is yielded
	}
}

func TestStatus(t *testing.T) {
	want := node.Status{ID: somePeer, Network: "lab", Since: time.Unix(7, 0).UTC()}
	want.Discovery.TableSize = 3
	client := attach(t, &fakeNode{status: func() (node.Status, error) { return want, nil }})
	if got, err := client.Status(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestRequestTooLarge(t *testing.T) {
	client := attach(t, &fakeNode{join: func([]peer.AddrInfo) error {
		t.Error("the call came through")
		return nil
	}})
	many := make([]peer.AddrInfo, 10_000)
	for i := range many {
		many[i].ID = somePeer
	}
	if err := client.Join(t.Context(), many...); err == nil {
		t.Error("no error")
	}
}

func TestSecondServerIsRefused(t *testing.T) {
	_, home := serve(t, &fakeNode{})
	if _, err := control.Listen(home, &fakeNode{}, control.Running{}); !errors.Is(err, control.ErrRunning) {
		t.Errorf("got %v, want ErrRunning", err)
	}
	dial(t, home) // the live socket is still there
}

func TestStaleSocketIsReplaced(t *testing.T) {
	home := shortDir(t)
	path := filepath.Join(home, "control.sock")
	leaveSocket(t, path)
	if _, err := control.Dial(t.Context(), home); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("dial a stale socket: got %v, want ErrNotRunning", err)
	}
	server, err := control.Listen(home, &fakeNode{}, control.Running{ID: somePeer})
	if err != nil {
		t.Fatal(err)
	}
	dial(t, home)
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there after Close: %v", err)
	}
}

// leaveSocket leaves what a node that was killed leaves behind.
func leaveSocket(t *testing.T, path string) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSomethingElseIsKept(t *testing.T) {
	home := shortDir(t)
	path := filepath.Join(home, "control.sock")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if server, err := control.Listen(home, &fakeNode{}, control.Running{}); err == nil {
		t.Error("no error", server.Close())
	}
	if text, err := os.ReadFile(path); string(text) != "mine" {
		t.Errorf("the file is gone: %q, %v", text, err)
	}
}

func TestSocketIsForTheSameUser(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes; the home's access list holds")
	}
	_, home := serve(t, &fakeNode{})
	info, err := os.Stat(filepath.Join(home, "control.sock"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
}

// longHome returns a directory whose path no socket can have.
func longHome(t *testing.T) string {
	t.Helper()
	home := filepath.Join(shortDir(t), strings.Repeat("h", 120))
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	return home
}

func TestLongHome(t *testing.T) {
	home := longHome(t)
	t.Setenv("TMPDIR", shortDir(t))
	for round := range 2 { // the second one meets what the first left
		server, err := control.Listen(home, &fakeNode{}, control.Running{ID: somePeer, PID: round})
		if err != nil {
			t.Fatal(err)
		}
		client, err := control.Dial(t.Context(), home)
		if err != nil {
			t.Fatal(err)
		}
		if client.Running().PID != round {
			t.Errorf("running: %+v", client.Running())
		}
		_ = client.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		for _, dir := range []string{home, os.Getenv("TMPDIR")} {
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left in %s: %v, %v", dir, left, err)
			}
		}
	}
}

func TestDrainWaitsForOthers(t *testing.T) {
	server, home := serve(t, &fakeNode{})
	client := dial(t, home)
	if err := server.Drain(canceled(t), false); !errors.Is(err, context.Canceled) {
		t.Fatalf("drain with a client attached: %v", err)
	}
	second := dial(t, home) // a drain that was given up does not refuse
	drained := make(chan error)
	go func() { drained <- server.Drain(t.Context(), false) }()
	_, _ = client.Close(), second.Close()
	if err := <-drained; err != nil {
		t.Fatal(err)
	}
	if _, err := control.Dial(t.Context(), home); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("dial after the drain: got %v, want ErrNotRunning", err)
	}
}

func TestDrainOfCalls(t *testing.T) {
	started, finish := make(chan struct{}), make(chan struct{})
	server, home := serve(t, &fakeNode{remove: func(cafs.Key) error {
		close(started)
		<-finish
		return nil
	}})
	client := dial(t, home)
	removed := make(chan error)
	go func() { removed <- client.Remove(t.Context(), someRoot) }()
	<-started
	if err := server.Drain(canceled(t), true); !errors.Is(err, context.Canceled) {
		t.Fatalf("drain with a call under way: %v", err)
	}
	close(finish)
	if err := <-removed; err != nil {
		t.Fatal(err)
	}
	if err := server.Drain(t.Context(), true); err != nil {
		t.Errorf("drain with an idle client: %v", err)
	}
}

func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestCloseEndsCalls(t *testing.T) {
	started := make(chan struct{})
	server, home := serve(t, &fakeNode{fetch: func(ctx context.Context, _ node.Link, _ node.FetchOptions) (node.Result, error) {
		close(started)
		<-ctx.Done()
		return node.Result{}, ctx.Err()
	}})
	client := dial(t, home)
	failed := make(chan error)
	go func() {
		_, err := client.Fetch(t.Context(), node.Link{Root: someRoot}, node.FetchOptions{})
		failed <- err
	}()
	<-started
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, control.ErrGone) && !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("got %v, want ErrGone", err)
	}
	<-client.Gone()
}
