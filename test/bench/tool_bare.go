package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// bareTool is the reference: what libp2p itself can do on this machine.
func bareTool() tool {
	return tool{name: "bare", prepare: func(_ context.Context, s *stage) (offer, error) { return bareOffer{s.content}, nil }}
}

type bareOffer struct{ content }

func (o bareOffer) begin(ctx context.Context, r *round) (fetch, error) {
	sender, err := r.role(ctx, r.holders[0], sandbox.Holder, "bare-send", o.path, r.holders[0].address)
	if err != nil {
		return fetch{}, err
	}
	address, err := sender.Line(ctx, hasPrefix("/ip4/"))
	if err != nil {
		return fetch{}, err
	}
	path := filepath.Join(r.dir, "out")
	receiver, err := r.role(ctx, r.receivers[0], sandbox.Receiver, "bare-receive", address, path, fmt.Sprint(o.size))
	if err != nil {
		return fetch{}, err
	}
	if _, err := receiver.Line(ctx, hasPrefix("ready")); err != nil {
		return fetch{}, err
	}
	return fetch{run: func(ctx context.Context, _ int) (arrival, error) {
		if err := receiver.Say("go"); err != nil {
			return arrival{}, err
		}
		line, err := receiver.Line(ctx, hasPrefix("done "))
		if err != nil {
			return arrival{}, err
		}
		var a arrival
		_, err = fmt.Sscan(strings.TrimPrefix(line, "done "), &a.in)
		a.path = path
		return a, err
	}}, nil
}
