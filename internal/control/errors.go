package control

import (
	"context"
	"errors"
	"io/fs"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
)

// kinds returns the errors that callers decide on, by the name that stands for each on the socket. A name is never given
// a new meaning; one that a client does not know is left out, and the text of the error remains.
func kinds() map[string]error {
	return map[string]error{
		"no-holder":    node.ErrNoHolder,
		"exists":       node.ErrExists,
		"no-space":     node.ErrNoSpace,
		"unsupported":  node.ErrUnsupported,
		"foreign-home": node.ErrForeignHome,
		"newer-home":   node.ErrNewerHome,
		"offline":      node.ErrOffline,
		"removed":      node.ErrRemoved,
		"closed":       node.ErrClosed,
		"not-found":    cafs.ErrNotFound,
		"corrupt":      cafs.ErrCorrupt,
		"bad-root":     cafs.ErrBadRoot,
		"store-closed": cafs.ErrClosed,
		"quota":        cafs.ErrQuota,
		"canceled":     context.Canceled,
		"deadline":     context.DeadlineExceeded,
		"no-file":      fs.ErrNotExist,
		"permission":   fs.ErrPermission,
	}
}

// remoteError is an error that happened in the process of the running node. It is its own form on the socket.
type remoteError struct {
	Message string   `json:"message"`
	Kinds   []string `json:"kinds,omitempty"`
}

func (e *remoteError) Error() string { return e.Message }

// Unwrap makes errors.Is find what the error wrapped on the other side.
func (e *remoteError) Unwrap() []error {
	known := kinds()
	var wrapped []error
	for _, name := range e.Kinds {
		if err, ok := known[name]; ok {
			wrapped = append(wrapped, err)
		}
	}
	return wrapped
}

// encodeError returns the form of err on the socket, nil for nil.
func encodeError(err error) *remoteError {
	if err == nil {
		return nil
	}
	encoded := &remoteError{Message: err.Error()}
	for name, kind := range kinds() {
		if errors.Is(err, kind) {
			encoded.Kinds = append(encoded.Kinds, name)
		}
	}
	return encoded
}
