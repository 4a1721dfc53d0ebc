package node

import (
	"cmp"
	"context"
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
	"github.com/multiformats/go-multihash"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// webSeedSessions is how many sessions a fetch has with a web seed: each asks for one range at a time.
	webSeedSessions = 4
	// transportWebSeed is the Transport of a PeerShare that is one.
	transportWebSeed = "webseed"
)

// redacted returns a URL without a password.
func redacted(text string) string {
	parsed, err := url.Parse(text)
	if err != nil {
		return "a URL that is none"
	}
	return parsed.Redacted()
}

// webPeer returns what a server is called among the peers of a fetch.
func webPeer(url string, session int) peer.ID {
	sum, err := multihash.Sum(fmt.Appendf(nil, "%s#%d", url, session), multihash.SHA2_256, -1)
	if err != nil {
		panic(err) // SHA-256 is there
	}
	return peer.ID(sum)
}

// startWebSeeds has sessions with the servers of opts.WebSeeds until ctx ends.
func (f *fetch) startWebSeeds(ctx context.Context) {
	for _, url := range f.opts.WebSeeds {
		client, done := f.node.newHTTPClient()
		var sessions sync.WaitGroup
		for i := range webSeedSessions {
			sessions.Go(func() { f.useWebSeed(ctx, client, url, i) })
		}
		f.work.Go(func() {
			sessions.Wait()
			done()
		})
	}
}

// useWebSeed has one session after the other with a web seed, once the list is here.
func (f *fetch) useWebSeed(ctx context.Context, client *http.Client, url string, number int) {
	var tries attempts
	id := webPeer(url, number)
	if !f.awaitListed(ctx) {
		return
	}
	f.countWebSeeds(1)
	defer f.countWebSeeds(-1)
	for ctx.Err() == nil {
		outcome := attemptOutcome{}
		seed := &webSeed{fetch: f, client: client, url: url, id: id}
		opened, err := seed.open(ctx)
		if outcome.err = err; err == nil {
			outcome.opened = true
			outcome.progress, outcome.err = f.useSession(ctx, opened, sourceNamed, func() {})
			seed.close()
		} else if ctx.Err() == nil {
			f.refused(id, sourceNamed, err)
		}
		wait, again := tries.after(outcome, f.node.patience.retry)
		if !again || !sleep(ctx, wait) {
			return
		}
	}
}

func (f *fetch) countWebSeeds(by int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.webSeeds += by
}

// awaitListed waits until it is known where each chunk stands; it returns false when ctx has ended.
func (f *fetch) awaitListed(ctx context.Context) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ctx.Err() == nil {
		if f.content != nil && f.content.outline.Complete() {
			return true
		}
		f.changed.Wait()
	}
	return false
}

// webSeed is a server that has the plain content of a root, as the holder of one session, which runs in this process. It is
// asked for ranges of bytes; each chunk is verified before it counts.
type webSeed struct {
	fetch   *fetch
	client  *http.Client
	url     string
	id      peer.ID
	serving sync.WaitGroup
	end     context.CancelFunc

	// What follows belongs to the goroutine that serves. body is the answer under way, from offset at of the content up to
	// before top.
	body    io.ReadCloser
	at, top int64

	// mu guards err, which is why the session ends.
	mu  sync.Mutex
	err error
}

// webStream is the receiver's end of the pipe to a webSeed.
type webStream struct {
	net.Conn
	seed *webSeed
}

// Read tells why the holder has ended.
func (s webStream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if err != nil {
		s.seed.mu.Lock()
		defer s.seed.mu.Unlock()
		err = cmp.Or(s.seed.err, err)
	}
	return n, err
}

func (s webStream) Reset() error { return s.Close() }

// open begins a session.
func (s *webSeed) open(ctx context.Context) (*openedStream, error) {
	n := s.fetch.node
	started := time.Now()
	near, far := net.Pipe()
	serving, end := context.WithCancel(ctx)
	s.end = end
	s.serving.Go(func() {
		s.serve(serving, far, []byte(n.ID()))
		_ = far.Close()
	})
	wrapped := &sessionStream{stream: webStream{near, s}, closed: make(chan struct{})}
	receiver, accepted, err := protocol.Open(wrapped, protocol.ReceiverConfig{
		Root:      s.fetch.link.Root,
		Network:   n.cfg.Network,
		Local:     []byte(n.ID()),
		Remote:    []byte(s.id),
		Ranges:    rangesOf,
		Receivers: &s.fetch.candidates.shared,
	})
	if err != nil {
		_ = wrapped.Close()
		s.close()
		return nil, err
	}
	return &openedStream{
		peer: s.id, address: redacted(s.url), transport: transportWebSeed, stream: wrapped,
		receiver: receiver, accepted: accepted, rtt: time.Since(started),
	}, nil
}

// close ends the session, and returns when nothing of it is left.
func (s *webSeed) close() {
	s.end()
	s.serving.Wait()
}

