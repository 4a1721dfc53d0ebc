package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
)

// Client is the running node of a home, seen from another process. It implements Node.
type Client struct {
	http    *http.Client
	running Running
	hangUp  context.CancelFunc
	gone    chan struct{} // closed when the attachment has ended
}

var _ Node = (*Client)(nil)

// Dial attaches to the node that runs on home; Close ends that. ctx bounds Dial alone. The error wraps ErrNotRunning if
// no node runs there, or one that is about to end.
func Dial(ctx context.Context, home string) (*Client, error) {
	home, err := resolve(home)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, _, err := dial(ctx, home)
			return conn, err
		},
		DisableCompression: true,
		DisableKeepAlives:  true, // a call is a connection, so ending one can't disturb another
	}
	c := &Client{http: &http.Client{Transport: transport}, gone: make(chan struct{})}
	if err := c.attach(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// attach opens the connection that lasts as long as the client, and learns what runs there.
func (c *Client) attach(ctx context.Context) error {
	lasting, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, hangUp)
	defer stop()
	response, err := c.post(lasting, methodAttach, nil, nil)
	if err != nil {
		hangUp()
		return err
	}
	attached := make(chan struct{})
	go func() {
		defer close(c.gone)
		defer response.Body.Close()
		first := json.NewDecoder(io.LimitReader(response.Body, lineSizeMax))
		var l line
		if first.Decode(&l) != nil || json.Unmarshal(l.Item, &c.running) != nil {
			return // the node ended, or is one that this version does not understand
		}
		close(attached)
		_, _ = io.Copy(io.Discard, response.Body) // until one side hangs up
	}()
	c.hangUp = hangUp
	select {
	case <-attached:
		return nil
	case <-c.gone:
		hangUp()
		return errors.Join(ctx.Err(), ErrNotRunning)
	}
}

// Running describes the node.
func (c *Client) Running() Running { return c.running }

// Gone is closed when the node has ended, or Close was called.
func (c *Client) Gone() <-chan struct{} { return c.gone }

// Close detaches from the node, which goes on.
func (c *Client) Close() error {
	c.hangUp()
	<-c.gone
	return nil
}

// Add implements Node.
func (c *Client) Add(ctx context.Context, path string, opts node.AddOptions) (node.RootStatus, error) {
	request := addRequest{path, opts.Name, opts.Private, opts.Copy, opts.Rehash, opts.Times, opts.Perms, opts.Exclude}
	return call[node.RootStatus](ctx, c, methodAdd, request, eventsTo(opts.Events))
}

// AddReader implements Node. When it returns, r may still be read once more.
func (c *Client) AddReader(ctx context.Context, r io.Reader, opts node.AddOptions) (node.RootStatus, error) {
	query := url.Values{"name": {opts.Name}, "private": {fmt.Sprint(opts.Private)}}
	source := &errorKeeper{Reader: r} // which is no io.Closer, so r stays open
	response, err := c.post(ctx, methodAddReader, query, source)
	if err != nil {
		return node.RootStatus{}, source.or(err)
	}
	defer response.Body.Close()
	added, err := readAnswer[node.RootStatus](response.Body, eventsTo(opts.Events))
	return added, source.or(callError(ctx, err))
}

// Fetch implements Node.
func (c *Client) Fetch(ctx context.Context, link node.Link, opts node.FetchOptions) (node.Result, error) {
	request := fetchRequest{
		Link: link, Output: opts.Output, Force: opts.Force, Delete: opts.Delete, KeepOld: opts.KeepOld, Wait: opts.Wait,
		Path: opts.Path, From: opts.From, To: opts.To, DryRun: opts.DryRun, List: opts.List,
		HTTP: opts.HTTP, WebSeeds: opts.WebSeeds,
	}
	return call[node.Result](ctx, c, methodFetch, request, eventsTo(opts.Events))
}

// Content implements Node.
func (c *Client) Content(ctx context.Context, part node.Part) (io.ReadCloser, error) {
	response, err := c.post(ctx, methodContent, nil, bytes.NewReader(mustMarshal(part)))
	if err != nil {
		return nil, err
	}
	return &contentReader{response}, nil
}

// Find implements Node.
func (c *Client) Find(
	ctx context.Context, link node.Link, wait time.Duration, yield func(node.Holder) bool,
) (string, error) {
	looked, err := call[string](ctx, c, methodFind, lookRequest{link, wait}, itemsTo(yield))
	if errors.Is(err, errEnough) {
		return looked, nil
	}
	return looked, err
}

// Info implements Node.
func (c *Client) Info(ctx context.Context, link node.Link, wait time.Duration) (node.RootStatus, error) {
	return call[node.RootStatus](ctx, c, methodInfo, lookRequest{link, wait}, noItems)
}

// Roots implements Node.
func (c *Client) Roots(ctx context.Context) iter.Seq2[node.RootStatus, error] {
	return func(yield func(node.RootStatus, error) bool) {
		item := itemsTo(func(status node.RootStatus) bool { return yield(status, nil) })
		if _, err := call[none](ctx, c, methodRoots, none{}, item); err != nil && !errors.Is(err, errEnough) {
			yield(node.RootStatus{}, err)
		}
	}
}

