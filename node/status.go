package node

import (
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
)

// RootStatus is what the node knows of a catalogued root, or what a holder told of another.
type RootStatus struct {
	Root cafs.Key `json:"root"`
	// Kind is "file" or "tree".
	Kind string `json:"kind"`
	// Bytes and Chunks are the size of the content; Chunks counts equal chunks each time. Entries counts files, directories
	// and symbolic links of a tree.
	Bytes   int64 `json:"bytes"`
	Chunks  int64 `json:"chunks"`
	Entries int64 `json:"entries,omitempty"`
	// Have is how many bytes of the content are here.
	Have     int64  `json:"have"`
	Complete bool   `json:"complete"`
	Private  bool   `json:"private,omitempty"` // made with a salt
	Name     string `json:"name,omitempty"`
	Place    string `json:"place,omitempty"`
	// Stored is how many bytes of it are in the store, its lists included, and InPlace how many others are in files of the
	// user's. What roots share counts for each of them. Only Roots tells this.
	Stored  int64 `json:"stored,omitempty"`
	InPlace int64 `json:"in_place,omitempty"`
	// Skipped counts what an Add has left out of a directory because it can't be part of a tree. Only Add tells this.
	Skipped int64 `json:"skipped,omitempty"`
	// State is "stale" if the file at Place was changed since it was hashed, and "missing" if it is gone.
	State string    `json:"state,omitempty"`
	Added time.Time `json:"added,omitzero"`
}

// Holder is a peer that proved to know a root, as Find tells it.
type Holder struct {
	Peer      peer.ID       `json:"peer"`
	Addresses []string      `json:"addresses"`
	Transport string        `json:"transport"`
	Source    string        `json:"source"`
	Complete  bool          `json:"complete"`
	RTT       time.Duration `json:"rtt_ns"`
}

// PeerStatus is a connected peer.
type PeerStatus struct {
	Peer      peer.ID       `json:"peer"`
	Address   string        `json:"address"`
	Transport string        `json:"transport"`
	Relayed   bool          `json:"relayed,omitempty"`
	Inbound   bool          `json:"inbound"`
	RTT       time.Duration `json:"rtt_ns,omitempty"`
	// Down and Up are what comes from it and goes to it in sessions, in bytes a second.
	Down int64 `json:"down_rate,omitempty"`
	Up   int64 `json:"up_rate,omitempty"`
	// Shares are its parts of the running fetches.
	Shares []FetchShare `json:"shares,omitempty"`
	// Sessions counts the open /remotesync/1.0 sessions, in both roles.
	Sessions int `json:"sessions"`
}

// The roles of a TransferStatus.
const (
	roleFetch = "fetch"
	roleServe = "serve"
)

// FetchShare is the part of a peer in a running fetch.
type FetchShare struct {
	// Key is the first 8 hexadecimal digits of the discovery key.
	Key  string `json:"key"`
	Name string `json:"name,omitempty"`
	// Of is how many bytes the fetch has got from all peers.
	Of int64 `json:"of"`
	PeerShare
}

// TransferStatus is a running fetch, or a session that serves a root to a peer.
type TransferStatus struct {
	// Role is "fetch" or "serve".
	Role string `json:"role"`
	// Key is the first 8 hexadecimal digits of the discovery key: a root is a secret.
	Key   string    `json:"key"`
	Name  string    `json:"name,omitempty"`
	Since time.Time `json:"since"`
	// Total and Done are bytes of the content; of a serve, Done is what was sent and Total is 0.
	Total int64 `json:"total,omitempty"`
	Done  int64 `json:"done"`
	// Rate is the recent speed in bytes a second.
	Rate int64 `json:"rate,omitempty"`
	// Peers is how many holders a fetch has, and Shares what those that it had so far have brought.
	Peers  int         `json:"peers,omitempty"`
	Shares []PeerShare `json:"shares,omitempty"`
	// What follows is of a serve: whom it goes to, and how.
	Peer      peer.ID       `json:"peer,omitempty"`
	Transport string        `json:"transport,omitempty"`
	Relayed   bool          `json:"relayed,omitempty"`
	RTT       time.Duration `json:"rtt_ns,omitempty"`
}

// Status is the node as a whole.
type Status struct {
	ID        peer.ID          `json:"id"`
	Addresses []string         `json:"addresses"`
	Network   string           `json:"network"`
	Since     time.Time        `json:"since"`
	Peers     int              `json:"peers"`
	Roots     int              `json:"roots"`
	Discovery DiscoveryStatus  `json:"discovery"`
	Transfers []TransferStatus `json:"transfers"`
}

// DiscoveryStatus is how the node finds others and is found.
type DiscoveryStatus struct {
	// Mode is the node's part in the DHT: "server", "client" or "off".
	Mode string `json:"mode"`
	// TableSize is the number of nodes in the DHT's routing table.
	TableSize int `json:"table_size"`
	// Joined counts the peers that were joined, and Connected those of them that there is a connection to.
	Joined    int `json:"joined"`
	Connected int `json:"connected"`
	// Missing are the addresses, with /p2p/<peer id>, of the others, which are tried again.
	Missing []string `json:"missing,omitempty"`
	// MDNS tells whether the local network is listened to, and LAN counts the nodes found there.
	MDNS bool `json:"mdns"`
	LAN  int  `json:"lan"`
	// Provided counts the roots that the node holds, and Announced those of them that another node keeps a record of.
	Provided  int `json:"provided"`
	Announced int `json:"announced"`
	// AnnounceError is why the last announcement failed; empty if it did not.
	AnnounceError string `json:"announce_error,omitempty"`
}
