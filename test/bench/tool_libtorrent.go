package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// python is the interpreter that Debian's binding is for; another one may come first on the PATH.
const python = "/usr/bin/python3"

//go:embed libtorrent.py
var libtorrentScript []byte

func libtorrentTool() tool {
	return tool{
		name:    "libtorrent",
		note:    "BitTorrent by a running process, TCP, no encryption, SHA-1 per piece; its memory contains the mapped file",
		command: "add_torrent and connect_peer to all others",
		version: []string{python, "-c", "import libtorrent; print(libtorrent.__version__)"},
		prepare: func(_ context.Context, s *stage) (offer, error) {
			o := libtorrentOffer{torrent: filepath.Join(s.dir, "content.torrent"), script: filepath.Join(s.dir, "peer.py")}
			made, err := makeTorrent(s.content.path)
			if err != nil {
				return nil, err
			}
			if err := made.write(o.torrent, ""); err != nil {
				return nil, err
			}
			return o, os.WriteFile(o.script, libtorrentScript, 0o644)
		},
	}
}

type libtorrentOffer struct{ torrent, script string }

// peer starts a BitTorrent peer and returns the address that it listens on.
func (o libtorrentOffer) peer(
	ctx context.Context, r *round, at place, side sandbox.Side, dir, kind string,
) (*sandbox.Process, string, error) {
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	address := at.address + ":" + port
	p, err := r.start(ctx, at, side, "", python, o.script, o.torrent, dir, address, kind)
	if err != nil {
		return nil, "", err
	}
	_, err = p.Line(ctx, hasPrefix("ready"))
	return p, address, err
}

func (o libtorrentOffer) begin(ctx context.Context, r *round) (fetch, error) {
	var peers []string
	for _, at := range r.holders {
		_, address, err := o.peer(ctx, r, at, sandbox.Holder, filepath.Dir(r.content.path), "seed")
		if err != nil {
			return fetch{}, err
		}
		peers = append(peers, address)
	}
	var leeches []*sandbox.Process
	var dirs []string
	for i, at := range r.receivers {
		dir := filepath.Join(r.dir, fmt.Sprintf("out%d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fetch{}, err
		}
		if r.content.old != "" {
			if err := r.placeOld(filepath.Join(dir, filepath.Base(r.content.path))); err != nil {
				return fetch{}, err
			}
		}
		p, address, err := o.peer(ctx, r, at, sandbox.Receiver, dir, "leech")
		if err != nil {
			return fetch{}, err
		}
		leeches, dirs, peers = append(leeches, p), append(dirs, dir), append(peers, address)
	}
	return fetch{run: func(ctx context.Context, i int) (arrival, error) {
		others := strings.Join(append(append([]string{"go"}, peers[:len(r.holders)+i]...), peers[len(r.holders)+i+1:]...), " ")
		if err := leeches[i].Say(others); err != nil {
			return arrival{}, err
		}
		_, err := leeches[i].Line(ctx, hasPrefix("done"))
		return arrival{path: filepath.Join(dirs[i], filepath.Base(r.content.path))}, err
	}}, nil
}
