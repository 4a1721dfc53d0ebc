package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
)

const toStdout = "-"

// getCommand is one run of "get".
type getCommand struct {
	app    *app
	node   nodeFlags
	output string
	peers  peerList
	force  bool
	delete bool
	keep   bool
	stay   duration
	path   string
	dryRun bool
	http   webURL
	seeds  webURLs
}

func newGetCommand(a *app) *cobra.Command {
	g := &getCommand{app: a, node: nodeFlags{passing: true}} // unless it stays
	command := &cobra.Command{
		Use:   "get ROOT|LINK [flags]",
		Short: "fetch content from everybody who has it",
		Long: `Get fetches the content of a root or a link from all holders that it finds, verifies every byte, and prints the path of
the output, which appears there when it is complete. What is here already is not fetched; what was fetched before an
interrupt or a failure is kept, and the same command continues. What is complete here starts no network.

With --force a directory that is there is updated: files that differ are replaced one by one when everything needed is here,
others are not touched, and what the tree does not have stays, unless --delete is given.`,
		Example:     "  $ swarmsync get 'swarmsync:3f9a…?name=film.mkv&peer=/ip4/192.0.2.1/tcp/4141/p2p/12D3KooW…'",
		Args:        exactly("ROOT or LINK"),
		Annotations: exits(exitNotFound, exitCorrupt, exitInterrupted),
		RunE:        g.run,
	}
	flags := command.Flags()
	flags.StringVarP(&g.output, "output", "o", "", "`PATH` to write, or a directory for a file's name, or - for standard output "+
		"(default the link's name here)")
	flags.Var(&g.peers, "peer", "`MULTIADDR` of a holder to ask first, with /p2p/<peer id> at its end; repeatable")
	registerBool(flags, &g.force, "force", "", "replace an existing output; update a directory, file by file")
	registerBool(flags, &g.delete, "delete", "", "with --force, remove from an existing directory what the tree does not have")
	registerBool(flags, &g.keep, "keep-old", "", "before a file is replaced that another root is served from, copy to the store what is nowhere else")
	flags.StringVar(&g.path, "path", "", "fetch only the file or directory at that `SUBPATH` of a tree")
	registerBool(flags, &g.dryRun, "dry-run", "", "tell how much is here already and how much would be fetched, and fetch only lists")
	flags.Var(&g.http, "http", "`URL` of the root at a node with --http-listen, or another server of that format: what is missing comes from "+
		"there first, and from the swarm if it does not help")
	flags.Var(&g.seeds, "webseed", "`URL` of the plain file at a server that answers range requests: a holder like others, once the list "+
		"is here; repeatable")
	flags.Var(&g.stay, "stay", "keep serving for that `DURATION` afterwards")
	g.node.register(flags)
	return command
}

func (g *getCommand) run(command *cobra.Command, args []string) (err error) {
	ctx := command.Context()
	link, err := parseLink(args[0])
	if err != nil {
		return err
	}
	link.Peers = append(g.peers.peers, link.Peers...)
	name := link.Name
	if g.path = strings.Trim(g.path, "/"); g.path != "" {
		name = node.SafeName(path.Base(g.path))
	}
	target, err := g.target(link.Root, name)
	if err != nil {
		return err
	}
	g.node.passing = g.stay == 0
	enough := func(status node.RootStatus) bool { return status.Complete && g.stay == 0 }
	s, err := g.app.openFor(command, link, &g.node, enough, g.app.openNetwork)
	if err != nil {
		return err
	}
	defer func() {
		if s != nil {
			err = errors.Join(err, s.close(ctx))
		}
	}()
	result, err := g.fetch(ctx, s, link, target)
	if errors.Is(err, node.ErrOffline) {
		// What was here as a whole turned out to be damaged: the rest of it is elsewhere.
		if err := s.close(ctx); err != nil {
			return err
		}
		if s, err = g.app.openNetwork(command, &g.node); err != nil {
			return err
		}
		result, err = g.fetch(ctx, s, link, target)
	}
	if err != nil {
		return s.explain(ctx, continuable(err, result, target, g.force), g.node.join.peers, link.Peers)
	}
	if g.dryRun {
		return g.app.result("result", result, dryRunText(result))
	}
	if err := g.report(ctx, s, result, target); err != nil {
		return err
	}
	return g.keepServing(ctx, s)
}

