package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// counted is content that counts how often each chunk is sent, and stops sending after so many until it is resumed.
type counted struct {
	*held
	stopped chan struct{} // closed when it stops sending
	stop    sync.Once

	mu      sync.Mutex
	sent    map[cafs.Key]int
	total   int
	allowed int
}

func countSent(t testing.TB, content []byte, allowed int) *counted {
	c := &counted{held: hold(t, content), sent: make(map[cafs.Key]int), allowed: allowed, stopped: make(chan struct{})}
	c.chunk = func(ctx context.Context, at protocol.ChunkAt, data []byte) ([]byte, error) {
		if !c.send(at.Info.Key) {
			c.stop.Do(func() { close(c.stopped) })
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return data, nil
	}
	return c
}

// send counts a chunk, or returns false if it may not be sent.
func (c *counted) send(key cafs.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total == c.allowed {
		return false
	}
	c.total++
	c.sent[key]++
	return true
}

// resume lets everything be sent.
func (c *counted) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.allowed = -1
}

// twice returns how many chunks were sent more often than once.
func (c *counted) twice() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total - len(c.sent)
}

// TestCancelledFetchResumes stops a fetch in the middle and starts it again on the same home.
func TestCancelledFetchResumes(t *testing.T) {
	t.Parallel()
	content := noise(16<<20, 13)
	const allowedFirst = 150
	holding := countSent(t, content, allowedFirst)
	link := holding.link(holding.serve(t))
	home := t.TempDir()
	output := filepath.Join(t.TempDir(), "output")
	receiver, err := node.New(t.Context(), loopback(node.Config{Home: home, DisableDHT: true}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	fetching := fetch(ctx, receiver, link, node.FetchOptions{Output: output})
	fetching.until(t, holding.stopped)
	cancel()
	<-fetching.done
	if !errors.Is(fetching.err, context.Canceled) {
		t.Fatalf("cancelled fetch: %v", fetching.err)
	}
	first := fetching.result
	assertMissing(t, output)
	assertIncomplete(t, receiver, link.Root, first.Fetched)
	if err := receiver.Close(); err != nil {
		t.Fatal(err)
	}

	holding.resume()
	receiver = start(t, node.Config{Home: home, DisableDHT: true})
	second, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	assertSums(t, second)
	if second.Reused < first.Fetched || first.Fetched == 0 {
		t.Errorf("%d bytes were reused of %d fetched before", second.Reused, first.Fetched)
	}
	// What was sent and not verified when the fetch ended was on its way.
	if again := holding.twice(); again > (allowedFirst - int(first.Fetched/cafs.ChunkSizeMax)) {
		t.Errorf("%d chunks were sent twice, though %d bytes of the first %d chunks were verified",
			again, first.Fetched, allowedFirst)
	}
	if second.Fetched+second.Reused != int64(len(content)) || first.Fetched+second.Fetched > int64(len(content)) {
		t.Errorf("fetched %d and then %d bytes of %d: a verified chunk was fetched twice",
			first.Fetched, second.Fetched, len(content))
	}
}

// loopback completes a configuration as start does.
func loopback(cfg node.Config) node.Config {
	cfg.Listen = []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}
	cfg.DisableMDNS = true
	return cfg
}

// assertIncomplete fails unless a root is catalogued as incomplete, with so many bytes here.
func assertIncomplete(t *testing.T, n *node.Node, root cafs.Key, want int64) {
	t.Helper()
	for status, err := range n.Roots(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if status.Root == root && !status.Complete && status.Have >= want && status.Have < status.Bytes {
			return
		}
		t.Errorf("root %+v, want it incomplete with %d bytes", status, want)
	}
	t.Error("the root is not in the catalog")
}

// The variables that make a process of this test a child that fetches.
const (
	childVariable       = "SWARMSYNC_TEST_HOME"
	childLinkVariable   = "SWARMSYNC_TEST_LINK"
	childOutputVariable = "SWARMSYNC_TEST_OUTPUT"
)

// fetchAsChild is what the process does that TestKilledFetchResumes starts.
func fetchAsChild() {
	link, err := node.ParseLink(os.Getenv(childLinkVariable))
	if err == nil {
		var receiver *node.Node
		receiver, err = node.New(context.Background(), loopback(node.Config{Home: os.Getenv(childVariable), DisableDHT: true}))
		if err == nil {
			_, err = receiver.Fetch(context.Background(), link, node.FetchOptions{Output: os.Getenv(childOutputVariable)})
		}
	}
	fmt.Fprintln(os.Stderr, "the child ended before it was killed:", err)
	os.Exit(1)
}

// TestKilledFetchResumes kills a process in the middle of a fetch.
func TestKilledFetchResumes(t *testing.T) {
	t.Parallel()
	content := noise(16<<20, 14)
	holding := countSent(t, content, 150)
	link := holding.link(holding.serve(t))
	home := t.TempDir()
	output := filepath.Join(t.TempDir(), "output")

	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(),
		childVariable+"="+home, childLinkVariable+"="+link.String(), childOutputVariable+"="+output)
	child.Stderr = os.Stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	select {
	case <-holding.stopped:
	case err := <-ended:
		t.Fatalf("the child ended too early: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-ended
	assertMissing(t, output)

	holding.resume()
	receiver := start(t, node.Config{Home: home, DisableDHT: true})
	result, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	assertSums(t, result)
	// What had been sent and was not written yet fits into the buffers of the process and of its stream.
	if twice := holding.twice(); result.Reused == 0 || twice > 100 {
		t.Errorf("%d bytes are reused, and %d chunks of 150 were sent again", result.Reused, twice)
	}
}

// assertMissing fails if something has the name of an output that is not complete.
func assertMissing(t *testing.T, output string) {
	t.Helper()
	if _, err := os.Lstat(output); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("under the name of the output there is something: %v", err)
	}
}

// TestFetchEndsWithItsNode closes the node in the middle of a fetch.
func TestFetchEndsWithItsNode(t *testing.T) {
	t.Parallel()
	content := noise(8<<20, 15)
	holding := countSent(t, content, 50)
	link := holding.link(holding.serve(t))
	home := t.TempDir()
	receiver := start(t, node.Config{Home: home, DisableDHT: true})
	output := filepath.Join(t.TempDir(), "output")
	fetching := fetch(t.Context(), receiver, link, node.FetchOptions{Output: output})
	waiting := fetch(t.Context(), receiver, link, node.FetchOptions{Output: filepath.Join(t.TempDir(), "output")})
	fetching.until(t, holding.stopped)
	if err := receiver.Close(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []*background{fetching, waiting} {
		<-f.done
		if !errors.Is(f.err, node.ErrClosed) {
			t.Errorf("fetch when the node was closed: %v, want ErrClosed", f.err)
		}
	}
	if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{}); !errors.Is(err, node.ErrClosed) {
		t.Errorf("fetch after the node was closed: %v, want ErrClosed", err)
	}
	assertMissing(t, output)

	holding.resume()
	receiver = start(t, node.Config{Home: home, DisableDHT: true})
	if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{Output: output}); err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
}