// Remove implements Node.
func (c *Client) Remove(ctx context.Context, root cafs.Key) error {
	_, err := call[none](ctx, c, methodRemove, rootRequest{root}, noItems)
	return err
}

// Verify implements Node.
func (c *Client) Verify(ctx context.Context, opts node.VerifyOptions) (node.VerifyResult, error) {
	request := verifyRequest{opts.Roots, opts.Repair, opts.Wait}
	return call[node.VerifyResult](ctx, c, methodVerify, request, eventsTo(opts.Events))
}

// Reclaim implements Node.
func (c *Client) Reclaim(ctx context.Context, opts node.ReclaimOptions) (node.ReclaimResult, error) {
	return call[node.ReclaimResult](ctx, c, methodReclaim, none{}, eventsTo(opts.Events))
}

// Link implements Node.
func (c *Client) Link(ctx context.Context, root cafs.Key) (node.Link, error) {
	return call[node.Link](ctx, c, methodLink, rootRequest{root}, noItems)
}

// Join implements Node.
func (c *Client) Join(ctx context.Context, peers ...peer.AddrInfo) error {
	_, err := call[none](ctx, c, methodJoin, joinRequest{peers}, noItems)
	return err
}

// Peers implements Node.
func (c *Client) Peers(ctx context.Context) ([]node.PeerStatus, error) {
	return call[[]node.PeerStatus](ctx, c, methodPeers, none{}, noItems)
}

// Status implements Node.
func (c *Client) Status(ctx context.Context) (node.Status, error) {
	return call[node.Status](ctx, c, methodStatus, none{}, noItems)
}

// call makes one call and reads its answer.
func call[Result any](
	ctx context.Context, c *Client, method string, request any, item func(json.RawMessage) error,
) (Result, error) {
	response, err := c.post(ctx, method, nil, bytes.NewReader(mustMarshal(request)))
	if err != nil {
		var nothing Result
		return nothing, err
	}
	defer response.Body.Close()
	result, err := readAnswer[Result](response.Body, item)
	return result, callError(ctx, err)
}

// post sends a request and returns the response once it has begun.
func (c *Client) post(ctx context.Context, method string, query url.Values, body io.Reader) (*http.Response, error) {
	// The host is never looked up: every connection goes to the socket.
	target := url.URL{Scheme: "http", Host: "node", Path: pathPrefix + method, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%s on the running node: %w", method, err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, callError(ctx, fmt.Errorf("%s on the running node: %w", method, unreachable(err)))
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusServiceUnavailable {
		return nil, fmt.Errorf("%s on the running node: it is about to end: %w", method, ErrNotRunning)
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, recordSizeMax))
	return nil, fmt.Errorf("%s on the running node: %s: %s; is it of another version?",
		method, response.Status, bytes.TrimSpace(text))
}

// unreachable tells a node that ended between connecting and answering from one that can't be reached.
func unreachable(err error) error {
	if errors.Is(err, io.EOF) || isReset(err) {
		return ErrNotRunning
	}
	var outer *url.Error
	if errors.As(err, &outer) {
		return outer.Err // without the made-up URL
	}
	return err
}

// callError says that a call was cancelled here, whatever that looked like on the connection.
func callError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// errEnough ends an answer whose rest the caller does not want.
var errEnough = errors.New("enough")

func noItems(json.RawMessage) error { return nil }

func itemsTo[Item any](yield func(Item) bool) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		var item Item
		if err := json.Unmarshal(raw, &item); err != nil {
			return fmt.Errorf("answer of the running node: %w", err)
		}
		if !yield(item) {
			return errEnough
		}
		return nil
	}
}

func eventsTo(events func(node.Event)) func(json.RawMessage) error {
	if events == nil {
		return noItems
	}
	return itemsTo(func(event node.Event) bool {
		events(event)
		return true
	})
}

// errorKeeper remembers why a source could not be read, which the other side only sees as a connection broken off.
type errorKeeper struct {
	io.Reader

	mu  sync.Mutex
	err error
}

func (k *errorKeeper) Read(p []byte) (int, error) {
	n, err := k.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		k.mu.Lock()
		k.err = err
		k.mu.Unlock()
	}
	return n, err
}

// or returns the error of the source if there is one, else err.
func (k *errorKeeper) or(err error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	return err
}

// contentReader turns the error in the trailer of a content into one of Read.
type contentReader struct {
	response *http.Response
}

func (c *contentReader) Read(p []byte) (int, error) {
	n, err := c.response.Body.Read(p)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = ErrGone
	case errors.Is(err, io.EOF) && c.response.Trailer.Get(errorTrailer) != "":
		failed := new(remoteError)
		if jerr := json.Unmarshal([]byte(c.response.Trailer.Get(errorTrailer)), failed); jerr != nil {
			return n, fmt.Errorf("answer of the running node: %w", jerr)
		}
		err = failed
	}
	return n, err
}

func (c *contentReader) Close() error { return c.response.Body.Close() }