// target returns the path to write as the user would call it, "-" for standard output.
func (g *getCommand) target(root cafs.Key, name string) (string, error) {
	path := g.output
	switch {
	case g.dryRun:
		return path, nil
	case path == toStdout && g.app.json:
		return "", usagef("-o - writes the content to standard output, where --json has its lines")
	case path == toStdout:
		return path, nil
	case path == "" || strings.HasSuffix(path, "/") || strings.HasSuffix(path, string(filepath.Separator)):
		if name == "" {
			return "", withHint(usagef("a name for the output is missing: %q has none", shortText(root.String())),
				"name the file with -o PATH")
		}
		path = filepath.Join(path, name)
	}
	if dir := filepath.Dir(path); !isDirectory(dir) {
		return "", withHint(fmt.Errorf("the directory %s does not exist", dir), "make it first, or choose another output with -o")
	}
	return path, nil
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func isRegular(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular()
}

func shortText(root string) string { return root[:8] + "…" }

// fetch fetches into the target, or into the store alone for standard output.
func (g *getCommand) fetch(ctx context.Context, s *session, link node.Link, target string) (node.Result, error) {
	opts := node.FetchOptions{
		Path: g.path, DryRun: g.dryRun, Force: g.force, Delete: g.delete, KeepOld: g.keep, Wait: g.node.fetchWait(),
		HTTP: string(g.http), WebSeeds: g.seeds,
	}
	if g.dryRun {
		target = toStdout
	}
	if target != toStdout {
		path, err := filepath.Abs(target)
		if err != nil {
			return node.Result{}, fmt.Errorf("output: %w", err)
		}
		opts.Output = path
	}
	shown := g.app.startProgress()
	defer shown.stop()
	opts.Events = shown.event
	return s.Fetch(ctx, link, opts)
}

// continuable says how to go on after a fetch that kept something, or that can't write its output.
func continuable(err error, result node.Result, target string, force bool) error {
	switch {
	case errors.Is(err, node.ErrExists) && isDirectory(target) && force:
		return withHint(err, "choose another output with -o")
	case errors.Is(err, node.ErrExists) && isDirectory(target):
		return withHint(err, "choose another output with -o, or update the directory with --force")
	case errors.Is(err, node.ErrExists) && !isRegular(target):
		return withHint(err, "choose another output with -o; only regular files and directories are replaced, with --force")
	case errors.Is(err, context.Canceled):
		return withHint(err, "run the same command again to continue")
	case errors.Is(err, node.ErrNoHolder) && result.Reused+result.Fetched > 0:
		return withHint(err, "%s are here and verified; run the same command again to continue, "+
			"perhaps with a holder named by --peer", size(result.Reused+result.Fetched))
	}
	return err
}

// report prints the result, and a summary for people.
func (g *getCommand) report(ctx context.Context, s *session, result node.Result, target string) error {
	if target == toStdout {
		if err := g.app.copyToStdout(ctx, s, node.Part{Root: result.Root, Path: g.path}); err != nil {
			return err
		}
	} else if err := g.app.result("result", result, outputText(result, target)); err != nil {
		return err
	}
	if !g.app.json {
		for _, line := range summary(result) {
			g.app.note("%s", line)
		}
	}
	return nil
}

// outputText is the path of the output as the user would call it.
func outputText(result node.Result, target string) string {
	if filepath.Base(target) != filepath.Base(result.Output) {
		return filepath.Join(target, filepath.Base(result.Output)) // a file in a directory
	}
	return target
}

// dryRunText says what a get would do.
func dryRunText(result node.Result) string {
	return fmt.Sprintf("%s, %s already here, %s to fetch", size(result.Bytes), size(result.Bytes-result.Missing), size(result.Missing))
}

func (a *app) copyToStdout(ctx context.Context, s *session, part node.Part) error {
	content, err := s.Content(ctx, part)
	if err != nil {
		return err
	}
	defer content.Close()
	if _, err := io.Copy(a.stdout, content); err != nil {
		return fmt.Errorf("write the content to standard output: %w", err)
	}
	return nil
}

// keepServing serves for as long as --stay says; an interrupt ends it and is no error, as the content is there.
func (g *getCommand) keepServing(ctx context.Context, s *session) error {
	if g.stay == 0 {
		return nil
	}
	g.app.note("serving for %s more; interrupt to stop", &g.stay)
	defer s.warnOfJoins(ctx, &g.node)()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(g.stay))
	defer cancel()
	return s.serveUntil(ctx)
}

// summary says in the first line how much came from where, and then what each peer did.
func summary(result node.Result) []string {
	first := size(result.Bytes) + " in " + shortTime(result.Duration)
	if seconds := result.Duration.Seconds(); result.Duration >= shortest {
		first += fmt.Sprintf(" (%s/s)", size(int64(float64(result.Bytes)/seconds)))
	}
	first += ": " + size(result.Reused) + " here already"
	if result.Fetched > 0 || len(result.Peers) > 0 {
		first += fmt.Sprintf(", %s from %s", size(result.Fetched), count(len(result.Peers), "peer"))
	}
	if result.Saved > 0 {
		first += fmt.Sprintf(", sent as %s", size(result.Fetched-result.Saved))
	}
	if result.Duplicate > 0 {
		first += fmt.Sprintf(", %s of it twice", size(result.Duplicate))
	}
	lines := []string{first}
	for _, share := range result.Peers {
		line := size(share.Bytes)
		if result.Fetched > 0 {
			line += fmt.Sprintf(" (%s)", percent(share.Bytes, result.Fetched))
		}
		line += fmt.Sprintf(" from %s over %s (%s)", peerText(share), share.Transport, share.Source)
		if !share.Complete {
			line += ", partial"
		}
		if share.TakenOver > 0 {
			line += fmt.Sprintf("; others took over %s", size(share.TakenOver))
		}
		if share.Dropped != "" {
			line += "; dropped: " + share.Dropped
		}
		lines = append(lines, line)
	}
	return lines
}

// shortest is the least time that a summary tells; a rate over less says nothing.
const shortest = 100 * time.Millisecond

// shortTime rounds for people: three digits are enough.
func shortTime(d time.Duration) string {
	if d < shortest {
		return "less than 0.1 s"
	}
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// peerText is how people call a peer: a server by its URL.
func peerText(share node.PeerShare) string {
	if strings.Contains(share.Address, "://") {
		return share.Address
	}
	return share.Peer.String()
}
