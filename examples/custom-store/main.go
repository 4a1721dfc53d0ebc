// Command custom-store runs nodes on stores of its own: they keep their content in memory, and count what nodes put there
// and get from there. A store passes the suite of package cafstest, whatever it is made of; see the test.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"

	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

// countingStore is a store that counts the bytes that go in and out.
//
// What is embedded is the role, not a store of some type: others that it may have, such as that of cafs.Referrer, would
// lead around what is counted here. Nodes look for them with type assertions, and do without those that they don't find.
type countingStore struct {
	cafs.Store
	put, got atomic.Int64
}

// Put implements cafs.Putter.
func (s *countingStore) Put(ctx context.Context, chunks ...cafs.Chunk) error {
	if err := s.Store.Put(ctx, chunks...); err != nil {
		return err
	}
	for _, chunk := range chunks {
		s.put.Add(int64(len(chunk.Data())))
	}
	return nil
}

// Get implements cafs.Getter.
func (s *countingStore) Get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	data, err := s.Store.Get(ctx, key, buf)
	s.got.Add(int64(len(data)))
	return data, err
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Stdout, os.Args[1:]...)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "custom-store:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args ...string) (err error) {
	if len(args) != 1 {
		return errors.New("usage: custom-store FILE")
	}
	source, target := &countingStore{Store: memory.New()}, &countingStore{Store: memory.New()}
	// A node does not close a store that it was given: that is up to whoever made it, when the node is closed.
	defer func() { err = errors.Join(err, source.Close(), target.Close()) }()
	holder, err := start(ctx, source)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, holder.Close()) }()
	receiver, err := start(ctx, target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, receiver.Close()) }()

	added, err := holder.Add(ctx, args[0], node.AddOptions{})
	if err != nil {
		return err
	}
	link, err := holder.Link(ctx, added.Root)
	if err != nil {
		return err
	}
	if _, err := receiver.Fetch(ctx, link, node.FetchOptions{}); err != nil {
		return err
	}
	fmt.Fprintf(out, "holder: %d bytes put, %d got\n", source.put.Load(), source.got.Load())
	fmt.Fprintf(out, "receiver: %d bytes put, %d got\n", target.put.Load(), target.got.Load())
	return nil
}

// start runs a node on a store. Without a home it has a new identity each time.
func start(ctx context.Context, store cafs.Store) (*node.Node, error) {
	listen := []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}
	return node.New(ctx, node.Config{Store: store, Listen: listen, DisableDHT: true, DisableMDNS: true})
}
