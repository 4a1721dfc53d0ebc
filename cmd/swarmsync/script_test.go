package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/swarmsync/swarmsync/internal/control"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"swarmsync": main})
}

// awaitMost is how long a script waits for an output that does not come.
const awaitMost = 30 * time.Second

// TestScripts runs testdata/*.txtar. Nodes listen on 127.0.0.1 only and use no mDNS: the environment says so, and each
// script starts with an empty home.
//
// Beside the usual commands there are:
//
//	exits CODE COMMAND…    runs a command that must end with CODE
//	start NAME ARG…        runs swarmsync in the background; its output goes to NAME.out and NAME.err
//	await NAME REGEXP      waits for a match in its output; what the first group matches goes into the variable NAME
//	interrupt NAME         sends it an interrupt
//	terminate NAME         sends it a SIGTERM
//	finish NAME CODE       waits until it has ended, with CODE; -1 means by a signal
//	rootof FILE            puts the first root in a file into the variable root
//	peerof FILE            puts the first address with a peer ID in a file into the variable peer
//	socket HOME            waits until a node answers on that home
//	content FILE SIZE [N]  makes a file of that many bytes, the same each time for the same N, 1 to 255
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("SWARMSYNC_HOME", env.WorkDir+"/home")
			env.Setenv("SWARMSYNC_LISTEN", "/ip4/127.0.0.1/tcp/0")
			env.Setenv("SWARMSYNC_MDNS", "false")
			env.Setenv("GORACE", "atexit_sleep_ms=0") // a second for each of 90 processes otherwise
			env.Values[processes{}] = make(map[string]*process)
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":     cmdExits,
			"start":     cmdStart,
			"await":     cmdAwait,
			"interrupt": func(ts *testscript.TestScript, _ bool, args []string) { send(ts, args, os.Interrupt) },
			"terminate": func(ts *testscript.TestScript, _ bool, args []string) { send(ts, args, syscall.SIGTERM) },
			"finish":    cmdFinish,
			"rootof":    cmdFirst("root", "[0-9a-f]{64}"),
			"peerof":    cmdFirst("peer", `/ip4/[^&\s]*/p2p/\w+`),
			"socket":    cmdSocket,
			"content":   cmdContent,
		},
	})
}

// processes is the key of the processes that a script started.
type processes struct{}

// process is one that runs in the background of a script.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu      sync.Mutex
	output  bytes.Buffer
	changed chan struct{} // closed and replaced when there is more output
}

// tee returns a writer that adds to the output and to file.
func (p *process) tee(file io.Writer) io.Writer { return teeWriter{p, file} }

type teeWriter struct {
	process *process
	file    io.Writer
}

func (w teeWriter) Write(data []byte) (int, error) {
	w.process.mu.Lock()
	defer w.process.mu.Unlock()
	w.process.output.Write(data)
	close(w.process.changed)
	w.process.changed = make(chan struct{})
	return w.file.Write(data)
}

// start runs a command in the background. What it prints goes to stdout and stderr too.
func start(cmd *exec.Cmd, stdout, stderr io.Writer) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.tee(stdout), p.tee(stderr)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait() // the exit code is looked at by finish
		close(p.done)
	}()
	return p, nil
}

// printed returns the output so far, and a channel that is closed when there is more.
func (p *process) printed() (string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String(), p.changed
}

func (p *process) text() string {
	output, _ := p.printed()
	return output
}

// await waits until the output is enough.
func (p *process) await(enough func(output string) bool) error {
	late := time.After(awaitMost)
	for ended := false; ; {
		output, changed := p.printed()
		switch {
		case enough(output):
			return nil
		case ended:
			return fmt.Errorf("it ended; its output:\n%s", output)
		}
		select {
		case <-changed:
		case <-p.done:
			ended = true
		case <-late:
			return fmt.Errorf("it does not come in %v; the output:\n%s", awaitMost, output)
		}
	}
}

// finish waits for the end and returns the exit code, -1 after a signal.
func (p *process) finish() (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(awaitMost):
		return 0, fmt.Errorf("it does not end in %v; its output:\n%s", awaitMost, p.text())
	}
}

// kill ends the process if it has not ended.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit := new(exec.ExitError)
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdStart(ts *testscript.TestScript, _ bool, args []string) {
	name := args[0]
	stdout, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	stderr, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	path, err := exec.LookPath("swarmsync")
	ts.Check(err)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "TMPDIR=" + ts.Getenv("TMPDIR"), "HOME=" + ts.Getenv("HOME"), "GORACE=" + ts.Getenv("GORACE")}
	for _, variable := range []string{"HOME", "LISTEN", "MDNS"} {
		cmd.Env = append(cmd.Env, envPrefix+variable+"="+ts.Getenv(envPrefix+variable))
	}
	p, err := start(cmd, stdout, stderr)
	ts.Check(err)
	ts.Value(processes{}).(map[string]*process)[name] = p
	ts.Defer(func() {
		p.kill()
		_, _ = stdout.Close(), stderr.Close()
	})
}

func processOf(ts *testscript.TestScript, name string) *process {
	p := ts.Value(processes{}).(map[string]*process)[name]
	if p == nil {
		ts.Fatalf("no process %s was started", name)
	}
	return p
}

func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[1])
	var groups []string
	err := processOf(ts, args[0]).await(func(output string) bool {
		groups = pattern.FindStringSubmatch(output)
		return groups != nil
	})
	if err != nil {
		ts.Fatalf("%s: no match for %q: %v", args[0], args[1], err)
	}
	if len(groups) > 1 {
		ts.Setenv(args[0], groups[1])
	}
}

func send(ts *testscript.TestScript, args []string, signal os.Signal) {
	ts.Check(processOf(ts, args[0]).cmd.Process.Signal(signal))
}

func cmdFinish(ts *testscript.TestScript, _ bool, args []string) {
	code, err := processOf(ts, args[0]).finish()
	if err != nil {
		ts.Fatalf("%s: %v", args[0], err)
	}
	if got := strconv.Itoa(code); got != args[1] {
		ts.Fatalf("%s ended with %s, want %s; its output:\n%s", args[0], got, args[1], processOf(ts, args[0]).text())
	}
}

// cmdFirst puts the first match of a pattern in a file into a variable.
func cmdFirst(variable, pattern string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		found := regexp.MustCompile(pattern).FindString(ts.ReadFile(args[0]))
		if found == "" {
			ts.Fatalf("no %s in %s", variable, args[0])
		}
		ts.Setenv(variable, found)
	}
}

func cmdSocket(ts *testscript.TestScript, _ bool, args []string) {
	late := time.After(awaitMost)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		client, err := control.Dial(context.Background(), ts.MkAbs(args[0]))
		if err == nil {
			ts.Check(client.Close())
			return
		}
		select {
		case <-poll.C:
		case <-late:
			ts.Fatalf("no node on %s: %v", args[0], err)
		}
	}
}

func cmdContent(ts *testscript.TestScript, _ bool, args []string) {
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	seed := 1
	if len(args) > 2 {
		seed, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	random := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(random) // never fails
	text := base64.StdEncoding.EncodeToString(random)         // so that the log of a script that fails can be read
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text[:size]), 0o644))
}
