package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/swarmsync/swarmsync/node"
)

// Server offers a node to other commands until Close. Its methods may be called concurrently.
type Server struct {
	node    Node
	running Running
	http    *http.Server
	served  chan struct{}  // closed when Serve has returned serveErr
	calls   sync.WaitGroup // calls and attachments under way

	serveErr error

	mu       sync.Mutex
	refusing bool
	attached int
	busy     int           // calls that are not attachments
	changed  chan struct{} // closed and replaced when one of the counts falls
}

// Listen makes the socket of home and begins to answer; the caller runs n on that home, and so nobody else does. Running
// tells the clients what n is. The error wraps ErrRunning if somebody answers there already.
func Listen(home string, n Node, running Running) (*Server, error) {
	listener, err := listen(home)
	if err != nil {
		return nil, err
	}
	s := &Server{node: n, running: running, served: make(chan struct{}), changed: make(chan struct{})}
	s.http = &http.Server{Handler: s.routes(), ReadHeaderTimeout: headerTimeout, MaxHeaderBytes: headerSizeMax}
	go func() {
		defer close(s.served)
		s.serveErr = ignoreClosed(s.http.Serve(listener)) // it closes the listener
	}()
	return s, nil
}

// Attached returns how many other commands use the node now, those that only wait included.
func (s *Server) Attached() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attached
}

// Drain returns when no other command uses the node, and refuses those that come later. With callsOnly it waits for
// calls under way alone, not for commands that are attached without one. It fails only with ctx's error, and then goes
// on accepting.
func (s *Server) Drain(ctx context.Context, callsOnly bool) error {
	for {
		changed, idle := s.refuseIfIdle(callsOnly)
		if idle {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Server) refuseIfIdle(callsOnly bool) (changed <-chan struct{}, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy == 0 && (callsOnly || s.attached == 0) {
		s.refusing = true
	}
	return s.changed, s.refusing
}

// Close cancels what is under way, removes the socket and returns when the last call has ended. The node must be closed
// after it. A second call does nothing.
func (s *Server) Close() error {
	s.mu.Lock()
	s.refusing = true
	s.mu.Unlock()
	err := s.http.Close()
	<-s.served
	s.calls.Wait()
	return errors.Join(err, s.serveErr)
}

// enter counts a call, or an attachment, in; false means that the node is about to end.
func (s *Server) enter(count *int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusing {
		return false
	}
	*count++
	s.calls.Add(1)
	return true
}

func (s *Server) leave(count *int) {
	s.mu.Lock()
	*count--
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	s.calls.Done()
}

// counted wraps a handler in enter and leave.
func (s *Server) counted(count *int, handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.enter(count) {
			http.Error(w, "the node is about to end", http.StatusServiceUnavailable)
			return
		}
		defer s.leave(count)
		handler(w, r)
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	handle := func(method string, handler http.HandlerFunc) {
		mux.HandleFunc("POST "+pathPrefix+method, s.counted(&s.busy, handler))
	}
	mux.HandleFunc("POST "+pathPrefix+methodAttach, s.counted(&s.attached, s.attach))
	handle(methodAdd, answer(s.add))
	handle(methodAddReader, s.addReader)
	handle(methodFetch, answer(s.fetch))
	handle(methodContent, s.content)
	handle(methodFind, answer(s.find))
	handle(methodInfo, answer(s.info))
	handle(methodRoots, answer(s.roots))
	handle(methodRemove, answer(s.remove))
	handle(methodVerify, answer(s.verify))
	handle(methodReclaim, answer(s.reclaim))
	handle(methodLink, answer(s.link))
	handle(methodJoin, answer(s.join))
	handle(methodPeers, answer(s.peers))
	handle(methodStatus, answer(s.status))
	return mux
}

// answer makes a handler of a call: it reads the request, and writes the items and the end.
func answer[Request, Result any](
	call func(ctx context.Context, request Request, out *answerWriter) (Result, error),
) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// Read to its end, or the server would not notice that the client hangs up.
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, requestSizeMax))
		if err != nil {
			http.Error(w, fmt.Sprintf("request: %v", err), http.StatusBadRequest)
			return
		}
		var request Request
		if err := json.Unmarshal(body, &request); err != nil {
			http.Error(w, fmt.Sprintf("request: %v", err), http.StatusBadRequest)
			return
		}
		out := startAnswer(w)
		result, err := call(r.Context(), request, out)
		out.end(result, err)
	}
}

// attach answers with what runs here and then holds the connection until the client or the node ends.
func (s *Server) attach(w http.ResponseWriter, r *http.Request) {
	// There is no request to read, but its end has to be seen for the hang-up to be.
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, requestSizeMax)); err != nil {
		return
	}
	out := startAnswer(w)
	defer out.end(none{}, nil)
	if out.item(r.Context(), s.running) == nil {
		<-r.Context().Done()
	}
}

