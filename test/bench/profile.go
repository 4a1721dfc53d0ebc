package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// profileTop is how many of the top consumers are written down.
const profileTop = "30"

// profile takes processor profiles of cold and of add: the same work, done by nodes in processes of this program.
func (b *bench) profile(ctx context.Context) error {
	if err := os.MkdirAll(b.results, 0o755); err != nil {
		return err
	}
	file, err := b.random(1 << 30)
	if err != nil {
		return err
	}
	leaveAlone(ctx)
	base := filepath.Join(b.results, fmt.Sprintf("%s-%s-", b.started.UTC().Format("20060102-150405"), commit(ctx)))
	home, err := b.directory("homes")
	if err != nil {
		return err
	}
	holder := filepath.Join(home, "holder")
	run := func(side string, args ...string) (*sandbox.Process, error) {
		args = append([]string{b.self, roleCommand, "profile-" + side, base + side + ".prof"}, args...)
		return b.box.Start(ctx, sandbox.Command{Args: args})
	}
	adder, err := run("add", holder, file.path)
	if err != nil {
		return err
	}
	root, errLine := adder.Line(ctx, hasPrefix(""))
	if err := errors.Join(errLine, adder.Wait()); err != nil {
		return err
	}
	server, err := run("serve", holder)
	if err != nil {
		return err
	}
	address, err := server.Line(ctx, hasPrefix("/"))
	if err != nil {
		return err
	}
	if err := sandbox.TouchMemory(memoryTouched); err != nil {
		return err
	}
	receiver, err := run("get", filepath.Join(home, "receiver"), address, root)
	if err != nil {
		return err
	}
	if err := errors.Join(receiver.Wait(), server.Stop()); err != nil {
		return err
	}
	for _, side := range []string{"add", "serve", "get"} {
		if err := b.top(ctx, base+side); err != nil {
			return err
		}
	}
	return nil
}

// top prints the top consumers of a profile and stores them beside it.
func (b *bench) top(ctx context.Context, base string) error {
	var text strings.Builder
	for _, order := range []string{"-flat", "-cum"} {
		output, err := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", order, "-nodecount="+profileTop, base+".prof").Output()
		if err != nil {
			return fmt.Errorf("go tool pprof: %w", err)
		}
		text.Write(output)
		text.WriteByte('\n')
	}
	fmt.Printf("\n%s\n%s", base, text.String())
	return os.WriteFile(base+".txt", []byte(text.String()), 0o644)
}

// profiled writes a processor profile of what work does to path.
func profiled(path string, work func() error) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := pprof.StartCPUProfile(file); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return work()
}

// profileNode starts a node as the command line does, on loopback.
func profileNode(ctx context.Context, home string) (*node.Node, error) {
	return node.New(ctx, node.Config{
		Home: home, DisableMDNS: true,
		Listen: []multiaddr.Multiaddr{
			multiaddr.StringCast("/ip4/127.0.0.1/tcp/0"), multiaddr.StringCast("/ip4/127.0.0.1/udp/0/quic-v1"),
		},
	})
}

// profileAdd adds the file args[2] to the home args[1] and prints its root; the profile goes to args[0].
func profileAdd(ctx context.Context, args []string) (err error) {
	n, err := node.New(ctx, node.Config{Home: args[1], Offline: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	return profiled(args[0], func() error {
		status, err := n.Add(ctx, args[2], node.AddOptions{})
		if err == nil {
			fmt.Println(status.Root)
		}
		return err
	})
}

// profileServe serves the home args[1] until it is interrupted; the profile goes to args[0].
func profileServe(ctx context.Context, args []string) (err error) {
	n, err := profileNode(ctx, args[1])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	return profiled(args[0], func() error {
		fmt.Println(n.Addresses()[0])
		<-ctx.Done()
		return nil
	})
}

// profileGet fetches the root args[3] into the home args[1] and a file in it from the node at args[2]; the profile goes
// to args[0].
func profileGet(ctx context.Context, args []string) (err error) {
	root, err := cafs.ParseKey(args[3])
	if err != nil {
		return err
	}
	holder, err := peer.AddrInfoFromString(args[2])
	if err != nil {
		return err
	}
	n, err := profileNode(ctx, args[1])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	if err := n.Join(ctx, *holder); err != nil {
		return err
	}
	return profiled(args[0], func() error {
		_, err := n.Fetch(ctx, node.Link{Root: root}, node.FetchOptions{Output: filepath.Join(args[1], "output")})
		return err
	})
}
