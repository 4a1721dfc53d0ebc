package control

import "syscall"

// restrict gives the socket its mode before it has a name: Linux makes the file with the mode of the descriptor.
func restrict(_, _ string, conn syscall.RawConn) error {
	var chmodErr error
	err := conn.Control(func(fd uintptr) { chmodErr = syscall.Fchmod(int(fd), 0o600) })
	if err != nil {
		return err
	}
	return chmodErr
}
