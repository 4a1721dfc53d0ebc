package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	// stopTimeout is how long a process that was asked to end may take; a node has its store to sync.
	stopTimeout = 30 * time.Second
	// clearTimeout is how long all of them together may take when nobody cares how they end.
	clearTimeout = 5 * time.Second
	// stderrMax is how much of what a process says on its standard error is kept: its end, which has the reason.
	stderrMax = 16 << 10
)

// Side says whose work a process does.
type Side string

const (
	Holder   Side = "holder"
	Receiver Side = "receiver"
	// Other is not counted for anybody: preparations, trackers, checks.
	Other Side = ""
)

// Command says what to run.
type Command struct {
	Args []string
	// Dir is the working directory; empty: that of the sandbox.
	Dir string
	// Env holds variables beside those of this process.
	Env []string
	// Space is the network namespace to run in; nil: that of this process.
	Space *Space
	// Side says whose use of the machine this is.
	Side Side
	// Stdout, if not nil, takes the standard output; Process.Line and Run's output have nothing then.
	Stdout *os.File
}

// Process is a program that runs, or ran.
type Process struct {
	name  string
	side  Side
	cmd   *exec.Cmd
	stdin io.WriteCloser
	lines chan string

	stderr tail
	err    error         // of Wait; valid once ended is closed
	ended  chan struct{} // closed when the process is gone and what it printed was read
}

// Start runs a command until it ends, or Stop, Sandbox.Clear or Sandbox.Close is called, or ctx is done; it then is
// killed with all of its children. If the process of the sandbox is killed, so is it, on Linux.
func (s *Sandbox) Start(ctx context.Context, c Command) (*Process, error) {
	args := c.Args
	if c.Space != nil {
		args = c.Space.command(args)
	}
	p := &Process{name: c.Args[0], side: c.Side, lines: make(chan string, 1024), ended: make(chan struct{})}
	p.cmd = exec.CommandContext(ctx, args[0], args[1:]...)
	p.cmd.Dir = c.Dir
	if c.Dir == "" {
		p.cmd.Dir = s.dir
	}
	p.cmd.Env = append(os.Environ(), c.Env...)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = ownGroup()
	p.cmd.Cancel = func() error { p.kill(); return nil }
	p.cmd.WaitDelay = stopTimeout // a grandchild that keeps the pipes open must not hold us up for ever
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout := io.NopCloser(strings.NewReader(""))
	if c.Stdout != nil {
		p.cmd.Stdout = c.Stdout
	} else if stdout, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	// The lock makes sure that Clear sees the process or that it is not started.
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	s.processes[p] = true
	go p.wait(stdout)
	return p, nil
}

// wait reads what the process prints and reaps it. Lines that nobody takes are dropped when the channel is full.
func (p *Process) wait(stdout io.Reader) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		select {
		case p.lines <- lines.Text():
		default:
		}
	}
	close(p.lines)
	p.err = p.cmd.Wait()
	close(p.ended)
}

// Line returns the next line that the process prints and that ok accepts. The error has what the process said if it
// ends before.
func (p *Process) Line(ctx context.Context, ok func(string) bool) (string, error) {
	for {
		select {
		case line, more := <-p.lines:
			if !more {
				<-p.ended
				return "", p.failure(errors.Join(p.err, errors.New("it ended before it said what it should")))
			}
			if ok(line) {
				return line, nil
			}
		case <-ctx.Done():
			return "", fmt.Errorf("%s: %w", p.name, ctx.Err())
		}
	}
}

// Say writes a line to the standard input of the process.
func (p *Process) Say(line string) error {
	_, err := io.WriteString(p.stdin, line+"\n")
	return err
}

// Wait returns when the process has ended; the error says how if it failed.
func (p *Process) Wait() error {
	<-p.ended
	if p.err != nil {
		return p.failure(p.err)
	}
	return nil
}

// endAll asks processes to end, so that they leave their files in order, and kills those that do not.
func endAll(processes []*Process) {
	for _, p := range processes {
		p.terminate()
	}
	patience := time.NewTimer(clearTimeout)
	defer patience.Stop()
	for _, p := range processes {
		select {
		case <-p.ended:
		case <-patience.C:
			patience.Reset(0) // for the others too
			p.kill()
			<-p.ended
		}
	}
}

// Stop asks the process to end and returns when it has. One that takes too long is killed, which is
// an error; how a process ends that was asked to is none.
func (p *Process) Stop() error {
	p.terminate()
	select {
	case <-p.ended:
		return nil
	case <-time.After(stopTimeout):
		p.kill()
		<-p.ended
		return p.failure(fmt.Errorf("did not end within %s", stopTimeout))
	}
}

func (p *Process) failure(err error) error {
	if text := p.stderr.String(); text != "" {
		return fmt.Errorf("%s: %w: %s", p.name, err, text)
	}
	return fmt.Errorf("%s: %w", p.name, err)
}

// Run runs a command to its end and returns what it printed.
func (s *Sandbox) Run(ctx context.Context, c Command) (string, error) {
	p, err := s.Start(ctx, c)
	if err != nil {
		return "", err
	}
	var output strings.Builder
	for line := range p.lines {
		output.WriteString(line)
		output.WriteByte('\n')
	}
	return output.String(), p.Wait()
}

// tail keeps the end of what is written to it.
type tail struct {
	// mu guards kept.
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(data []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, data...)
	if over := len(t.kept) - stderrMax; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(data), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.kept))
}
