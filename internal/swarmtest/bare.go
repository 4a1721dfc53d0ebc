package swarmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// bareProtocol is that of the stream which Bare measures.
const bareProtocol = "/swarmtest/bare/1.0.0"

// Bare returns how long one stream takes to carry so many bytes from one host to another that it is connected to already:
// from the request, which is a byte, until the last byte is there. It is what transfers over the same links are compared
// with, because headers, the start of the congestion control and the packets that links drop are in it too.
func Bare(ctx context.Context, from, to host.Host, bytes int64) (time.Duration, error) {
	sent := make(chan error, 1)
	from.SetStreamHandler(bareProtocol, func(s network.Stream) { sent <- sendBare(s, bytes) })
	defer from.RemoveStreamHandler(bareProtocol)
	if err := to.Connect(ctx, peer.AddrInfo{ID: from.ID(), Addrs: from.Addrs()}); err != nil {
		return 0, err
	}
	started := time.Now()
	stream, err := to.NewStream(ctx, from.ID(), bareProtocol)
	if err != nil {
		return 0, err
	}
	defer func() { _ = stream.Reset() }()
	if _, err := stream.Write([]byte{1}); err != nil {
		return 0, err
	}
	received, err := io.Copy(io.Discard, stream)
	took := time.Since(started)
	if err := errors.Join(err, <-sent); err != nil {
		return 0, err
	}
	if received != bytes {
		return 0, fmt.Errorf("%d of %d bytes came", received, bytes)
	}
	return took, nil
}

// sendBare waits for the request and answers it.
func sendBare(s network.Stream, bytes int64) error {
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		return errors.Join(err, s.Reset())
	}
	piece := make([]byte, 64<<10)
	for bytes > 0 {
		n, err := s.Write(piece[:min(int64(len(piece)), bytes)])
		if err != nil {
			return errors.Join(err, s.Reset())
		}
		bytes -= int64(n)
	}
	return s.Close()
}
