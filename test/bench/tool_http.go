package main

import (
	"context"
	"path/filepath"

	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

func swarmsyncHTTPTool() tool {
	return tool{
		name:    "swarmsync-http",
		note:    "from a node with --http-listen, no encryption, SHA-256 per chunk; into the store, and from there to the file",
		command: "swarmsync get ROOT -o out --http http://HOLDER/ROOT",
		prepare: func(ctx context.Context, s *stage) (offer, error) {
			o, err := prepareSwarmsync(ctx, s)
			if err != nil {
				return nil, err
			}
			return httpOffer{o.(swarmsyncOffer)}, nil
		},
	}
}

func webSeedTool() tool {
	return tool{
		name:    "swarmsync-webseed",
		note:    "from a plain file server, the list from a node that sends at most 4 MB/s",
		command: "swarmsync get ROOT -o out --webseed http://HOLDER/FILE --peer NODE",
		prepare: func(ctx context.Context, s *stage) (offer, error) {
			o, err := prepareSwarmsync(ctx, s)
			if err != nil {
				return nil, err
			}
			return webSeedOffer{o.(swarmsyncOffer)}, nil
		},
	}
}

type httpOffer struct{ swarmsyncOffer }

func (o httpOffer) begin(ctx context.Context, r *round) (fetch, error) {
	port, err := freePort()
	if err != nil {
		return fetch{}, err
	}
	address := r.holders[0].address + ":" + port
	if _, err := r.startSwarmsync(ctx, r.holders[0], sandbox.Holder, o.homes[0], "--http-listen", address); err != nil {
		return fetch{}, err
	}
	return r.getAlone(o.root, "--http", "http://"+address+"/"+o.root), nil
}

type webSeedOffer struct{ swarmsyncOffer }

func (o webSeedOffer) begin(ctx context.Context, r *round) (fetch, error) {
	address, err := r.startSwarmsync(ctx, r.holders[0], sandbox.Holder, o.homes[0], "--up", "4MB")
	if err != nil {
		return fetch{}, err
	}
	server, err := r.role(ctx, r.holders[0], sandbox.Holder, "files", filepath.Dir(r.content.path), r.holders[0].address)
	if err != nil {
		return fetch{}, err
	}
	url, err := server.Line(ctx, hasPrefix("http://"))
	if err != nil {
		return fetch{}, err
	}
	return r.getAlone(o.root, "--webseed", url+"/"+filepath.Base(r.content.path), "--peer", address), nil
}

// getAlone returns the get of a receiver that has no node running.
func (r *round) getAlone(root string, flags ...string) fetch {
	return fetch{run: func(ctx context.Context, i int) (arrival, error) {
		home := filepath.Join(r.dir, "receiver")
		flags := append([]string{"--dht", "off", "--mdns=false", "--listen", "/ip4/" + r.receivers[i].address + "/tcp/0"}, flags...)
		return r.swarmsyncGet(ctx, r.receivers[i], home, root, r.out(i), flags...)
	}}
}
