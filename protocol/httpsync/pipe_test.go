package httpsync_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
)

// pipeListener is a listener whose connections hold nothing: a write lasts until all of it is read. In a bubble of
// testing/synctest the time of their deadlines is virtual.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	close sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.close.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// Dial returns the client's end of a new connection.
func (l *pipeListener) Dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// servePipe serves a handler over such connections until the function that it returns is called, which waits for the
// requests under way. The client has no other connections.
func servePipe(t testing.TB, h http.Handler) (*pipeListener, *http.Client, func()) {
	t.Helper()
	return servePipeIn(t, h, nil)
}

// servePipeIn is servePipe for versions of HTTP; nil: HTTP/1.1.
func servePipeIn(t testing.TB, h http.Handler, versions *http.Protocols) (*pipeListener, *http.Client, func()) {
	t.Helper()
	listener := newPipeListener()
	server := &http.Server{Handler: h, Protocols: versions}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	transport := &http.Transport{
		Protocols:   versions,
		DialContext: func(context.Context, string, string) (net.Conn, error) { return listener.Dial() },
	}
	return listener, &http.Client{Transport: transport}, func() {
		transport.CloseIdleConnections()
		if err := server.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		<-served
	}
}
