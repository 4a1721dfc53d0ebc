package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

func rsyncTool() tool {
	return tool{
		name:    "rsync",
		note:    "its daemon, no encryption, a checksum of the whole file",
		command: "rsync -rt --stats [--delete] rsync://HOLDER/m/FILE out",
		version: []string{"rsync", "--version"},
		prepare: func(_ context.Context, s *stage) (offer, error) { return rsyncOffer{s.content, false}, nil },
	}
}

// rsyncZTool is rsync with compression, which is what it sends least with.
func rsyncZTool() tool {
	t := rsyncTool()
	t.name, t.note = "rsync-z", "rsync with compression"
	t.command = "rsync -rtz --stats [--delete] rsync://HOLDER/m/FILE out"
	t.prepare = func(_ context.Context, s *stage) (offer, error) { return rsyncOffer{s.content, true}, nil }
	return t
}

type rsyncOffer struct {
	content
	compress bool
}

func (o rsyncOffer) begin(ctx context.Context, r *round) (fetch, error) {
	port, err := freePort()
	if err != nil {
		return fetch{}, err
	}
	config := filepath.Join(r.dir, "rsyncd.conf")
	text := fmt.Sprintf("use chroot = no\nuid = %d\ngid = %d\n[m]\npath = %s\nread only = yes\n",
		os.Getuid(), os.Getgid(), filepath.Dir(o.path))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return fetch{}, err
	}
	at := r.holders[0]
	if _, err := r.start(ctx, at, sandbox.Holder, r.dir, "rsync", "--daemon", "--no-detach", "--config="+config,
		"--address="+at.address, "--port="+port, "--log-file="+filepath.Join(r.dir, "rsyncd.log")); err != nil {
		return fetch{}, err
	}
	url := fmt.Sprintf("rsync://%s:%s/m/", at.address, port)
	err = poll(ctx, func() (bool, error) {
		_, err := r.do(ctx, r.receivers[0], sandbox.Other, "", "rsync", url)
		return err == nil, nil //nolint:nilerr // it is not ready yet
	})
	if err != nil {
		return fetch{}, err
	}
	path := filepath.Join(r.dir, "out")
	if o.old != "" {
		if err := r.placeOld(path); err != nil {
			return fetch{}, err
		}
	}
	return fetch{run: func(ctx context.Context, _ int) (arrival, error) {
		return r.rsync(ctx, url+filepath.Base(o.path), path, o.compress)
	}}, nil
}

func (r *round) rsync(ctx context.Context, from, to string, compress bool) (arrival, error) {
	args := []string{"rsync", "-t", "--stats", from, to}
	if info, err := os.Stat(r.content.path); err != nil {
		return arrival{}, err
	} else if info.IsDir() {
		args = []string{"rsync", "-rt", "--delete", "--stats", from + "/", to}
	}
	if compress {
		args = append(args, "--compress")
	}
	stats, err := r.do(ctx, r.receivers[0], sandbox.Receiver, "", args...)
	if err != nil {
		return arrival{}, err
	}
	return arrival{path: to, in: rsyncStat(stats, "Total bytes received: "), out: rsyncStat(stats, "Total bytes sent: ")}, nil
}

// rsyncStat finds a figure in the statistics of rsync, 0 if it is not there.
func rsyncStat(stats, label string) int64 {
	_, rest, _ := strings.Cut(stats, label)
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(strings.ReplaceAll(line, ",", ""), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
