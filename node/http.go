package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/protocol/httpsync"
)

const (
	// recordHeader carries the record of a root, in hexadecimal: what hashes to the root, and says what its lists are.
	recordHeader = "Swarmsync-Record"
	// entriesPath is where, below a root, the pages are that list the entries of a tree.
	entriesPath = "entries"
	// httpRequestsMax bounds the requests that are answered at a time: each takes some 200 KiB. httpChunksMax bounds the
	// chunks of the lists that they share: 40 bytes each, 160 MiB, enough for the two largest lists.
	httpRequestsMax = 64
	httpChunksMax   = 2 * protocol.SyncInfoChunksMax
	// httpRetry is when a client that found no room, or no list yet, may ask again, in seconds.
	httpRetry = 2
)

// HTTPHandler returns a handler that serves the roots of the node over HTTP in the format of package httpsync, as one file
// each: at /ROOT the content of a file, or of all files of a tree one after the other, and at /ROOT/entries the pages that
// list the entries of a tree. The record of the root is in the header Swarmsync-Record, in hexadecimal. What is still being
// fetched is served as it arrives, once its list is here; what is here in part, and not being fetched, is not served.
//
// Whoever knows a root, and can reach the handler, gets its content: there is no other proof. The node's limit for what it
// sends holds. At most 64 requests are answered at a time, others get the status 503. The handler can be used until the
// node is closed.
func (n *Node) HTTPHandler() http.Handler {
	h := &httpHandler{node: n, running: make(chan struct{}, httpRequestsMax), lists: make(map[httpStream]*httpList)}
	mux := http.NewServeMux()
	mux.HandleFunc("/{root}", func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, streamData) })
	mux.HandleFunc("/{root}/"+entriesPath, func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, streamEntries) })
	return mux
}

type httpHandler struct {
	node    *Node
	running chan struct{} // a token for each request

	// mu guards what follows, and the users of lists.
	mu     sync.Mutex
	lists  map[httpStream]*httpList // of the requests that are being answered
	listed int64                    // chunks in all of them
}

// httpStream is one of the files that a root is served as.
type httpStream struct {
	root   cafs.Key
	stream int
}

// httpList is what one of them consists of.
type httpList struct {
	users int
	items int64 // that it is counted as
	read  func() (protocol.SyncInfo, error)
}

// open returns the list of a stream, which all requests for it share, until release is called. It returns errBusy if there
// is no room for it.
func (h *httpHandler) open(c *content, stream int) (list *httpList, release func(), err error) {
	record, err := cafs.ParseRecord(c.record)
	if err != nil {
		return nil, nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	key := httpStream{c.root, stream}
	if list = h.lists[key]; list == nil {
		items := record.Data.Items
		if stream == streamEntries {
			items = record.Entries.Items // there are far fewer pages
		}
		if h.listed+items > httpChunksMax && len(h.lists) > 0 {
			return nil, nil, errBusy
		}
		// Who waits for the one that reads it is not told when his own request has ended; it takes no longer than that.
		list = &httpList{items: items, read: sync.OnceValues(func() (protocol.SyncInfo, error) {
			return h.list(h.node.ctx, c, record, stream)
		})}
		h.lists[key] = list
		h.listed += items
	}
	list.users++
	return list, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if list.users--; list.users == 0 {
			delete(h.lists, key)
			h.listed -= list.items
		}
	}, nil
}

// errBusy: there are too many lists in memory.
var errBusy = errors.New("too many long lists are being served")

func (h *httpHandler) serve(w http.ResponseWriter, r *http.Request, stream int) {
	select {
	case h.running <- struct{}{}:
		defer func() { <-h.running }()
	default:
		h.later(w, "too many requests are being answered")
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.node.ctx, cancel)()
	root, err := cafs.ParseKey(r.PathValue("root"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	c := h.node.contentOf(protocol.DiscoveryKeyOf(root))
	if c == nil {
		http.NotFound(w, r)
		return
	}
	defer c.release()
	list, release, err := h.open(c, stream)
	var info protocol.SyncInfo
	if err == nil {
		defer release()
		info, err = list.read()
	}
	switch {
	case errors.Is(err, errNotListed), errors.Is(err, errBusy):
		h.later(w, err.Error())
		return
	case errors.Is(err, cafs.ErrNotFound):
		http.NotFound(w, r)
		return
	case err != nil:
		log.Infow("serve over HTTP", "root", root.Short(), "error", err)
		http.Error(w, "the list of the root can't be read, or is too long", http.StatusInternalServerError)
		return
	}
	file, err := httpsync.NewFileHandlerFromSyncInfo(info, httpSource{h.node, root})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set(recordHeader, hex.EncodeToString(c.record))
	file.ServeHTTP(throttledWriter{w, h.node.up, ctx.Done()}, r.WithContext(ctx))
}

// later answers that the client may ask again.
func (h *httpHandler) later(w http.ResponseWriter, reason string) {
	w.Header().Set("Retry-After", strconv.Itoa(httpRetry))
	w.Header().Set("Connection", "close") // for a wishlist may be under way
	http.Error(w, reason, http.StatusServiceUnavailable)
}

// errNotListed: the list of a root is not here as a whole.
var errNotListed = errors.New("the list of the root is not here yet")

// list returns what is to be served of a root: its chunks, or the pages of its entries.
func (h *httpHandler) list(
	ctx context.Context, c *content, record cafs.Record, stream int,
) (info protocol.SyncInfo, err error) {
	if err := c.loaded(ctx); err != nil {
		return info, err
	}
	if !c.listed() {
		return info, errNotListed
	}
	info.SetTrivialPermutation()
	if stream == streamEntries {
		if record.Kind != cafs.KindTree {
			return info, fmt.Errorf("entries of a file: %w", cafs.ErrNotFound)
		}
		pages, _ := c.entries.PagesFor(record.Entries.Depth-1, 0, record.Entries.Items-1, protocol.SyncInfoChunksMax)
		for _, page := range pages {
			info.Chunks = append(info.Chunks, protocol.ChunkInfo{Key: page.Key, Size: page.Size})
		}
		return info, nil
	}
	record.Kind = cafs.KindFile // of a tree, the data stream
	file, err := cafs.OpenFile(h.node.store, record)
	if err != nil {
		return info, err
	}
	return info, info.SetChunksFromFile(ctx, file)
}

// httpSource reads the chunks of a root, and waits for those that are being fetched.
type httpSource struct {
	node *Node
	root cafs.Key
}

// AwaitChunk implements protocol.ChunkSource.
func (s httpSource) AwaitChunk(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	// The order matters: a fetch that is over has left what it has brought in the store.
	fetch := s.node.fetchOf(s.root)
	data, err := watchedGetter{s.node.store, s.node, s.root}.Get(ctx, key, buf)
	if errors.Is(err, cafs.ErrNotFound) && fetch != nil {
		return fetch.arrivals.AwaitChunk(ctx, key, buf)
	}
	return data, err
}

// throttledWriter keeps an answer to the limit of the node.
type throttledWriter struct {
	http.ResponseWriter
	up   *throttle
	done <-chan struct{}
}

func (w throttledWriter) Write(p []byte) (written int, err error) {
	for most := w.up.piece(writePiece); written < len(p); {
		piece := p[written:min(written+most, len(p))]
		if err := w.up.pass(len(piece), w.done); err != nil {
			return written, err
		}
		n, err := w.ResponseWriter.Write(piece)
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Unwrap is for http.ResponseController.
func (w throttledWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
