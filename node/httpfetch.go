package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
)

// httpAnswerTimeout is how long a server may take to begin an answer.
const httpAnswerTimeout = 30 * time.Second

// newHTTPClient returns a client for one fetch, whose connections end with it.
func (n *Node) newHTTPClient() (client *http.Client, done func()) {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		ResponseHeaderTimeout: httpAnswerTimeout,
		TLSHandshakeTimeout:   httpAnswerTimeout,
		DisableCompression:    true, // bodies are compared byte for byte with what was asked for
		ForceAttemptHTTP2:     true,
	}
	return &http.Client{Transport: throttledTransport{transport, n.down}}, transport.CloseIdleConnections
}

// throttledTransport keeps answers to the limit of the node.
type throttledTransport struct {
	*http.Transport
	down *throttle
}

func (t throttledTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.Transport.RoundTrip(r)
	if err == nil && t.down != nil {
		answer.Body = throttledBody{answer.Body, t.down, r.Context().Done()}
	}
	return answer, err
}

type throttledBody struct {
	io.ReadCloser
	down *throttle
	done <-chan struct{}
}

func (b throttledBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(b.down.piece(len(p)), len(p))])
	if limited := b.down.pass(n, b.done); limited != nil && err == nil {
		err = limited
	}
	return n, err
}

// fromHTTP brings what is missing of the root into the store, from a server in the format of package httpsync. What it has
// brought stays, whatever the error.
func (f *fetch) fromHTTP(ctx context.Context) error {
	if info, err := f.node.store.Root(ctx, f.link.Root); err == nil && info.Complete {
		return nil
	}
	client, done := f.node.newHTTPClient()
	defer done()
	source, err := httpsync.Open(ctx, client, f.opts.HTTP)
	if err != nil {
		return err
	}
	record, err := f.httpRecord(ctx, source)
	if err != nil {
		return err
	}
	if err := f.checkStoreSpace(ctx, record.Data.Bytes); err != nil {
		return err
	}
	if err := f.node.catalogue(ctx, f.link.Root, record.Encode(), f.link.Name); err != nil {
		return err
	}
	if record.Kind == cafs.KindTree && record.Entries.Depth > 0 {
		entries, err := url.JoinPath(f.opts.HTTP, entriesPath)
		if err != nil {
			return err
		}
		if _, err := httpsync.SyncFrom(ctx, f.node.store, client, entries, "entries"); err != nil {
			return err
		}
	}
	counting := &countedStore{Storage: f.node.store, fetch: f, total: record.Data.Bytes}
	_, err = source.Sync(ctx, counting, f.link.Root.Short())
	f.mu.Lock()
	defer f.mu.Unlock()
	f.httpBytes = counting.bytes
	f.enterShare(PeerShare{
		Peer: webPeer(f.opts.HTTP, 0), Address: redacted(f.opts.HTTP), Transport: transportHTTP, Source: string(sourceNamed),
		Complete: true, Bytes: counting.bytes,
	})
	return err
}

// transportHTTP is the Transport of a PeerShare that is a server.
const transportHTTP = "http"

// httpRecord stores the pages of a server's list, and returns the record that it leads to, which is the root's.
func (f *fetch) httpRecord(ctx context.Context, source *httpsync.Source) (record cafs.Record, err error) {
	list := cafs.NewListBuilder(func(page cafs.Chunk) error { return f.node.store.Put(ctx, page) })
	for _, chunk := range source.Info.Chunks {
		if err := list.Add(cafs.ChunkInfo(chunk)); err != nil {
			return record, fmt.Errorf("%w: the list of the server is none of a root: %w", cafs.ErrBadRoot, err)
		}
	}
	// A server of another make doesn't tell the record: then only that of a file can be known.
	record = cafs.Record{Kind: cafs.KindFile}
	if encoded, err := hex.DecodeString(source.Header.Get(recordHeader)); err == nil && len(encoded) > 0 {
		if record, err = cafs.ParseRecord(encoded); err != nil {
			return record, err
		}
	}
	if record.Data, err = list.Finish(); err != nil {
		return record, err
	}
	if record.Root() != f.link.Root {
		return record, fmt.Errorf("the server has other content, of the root %s: %w", record.Root(), cafs.ErrBadRoot)
	}
	return record, nil
}

// countedStore tells how much arrives.
type countedStore struct {
	protocol.Storage
	fetch *fetch
	total int64
	bytes int64
	told  time.Time
}

func (s *countedStore) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	if err := s.Storage.Put(ctx, chunks...); err != nil {
		return err
	}
	for _, chunk := range chunks {
		s.bytes += int64(len(chunk.Data()))
		s.fetch.arrivals.Arrived(chunk.Key())
	}
	if now := time.Now(); now.Sub(s.told) >= tickInterval {
		s.told = now
		s.fetch.events.now(Event{Kind: EventProgress, Total: s.total, Fetched: s.bytes, Peers: 1})
	}
	return nil
}

// tryHTTP is fromHTTP for a fetch that goes on with the swarm if the server does not help.
func (f *fetch) tryHTTP(ctx context.Context) error {
	err := f.fromHTTP(ctx)
	if err == nil || ctx.Err() != nil || errors.Is(err, ErrNoSpace) || errors.Is(err, cafs.ErrQuota) {
		return err
	}
	f.httpErr = fmt.Errorf("fetch from %s: %w", redacted(f.opts.HTTP), err)
	f.events.now(Event{Kind: EventNote, Message: f.httpErr.Error() + "; asking the swarm"})
	return nil
}
