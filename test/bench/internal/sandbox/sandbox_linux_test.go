package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func newSandbox(t *testing.T) *Sandbox {
	t.Helper()
	s, err := New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestOwner(t *testing.T) {
	for name, want := range map[string]int{
		"swarmsync-bench-42-leaf0": 42, "swarmsync-bench-7-123456": 7,
		"swarmsync-demo-42-x": 0, "swarmsync-bench-x-1": 0, "my-swarmsync-bench-42-1": 0, "swarmsync-bench-42": 0,
	} {
		pid, ok := owner(name)
		if ok != (want != 0) || pid != want {
			t.Errorf("owner of %q: %d, %t; want %d", name, pid, ok, want)
		}
	}
}

// deadProcess returns the number of a process that has ended.
func deadProcess(t *testing.T) int {
	t.Helper()
	command := exec.Command("true")
	if err := command.Run(); err != nil {
		t.Fatal(err)
	}
	return command.Process.Pid
}

func TestLeftoversOfDeadRunsOnlyAreRemoved(t *testing.T) {
	parent := t.TempDir()
	left := filepath.Join(parent, fmt.Sprintf("%s%d-1", prefix, deadProcess(t)))
	alive := filepath.Join(parent, fmt.Sprintf("%s%d-1", prefix, os.Getppid()))
	foreign := filepath.Join(parent, "foreign")
	for _, dir := range []string{left, alive, foreign} {
		if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(parent)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{left: false, alive: true, foreign: true, s.Dir(): false} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %t, want %t", dir, err == nil, want)
		}
	}
}

func TestCloseEndsProcessesWithTheirChildren(t *testing.T) {
	s := newSandbox(t)
	p, err := s.Start(t.Context(), Command{Args: []string{"sh", "-c", "trap '' TERM; sleep 1000 & echo $!; wait; wait"}})
	if err != nil {
		t.Fatal(err)
	}
	line, err := p.Line(t.Context(), func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Sscan(line, &child); err != nil {
		t.Fatal(err)
	}
	p.kill() // what Close does to those that don't listen
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for state := childState(child); state != "" && state != "Z"; state = childState(child) {
		if time.Now().After(deadline) {
			t.Fatalf("child %d is still there, in state %s", child, state)
		}
	}
}

// childState is the state of a process; empty if it is gone.
func childState(pid int) string {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(content), ") ")
	return rest[:1]
}

func TestFailureTellsWhatTheProcessSaid(t *testing.T) {
	s := newSandbox(t)
	_, err := s.Run(t.Context(), Command{Args: []string{"sh", "-c", "echo the reason >&2; exit 3"}})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("got %v", err)
	}
}

func TestLineOfAProcessThatEnds(t *testing.T) {
	s := newSandbox(t)
	p, err := s.Start(t.Context(), Command{Args: []string{"sh", "-c", "echo one; echo two"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Line(t.Context(), func(line string) bool { return line == "three" }); err == nil {
		t.Error("a line that was never printed was found")
	}
}

func TestMeterCountsEachSide(t *testing.T) {
	s := newSandbox(t)
	burn := "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done"
	m := s.NewMeter()
	if _, err := s.Run(t.Context(), Command{Args: []string{"sh", "-c", burn}, Side: Receiver}); err != nil {
		t.Fatal(err)
	}
	uses, machine := m.Stop()
	if used := uses[Receiver].CPU; used < 50*time.Millisecond {
		t.Errorf("the receiver used %s, which is too little", used)
	}
	if peak := uses[Receiver].Peak; peak < 100<<10 || peak > 100<<20 {
		t.Errorf("the receiver's peak is %d bytes", peak)
	}
	if used := uses[Holder].CPU; used != 0 {
		t.Errorf("a holder that there was not used %s", used)
	}
	if !machine.Known || machine.Busy <= 0 || machine.Foreign > machine.Busy {
		t.Errorf("machine %+v", machine)
	}
}

func TestMeterLeavesOutWhatWasBefore(t *testing.T) {
	s := newSandbox(t)
	burn := "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo ready; read go"
	p, err := s.Start(t.Context(), Command{Args: []string{"sh", "-c", burn}, Side: Holder})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Line(t.Context(), func(line string) bool { return line == "ready" }); err != nil {
		t.Fatal(err)
	}
	m := s.NewMeter()
	if err := p.Say("go"); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if uses, _ := m.Stop(); uses[Holder].CPU > 50*time.Millisecond {
		t.Errorf("used %s after it began to wait", uses[Holder].CPU)
	}
}

func TestStarShapesAndCounts(t *testing.T) {
	s := newSandbox(t)
	if err := s.Shaping(t.Context()); err != nil {
		t.Skip(err)
	}
	star, err := s.Star(t.Context(), []Leaf{{UpMbit: 8}, {}})
	if err != nil {
		t.Fatal(err)
	}
	before, err := star.Leaves[1].Traffic()
	if err != nil {
		t.Fatal(err)
	}
	const size = 512 << 10
	server := fmt.Sprintf("import socket\nl = socket.create_server((%q, 9))\nprint('ready', flush=True)\n"+
		"l.accept()[0].sendall(b'x' * %d)", star.Leaves[0].Address, size)
	p, err := s.Start(t.Context(), Command{Args: []string{"python3", "-c", server}, Space: star.Leaves[0]})
	if err != nil {
		t.Skip(err)
	}
	if _, err := p.Line(t.Context(), func(line string) bool { return line == "ready" }); err != nil {
		t.Fatal(err)
	}
	client := fmt.Sprintf("import socket\ns = socket.create_connection((%q, 9))\nwhile s.recv(65536): pass", star.Leaves[0].Address)
	began := time.Now()
	if _, err := s.Run(t.Context(), Command{Args: []string{"python3", "-c", client}, Space: star.Leaves[1]}); err != nil {
		t.Fatal(err)
	}
	elapsed := time.Since(began)
	if least := 400 * time.Millisecond; elapsed < least { // 512 KiB less the burst of 64 KiB at 1 MB/s
		t.Errorf("512 KiB took %s through 8 Mbit/s, want at least %s", elapsed, least)
	}
	after, err := star.Leaves[1].Traffic()
	if err != nil {
		t.Fatal(err)
	}
	if got := after.In - before.In; got < size || got > size*11/10 {
		t.Errorf("the interface got %d bytes of %d", got, size)
	}
	if err := errors.Join(s.Clear(), s.Clear()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat("/run/netns/" + star.Hub.name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the switch is still there: %v", err)
	}
}

func TestRunning(t *testing.T) {
	if !running(unix.Getpid()) || running(deadProcess(t)) {
		t.Error("running does not tell the living from the dead")
	}
}
