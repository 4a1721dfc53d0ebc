package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/node"
)

// Two nodes of one process: one adds some text, and the other one, which has nothing but the link, fetches it.
func Example() {
	dir, err := os.MkdirTemp("", "swarmsync-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := errors.Join(sendGreeting(context.Background(), dir), os.RemoveAll(dir)); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 13 bytes fetched: hello, swarm
}

func sendGreeting(ctx context.Context, dir string) (err error) {
	loopback := []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}

	holder, err := node.New(ctx, node.Config{Home: filepath.Join(dir, "holder"), Listen: loopback})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, holder.Close()) }()
	added, err := holder.AddReader(ctx, strings.NewReader("hello, swarm\n"), node.AddOptions{Name: "greeting.txt"})
	if err != nil {
		return err
	}
	link, err := holder.Link(ctx, added.Root)
	if err != nil {
		return err
	}
	text := link.String() // what the one user sends to the other

	receiver, err := node.New(ctx, node.Config{Home: filepath.Join(dir, "receiver"), Listen: loopback})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, receiver.Close()) }()
	link, err = node.ParseLink(text)
	if err != nil {
		return err
	}
	result, err := receiver.Fetch(ctx, link, node.FetchOptions{Output: filepath.Join(dir, link.Name)})
	if err != nil {
		return err
	}
	content, err := os.ReadFile(result.Output)
	if err != nil {
		return err
	}
	fmt.Printf("%d bytes fetched: %s", result.Fetched, content)
	return nil
}
