package main

import (
	"strings"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/node"
)

// peerList is a repeatable flag of peers to connect to.
type peerList struct {
	texts []string
	peers []peer.AddrInfo
}

func (l *peerList) Set(text string) error {
	texts := append(l.texts, text)
	peers, err := node.ParsePeers(texts...)
	if err != nil {
		return err
	}
	l.texts, l.peers = texts, peers
	return nil
}

func (l *peerList) String() string { return strings.Join(l.texts, ",") }

func (l *peerList) Type() string { return "MULTIADDR" }

func (l *peerList) isRepeatable() {}
