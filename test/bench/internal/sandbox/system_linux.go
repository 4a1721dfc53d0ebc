package sandbox

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownGroup puts a process into a group of its own, so that it is killed with its children and that Ctrl-C on the
// terminal reaches this process alone, which then cleans up; it dies with this process.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// kill ends the process and its children at once.
func (p *Process) kill() {
	_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL) // its only error is that they are gone
}

// terminate asks the process to end.
func (p *Process) terminate() {
	_ = unix.Kill(p.cmd.Process.Pid, unix.SIGTERM) // its only error is that it is gone
}

// running says whether there is a process of that number.
func running(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) }

// Sync writes the file system that has path to the disk, as `sync -f` does.
func Sync(path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return unix.Syncfs(int(file.Fd()))
}

// TouchMemory uses n bytes of memory once, but no more than half of what is free, and gives them back.
func TouchMemory(n int64) error {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return err
	}
	n = min(n, int64(info.Freeram)*int64(info.Unit)/2)
	memory, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1
	}
	return unix.Munmap(memory)
}
