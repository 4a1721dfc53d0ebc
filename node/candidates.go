package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/discovery"
	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// dialsMax keeps a list of dead candidates from taking long, and from taking all sockets.
	dialsMax = 16
	// talesMax is how many PEERS wait to be looked at: some from each session.
	talesMax = 64
	// retoldMax is how often members are heard about a peer that could not be reached.
	retoldMax = 2
	// A candidate whose session broke for no fault that it showed is tried again after retryFirst, then twice as long each
	// time, retriesMax times in a row without progress. One that has no room for streams is asked as long as there is time,
	// in the end after retryFirst << crowdedMax.
	retryFirst = time.Second
	retriesMax = 4
	crowdedMax = 3
	// enoughPause is when it is looked again whether a fetch needs one more holder.
	enoughPause = 10 * time.Second

	// sourceNamed are peers that the user or the link named.
	sourceNamed discovery.Source = "named"
)

// candidates finds peers that may hold a root, and has sessions with each of them for as long as that may help.
type candidates struct {
	node *Node
	link Link
	// use has a session, which it closes. It calls taken when it has taken it in, and tells whether the session brought
	// anything, and why it ended.
	use func(ctx context.Context, opened *openedStream, source discovery.Source, taken func()) (progress bool, err error)
	// refused is told of candidates that gave no session; those that have no room are asked again.
	refused func(id peer.ID, source discovery.Source, err error)

	shared protocol.Receivers
	report discovery.Report
	dials  chan struct{} // a token for each dial under way
	tales  chan tale     // what members told
	work   sync.WaitGroup

	// mu guards what follows.
	mu     sync.Mutex
	known  map[peer.ID]*candidate
	told   toldMembers
	asking int // are being asked for a session, or taken in
	unseen int // tales that were not looked at yet
}

// candidate is a peer that was found, perhaps by several sources, which may know different addresses of it.
type candidate struct {
	info    peer.AddrInfo
	source  discovery.Source
	news    bool // addresses came after it was asked
	running bool
	over    bool // it has had its say
	unready bool // and that was that it does not know the root
	retold  int  // how often members told of it when it could not be reached
}

func newCandidates(n *Node, link Link) *candidates {
	return &candidates{node: n, link: link, dials: make(chan struct{}, dialsMax), tales: make(chan tale, talesMax), known: make(map[peer.ID]*candidate)}
}

// run looks for candidates and attends to them until ctx ends. Everything that it started is gone when it returns.
func (c *candidates) run(ctx context.Context) {
	defer c.work.Wait()
	c.work.Go(func() { c.listen(ctx) })
	for _, info := range c.link.Peers {
		c.offer(ctx, info, sourceNamed)
	}
	// It ends with ctx, or with the node, which ends whoever called.
	_ = c.node.discovery.FindReport(ctx, discovery.Key(protocol.DiscoveryKeyOf(c.link.Root)), &c.report, func(found discovery.Candidate) bool {
		c.offer(ctx, found.Peer, found.Source)
		return true
	})
}

// offer takes in a peer that some source names.
func (c *candidates) offer(ctx context.Context, info peer.AddrInfo, source discovery.Source) {
	if info.ID == c.node.id {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.known[info.ID]
	if known == nil {
		known = &candidate{info: peer.AddrInfo{ID: info.ID}, source: source}
		c.known[info.ID] = known
	}
	known.learn(info.Addrs)
	if known.running || known.over || !known.news {
		return
	}
	known.running = true
	c.work.Go(func() { c.attend(ctx, known) })
}

// unproved stands for all tellers that have not proved that they know the root: together they are believed as much as one
// that has, as there may be any number of them.
const unproved peer.ID = ""

// tale is what a member of the swarm says of others.
type tale struct {
	teller  peer.ID
	public  bool // the teller is on a public address
	members []protocol.Member
	// asks tells that the teller has opened a session with this node about the root: so it is a member itself.
	asks bool
}

// tell takes in what a member says, without waiting. What comes faster than it is looked at is lost.
func (c *candidates) tell(t tale) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.tales <- t:
		c.unseen++
	default:
	}
}

