package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/cafs/disk"
	"github.com/swarmsync/swarmsync/internal/control"
	"github.com/swarmsync/swarmsync/node"
)

const (
	// lockWait is how long a home may be locked without a node that answers: one begins or ends there, which takes
	// less than a second unless the machine is very busy.
	lockWait = 5 * time.Second
	// lockPoll is how often to look meanwhile; nothing tells when another process lets go.
	lockPoll = 50 * time.Millisecond
)

// session is the node that a command works on: one of this process, which then serves the home's socket, or the one
// that runs on the home already.
type session struct {
	control.Node
	app *app

	client *control.Client // nil if the node is ours
	node   *node.Node      // nil if it is not
	server *control.Server // nil if it is not, or if there is no socket
}

// localNode is a node of this process as the commands see it.
type localNode struct{ *node.Node }

func (n localNode) Peers(context.Context) ([]node.PeerStatus, error) { return n.Node.Peers(), nil }

func (n localNode) Content(ctx context.Context, part node.Part) (io.ReadCloser, error) {
	return n.OpenPart(ctx, part)
}

// openNetwork returns the running node of the home, or starts one with the flags.
func (a *app) openNetwork(command *cobra.Command, flags *nodeFlags) (*session, error) {
	return a.open(command, flags.config(), flags, false)
}

// openOwn starts a node with the flags; the error wraps control.ErrRunning if one runs on the home already.
func (a *app) openOwn(command *cobra.Command, flags *nodeFlags) (*session, error) {
	return a.open(command, flags.config(), flags, true)
}

// openStore returns the running node of the home, or one without a network.
func (a *app) openStore(command *cobra.Command) (*session, error) {
	return a.open(command, node.Config{Offline: true}, nil, false)
}

// openExisting is openStore for commands that have nothing to do where there is no home, and make none.
func (a *app) openExisting(command *cobra.Command) (*session, error) {
	if err := a.checkHome(true); err != nil {
		return nil, err
	}
	return a.openStore(command)
}

// openPassing is openNetwork for commands that only look around: where there is no home they make none, and use a node
// that leaves nothing behind.
func (a *app) openPassing(command *cobra.Command, flags *nodeFlags) (*session, error) {
	if _, err := os.Stat(a.home); !errors.Is(err, fs.ErrNotExist) {
		return a.openNetwork(command, flags)
	}
	if command.Flags().Changed("home") {
		a.note("home %s does not exist; looking in the network", a.home)
	}
	started, err := node.New(command.Context(), flags.config())
	if err != nil {
		return nil, err
	}
	return &session{Node: localNode{started}, app: a, node: started}, nil
}

// checkHome refuses a home that is not a directory and, if there must be one, that is missing.
func (a *app) checkHome(needed bool) error {
	info, err := os.Stat(a.home)
	switch {
	case errors.Is(err, fs.ErrNotExist) && needed:
		return withHint(fmt.Errorf("home %s does not exist", a.home), `"swarmsync serve" or "swarmsync add" makes it`)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("home: %w", err)
	case !info.IsDir():
		return withHint(fmt.Errorf("home %s is not a directory", a.home), "choose another one with --home")
	}
	return nil
}

// openRunning returns the running node of the home.
func (a *app) openRunning(command *cobra.Command) (*session, error) {
	if err := a.checkHome(true); err != nil {
		return nil, err
	}
	client, err := control.Dial(command.Context(), a.home)
	if errors.Is(err, control.ErrNotRunning) {
		return nil, withHint(control.ErrNotRunning, `start one with "swarmsync serve"`)
	}
	if err != nil {
		return nil, err
	}
	return &session{Node: client, app: a, client: client}, nil
}

// opener is openNetwork or openPassing.
type opener func(command *cobra.Command, flags *nodeFlags) (*session, error)

// openFor returns a session for a command that may not need the network: when what is known here of link is enough,
// there is none, otherwise it is what otherwise returns.
func (a *app) openFor(
	command *cobra.Command, link node.Link, flags *nodeFlags, enough func(node.RootStatus) bool, otherwise opener,
) (*session, error) {
	if _, err := os.Stat(a.home); errors.Is(err, fs.ErrNotExist) {
		return otherwise(command, flags)
	}
	s, err := a.open(command, node.Config{Offline: true}, flags, false)
	if err != nil {
		return nil, err
	}
	if s.client != nil && !s.client.Running().Offline {
		return s, nil
	}
	status, err := s.Info(command.Context(), link, 0)
	if err == nil && enough(status) {
		return s, nil
	}
	if err := s.close(command.Context()); err != nil {
		return nil, err
	}
	return otherwise(command, flags)
}

