package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

func kuboTool() tool {
	return tool{
		name:    "kubo",
		note:    "TCP with TLS, SHA-256 per block of 256 KiB, buzhash blocks where the receiver has an old version",
		command: "ipfs get -o out CID",
		version: []string{"ipfs", "version"},
		prepare: func(ctx context.Context, s *stage) (offer, error) { return prepareKubo(ctx, s, false) },
	}
}

func kuboPinTool() tool {
	return tool{
		name:    "kubo-pin",
		note:    "kubo into its store only, its fastest way, without a file at the end",
		command: "ipfs pin add CID",
		version: []string{"ipfs", "version"},
		prepare: func(ctx context.Context, s *stage) (offer, error) { return prepareKubo(ctx, s, true) },
	}
}

type kuboOffer struct {
	cid   string
	repos []string
	pin   bool
}

func prepareKubo(ctx context.Context, s *stage, pin bool) (offer, error) {
	o := kuboOffer{pin: pin}
	for i := range s.holders {
		repo := filepath.Join(s.dir, fmt.Sprintf("holder%d", i))
		if err := s.newKuboRepo(ctx, repo); err != nil {
			return nil, err
		}
		cid, err := s.kuboAdd(ctx, repo, s.content.path, s.content.old != "")
		if err != nil {
			return nil, err
		}
		o.cid, o.repos = cid, append(o.repos, repo)
	}
	return o, nil
}

// kuboEnv makes the commands use a repository, and keeps them from reporting about themselves.
func kuboEnv(repo string) []string { return []string{"IPFS_PATH=" + repo, "IPFS_TELEMETRY=off"} }

// ipfs runs a command on a repository that is not timed.
func (b *bench) ipfs(ctx context.Context, at place, repo string, args ...string) (string, error) {
	output, err := b.box.Run(ctx, sandbox.Command{
		Args: append([]string{"ipfs"}, args...), Env: kuboEnv(repo), Space: at.space,
	})
	return strings.TrimSpace(output), err
}

func (b *bench) newKuboRepo(ctx context.Context, repo string) error {
	_, err := b.ipfs(ctx, place{}, repo, "init", "--empty-repo")
	return err
}

func (b *bench) kuboAdd(ctx context.Context, repo, path string, byContent bool) (cid string, err error) {
	args := []string{"add", "--recursive", "--hidden", "--quieter", "--progress=false"}
	if byContent {
		args = append(args, "--chunker=buzhash")
	}
	return b.ipfs(ctx, place{}, repo, append(args, path)...)
}

// configureKubo keeps a daemon to one address and to whom it is told to connect. Its commands reach it through a file, so
// that what they say to each other is not in the counters of an interface.
func configureKubo(repo string, at place) error {
	path := filepath.Join(repo, "config")
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var config map[string]any
	if err := json.Unmarshal(content, &config); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	swarm, err := freePort()
	if err != nil {
		return err
	}
	config["Addresses"] = map[string]any{
		"API": "/unix/" + filepath.Join(repo, "api.sock"), "Gateway": []string{}, "Swarm": []string{"/ip4/" + at.address + "/tcp/" + swarm},
		"Announce": []string{}, "AppendAnnounce": []string{}, "NoAnnounce": []string{},
	}
	off := map[string]any{"Enabled": false}
	config["Bootstrap"] = []string{}
	config["Routing"] = map[string]any{"Type": "none"}
	config["Discovery"] = map[string]any{"MDNS": off}
	config["DNS"], config["Ipns"] = map[string]any{}, map[string]any{}
	config["AutoConf"], config["AutoTLS"], config["Provide"] = off, off, off
	config["Swarm"] = map[string]any{
		"RelayClient": off, "RelayService": off, "EnableHolePunching": false, "DisableNatPortMap": true,
		"AddrFilters": []string{}, "ConnMgr": map[string]any{}, "ResourceMgr": map[string]any{}, "Transports": map[string]any{},
	}
	content, err = json.MarshalIndent(config, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// startKubo starts a daemon and returns the address at which others can connect to it.
func (r *round) startKubo(ctx context.Context, at place, side sandbox.Side, repo string) (string, error) {
	if err := configureKubo(repo, at); err != nil {
		return "", err
	}
	daemon, err := r.box.Start(ctx, sandbox.Command{Args: []string{"ipfs", "daemon"}, Env: kuboEnv(repo), Space: at.space, Side: side})
	if err != nil {
		return "", err
	}
	if _, err := daemon.Line(ctx, hasPrefix("Daemon is ready")); err != nil {
		return "", err
	}
	addresses, err := r.ipfs(ctx, at, repo, "id", "-f", "<addrs>")
	if err != nil {
		return "", err
	}
	address, _, _ := strings.Cut(addresses, "\n")
	return address, nil
}

func (o kuboOffer) begin(ctx context.Context, r *round) (fetch, error) {
	var peers []string
	for i, at := range r.holders {
		address, err := r.startKubo(ctx, at, sandbox.Holder, o.repos[i])
		if err != nil {
			return fetch{}, err
		}
		peers = append(peers, address)
	}
	repos := make([]string, len(r.receivers))
	for i, at := range r.receivers {
		repos[i] = filepath.Join(r.dir, fmt.Sprintf("receiver%d", i))
		if err := r.newKuboRepo(ctx, repos[i]); err != nil {
			return fetch{}, err
		}
		if r.content.old != "" {
			if _, err := r.kuboAdd(ctx, repos[i], r.content.old, true); err != nil {
				return fetch{}, err
			}
		}
		address, err := r.startKubo(ctx, at, sandbox.Receiver, repos[i])
		if err != nil {
			return fetch{}, err
		}
		if _, err := r.ipfs(ctx, at, repos[i], append([]string{"swarm", "connect"}, peers...)...); err != nil {
			return fetch{}, err
		}
		peers = append(peers, address)
	}
	get := func(ctx context.Context, i int, side sandbox.Side) (string, error) {
		path := filepath.Join(r.dir, fmt.Sprintf("out%d", i))
		return path, r.timedIPFS(ctx, r.receivers[i], side, repos[i], "get", "--progress=false", "-o", path, o.cid)
	}
	if !o.pin {
		return fetch{run: func(ctx context.Context, i int) (arrival, error) {
			path, err := get(ctx, i, sandbox.Receiver)
			return arrival{path: path}, err
		}}, nil
	}
	return fetch{
		run: func(ctx context.Context, i int) (arrival, error) {
			return arrival{path: repos[i]}, r.timedIPFS(ctx, r.receivers[i], sandbox.Receiver, repos[i], "pin", "add", "--progress=false", o.cid)
		},
		output: func(ctx context.Context, i int) (string, error) { return get(ctx, i, sandbox.Other) },
	}, nil
}

func (r *round) timedIPFS(ctx context.Context, at place, side sandbox.Side, repo string, args ...string) error {
	_, err := r.box.Run(ctx, sandbox.Command{
		Args: append([]string{"ipfs"}, args...), Env: kuboEnv(repo), Space: at.space, Side: side,
	})
	return err
}
