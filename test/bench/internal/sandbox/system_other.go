//go:build !linux

package sandbox

import (
	"errors"
	"os"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr { return nil }

func (p *Process) kill() {
	_ = p.cmd.Process.Kill() // its only error is that it is gone
}

func (p *Process) terminate() {
	if p.cmd.Process.Signal(os.Interrupt) != nil {
		p.kill() // an interrupt can't be sent everywhere
	}
}

// running says true when it cannot know: then nothing is removed.
func running(int) bool { return true }

// Sync writes the file at path to the disk; only Linux can do that to a whole file system.
func Sync(path string) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return file.Sync()
}

// TouchMemory does nothing: only of Linux is it known that it makes runs more alike.
func TouchMemory(int64) error { return nil }
