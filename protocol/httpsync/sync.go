package httpsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// windowChunks is how many chunks are between wish and arrival at most: 37 MiB of the mean size, which is a round trip of
// 300 ms at 1 Gbit/s. They take no memory here, but for the list of them: they are in the network, or not sent yet.
const windowChunks = 1024

// StatusError is the outcome of a request that the server answers with another status than 200.
type StatusError struct {
	// Method and URL are those of the request; a password in the URL is replaced.
	Method, URL string
	// StatusCode and Status are those of the answer, such as 404 and "404 Not Found".
	StatusCode int
	Status     string
}

func (e *StatusError) Error() string { return fmt.Sprintf("%s %s: %s", e.Method, e.URL, e.Status) }

// SyncFrom fetches the file at url, which a FileHandler or another server of the format serves, into storage, and
// returns it. Only chunks that storage lacks are fetched; after an error those that have come are there, so that the next
// call fetches the others. The label info stands in errors and in the log.
//
// A nil client is http.DefaultClient. The client's Timeout, if it has one, is for the whole transfer. A redirect of the
// GET is followed by the POST too, as far as the client follows it.
//
// It takes about 300 KiB and twice 40 bytes for each chunk that the server lists, at most 2,097,152 of them, and one
// goroutine of its own beside the client's. When it returns, nothing of it is left. It ends when ctx does; a server that
// is silent is waited for until then.
//
// The error is a *StatusError if the server answers with another status than 200. It wraps io.ErrUnexpectedEOF if the
// answer ends too early, protocol.ErrUnexpectedChunk if a chunk is not what was wished, shuffle.ErrInvalid if the server's
// permutation is none. Other errors are those of reading a SyncInfo, of storage, and of the client.
//
// The file is what the server lists; see protocol.Builder about what that means.
func SyncFrom(ctx context.Context, storage protocol.Storage, client *http.Client, url, info string) (cafs.File, error) {
	source, err := Open(ctx, client, url)
	if err != nil {
		return cafs.File{}, fmt.Errorf("receive %s: %w", info, err)
	}
	return source.Sync(ctx, storage, info)
}

// Source is a file at a server, whose list is known and whose chunks are not fetched yet.
type Source struct {
	// Info is what the server lists, and Header that of its answer. They must not be changed.
	Info   protocol.SyncInfo
	Header http.Header

	client *http.Client
	url    string // where the list was found
	major  int    // version of HTTP
}

// Open asks for the list of the file at url. It is the first half of SyncFrom, for those who want to see the list before
// they fetch; its parameters and errors are those of SyncFrom.
func Open(ctx context.Context, client *http.Client, url string) (*Source, error) {
	if client == nil {
		client = http.DefaultClient
	}
	r, err := newRequest(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := do(client, r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }() // it was read to its end, or is of no use
	defer closeAfter(ctx, answer.Body)()
	s := &Source{Header: answer.Header, client: client, url: url, major: answer.ProtoMajor}
	if err := s.Info.ReadJSON(answer.Body); err != nil {
		return nil, because(ctx, err)
	}
	// Only a redirect makes another URL the right one: some transports change that of a request for themselves.
	if last := answer.Request; last != nil && last.Response != nil {
		s.url = last.URL.String()
	}
	return s, nil
}

// Sync fetches what storage lacks of the file; it is the second half of SyncFrom.
func (s *Source) Sync(ctx context.Context, storage protocol.Storage, info string) (cafs.File, error) {
	b, err := protocol.NewBuilder(storage, s.Info, windowChunks, info)
	if err != nil {
		return cafs.File{}, err
	}
	defer b.Dispose()
	return s.receive(ctx, b, info)
}

// newRequest returns a request whose answer comes as it is: a compressed one of some bytes could be any size.
func newRequest(ctx context.Context, method, url string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err == nil {
		r.Header.Set("Accept-Encoding", "identity")
	}
	return r, err
}

// do returns the answer to a request if its status is 200. Its body is the caller's to close.
func do(client *http.Client, r *http.Request) (*http.Response, error) {
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		_ = answer.Body.Close()
		return nil, &StatusError{r.Method, r.URL.Redacted(), answer.StatusCode, answer.Status}
	}
	return answer, nil
}

// because returns why ctx has ended, if it has: the error of a body that was closed for that says it less clearly.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// closeAfter closes a body when ctx ends, which not all transports do themselves. The caller calls what it returns, before
// it closes the body for good.
func closeAfter(ctx context.Context, body io.Closer) (stop func()) {
	closed := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = body.Close()
	})
	return func() {
		if !unwatch() {
			<-closed
		}
	}
}

// receive runs both halves of b over one POST.
func (s *Source) receive(ctx context.Context, b *protocol.Builder, info string) (cafs.File, error) {
	ctx, cancel := context.WithCancel(ctx)
	body, wishes := io.Pipe()
	var wishing sync.WaitGroup
	var wishErr error
	end := func() {
		b.Dispose()
		cancel()
		_ = body.Close()
		wishing.Wait()
	}
	defer end()
	r, err := newRequest(ctx, http.MethodPost, s.url, body)
	if err != nil {
		return cafs.File{}, fmt.Errorf("receive %s: %w", info, err)
	}
	// As the format demands. In HTTP/2 it would only end a connection that other requests may be about to use.
	r.Close = s.major < 2
	r.Header.Set("Content-Type", "application/octet-stream")
	wishing.Go(func() {
		wishErr = b.WriteWishList(ctx, protocol.NopFlushWriter{Writer: untilClosed{wishes}})
		wishes.CloseWithError(wishErr)
	})
	answer, err := do(s.client, r)
	if err != nil {
		end()
		// A request that failed for what was wrong here says so less clearly.
		if wishErr != nil && !errors.Is(wishErr, protocol.ErrDisposed) {
			return cafs.File{}, wishErr
		}
		return cafs.File{}, fmt.Errorf("receive %s: %w", info, err)
	}
	defer func() { _ = answer.Body.Close() }() // it was read to its end, or is of no use
	defer closeAfter(ctx, answer.Body)()
	file, err := b.ReconstructFileFromRequestedChunks(ctx, answer.Body)
	if err != nil && ctx.Err() != nil {
		return cafs.File{}, fmt.Errorf("receive %s: %w", info, context.Cause(ctx))
	}
	return file, err
}

// untilClosed writes a request's body, and drops what comes after the client has closed it. A server that reads no more
// answers no more either: that, and why, shows where the answer is read.
type untilClosed struct{ body *io.PipeWriter }

func (w untilClosed) Write(p []byte) (int, error) {
	n, err := w.body.Write(p)
	if errors.Is(err, io.ErrClosedPipe) {
		return len(p), nil
	}
	return n, err
}
