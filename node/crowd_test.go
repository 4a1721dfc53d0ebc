package node_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// servingVariable names the home that a child process serves.
const servingVariable = "SWARMSYNC_TEST_SERVE"

// serveAsChild is what the process does that TestManySessionsTakeLittleMemory starts: it serves until its input ends.
func serveAsChild() {
	holder, err := node.New(context.Background(), loopback(node.Config{Home: os.Getenv(servingVariable), DisableDHT: true}))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(holder.Addresses()[0])
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := holder.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// startServing starts a process that serves a home, and returns it and where it can be reached.
func startServing(t *testing.T, home string) (pid int, at peer.AddrInfo) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), servingVariable+"="+home)
	child.Stderr = os.Stderr
	input, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = child.Wait() // it was killed with the context of the test if it did not end before
	})
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	info, err := peer.AddrInfoFromString(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return child.Process.Pid, *info
}

// peakMemory returns the largest resident set that a process has had, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("the status has no VmHWM")
	return 0
}

// TestManySessionsTakeLittleMemory has 200 sessions with one process, from a connection each, all of them with 32 MiB of
// wishes. Half of the receivers never read.
func TestManySessionsTakeLittleMemory(t *testing.T) {
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("needs time, and the peak memory of another process as Linux tells it")
	}
	const (
		sessions = 200
		each     = 1 << 20
		most     = 128 << 20
	)
	home := t.TempDir()
	content := noise(32<<20, 71)
	adding, err := node.New(t.Context(), node.Config{Home: home, Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	link := add(t, adding, content)
	if err := adding.Close(); err != nil {
		t.Fatal(err)
	}
	held := hold(t, content)
	pid, holder := startServing(t, home)
	idle := peakMemory(t, pid)

	var readers sync.WaitGroup
	for i := range sessions {
		receiver, err := openAs(t, startHost(t), holder, link.Root)
		if err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
		held.wishAll(t, receiver)
		if i%2 == 0 {
			continue
		}
		readers.Go(func() {
			buf := make([]byte, protocol.FrameBodyMax)
			for got := 0; got < each; {
				message, err := receiver.Next(buf)
				if err != nil {
					t.Errorf("session %d: %v", i, err)
					return
				}
				if chunk, ok := message.(protocol.ChunkMessage); ok {
					got += len(chunk.Data)
				}
			}
		})
	}
	readers.Wait()
	peak := peakMemory(t, pid)
	t.Logf("peak resident set: %d MiB at first, %d MiB with %d sessions", idle>>20, peak>>20, sessions)
	if peak > most {
		t.Errorf("%d MiB, want at most %d", peak>>20, most>>20)
	}
}

// wishAll wishes for all that there is.
func (h *held) wishAll(t *testing.T, receiver *protocol.Receiver) {
	t.Helper()
	for number := range h.outline.RangesMax() {
		row, err := h.outline.Range(t.Context(), h.store, number)
		if err != nil {
			t.Fatal(err)
		}
		bits := protocol.NewBits(len(row.Chunks))
		for i := range row.Chunks {
			bits.Set(i)
		}
		if _, err := receiver.Wish(number, bits, row.Chunks); err != nil {
			t.Fatal(err)
		}
	}
}
