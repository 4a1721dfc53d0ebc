package httpsync

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	logging "github.com/ipfs/go-log/v2"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

// log tells of transfers that failed, at level info: the client is told no more than that the answer broke off.
var log = logging.Logger(protocol.LogSubsystem)

// FileHandler serves one file to any number of clients at once. It is an http.Handler:
//
//   - GET answers the SyncInfo as JSON.
//   - POST answers the chunk data for the wishlist in its body. In HTTP/1.1 it needs the header Connection: close, and
//     without it is answered 400. A wishlist that is none, a chunk that can't be read, and a client that takes nothing for
//     2 min or wishes nothing for 10 min, end the transfer: the answer breaks off, so that it does not look complete.
//   - Other methods are answered 405.
//
// The handler sets deadlines of its own, because a transfer may take any time: ReadTimeout and WriteTimeout of an
// http.Server don't count for it. In HTTP/1.1 it needs the ResponseWriter of net/http, or one that has a method Unwrap
// for http.ResponseController, and answers 500 otherwise.
//
// Over streams that can be closed in one direction, as libp2p's, a client that has sent its whole wishlist and is gone is
// noticed when something is written to it next.
//
// Each transfer takes about 200 KiB and one bit for each chunk of the file, and one goroutine beside that of the server.
// When ServeHTTP returns, nothing of it is left.
type FileHandler struct {
	info   protocol.SyncInfo
	size   int64
	chunks func() protocol.Chunks
}

// NewFileHandlerFromFile returns a handler that serves file in the order of perm, of which it makes a copy; an empty perm
// stands for plain order. It reads the list of the file, under ctx, and keeps it in memory: 40 bytes a chunk. The store of
// file must stay open as long as the handler is used.
func NewFileHandlerFromFile(ctx context.Context, file cafs.File, perm shuffle.Permutation) (*FileHandler, error) {
	var info protocol.SyncInfo
	info.SetTrivialPermutation()
	if len(perm) > 0 {
		if err := info.SetPermutation(perm); err != nil {
			return nil, fmt.Errorf("serve a file over HTTP: %w", err)
		}
	}
	if err := info.SetChunksFromFile(ctx, file); err != nil {
		return nil, fmt.Errorf("serve a file over HTTP: %w", err)
	}
	return newHandler(info, func() protocol.Chunks { return protocol.ChunksOfFile(file) })
}

// NewFileHandlerFromSyncInfo returns a handler that serves the chunks of info from source, some or all of which may still
// be arriving there: who wishes for one that is not there yet gets it when it comes. It keeps references to both; the
// lists of info must not be changed. A protocol.Arrivals is such a source.
func NewFileHandlerFromSyncInfo(info protocol.SyncInfo, source protocol.ChunkSource) (*FileHandler, error) {
	return newHandler(info, func() protocol.Chunks { return protocol.ChunksOfSyncInfo(info, source) })
}

func newHandler(info protocol.SyncInfo, chunks func() protocol.Chunks) (*FileHandler, error) {
	if err := info.Validate(); err != nil {
		return nil, fmt.Errorf("serve a file over HTTP: %w", err)
	}
	h := &FileHandler{info: info, chunks: chunks}
	for _, chunk := range info.Chunks {
		h.size += int64(chunk.Size)
	}
	return h, nil
}

// ServeHTTP implements http.Handler. It panics with http.ErrAbortHandler, as handlers do to break off an answer.
func (h *FileHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	switch r.Method {
	case http.MethodGet:
		err = h.serveInfo(w)
	case http.MethodPost:
		err = h.serveChunks(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		refuse(w, http.StatusMethodNotAllowed, "GET and POST are what is understood here")
	}
	if err != nil {
		log.Infow("broke off a transfer over HTTP", "peer", r.RemoteAddr, "method", r.Method, "error", err)
		panic(http.ErrAbortHandler)
	}
	newSteadyWriter(w).limit(time.Now().Add(writeTimeout)) // for what the server itself still holds back
}

// refuse answers with an error, and does not wait for the rest of a request, which may never come.
func refuse(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Connection", "close")
	http.Error(w, reason, status)
}

func (h *FileHandler) serveInfo(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/json")
	return h.info.WriteJSON(newSteadyWriter(w))
}

func (h *FileHandler) serveChunks(w http.ResponseWriter, r *http.Request) error {
	control := http.NewResponseController(w)
	if r.ProtoMajor == 1 {
		if !r.Close {
			refuse(w, http.StatusBadRequest, "a POST needs the header Connection: close")
			return nil
		}
		if err := control.EnableFullDuplex(); err != nil {
			refuse(w, http.StatusInternalServerError, "this server can't answer while a request is under way")
			return nil
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	out := newSteadyWriter(w)
	// The client may want to know that it is heard before it wishes.
	if err := out.Flush(); err != nil {
		return err
	}
	return h.transfer(r, control, out)
}

// transfer runs one transfer.
func (h *FileHandler) transfer(r *http.Request, control *http.ResponseController, out protocol.FlushWriter) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	// What is not supported has no deadline that could be in the way.
	_ = control.SetReadDeadline(time.Time{})

	wishes := newWishlist(ctx, h.info)
	var reading sync.WaitGroup
	reading.Go(func() {
		if err := wishes.readFrom(r.Body); err != nil {
			cancel(err)
		}
	})
	chunks := h.chunks()
	defer chunks.Dispose()
	err := protocol.WriteChunkData(ctx, chunks, h.size, wishes, h.info.Perm, out, nil)
	if err != nil {
		endReading(r, control)
	}
	reading.Wait()
	return err
}

// endReading makes a Read of the body under way return. In HTTP/1.1 the body must not be closed meanwhile, in what knows
// no deadlines there is nothing but to close it.
func endReading(r *http.Request, control *http.ResponseController) {
	if errors.Is(control.SetReadDeadline(time.Unix(1, 0)), http.ErrNotSupported) {
		_ = r.Body.Close() // its error tells of what was not read
	}
}

// writeTimeout is how long a write of at most a chunk may take. Systems let a writer go on when a third of what they hold
// for a connection is gone, up to 2 MB: so this is enough for 20 kB/s.
const writeTimeout = 2 * time.Minute

// steadyWriter gives each write the time of writeTimeout, and not the whole answer. Between writes there is no deadline: in
// HTTP/2 one that comes ends the stream, though nothing is being written.
type steadyWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newSteadyWriter(w http.ResponseWriter) steadyWriter {
	return steadyWriter{w, http.NewResponseController(w)}
}

func (s steadyWriter) Write(p []byte) (int, error) {
	s.limit(time.Now().Add(writeTimeout))
	defer s.limit(time.Time{})
	return s.w.Write(p)
}

func (s steadyWriter) Flush() error {
	s.limit(time.Now().Add(writeTimeout))
	defer s.limit(time.Time{})
	return s.control.Flush()
}

func (s steadyWriter) limit(by time.Time) {
	// What is not supported is the server's own affair.
	_ = s.control.SetWriteDeadline(by)
}