// listen offers whom members tell of, until ctx ends.
func (c *candidates) listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-c.tales:
			c.offerTold(ctx, t)
			c.mu.Lock()
			c.unseen--
			c.mu.Unlock()
		}
	}
}

// offerTold offers those of a tale that are not known already: whoever tells of a peer must not make others dial it again
// and again.
func (c *candidates) offerTold(ctx context.Context, t tale) {
	if t.asks {
		c.askBack(ctx, t.teller)
	}
	for _, m := range t.members {
		// In a crowd everybody tells of everybody: to verify all of it took a fifth of the processor time of 128 members.
		if id, ok := claimedMember(m); !ok || !c.wants(id, t.teller) {
			continue
		}
		info, ok := parseMember(m, t.public)
		if !ok {
			continue
		}
		if c.hears(info, t.teller) {
			c.offer(ctx, info, sourcePeers)
		}
	}
}

// hears reports whether a peer is to be offered that is wanted, and counts it.
func (c *candidates) hears(info peer.AddrInfo, teller peer.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.known[info.ID]; known != nil {
		known.retold++
		if !known.lacks(info.Addrs) {
			return false
		}
	}
	return c.told.allow(teller)
}

// wants reports whether it is of use to be told of a peer: of one that is not known or, by a member, of one that could not be
// reached, which may have other addresses.
func (c *candidates) wants(id, teller peer.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.known[id]
	unreached := known != nil && !known.running && !known.over && known.retold < retoldMax && teller != unproved
	return id != c.node.id && (known == nil || unreached) && !c.told.full(teller)
}

// askBack offers a member that has opened a session with this node, which it may not have been ready for when it was
// asked before.
func (c *candidates) askBack(ctx context.Context, id peer.ID) {
	c.mu.Lock()
	known := c.known[id]
	if known != nil && !known.running && (known.unready || !known.over) {
		known.over, known.unready, known.news = false, false, true
	}
	c.mu.Unlock()
	c.offer(ctx, peer.AddrInfo{ID: id}, sourcePeers)
}

// has reports whether an address is known.
func (p *candidate) has(address multiaddr.Multiaddr) bool {
	return slices.ContainsFunc(p.info.Addrs, address.Equal)
}

// lacks reports whether one of some addresses is not known.
func (p *candidate) lacks(addresses []multiaddr.Multiaddr) bool {
	return slices.ContainsFunc(addresses, func(address multiaddr.Multiaddr) bool { return !p.has(address) })
}

// learn adds addresses, which are news if there was none of them before.
func (p *candidate) learn(addresses []multiaddr.Multiaddr) {
	for _, address := range addresses {
		if !p.has(address) {
			p.info.Addrs = append(p.info.Addrs, address)
			p.news = true
		}
	}
	p.news = p.news || len(p.info.Addrs) == 0 // libp2p may know addresses that nobody told
}

// attend has sessions with a peer, one after the other, as long as another may help.
func (c *candidates) attend(ctx context.Context, known *candidate) {
	var tries attempts
	for ctx.Err() == nil {
		info, source := c.next(known)
		outcome := c.attempt(ctx, info, source)
		if ctx.Err() != nil {
			return
		}
		wait, again := tries.after(outcome, c.node.patience.retry)
		if !again {
			if c.leave(known, outcome.err) {
				return
			}
			continue // another address of it came meanwhile
		}
		if errors.Is(outcome.err, errCrowded) {
			wait += rand.N(wait) // a crowd that began together should not come again together
		}
		if !sleep(ctx, wait) {
			return
		}
	}
}

