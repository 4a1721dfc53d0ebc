package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// What callers decide on; classify with errors.Is. cafs.ErrBadRoot, cafs.ErrNotFound and cafs.ErrCorrupt come through
// as they are.
var (
	// ErrNoHolder: nobody that was found has the root, or what was missing of it. The error is a *NoHolderError.
	ErrNoHolder = errors.New("no holder found")
	// ErrExists: the output is already there and may not be replaced.
	ErrExists = errors.New("output exists")
	// ErrNoSpace: the file system has less free space than the content needs.
	ErrNoSpace = errors.New("not enough free space")
	// ErrUnsupported: the content is of a kind that this version can't handle.
	ErrUnsupported = errors.New("not supported")
	// ErrForeignHome: the home directory holds something else.
	ErrForeignHome = errors.New("not a swarmsync home")
	// ErrNewerHome: the home was written by a newer version.
	ErrNewerHome = errors.New("home is of a newer format")
	// ErrOffline: the node was made without a network.
	ErrOffline = errors.New("node is offline")
	// ErrRemoved: the root was removed while it was fetched.
	ErrRemoved = errors.New("root was removed")
	// ErrClosed: the node was closed.
	ErrClosed = errors.New("node is closed")
)

// PeerError says which peer something went wrong with. It never fails a fetch by itself: it is told by events and
// stands in results.
type PeerError struct {
	Peer peer.ID
	Err  error
}

func (e *PeerError) Error() string { return fmt.Sprintf("peer %s: %v", e.Peer, e.Err) }

func (e *PeerError) Unwrap() error { return e.Err }

// NoHolderError is the ErrNoHolder of one search: where it looked, for how long, and what became of the peers that
// were asked.
type NoHolderError struct {
	Waited time.Duration
	// Looked says in words where candidates were looked for, and how many came from there.
	Looked  string
	Dropped []*PeerError
	// Verified is how many bytes of the content are here and verified; they are kept for the next try.
	Verified int64
}

func (e *NoHolderError) Error() string {
	text := fmt.Sprintf("no holder found in %s: looked in %s", e.Waited.Round(time.Millisecond), e.Looked)
	for _, dropped := range e.Dropped {
		text += fmt.Sprintf("; %v", dropped)
	}
	return text
}

func (e *NoHolderError) Is(target error) bool { return target == ErrNoHolder }