// open returns the running node of the home unless own is set, or starts one. A running one without a network that
// ends soon, or a home that is locked for a moment, is waited for. flags may be nil.
func (a *app) open(command *cobra.Command, cfg node.Config, flags *nodeFlags, own bool) (*session, error) {
	if err := errors.Join(a.checkHome(false), flags.check()); err != nil {
		return nil, err
	}
	ctx := command.Context()
	began, told := time.Now(), false
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for {
		client, err := control.Dial(ctx, a.home)
		switch {
		case err == nil && (cfg.Offline || !client.Running().Offline):
			return a.use(command, client, flags, own)
		case err == nil:
			if !told {
				a.note("waiting for %q of process %d to end", client.Running().Command, client.Running().PID)
				told = true
			}
			_, began = client.Close(), time.Now()
		case !errors.Is(err, control.ErrNotRunning):
			return nil, err
		default:
			s, err := a.start(command, cfg)
			var locked *disk.LockedError
			if !errors.As(err, &locked) || time.Since(began) > lockWait {
				return s, err
			}
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// use makes the running node ready for the command.
func (a *app) use(command *cobra.Command, client *control.Client, flags *nodeFlags, own bool) (*session, error) {
	s := &session{Node: client, app: a, client: client}
	running := client.Running()
	if own {
		err := withHint(control.ErrRunning, "it is %s, process %d (%q); stop it first, or choose another directory with --home",
			running.ID, running.PID, running.Command)
		return nil, errors.Join(err, client.Close())
	}
	if flags == nil || running.Offline {
		return s, nil
	}
	if err := flags.compare(command, running); err != nil {
		return nil, errors.Join(err, client.Close())
	}
	if flags.announce && !flags.passing && !running.Announce {
		a.note("the node that runs on this home (%q) does not tell the DHT what it serves", running.Command)
	}
	s.tellJoin(command.Context(), flags.join.peers)
	return s, nil
}

// id returns the peer ID of the node.
func (s *session) id() peer.ID {
	if s.client != nil {
		return s.client.Running().ID
	}
	return s.node.ID()
}

// join joins peers; the hint of its error says which of them are kept and tried again.
func (s *session) join(ctx context.Context, peers []peer.AddrInfo) error {
	err := s.Join(ctx, peers...)
	if err == nil || ctx.Err() != nil {
		return err
	}
	status, statusErr := s.Status(ctx)
	if statusErr != nil {
		return err // which says more
	}
	var kept []string
	for _, named := range peers {
		if slices.ContainsFunc(status.Discovery.Missing, func(address string) bool {
			return strings.HasSuffix(address, "/p2p/"+named.ID.String())
		}) {
			kept = append(kept, named.ID.String())
		}
	}
	switch {
	case len(kept) == 0:
		return err
	case len(peers) == 1:
		return withHint(err, "the node keeps it and tries again")
	default:
		return withHint(err, "the node keeps %s and tries again", strings.Join(kept, ", "))
	}
}

// tellJoin joins peers and warns of those that can't be reached yet.
func (s *session) tellJoin(ctx context.Context, peers []peer.AddrInfo) {
	if len(peers) == 0 {
		return
	}
	err := s.join(ctx, peers)
	if err == nil || ctx.Err() != nil {
		return
	}
	text := "warning: " + oneLine(err)
	var hinted *hintError
	if errors.As(err, &hinted) {
		text += "; " + hinted.hint
	}
	s.app.note("%s", text)
}

// warnOfJoins does what tellJoin does in the background, for a node of our own, which was joining them already when it
// started. The caller calls wait before it closes the session.
func (s *session) warnOfJoins(ctx context.Context, flags *nodeFlags) (wait func()) {
	if s.client != nil {
		return func() {} // it was done before
	}
	var work sync.WaitGroup
	work.Go(func() { s.tellJoin(ctx, flags.join.peers) })
	return work.Wait
}

// explain adds to the error that there is no holder which of the peers that the user named can't be reached.
func (s *session) explain(ctx context.Context, err error, named ...[]peer.AddrInfo) error {
	if !errors.Is(err, node.ErrNoHolder) {
		return err
	}
	connected, peersErr := s.Peers(ctx)
	if peersErr != nil {
		return err // which says more
	}
	var absent []string
	for _, info := range slices.Concat(named...) {
		id := info.ID.String()
		here := info.ID == s.id() || slices.ContainsFunc(connected, func(p node.PeerStatus) bool { return p.Peer == info.ID })
		if !here && !slices.Contains(absent, id) {
			absent = append(absent, id)
		}
	}
	if len(absent) == 0 {
		return err
	}
	return withHint(err, "%s can't be reached: check the address, and that it runs", strings.Join(absent, ", "))
}

// check refuses flags that contradict each other; no flags do not.
func (f *nodeFlags) check() error {
	if f == nil {
		return nil
	}
	for _, address := range f.listen {
		if !node.Transport(f.transport).Allows(address) {
			return usagef("--listen %s is not possible with --transport %s", address, &f.transport)
		}
	}
	return nil
}

// compare refuses flags that the user gave and that the running node can't take over any more.
func (f *nodeFlags) compare(command *cobra.Command, running control.Running) error {
	onOff := map[bool]string{true: "on", false: "off"}
	for _, flag := range []struct{ name, here, there string }{
		{"listen", sortedList(addressTexts(f.listen)), sortedList(running.Listen)},
		{"network", string(f.network), running.Network},
		{"dht", f.dht.String(), onOff[running.DHT]},
		{"mdns", onOff[f.mdns], onOff[running.MDNS]},
		{"announce", onOff[f.announce], onOff[running.Announce]},
		{"transport", f.transport.String(), running.Transport},
		{"up", limitText(int64(f.up)), limitText(running.Up)},
		{"down", limitText(int64(f.down)), limitText(running.Down)},
		{"quota", quotaText(int64(f.quota)), quotaText(running.Quota)},
	} {
		if !command.Flags().Changed(flag.name) || flag.here == flag.there {
			continue
		}
		name, remedy := "--"+flag.name, "leave the flag out"
		if variable := variableOf(command, flag.name); variable != "" {
			name, remedy = variable, "unset "+variable
		}
		return withHint(usagef("%s is %s here and %s on the node that runs on this home", name, flag.here, flag.there),
			"%s, stop process %d (%q), or choose another directory with --home", remedy, running.PID, running.Command)
	}
	return nil
}

// limitText is what a user is told of a limit in bytes a second, 0 for none.
func limitText(limit int64) string {
	if limit == 0 {
		return "unlimited"
	}
	rate := byteRate(limit)
	return rate.String()
}

// quotaText is what a user is told of a quota in bytes, 0 for none.
func quotaText(quota int64) string {
	if quota == 0 {
		return "unlimited"
	}
	size := byteSize(quota)
	return size.String()
}

func sortedList(texts []string) string { return strings.Join(slices.Sorted(slices.Values(texts)), ",") }

// start runs a node on the home and serves the socket.
func (a *app) start(command *cobra.Command, cfg node.Config) (*session, error) {
	cfg.Home = a.home
	started, err := node.New(command.Context(), cfg)
	if err != nil {
		return nil, err
	}
	s := &session{Node: localNode{started}, app: a, node: started}
	s.server, err = control.Listen(a.home, s.Node, describe(started, command.Name()))
	switch {
	case errors.Is(err, control.ErrRunning):
		return nil, errors.Join(err, started.Close())
	case err != nil:
		a.note("other commands on this home have to wait until this one ends: %v", err)
		s.server = nil
	}
	return s, nil
}

// describe tells other commands what a node is.
func describe(n *node.Node, command string) control.Running {
	cfg := n.Config()
	return control.Running{
		ID:        n.ID(),
		PID:       os.Getpid(),
		Command:   command,
		Offline:   cfg.Offline,
		Listen:    addressTexts(cfg.Listen),
		Network:   cfg.Network,
		DHT:       !cfg.DisableDHT,
		MDNS:      !cfg.DisableMDNS,
		Announce:  !cfg.DisableAnnounce,
		Transport: string(cfg.Transport),
		Up:        cfg.UpLimit,
		Down:      cfg.DownLimit,
		Quota:     cfg.Quota,
	}
}

// serveUntil returns when ctx is done, which is no error, or the node is gone, which is.
func (s *session) serveUntil(ctx context.Context) error {
	if s.client == nil {
		<-ctx.Done()
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-s.client.Gone():
		return withHint(control.ErrGone, `serve on with "swarmsync serve"`)
	}
}

// close ends the session. A node of our own first waits for the other commands that use it; when the command was
// interrupted, only for those that do something.
func (s *session) close(ctx context.Context) error {
	if s.client != nil {
		return s.client.Close()
	}
	if s.server == nil {
		return s.node.Close()
	}
	s.drain(ctx)
	return errors.Join(s.server.Close(), s.node.Close())
}

func (s *session) drain(ctx context.Context) {
	interrupted := ctx.Err() != nil
	if interrupted {
		ctx = context.WithoutCancel(ctx) // the next interrupt ends the process
	}
	now, cancel := context.WithCancel(ctx)
	cancel()
	if s.server.Drain(now, interrupted) == nil {
		return
	}
	s.app.note("waiting for %s on this home; interrupt to end now", count(s.server.Attached(), "other command"))
	_ = s.server.Drain(ctx, interrupted) // its only error is that this was interrupted
}
