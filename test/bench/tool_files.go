package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// filesOffer is a directory that a plain file server serves, and how to fetch from it.
type filesOffer struct {
	dir string
	get func(r *round, url, path string) []string
}

func (o filesOffer) begin(ctx context.Context, r *round) (fetch, error) {
	server, err := r.role(ctx, r.holders[0], sandbox.Holder, "files", o.dir, r.holders[0].address)
	if err != nil {
		return fetch{}, err
	}
	url, err := server.Line(ctx, hasPrefix("http://"))
	if err != nil {
		return fetch{}, err
	}
	path := filepath.Join(r.dir, "out")
	return fetch{run: func(ctx context.Context, _ int) (arrival, error) {
		_, err := r.do(ctx, r.receivers[0], sandbox.Receiver, r.dir, o.get(r, strings.TrimSpace(url), path)...)
		return arrival{path: path}, err
	}}, nil
}

func curlTool() tool {
	return tool{
		name:    "curl",
		note:    "from a plain file server, no encryption, nothing is verified",
		command: "curl -s -o out http://HOLDER/FILE",
		version: []string{"curl", "--version"},
		prepare: func(_ context.Context, s *stage) (offer, error) {
			name := filepath.Base(s.content.path)
			return filesOffer{filepath.Dir(s.content.path), func(_ *round, url, path string) []string {
				return []string{"curl", "--silent", "--show-error", "--fail", "--output", path, url + "/" + name}
			}}, nil
		},
	}
}

func desyncTool() tool {
	return tool{
		name:    "desync",
		note:    "zstd chunks of 64 KiB from a plain file server, no encryption, SHA-512/256 per chunk",
		command: "desync extract -s http://HOLDER/store [--seed old.caibx] http://HOLDER/new.caibx out",
		version: []string{"desync", "--help"},
		prepare: func(ctx context.Context, s *stage) (offer, error) {
			store, seed := filepath.Join(s.dir, "store"), filepath.Join(s.dir, "old")
			if err := os.Mkdir(store, 0o755); err != nil {
				return nil, err
			}
			makes := [][]string{{"desync", "make", "-s", store, filepath.Join(s.dir, "new.caibx"), s.content.path}}
			if s.content.old != "" {
				if err := os.Symlink(s.content.old, seed); err != nil { // the index of a seed stands beside it
					return nil, err
				}
				makes = append(makes, []string{"desync", "make", seed + ".caibx", seed})
			}
			return filesOffer{s.dir, func(r *round, url, path string) []string {
				args := []string{"desync", "extract", "-s", url + "/store"}
				if r.content.old != "" {
					args = append(args, "--seed", seed+".caibx")
				}
				return append(args, url+"/new.caibx", path)
			}}, s.runAll(ctx, makes)
		},
	}
}

func desyncTreeTool() tool {
	return tool{
		name:    "desync-tree",
		note:    "desync with its archive of trees; chunks of an old tree come from a store of it",
		command: "desync untar -i [-s old-store] -s http://HOLDER/store http://HOLDER/tree.caidx out",
		version: []string{"desync", "--help"},
		prepare: func(ctx context.Context, s *stage) (offer, error) {
			var from []string
			if s.content.old != "" {
				old := filepath.Join(s.dir, "old")
				if err := s.desyncTar(ctx, old, s.content.old); err != nil {
					return nil, err
				}
				from = []string{"-s", filepath.Join(old, "store")}
			}
			// It removes nothing from a tree that is there, and is faster into a new one.
			return filesOffer{s.dir, func(_ *round, url, path string) []string {
				args := append([]string{"desync", "untar", "-i"}, from...)
				return append(args, "-s", url+"/store", url+"/tree.caidx", path)
			}}, s.desyncTar(ctx, s.dir, s.content.path)
		},
	}
}

// desyncTar makes a store with the chunks of a tree, and their list, in a directory.
func (s *stage) desyncTar(ctx context.Context, dir, tree string) error {
	store := filepath.Join(dir, "store")
	if err := os.MkdirAll(store, 0o755); err != nil {
		return err
	}
	return s.runAll(ctx, [][]string{{"desync", "tar", "-i", "-s", store, filepath.Join(dir, "tree.caidx"), tree}})
}

func casyncTool() tool {
	return tool{
		name:    "casync",
		note:    "zstd chunks of 64 KiB from a plain file server, no encryption, SHA-512/256 per chunk",
		command: "casync extract --store=http://HOLDER/store.castr [--seed=old] http://HOLDER/new.caibx out",
		version: []string{"casync", "--version"},
		prepare: func(ctx context.Context, s *stage) (offer, error) {
			store := filepath.Join(s.dir, "store.castr")
			err := s.runAll(ctx, [][]string{{"casync", "make", "--store=" + store, filepath.Join(s.dir, "new.caibx"), s.content.path}})
			return filesOffer{s.dir, func(r *round, url, path string) []string {
				args := []string{"casync", "extract", "--store=" + url + "/store.castr"}
				if r.content.old != "" {
					args = append(args, "--seed="+r.content.old)
				}
				return append(args, url+"/new.caibx", path)
			}}, err
		},
	}
}

func casyncTreeTool() tool {
	return tool{
		name:    "casync-tree",
		note:    "casync with its archive of trees",
		command: "casync extract --store=http://HOLDER/store.castr http://HOLDER/new.caidx out",
		version: []string{"casync", "--version"},
		prepare: func(ctx context.Context, s *stage) (offer, error) {
			store := filepath.Join(s.dir, "store.castr")
			err := s.runAll(ctx, [][]string{{"casync", "make", "--store=" + store, filepath.Join(s.dir, "new.caidx"), s.content.path}})
			return treeOffer{filesOffer{s.dir, func(_ *round, url, path string) []string {
				return []string{"casync", "extract", "--store=" + url + "/store.castr", url + "/new.caidx", path}
			}}}, err
		},
	}
}

// treeOffer is a filesOffer that updates the old tree in place, if there is one.
type treeOffer struct{ filesOffer }

func (o treeOffer) begin(ctx context.Context, r *round) (fetch, error) {
	if r.content.old != "" {
		if err := r.placeOld(filepath.Join(r.dir, "out")); err != nil {
			return fetch{}, err
		}
	}
	return o.filesOffer.begin(ctx, r)
}

// runAll runs commands one after the other, not timed and on nobody's account.
func (s *stage) runAll(ctx context.Context, commands [][]string) error {
	for _, args := range commands {
		if _, err := s.box.Run(ctx, sandbox.Command{Args: args}); err != nil {
			return err
		}
	}
	return nil
}