// TestFetchOfWhatIsHereNeedsNobody writes the output of an offline node from its store, and mends nothing without peers.
func TestFetchOfWhatIsHereNeedsNobody(t *testing.T) {
	t.Parallel()
	content := noise(3<<20, 16)
	offline := start(t, node.Config{Home: t.TempDir(), Offline: true})
	link := add(t, offline, content)
	output := filepath.Join(t.TempDir(), "output")
	result, err := offline.Fetch(t.Context(), link, node.FetchOptions{Output: output})
	if err != nil {
		t.Fatal(err)
	}
	assertFile(t, output, content)
	if result.Reused != int64(len(content)) || result.Fetched != 0 || len(result.Peers) != 0 {
		t.Errorf("result %+v, want all of it reused", result)
	}
	_, err = offline.Fetch(t.Context(), node.Link{Root: cafs.KeyOf(nil)}, node.FetchOptions{})
	if !errors.Is(err, node.ErrOffline) {
		t.Errorf("fetch of another root: %v, want ErrOffline", err)
	}
	if err := offline.Join(t.Context(), peer.AddrInfo{}); !errors.Is(err, node.ErrOffline) {
		t.Errorf("join: %v, want ErrOffline", err)
	}
	_, err = offline.Find(t.Context(), link, time.Second, func(node.Holder) bool { return true })
	if !errors.Is(err, node.ErrOffline) {
		t.Errorf("find: %v, want ErrOffline", err)
	}
}
