package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

func aria2Tool() tool {
	return tool{
		name:    "aria2",
		note:    "BitTorrent by a command, so that its start and its announcement count; no encryption, SHA-1 per piece",
		command: "aria2c --on-bt-download-complete=HOOK content.torrent, until the hook runs",
		version: []string{"aria2c", "--version"},
		prepare: func(_ context.Context, s *stage) (offer, error) {
			made, err := makeTorrent(s.content.path)
			if err != nil {
				return nil, err
			}
			// What the hook prints comes out of aria2's own standard output.
			hook := filepath.Join(s.dir, "complete")
			return aria2Offer{made, hook}, os.WriteFile(hook, []byte("#!/bin/sh\necho "+aria2Complete+"\n"), 0o755)
		},
	}
}

// aria2Complete is what says that a download is complete; aria2 itself says so only when it ends.
const aria2Complete = "download-complete"

type aria2Offer struct {
	torrent *torrent
	hook    string
}

func (o aria2Offer) begin(ctx context.Context, r *round) (fetch, error) {
	tracker, err := r.role(ctx, r.hub, sandbox.Other, "tracker", r.hub.address)
	if err != nil {
		return fetch{}, err
	}
	url, err := tracker.Line(ctx, hasPrefix("http://"))
	if err != nil {
		return fetch{}, err
	}
	file := filepath.Join(r.dir, "content.torrent")
	if err := o.torrent.write(file, url); err != nil {
		return fetch{}, err
	}
	for i, at := range r.holders {
		dir := filepath.Join(r.dir, fmt.Sprintf("holder%d", i))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fetch{}, err
		}
		// Not a hard link, which changes the time of the last change of what all tools hold.
		if err := os.Symlink(r.content.path, filepath.Join(dir, o.torrent.name)); err != nil {
			return fetch{}, err
		}
		if _, err := r.aria2(ctx, at, sandbox.Holder, dir, file, "--bt-seed-unverified=true"); err != nil {
			return fetch{}, err
		}
	}
	for range r.holders {
		if _, err := tracker.Line(ctx, func(line string) bool { return strings.HasSuffix(line, " left 0") }); err != nil {
			return fetch{}, err
		}
	}
	return fetch{run: func(ctx context.Context, i int) (arrival, error) {
		dir := filepath.Join(r.dir, fmt.Sprintf("out%d", i))
		p, err := r.aria2(ctx, r.receivers[i], sandbox.Receiver, dir, file, "--on-bt-download-complete="+o.hook)
		if err != nil {
			return arrival{}, err
		}
		_, err = p.Line(ctx, hasPrefix(aria2Complete))
		return arrival{path: filepath.Join(dir, o.torrent.name)}, err
	}}, nil
}

// aria2 starts a peer that goes on serving when it has everything.
func (r *round) aria2(
	ctx context.Context, at place, side sandbox.Side, dir, file string, flags ...string,
) (*sandbox.Process, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	args := append([]string{
		"aria2c", "--no-conf", "--dir=" + dir, "--listen-port=" + port,
		"--enable-dht=false", "--enable-dht6=false", "--bt-enable-lpd=false", "--file-allocation=none",
		"--seed-ratio=0.0", "--summary-interval=0", "--console-log-level=notice", "--show-console-readout=false",
	}, flags...)
	return r.start(ctx, at, side, "", append(args, file)...)
}
