package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/internal/control"
	"github.com/swarmsync/swarmsync/node"
)

// A command that needs the network waits for one that only works on the store, instead of using its node or failing.
func TestNetworkWaitsForStore(t *testing.T) {
	home, err := os.MkdirTemp("", "h") // t.TempDir is too long for a socket on some platforms
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	offline, err := node.New(t.Context(), node.Config{Home: home, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	server, err := control.Listen(home, localNode{offline}, describe(offline, "add"))
	if err != nil {
		t.Fatal(err)
	}
	told, notes := io.Pipe()
	a := newApp(nil, nil, notes)
	a.home = home
	opened := make(chan error)
	go func() {
		command := &cobra.Command{Use: "find"}
		command.SetContext(t.Context())
		flags := &nodeFlags{listen: addressList{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}, network: "lab"}
		s, err := a.openNetwork(command, flags)
		if err == nil {
			err = s.close(t.Context())
		}
		opened <- err
	}()
	note := make([]byte, 100)
	n, err := told.Read(note)
	if err != nil || !strings.Contains(string(note[:n]), `waiting for "add" of process`) {
		t.Errorf("got the note %q, %v", note[:n], err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := offline.Close(); err != nil {
		t.Error(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

// An interrupt ends a read that waits for somebody to type.
func TestInterruptibleInput(t *testing.T) {
	typed, keyboard := io.Pipe()
	defer keyboard.Close()
	ctx, cancel := context.WithCancel(t.Context())
	input := interruptible(ctx, typed)
	go func() {
		_, _ = io.WriteString(keyboard, "typed") // a pipe takes it when it is read
		cancel()
	}()
	got, err := io.ReadAll(input)
	if err == nil {
		t.Errorf("the input ended without an error after %q", got)
	}
	whole, err := io.ReadAll(interruptible(t.Context(), bytes.NewReader([]byte("typed"))))
	if err != nil || string(whole) != "typed" {
		t.Errorf("got %q, %v", whole, err)
	}
}
