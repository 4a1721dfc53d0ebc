//go:build !windows

package node

import "syscall"

// openNoFollow makes an open fail rather than follow a symbolic link, or wait for a pipe.
const openNoFollow = syscall.O_NOFOLLOW | syscall.O_NONBLOCK