func (s *webSeed) serve(ctx context.Context, stream io.ReadWriteCloser, receiver []byte) {
	defer s.closeBody()
	holder, err := protocol.Accept(stream, protocol.HolderConfig{
		Network: s.fetch.node.cfg.Network,
		Local:   []byte(s.id),
		Remote:  receiver,
		Find:    func(protocol.DiscoveryKey) (protocol.Content, bool) { return s, true },
	})
	if err == nil {
		err = holder.Run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		log.Debugf("session with %s: %v", redacted(s.url), err)
	}
}

// Root implements protocol.Content, as do the methods below.
func (s *webSeed) Root() cafs.Key { return s.fetch.link.Root }

func (s *webSeed) Record() []byte { return s.fetch.content.record }

func (s *webSeed) Have() (items []protocol.HaveItem, complete bool) { return nil, true }

func (s *webSeed) Chunks(ctx context.Context, number int64) ([]cafs.ChunkInfo, error) {
	return s.fetch.content.Chunks(ctx, number)
}

func (s *webSeed) Pages(context.Context, protocol.PagesRequest) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		yield(nil, fmt.Errorf("a web seed has no pages: %w", cafs.ErrNotFound))
	}
}

func (s *webSeed) ReadChunk(ctx context.Context, at protocol.ChunkAt, buf []byte) ([]byte, error) {
	data, err := s.readChunk(ctx, at, buf)
	if err != nil {
		s.closeBody()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.err = err // before the session ends, so that the receiver learns why
	}
	return data, err
}

func (s *webSeed) readChunk(ctx context.Context, at protocol.ChunkAt, buf []byte) ([]byte, error) {
	row, err := s.fetch.content.rangeChunks(ctx, at.Range)
	if err != nil {
		return nil, err
	}
	offset := row.Offset
	for _, before := range row.Chunks[:at.Number] {
		offset += int64(before.Size)
	}
	size := int64(at.Info.Size)
	if s.body == nil || offset != s.at || offset+size > s.top {
		if err := s.request(ctx, offset, offset+s.wishedBytes(at, row)); err != nil {
			return nil, err
		}
	}
	if cap(buf) < at.Info.Size {
		buf = make([]byte, at.Info.Size)
	}
	data := buf[:at.Info.Size]
	if _, err := io.ReadFull(s.body, data); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the end of an answer must not pass for that of the session
		}
		return nil, fmt.Errorf("%s: %w", redacted(s.url), err)
	}
	if s.at = offset + size; s.at == s.top {
		s.closeBody()
	}
	if _, err := cafs.VerifyChunk(at.Info, data); err != nil {
		// Not only this chunk: what the server has is another file.
		return nil, fmt.Errorf("%w: %s has other bytes at offset %d", errWebContent, redacted(s.url), offset)
	}
	return data, nil
}

// wishedBytes returns how many bytes from a chunk on are wished in one row, so that one request brings them.
func (s *webSeed) wishedBytes(at protocol.ChunkAt, row cafs.RangeChunks) int64 {
	n := int64(at.Info.Size)
	s.fetch.mu.Lock()
	defer s.fetch.mu.Unlock()
	session := s.fetch.sessions[s.id]
	if session == nil {
		return n
	}
	for _, open := range session.wishes {
		if open.wish.number() != at.Range || !open.wish.bits.Get(at.Number) {
			continue
		}
		for i := at.Number + 1; i < len(row.Chunks) && open.wish.bits.Get(i); i++ {
			n += int64(row.Chunks[i].Size)
		}
		break
	}
	return n
}

// errWebContent: a web seed does not have the content of the root.
var errWebContent = errors.New("wrong content")

// request asks for the bytes from offset to before top.
func (s *webSeed) request(ctx context.Context, offset, top int64) error {
	s.closeBody()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offset, top-1))
	r.Header.Set("Accept-Encoding", "identity")
	answer, err := s.client.Do(r)
	if err != nil {
		return err
	}
	want := fmt.Sprintf("bytes %d-%d/%d", offset, top-1, s.fetch.content.outline.Bytes())
	got := answer.Header.Get("Content-Range")
	switch {
	case answer.StatusCode == http.StatusOK && offset == 0 && answer.ContentLength == s.fetch.content.outline.Bytes():
		// It gives the whole file, which begins with what was asked for.
	case answer.StatusCode == http.StatusOK:
		err = fmt.Errorf("%w: %s does not answer requests for ranges of bytes", errWebContent, redacted(s.url))
	case answer.StatusCode == http.StatusPartialContent && got != want:
		err = fmt.Errorf("%w: %s answers with %q instead of %q", errWebContent, redacted(s.url), got, want)
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		err = fmt.Errorf("%w: %s is shorter", errWebContent, redacted(s.url))
	case answer.StatusCode != http.StatusPartialContent:
		err = fmt.Errorf("%s: %s", redacted(s.url), answer.Status)
	}
	if err != nil {
		_ = answer.Body.Close()
		return err
	}
	s.body, s.at, s.top = answer.Body, offset, top
	return nil
}

func (s *webSeed) closeBody() {
	if s.body != nil {
		_ = s.body.Close() // it was read to its end, or is of no use
		s.body = nil
	}
}
