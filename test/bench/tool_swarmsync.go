package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// pollInterval is how often to ask a tool whether it is ready, where it does not say so by itself. Nothing is timed
// meanwhile.
const pollInterval = 20 * time.Millisecond

func swarmsyncTool() tool {
	return tool{
		name:    "swarmsync",
		note:    "TLS or QUIC, SHA-256 per chunk; the client of a running node",
		command: "swarmsync get ROOT -o out --force [--delete]",
		prepare: prepareSwarmsync,
	}
}

// swarmsyncOffer are the homes of holders that have the content.
type swarmsyncOffer struct {
	root  string
	homes []string
}

func prepareSwarmsync(ctx context.Context, s *stage) (offer, error) {
	var o swarmsyncOffer
	for i := range s.holders {
		home := filepath.Join(s.dir, fmt.Sprintf("holder%d", i))
		root, err := s.box.Run(ctx, sandbox.Command{Args: []string{s.program, "add", s.content.path, "--home", home, "--quiet"}})
		if err != nil {
			return nil, err
		}
		o.root, o.homes = strings.TrimSpace(root), append(o.homes, home)
	}
	return o, nil
}

// startSwarmsync starts a node and returns the address at which others can join it over TCP.
func (b *bench) startSwarmsync(ctx context.Context, at place, side sandbox.Side, home string, flags ...string) (string, error) {
	args := append([]string{
		b.program, "serve", "--home", home, "--mdns=false",
		"--listen", "/ip4/" + at.address + "/tcp/0", "--listen", "/ip4/" + at.address + "/udp/0/quic-v1",
	}, flags...)
	node, err := b.box.Start(ctx, sandbox.Command{Args: args, Space: at.space, Side: side})
	if err != nil {
		return "", err
	}
	return node.Line(ctx, func(line string) bool { return strings.Contains(line, "/tcp/") })
}

func (o swarmsyncOffer) begin(ctx context.Context, r *round) (fetch, error) {
	var join []string
	var ids []string
	for i, home := range o.homes {
		address, err := r.startSwarmsync(ctx, r.holders[i], sandbox.Holder, home, join...)
		if err != nil {
			return fetch{}, err
		}
		join = append(join, "--join", address)
		ids = append(ids, address[strings.LastIndex(address, "/")+1:])
	}
	homes := make([]string, len(r.receivers))
	for i, at := range r.receivers {
		homes[i] = filepath.Join(r.dir, fmt.Sprintf("receiver%d", i))
		old := r.content.old
		if info, err := os.Stat(old); err == nil && info.IsDir() {
			old = r.out(i) // a tree is updated in place
			if err := r.placeOld(old); err != nil {
				return fetch{}, err
			}
			leaveAlone(ctx)
		}
		if old != "" {
			if _, err := r.do(ctx, at, sandbox.Other, "", r.program, "add", old, "--home", homes[i], "--quiet"); err != nil {
				return fetch{}, err
			}
		}
		if _, err := r.startSwarmsync(ctx, at, sandbox.Receiver, homes[i], join...); err != nil {
			return fetch{}, err
		}
		if err := r.awaitJoined(ctx, at, homes[i], ids); err != nil {
			return fetch{}, err
		}
	}
	return fetch{run: func(ctx context.Context, i int) (arrival, error) {
		return r.swarmsyncGet(ctx, r.receivers[i], homes[i], o.root, r.out(i))
	}}, nil
}

// out is where a receiver is to write.
func (r *round) out(receiver int) string { return filepath.Join(r.dir, fmt.Sprintf("out%d", receiver)) }

// awaitJoined returns when a node is connected to all of some peers.
func (r *round) awaitJoined(ctx context.Context, at place, home string, ids []string) error {
	return poll(ctx, func() (bool, error) {
		peers, err := r.do(ctx, at, sandbox.Other, "", r.program, "peers", "--home", home)
		if err != nil {
			return false, err
		}
		for _, id := range ids {
			if !strings.Contains(peers, id) {
				return false, nil
			}
		}
		return true, nil
	})
}

// poll asks until the answer is yes, an error, or the context is done.
func poll(ctx context.Context, ask func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		yes, err := ask()
		if yes || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *round) swarmsyncGet(ctx context.Context, at place, home, root, path string, flags ...string) (arrival, error) {
	args := append([]string{r.program, "get", root, "-o", path, "--home", home, "--json", "--quiet", "--force"}, flags...)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		args = append(args, "--delete")
	}
	text, err := r.do(ctx, at, sandbox.Receiver, "", args...)
	if err != nil {
		return arrival{}, fmt.Errorf("%w: %s", err, text) // with --json the reason is on standard output
	}
	result, err := parseResult(text)
	if err != nil {
		return arrival{}, err
	}
	return arrival{
		path: path, took: result.Duration, in: result.WireIn, out: result.WireOut,
		extra: map[string]float64{"duplicate": float64(result.Duplicate)},
	}, nil
}

// parseResult takes the result out of what get --json printed.
func parseResult(text string) (result node.Result, err error) {
	for line := range strings.Lines(text) {
		var event struct {
			Event string `json:"event"`
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			return result, fmt.Errorf("get printed %q, which is not JSON: %w", line, err)
		}
		if event.Event == "result" {
			return result, json.Unmarshal([]byte(line), &result)
		}
	}
	return result, fmt.Errorf("get printed no result, only %q", text)
}
