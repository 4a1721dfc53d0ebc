package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/internal/durable"
)

const (
	bareProtocol = "/swarmsync-bench/bare"
	// bareBuffer is the size of reads and writes; larger ones gained nothing.
	bareBuffer = 256 << 10
	// bareBuffers is how many of them may wait for the hash.
	bareBuffers = 16
)

// bareHost is a libp2p host with TCP and TLS and nothing that could slow it down.
func bareHost(options ...libp2p.Option) (host.Host, error) {
	return libp2p.New(append([]libp2p.Option{
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(),
	}, options...)...)
}

// bareSend sends the file args[0] to whoever opens a stream; it listens on the address args[1].
func bareSend(ctx context.Context, args []string) error {
	h, err := bareHost(libp2p.ListenAddrStrings("/ip4/" + args[1] + "/tcp/0"))
	if err != nil {
		return err
	}
	h.SetStreamHandler(bareProtocol, func(s network.Stream) {
		if err := sendFile(s, args[0]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			_ = s.Reset() // the other side reports that the stream ended early
		}
	})
	fmt.Printf("%s/p2p/%s\n", h.Addrs()[0], h.ID())
	<-ctx.Done()
	return h.Close()
}

func sendFile(s network.Stream, path string) error {
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil { // the request
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	if _, err := io.CopyBuffer(onlyWriter{s}, onlyReader{file}, make([]byte, bareBuffer)); err != nil {
		return err
	}
	return s.CloseWrite()
}

// onlyWriter and onlyReader hide what io.CopyBuffer would use instead of the buffer.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)

// bareReceive connects to the address args[0], waits for the word go, and receives args[2] bytes into the file args[1].
func bareReceive(ctx context.Context, args []string) error {
	address, err := peer.AddrInfoFromP2pAddr(multiaddr.StringCast(args[0]))
	if err != nil {
		return err
	}
	size, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return err
	}
	h, err := bareHost(libp2p.NoListenAddrs)
	if err != nil {
		return err
	}
	if err := h.Connect(ctx, *address); err != nil {
		return err
	}
	fmt.Println("ready")
	if err := awaitGo(os.Stdin); err != nil {
		return err
	}
	s, err := h.NewStream(ctx, address.ID, bareProtocol)
	if err != nil {
		return err
	}
	if _, err := s.Write([]byte{1}); err != nil {
		return err
	}
	if err := receiveFile(s, args[1], size); err != nil {
		return err
	}
	fmt.Println("done", size)
	<-ctx.Done()
	return h.Close()
}

// receiveFile writes what comes to a preallocated file while another goroutine hashes it.
func receiveFile(r io.Reader, path string, size int64) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := durable.Preallocate(file, size); err != nil {
		return err
	}
	free, full := make(chan []byte, bareBuffers), make(chan []byte, bareBuffers)
	for range bareBuffers {
		free <- make([]byte, bareBuffer)
	}
	hashed := make(chan [sha256.Size]byte)
	go func() {
		digest := sha256.New()
		for data := range full {
			digest.Write(data)
			free <- data[:bareBuffer]
		}
		hashed <- [sha256.Size]byte(digest.Sum(nil))
	}()
	var got int64
	for got < size && err == nil {
		buffer := <-free
		var n int
		n, err = io.ReadFull(r, buffer[:min(bareBuffer, size-got)])
		if _, errWrite := file.WriteAt(buffer[:n], got); errWrite != nil {
			err = errWrite
		}
		got += int64(n)
		full <- buffer[:n]
	}
	close(full)
	<-hashed
	return err
}
