package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/swarmsync/swarmsync/node"
)

const (
	startTimeout   = 30 * time.Second
	commandTimeout = 2 * time.Minute
	stopTimeout    = 20 * time.Second
)

// process is a running swarmsync serve.
type process struct {
	name    string
	id      string
	address string // what others can join
	home    string
	program string
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	ended   chan error
}

// start runs a node that listens on loopback only, with mDNS off, and waits until others can join it.
func (d *demo) start(ctx context.Context, name string, flags ...string) (*process, error) {
	n := &process{name: name, home: filepath.Join(d.dir, name), program: d.program, ended: make(chan error, 1)}
	args := append([]string{
		"serve", "--home", n.home, "--mdns=false",
		"--listen", "/ip4/127.0.0.1/tcp/0", "--listen", "/ip4/127.0.0.1/udp/0/quic-v1",
	}, flags...)
	n.cmd = exec.Command(d.program, args...)
	n.cmd.Env = plainEnvironment()
	n.cmd.Stderr = &n.stderr
	n.cmd.Env = environment()
	stdout, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	d.nodes = append(d.nodes, n)

	addresses := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if address := lines.Text(); strings.Contains(address, "/tcp/") {
				select {
				case addresses <- address:
				default:
				}
			}
		}
		n.ended <- n.cmd.Wait()
	}()
	select {
	case n.address = <-addresses:
	case err := <-n.ended:
		n.ended <- err
		return nil, fmt.Errorf("node %s ended at its start: %w\n%s", name, err, n.stderr.String())
	case <-time.After(startTimeout):
		return nil, fmt.Errorf("node %s did not say its address within %s", name, startTimeout)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	n.id = n.address[strings.LastIndex(n.address, "/")+1:]
	fmt.Printf("  %-8s %s\n", name, n.address)
	return n, nil
}

// plainEnvironment is that of this process without what would set flags: the demo shows the same everywhere.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool {
		return strings.HasPrefix(variable, "SWARMSYNC_")
	})
}

// command runs a swarmsync command on the node's home, where it talks to the node, and returns what it printed.
func (n *process) command(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, n.program, append(args, "--home", n.home)...)
	command.Env = plainEnvironment()
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	command.Env = environment()
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("swarmsync %s on %s: %w\n%s%s", args[0], n.name, err, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// find asks the node who holds a root.
func (n *process) find(ctx context.Context, root string) ([]node.Holder, error) {
	text, err := n.command(ctx, "find", root, "--json")
	if err != nil {
		return nil, err
	}
	var holders []node.Holder
	err = decodeEvents(text, "holder", func(line []byte) error {
		var holder node.Holder
		err := json.Unmarshal(line, &holder)
		holders = append(holders, holder)
		return err
	})
	return holders, err
}

// environment is ours without what would change the flags of the program.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "SWARMSYNC_") })
}

// stop ends the nodes as a user would, and says which of them did not end well.
func (d *demo) stop() error {
	var problems []error
	for _, n := range d.nodes {
		// An interrupt at the terminal has reached them too.
		if err := n.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
			problems = append(problems, fmt.Errorf("stop node %s: %w", n.name, err))
		}
	}
	for _, n := range d.nodes {
		select {
		case err := <-n.ended:
			if err != nil {
				problems = append(problems, fmt.Errorf("node %s ended badly: %w\n%s", n.name, err, n.stderr.String()))
			}
		case <-time.After(stopTimeout):
			problems = append(problems, fmt.Errorf("node %s did not end within %s", n.name, stopTimeout), n.cmd.Process.Kill())
		}
	}
	return errors.Join(problems...)
}