// next returns what is known of a candidate now.
func (c *candidates) next(known *candidate) (peer.AddrInfo, discovery.Source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known.news = false
	return peer.AddrInfo{ID: known.info.ID, Addrs: slices.Clone(known.info.Addrs)}, known.source
}

// leave ends attending to a candidate. It returns false if it could not be reached and new addresses have come.
func (c *candidates) leave(known *candidate, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	unreachable := errors.Is(err, errUnreachable)
	if unreachable && known.news {
		return false
	}
	known.running = false
	known.over = !unreachable
	_, known.unready = refusedAs(err, protocol.RefuseUnknown)
	return true
}

// attempt asks a candidate for a session, and has it.
func (c *candidates) attempt(ctx context.Context, info peer.AddrInfo, source discovery.Source) attemptOutcome {
	c.countAsking(1)
	taken := sync.OnceFunc(func() { c.countAsking(-1) })
	defer taken()
	opened, err := c.open(ctx, info)
	if err != nil {
		if ctx.Err() == nil {
			c.refused(info.ID, source, err)
		}
		return attemptOutcome{err: err}
	}
	progress, err := c.use(ctx, opened, source, taken)
	return attemptOutcome{opened: true, progress: progress, err: err}
}

func (c *candidates) open(ctx context.Context, info peer.AddrInfo) (*openedStream, error) {
	select {
	case c.dials <- struct{}{}:
		defer func() { <-c.dials }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return c.node.openStream(ctx, info, c.link.Root, &c.shared, c.tell)
}

func (c *candidates) countAsking(by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asking += by
}

// anyAsked reports whether a candidate is being asked for a session now, or taken in.
func (c *candidates) anyAsked() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asking > 0
}

// answered reports whether every source has answered, and every candidate has had its say.
func (c *candidates) answered() bool {
	select {
	case <-c.report.Answered():
	default:
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, known := range c.known {
		if known.running {
			return false
		}
	}
	return c.unseen == 0
}

// attemptOutcome is how one attempt with a candidate went.
type attemptOutcome struct {
	opened   bool // there was a session
	progress bool // and it brought something
	err      error
}

// attempts is the history of the attempts with one candidate.
type attempts struct {
	met     bool // there was a session once, or the word that there is no room
	crowded int  // attempts in a row that found no room for a stream
	broken  int  // sessions in a row that brought nothing
	gone    int  // attempts in a row that had no answer
}

// after decides whether to try again, and after which pause: retry, then twice as long each time.
func (a *attempts) after(o attemptOutcome, retry time.Duration) (wait time.Duration, again bool) {
	busy, isBusy := refusedAs(o.err, protocol.RefuseBusy)
	isCrowded := errors.Is(o.err, errCrowded)
	if o.opened || isBusy || isCrowded {
		a.met, a.gone = true, 0
	}
	if isCrowded {
		wait = retry << a.crowded
		a.crowded = min(a.crowded+1, crowdedMax)
		return wait, true
	}
	a.crowded = 0
	switch {
	case isBusy:
		return max(retry, busy.RetryAfter), true
	case errors.Is(o.err, errEnough):
		return enoughPause, true
	case !a.met || !worthAnother(o.err):
		return 0, false
	}
	if o.progress {
		a.broken = 0
	}
	wait = retry << (a.broken + a.gone)
	if o.opened {
		a.broken++
	} else {
		a.gone++
	}
	return wait, a.broken+a.gone <= retriesMax
}

// worthAnother reports whether an attempt that ended with err may be followed by a better one.
func worthAnother(err error) bool {
	var violation *protocol.ViolationError
	_, unknown := refusedAs(err, protocol.RefuseUnknown)
	return !unknown && !errors.As(err, &violation) && !errors.Is(err, cafs.ErrCorrupt) && !errors.Is(err, errUnaskedPage) &&
		!errors.Is(err, errLied) && !errors.Is(err, errWebContent) && !errors.Is(err, errAsked) && !badRecord(err)
}

// sleep returns after d, or with false when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