func (s *Server) add(ctx context.Context, request addRequest, out *answerWriter) (node.RootStatus, error) {
	opts := node.AddOptions{
		Name:    request.Name,
		Private: request.Private,
		Copy:    request.Copy,
		Rehash:  request.Rehash,
		Times:   request.Times,
		Perms:   request.Perms,
		Exclude: request.Exclude,
		Events:  out.event,
	}
	return s.node.Add(ctx, request.Path, opts)
}

// addReader reads the content from the body; the options are in the URL. It answers while it reads.
func (s *Server) addReader(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		http.Error(w, fmt.Sprintf("answer while reading: %v", err), http.StatusInternalServerError)
		return
	}
	query := r.URL.Query()
	out := startAnswer(w)
	opts := node.AddOptions{Name: query.Get("name"), Private: query.Get("private") == "true", Events: out.event}
	result, err := s.node.AddReader(r.Context(), r.Body, opts)
	out.end(result, err)
}

func (s *Server) fetch(ctx context.Context, request fetchRequest, out *answerWriter) (node.Result, error) {
	opts := node.FetchOptions{
		Output: request.Output, Force: request.Force, Delete: request.Delete, KeepOld: request.KeepOld,
		Wait: request.Wait, Path: request.Path, From: request.From, To: request.To, DryRun: request.DryRun, List: request.List,
		HTTP: request.HTTP, WebSeeds: request.WebSeeds,
		Events: out.event,
	}
	return s.node.Fetch(ctx, request.Link, opts)
}

func (s *Server) verify(ctx context.Context, request verifyRequest, out *answerWriter) (node.VerifyResult, error) {
	opts := node.VerifyOptions{Roots: request.Roots, Repair: request.Repair, Wait: request.Wait, Events: out.event}
	return s.node.Verify(ctx, opts)
}

func (s *Server) reclaim(ctx context.Context, _ none, out *answerWriter) (node.ReclaimResult, error) {
	return s.node.Reclaim(ctx, node.ReclaimOptions{Events: out.event})
}

func (s *Server) find(ctx context.Context, request lookRequest, out *answerWriter) (string, error) {
	return s.node.Find(ctx, request.Link, request.Wait, func(holder node.Holder) bool {
		return out.item(ctx, holder) == nil
	})
}

func (s *Server) info(ctx context.Context, request lookRequest, _ *answerWriter) (node.RootStatus, error) {
	return s.node.Info(ctx, request.Link, request.Wait)
}

func (s *Server) roots(ctx context.Context, _ none, out *answerWriter) (none, error) {
	for status, err := range s.node.Roots(ctx) {
		if err != nil {
			return none{}, err
		}
		if err := out.item(ctx, status); err != nil {
			return none{}, err
		}
	}
	return none{}, nil
}

func (s *Server) remove(ctx context.Context, request rootRequest, _ *answerWriter) (none, error) {
	return none{}, s.node.Remove(ctx, request.Root)
}

func (s *Server) link(ctx context.Context, request rootRequest, _ *answerWriter) (node.Link, error) {
	return s.node.Link(ctx, request.Root)
}

func (s *Server) join(ctx context.Context, request joinRequest, _ *answerWriter) (none, error) {
	return none{}, s.node.Join(ctx, request.Peers...)
}

func (s *Server) peers(ctx context.Context, _ none, _ *answerWriter) ([]node.PeerStatus, error) {
	return s.node.Peers(ctx)
}

func (s *Server) status(ctx context.Context, _ none, _ *answerWriter) (node.Status, error) {
	return s.node.Status(ctx)
}

// content answers with the bytes themselves, and with an error in the trailer.
func (s *Server) content(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, requestSizeMax))
	if err != nil {
		http.Error(w, fmt.Sprintf("request: %v", err), http.StatusBadRequest)
		return
	}
	var part node.Part
	if err := json.Unmarshal(body, &part); err != nil {
		http.Error(w, fmt.Sprintf("request: %v", err), http.StatusBadRequest)
		return
	}
	w.Header().Set("Trailer", errorTrailer)
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := s.copyContent(r.Context(), w, part); err != nil {
		encoded, _ := json.Marshal(encodeError(err)) // strings only
		w.Header().Set(errorTrailer, string(encoded))
	}
}

func (s *Server) copyContent(ctx context.Context, w io.Writer, part node.Part) error {
	content, err := s.node.Content(ctx, part)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, content)
	return errors.Join(err, content.Close())
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
