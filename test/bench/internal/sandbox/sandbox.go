// Package sandbox owns everything that a measurement makes outside of its own process: other processes, network
// namespaces and files. Whatever happens, Sandbox.Close leaves nothing of it behind; what a killed run could not
// remove, the next one does.
//
// Start with New, Sandbox.Start for a process and Sandbox.Loopback or Sandbox.Star for a network; Meter tells what
// the processes used.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
)

// prefix begins the names of all directories and namespaces; the process id follows, so that leftovers are told from
// what another run is using.
const prefix = "swarmsync-bench-"

// Sandbox is the place of one run. Its methods may be called concurrently.
type Sandbox struct {
	dir string

	// mu guards what follows. It is not held while processes are waited for.
	mu        sync.Mutex
	processes map[*Process]bool // those that have ended too, until Clear: a Meter wants to know what they used
	spaces    map[*Space]bool
	made      int // namespaces so far, for their names
}

// New makes the directory of a run below parent, and removes what runs that are dead left behind, there and among the
// network namespaces.
func New(parent string) (*Sandbox, error) {
	if err := removeLeftovers(parent); err != nil {
		return nil, fmt.Errorf("remove leftovers of an earlier run: %w", err)
	}
	dir, err := os.MkdirTemp(parent, fmt.Sprintf("%s%d-", prefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	return &Sandbox{dir: dir, processes: make(map[*Process]bool), spaces: make(map[*Space]bool)}, nil
}

// Close ends all processes, removes all namespaces and the directory. It may be called more than once.
func (s *Sandbox) Close() error {
	problems := []error{s.Clear()}
	return errors.Join(append(problems, os.RemoveAll(s.dir))...)
}

// Clear ends all processes, those that take too long by force, and removes all namespaces. The directory stays.
func (s *Sandbox) Clear() error {
	s.mu.Lock()
	var processes []*Process
	for p := range s.processes {
		processes = append(processes, p)
	}
	var spaces []*Space
	for space := range s.spaces {
		spaces = append(spaces, space)
	}
	s.mu.Unlock()

	endAll(processes)
	s.mu.Lock()
	for _, p := range processes {
		delete(s.processes, p)
	}
	s.mu.Unlock()
	var problems []error
	for _, space := range spaces {
		problems = append(problems, space.remove())
	}
	return errors.Join(problems...)
}

// Dir is the directory of the run; it is removed by Close.
func (s *Sandbox) Dir() string { return s.dir }

// Make makes a directory below Dir and returns its path. One that exists is fine.
func (s *Sandbox) Make(elements ...string) (string, error) {
	dir := filepath.Join(append([]string{s.dir}, elements...)...)
	return dir, os.MkdirAll(dir, 0o755)
}

var leftoverName = regexp.MustCompile(`^` + prefix + `([0-9]+)-`)

// owner returns the process that made a directory or namespace, by its name; ok is false if the name is not ours.
func owner(name string) (pid int, ok bool) {
	match := leftoverName.FindStringSubmatch(name)
	if match == nil {
		return 0, false
	}
	pid, err := strconv.Atoi(match[1])
	return pid, err == nil
}

func removeLeftovers(parent string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	// Namespaces first: what still runs in them may use the directories.
	problems := []error{removeLeftSpaces()}
	for _, entry := range entries {
		if pid, ok := owner(entry.Name()); ok && !running(pid) {
			problems = append(problems, os.RemoveAll(filepath.Join(parent, entry.Name())))
		}
	}
	return errors.Join(problems...)
}
