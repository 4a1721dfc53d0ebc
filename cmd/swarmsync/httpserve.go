package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// httpHeadTime is how long a client may take to send the head of a request; httpIdleTime is how long a connection may be
// idle.
const (
	httpHeadTime = 10 * time.Second
	httpIdleTime = time.Minute
)

// serveHTTP serves the roots of the session's node at an address until stop is called.
func (a *app) serveHTTP(ctx context.Context, s *session, address string) (stop func() error, err error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, withHint(fmt.Errorf("serve over HTTP: %w", err), "give --http-listen a free address, such as 127.0.0.1:8080")
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler:           s.node.HTTPHandler(),
		Protocols:         protocols,
		ReadHeaderTimeout: httpHeadTime,
		IdleTimeout:       httpIdleTime,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	a.note("roots are served at http://%s/ROOT to everybody who knows them", listener.Addr())
	return func() error {
		err := server.Close()
		if serving := <-served; !errors.Is(serving, http.ErrServerClosed) {
			err = errors.Join(err, serving)
		}
		return err
	}, nil
}
