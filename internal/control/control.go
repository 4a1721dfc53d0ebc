package control

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
)

var (
	// ErrNotRunning: no node serves the socket of that home.
	ErrNotRunning = errors.New("no node runs on this home")
	// ErrRunning: a node serves the socket of that home already.
	ErrRunning = errors.New("a node runs on this home already")
	// ErrGone: the running node ended before it answered.
	ErrGone = errors.New("the running node has ended")
)

// Node is what a server offers and a client has. The methods do what those of node.Node do, may be called concurrently,
// and return errors that are the same to errors.Is; paths must be absolute.
type Node interface {
	Add(ctx context.Context, path string, opts node.AddOptions) (node.RootStatus, error)
	AddReader(ctx context.Context, r io.Reader, opts node.AddOptions) (node.RootStatus, error)
	Fetch(ctx context.Context, link node.Link, opts node.FetchOptions) (node.Result, error)
	// Content returns the verified bytes of a part of a root; the reader is valid as long as ctx. The error, of the call or of
	// a read, wraps cafs.ErrNotFound if something of it is not here.
	Content(ctx context.Context, part node.Part) (io.ReadCloser, error)
	// Find looks for holders for as long as wait and calls yield for each, until yield returns false. It returns a text
	// that says where it looked.
	Find(ctx context.Context, link node.Link, wait time.Duration, yield func(node.Holder) bool) (looked string, err error)
	Info(ctx context.Context, link node.Link, wait time.Duration) (node.RootStatus, error)
	Roots(ctx context.Context) iter.Seq2[node.RootStatus, error]
	Remove(ctx context.Context, root cafs.Key) error
	Verify(ctx context.Context, opts node.VerifyOptions) (node.VerifyResult, error)
	Reclaim(ctx context.Context, opts node.ReclaimOptions) (node.ReclaimResult, error)
	Link(ctx context.Context, root cafs.Key) (node.Link, error)
	Join(ctx context.Context, peers ...peer.AddrInfo) error
	Peers(ctx context.Context) ([]node.PeerStatus, error)
	Status(ctx context.Context) (node.Status, error)
}

// Running describes a running node to the commands that want to use it.
type Running struct {
	ID peer.ID `json:"id"`
	// PID and Command say which process runs it, such as 4711 and "serve".
	PID     int    `json:"pid"`
	Command string `json:"command"`
	// Offline tells that the node has no network and ends soon: the command only works on the store.
	Offline bool `json:"offline,omitempty"`
	// The flags that are in force.
	Listen    []string `json:"listen"`
	Network   string   `json:"network"`
	DHT       bool     `json:"dht"`
	MDNS      bool     `json:"mdns"`
	Announce  bool     `json:"announce"`
	Transport string   `json:"transport"`
	Up        int64    `json:"up,omitempty"` // bytes a second, 0 for no limit; as Down
	Down      int64    `json:"down,omitempty"`
	Quota     int64    `json:"quota,omitempty"` // bytes, 0 for no limit
}
