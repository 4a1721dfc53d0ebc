package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// ipTimeout bounds one command of iproute2, which takes milliseconds.
const ipTimeout = 20 * time.Second

// Space is a network namespace.
type Space struct {
	name string
	box  *Sandbox
	link string // the interface whose counters are the traffic
	// Address is the address of whoever runs in it.
	Address string
}

// Traffic is what went through the interface of a namespace, in bytes with their headers. A large segment that the
// kernel has not cut into frames yet counts one header.
type Traffic struct{ In, Out int64 }

// Namespaces returns nil if network namespaces can be made here, or the reason why not.
func (s *Sandbox) Namespaces(ctx context.Context) error {
	if _, err := exec.LookPath("ip"); err != nil {
		return errors.New("network namespaces need iproute2, which is not installed")
	}
	if os.Geteuid() != 0 {
		return errors.New("network namespaces need root")
	}
	space, err := s.space(ctx, "probe")
	if err != nil {
		return fmt.Errorf("network namespaces can't be made here: %w", err)
	}
	return space.remove()
}

// Shaping returns nil if links can be shaped here, or the reason why not.
func (s *Sandbox) Shaping(ctx context.Context) error {
	if err := s.Namespaces(ctx); err != nil {
		return err
	}
	star, err := s.Star(ctx, []Leaf{{UpMbit: 100, DownMbit: 100}})
	if err != nil {
		return fmt.Errorf("links can't be shaped here: %w", err)
	}
	return star.Remove()
}

// Loopback makes a namespace with nothing but a loopback interface.
func (s *Sandbox) Loopback(ctx context.Context) (*Space, error) {
	space, err := s.space(ctx, "loopback")
	if err != nil {
		return nil, err
	}
	space.link, space.Address = "lo", "127.0.0.1"
	return space, nil
}

// space makes a namespace whose loopback interface is up.
func (s *Sandbox) space(ctx context.Context, role string) (*Space, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.made++
	space := &Space{name: fmt.Sprintf("%s%d-%d-%s", prefix, os.Getpid(), s.made, role), box: s}
	s.spaces[space] = true // before it is there, so that it is removed whatever happens
	s.mu.Unlock()
	if err := ip("netns", "add", space.name); err != nil {
		return nil, errors.Join(err, space.remove())
	}
	if err := ip("-n", space.name, "link", "set", "lo", "up"); err != nil {
		return nil, errors.Join(err, space.remove())
	}
	return space, nil
}

// command returns args as they are run in the namespace.
func (s *Space) command(args []string) []string {
	return append([]string{"ip", "netns", "exec", s.name}, args...)
}

// Traffic reads the counters of the namespace's interface.
func (s *Space) Traffic() (Traffic, error) {
	output, err := ipOutput("-n", s.name, "-s", "-j", "link", "show", "dev", s.link)
	if err != nil {
		return Traffic{}, err
	}
	var links []struct {
		Stats struct {
			RX, TX struct{ Bytes int64 }
		} `json:"stats64"`
	}
	if err := json.Unmarshal(output, &links); err != nil || len(links) != 1 {
		return Traffic{}, fmt.Errorf("ip told the counters of %s as %q: %w", s.name, output, err)
	}
	stats := links[0].Stats
	return Traffic{In: stats.RX.Bytes, Out: stats.TX.Bytes}, nil
}

// remove removes the namespace, and with it its interfaces. One that is gone is fine.
func (s *Space) remove() error {
	s.box.mu.Lock()
	delete(s.box.spaces, s)
	s.box.mu.Unlock()
	return removeSpace(s.name)
}

// Remove ends the namespace; its processes must have ended.
func (s *Space) Remove() error { return s.remove() }

func removeSpace(name string) error {
	if _, err := os.Stat("/run/netns/" + name); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return ip("netns", "del", name)
}

// removeLeftSpaces removes the namespaces of dead runs, with what still runs there.
func removeLeftSpaces() error {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return nil //nolint:nilerr // no such directory: there never were namespaces
	}
	var problems []error
	for _, entry := range entries {
		pid, ok := owner(entry.Name())
		if !ok || running(pid) {
			continue
		}
		if output, err := ipOutput("netns", "pids", entry.Name()); err == nil {
			for _, left := range strings.Fields(string(output)) {
				problems = append(problems, killText(left))
			}
		}
		problems = append(problems, removeSpace(entry.Name()))
	}
	return errors.Join(problems...)
}

// ip runs a command of iproute2. It is not bound to a context: a namespace must be removed also after an interrupt.
func ip(args ...string) error {
	_, err := ipOutput(args...)
	return err
}

func ipOutput(args ...string) ([]byte, error) { return output("ip", args...) }

func output(program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), ipTimeout)
	defer cancel()
	command := exec.CommandContext(ctx, program, args...)
	command.SysProcAttr = ownGroup() // Ctrl-C on the terminal is not for it
	out, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return out, nil
}

func killText(pid string) error {
	var number int
	if _, err := fmt.Sscan(pid, &number); err != nil {
		return fmt.Errorf("process id %q: %w", pid, err)
	}
	process, err := os.FindProcess(number)
	if err != nil {
		return err
	}
	if err := process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}
