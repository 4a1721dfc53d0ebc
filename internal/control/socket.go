package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	socketName = "control.sock"
	// A home whose path is too long for a socket has this file instead: the path of a socket in a private directory
	// below the system's temporary one.
	recordName = "control.path"
)

// socket is a listening socket and what has to be removed with it.
type socket struct {
	net.Listener
	extras []string
}

// Close ends the listener, which removes its file, and removes what is recorded of it.
func (s *socket) Close() error {
	err := s.Listener.Close()
	for _, path := range s.extras {
		if rerr := os.Remove(path); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

// listen makes the socket of a home, with mode 0600. A socket that nobody listens on is replaced, which is safe because
// the caller has the home's lock; a live one never is: the error wraps ErrRunning.
func listen(home string) (*socket, error) {
	home, err := resolve(home)
	if err != nil {
		return nil, err
	}
	if err := removeStale(home); err != nil {
		return nil, err
	}
	path := filepath.Join(home, socketName)
	if len(path) <= socketPathMax {
		listener, err := listenUnix(path)
		return &socket{Listener: listener}, err
	}
	dir, err := os.MkdirTemp("", "swarmsync-")
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	path = filepath.Join(dir, socketName)
	listener, err := listenUnix(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	made := &socket{listener, []string{filepath.Join(home, recordName), dir}}
	if err := os.WriteFile(made.extras[0], []byte(path+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), made.Close())
	}
	return made, nil
}

// listenUnix listens on path so that only the same user can connect, from the first moment on.
func listenUnix(path string) (net.Listener, error) {
	if len(path) > socketPathMax {
		return nil, fmt.Errorf("control socket %s: the path has %d bytes, want at most %d", path, len(path), socketPathMax)
	}
	config := net.ListenConfig{Control: restrict}
	listener, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), listener.Close())
	}
	return listener, nil
}

// removeStale removes what a node that was killed left behind.
func removeStale(home string) error {
	conn, path, err := dial(context.Background(), home)
	if err == nil {
		return errors.Join(fmt.Errorf("control socket %s: %w", path, ErrRunning), conn.Close())
	}
	if !errors.Is(err, ErrNotRunning) {
		return err
	}
	if path == "" {
		return nil
	}
	info, err := os.Lstat(path)
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("control socket %s: something else is there; move it away", path)
	}
	stale := []string{path, filepath.Join(home, recordName)}
	if filepath.Dir(path) != home {
		stale = append(stale, filepath.Dir(path))
	}
	for _, path := range stale {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("stale control socket: %w", err)
		}
	}
	return nil
}

// dial connects to the socket of a home and returns its path, which is empty if there is none. The error wraps
// ErrNotRunning if nobody listens.
func dial(ctx context.Context, home string) (net.Conn, string, error) {
	path, err := locate(home)
	if err != nil {
		return nil, "", err
	}
	if path == "" {
		return nil, "", ErrNotRunning
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil && (errors.Is(err, fs.ErrNotExist) || isRefused(err)) {
		return nil, path, fmt.Errorf("control socket: %w: %w", ErrNotRunning, err)
	}
	if err != nil {
		return nil, path, fmt.Errorf("control socket: %w", err)
	}
	return conn, path, nil
}

// locate returns the path of the socket of a home, empty if it can't have one yet.
func locate(home string) (string, error) {
	path := filepath.Join(home, socketName)
	if len(path) <= socketPathMax {
		return path, nil
	}
	file, err := os.Open(filepath.Join(home, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("control socket: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, recordSizeMax))
	if err != nil {
		return "", fmt.Errorf("control socket: %w", err)
	}
	path = strings.TrimSuffix(string(text), "\n")
	if !filepath.IsAbs(path) || filepath.Base(path) != socketName || len(path) > socketPathMax {
		return "", fmt.Errorf("control socket: %s does not hold the path of a socket; remove it", file.Name())
	}
	return path, nil
}

// resolve makes different paths of one home the same, so that both sides come to the same socket.
func resolve(home string) (string, error) {
	home, err := filepath.Abs(home)
	if err != nil {
		return "", fmt.Errorf("home: %w", err)
	}
	resolved, err := filepath.EvalSymlinks(home)
	if errors.Is(err, fs.ErrNotExist) {
		return home, nil
	}
	if err != nil {
		return "", fmt.Errorf("home: %w", err)
	}
	return resolved, nil
}

// isRefused reports whether nobody listens on a socket that is there. Go's own ECONNREFUSED is not what Windows returns.
func isRefused(err error) bool {
	const windowsRefused = syscall.Errno(10061)
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, windowsRefused)
}

// isReset reports whether the other side ended the connection without an answer.
func isReset(err error) bool {
	const windowsReset = syscall.Errno(10054)
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, windowsReset)
}
