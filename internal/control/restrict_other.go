//go:build !linux

package control

import "syscall"

// restrict does nothing: the mode follows as soon as the socket has a name, and until then the home's own mode, 0700,
// keeps others out.
func restrict(_, _ string, _ syscall.RawConn) error { return nil }
