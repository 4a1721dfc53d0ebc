package node

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
)

// EventKind says what an Event tells.
type EventKind string

const (
	// EventProgress: how far an Add or a Fetch is; at most ten a second, and one at the end.
	EventProgress EventKind = "progress"
	// EventPeer: a session with a holder began.
	EventPeer EventKind = "peer"
	// EventDropped: a peer could not be used, or is used no longer; Message says why.
	EventDropped EventKind = "dropped"
	// EventNote: something that a user may want to know.
	EventNote EventKind = "note"
	// EventEntry: a Fetch with List found the Entry.
	EventEntry EventKind = "entry"
	// EventDamage: a Verify found the Damage.
	EventDamage EventKind = "damage"
)

// Event tells what a running Add, Fetch, Verify or Reclaim is doing. The callbacks that receive events are called one at a time and
// must return soon; they may be called in any goroutine, and not any more when the call that they are given to has returned.
type Event struct {
	Kind EventKind `json:"event"`

	// Total is the size of the content in bytes, 0 while it is not known.
	Total int64 `json:"total,omitempty"`
	// Reused and Fetched are the verified bytes of the content that were here already and that came from peers. An
	// Add and a Verify count what they have read as Reused.
	Reused  int64 `json:"reused,omitempty"`
	Fetched int64 `json:"fetched,omitempty"`
	// Rate is the recent speed in bytes a second.
	Rate int64 `json:"rate,omitempty"`
	// Freed is how many bytes a Reclaim has freed.
	Freed int64 `json:"freed,omitempty"`
	// Peers is the number of holders with a session.
	Peers int `json:"peers,omitempty"`
	// Shares are the parts of the peers that a fetch had a session with so far, in the order of their first.
	Shares []PeerShare `json:"shares,omitempty"`

	// Peer and Address say whom an EventPeer or EventDropped is about; Address may be empty.
	Peer    peer.ID `json:"peer,omitempty"`
	Address string  `json:"address,omitempty"`
	// Message may have text in it that a peer or the name of a file chose: a terminal must not be given it as it is.
	Message string `json:"message,omitempty"`

	// Entry is what an EventEntry is about.
	Entry *Entry `json:"entry,omitempty"`
	// Damage is what an EventDamage is about.
	Damage *Damage `json:"damage,omitempty"`
}

// Entry is an entry of a tree as users are told of it.
type Entry struct {
	// Path is below the top of the tree, or below FetchOptions.Path. What is no UTF-8 in it is replaced by U+FFFD in JSON.
	Path string `json:"path"`
	// Type is "directory", "file", "executable" or "symlink".
	Type   string `json:"type"`
	Size   int64  `json:"size"`
	Target string `json:"target,omitempty"`
}

// Result is what a Fetch did.
type Result struct {
	Root cafs.Key `json:"root"`
	Name string   `json:"name,omitempty"`
	// Output is the absolute path that was written, empty if the content went into the store only.
	Output string `json:"output,omitempty"`
	// Bytes is the size of the content; Reused and Fetched add up to it.
	Bytes   int64 `json:"bytes"`
	Reused  int64 `json:"reused"`
	Fetched int64 `json:"fetched"`
	// Missing is what a dry run would have fetched.
	Missing int64 `json:"missing,omitempty"`
	// PathBytes is the size of what FetchOptions.Path names, or of the content if it is empty.
	PathBytes int64 `json:"path_bytes,omitempty"`
	// Deleted counts the files and directories that FetchOptions.Delete removed.
	Deleted int64 `json:"deleted,omitempty"`
	// Saved is what of Fetched needed not be sent, because chunks came compressed, or as deltas to what is here.
	Saved int64 `json:"saved,omitempty"`
	// Duplicate counts the chunk bytes that arrived although they were already here.
	Duplicate int64 `json:"duplicate_bytes"`
	// WireIn and WireOut count all bytes on session streams, refused and dropped sessions included.
	WireIn  int64 `json:"wire_in"`
	WireOut int64 `json:"wire_out"`
	// Duration is from the call to the last verified byte in place.
	Duration time.Duration `json:"duration_ns"`
	// Peers are the peers that had a session, in the order of their first.
	Peers []PeerShare `json:"peers"`
}

// PeerShare is the part of one peer in a fetch.
type PeerShare struct {
	Peer    peer.ID `json:"peer"`
	Address string  `json:"address,omitempty"`
	// Transport is such as "tcp/tls" or "quic"; if Relayed, "relay " stands before it.
	Transport string `json:"transport,omitempty"`
	Relayed   bool   `json:"relayed,omitempty"`
	// Source says how the peer was found: "dht", "lan", "joined", "named", or "peers" if other members told of it.
	Source   string        `json:"source"`
	Complete bool          `json:"complete"`
	RTT      time.Duration `json:"rtt_ns"`
	// Bytes counts verified chunk bytes.
	Bytes int64 `json:"bytes"`
	// Rate is what comes from it now, in bytes a second; 0 if there is no session.
	Rate int64 `json:"rate,omitempty"`
	// TakenOver counts the bytes that were asked of it and then given to others, because those were expected to send them
	// earlier.
	TakenOver int64 `json:"taken_over_bytes,omitempty"`
	// Dropped says why the session ended early; empty if it did not.
	Dropped string `json:"dropped,omitempty"`
}
