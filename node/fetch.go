package node

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

const (
	// preparers look up which chunks are here and copy them into the output; verifiers hash and store what arrives. Two
	// of each keep the processors busy while one waits for the disk.
	preparers = 2
	verifiers = 2
	// sessionsMax bounds the sessions of a fetch: more holders at a time bring nothing, and each session takes some 300 KB.
	sessionsMax = 64
	// buffersMax bounds the chunks that have arrived and are not stored yet: 8 MiB.
	buffersMax = 64

	// tickInterval is how often progress is told.
	tickInterval = 100 * time.Millisecond
	// reviseInterval is how often it is looked at who should be asked for what others owe; each lookEvery-th time also for
	// stalled holders and an end of waiting, and progress is told.
	reviseInterval = 25 * time.Millisecond
	lookEvery      = int(tickInterval / reviseInterval)
	// answerGrace is how long a search goes on at least, though everybody has said no: who was told a root just now may
	// ask before its holder is announced.
	answerGrace = 5 * time.Second
)

// fetch is one run of Node.Fetch. Sessions bring chunks, verifiers hash and store them, preparers find what is here
// already, and the plan, which all of them share, says what is asked of whom.
type fetch struct {
	node       *Node
	link       Link
	key        protocol.DiscoveryKey
	opts       FetchOptions
	outPath    string
	standing   string // an Output that is complete already
	started    time.Time
	candidates *candidates
	similar    similar
	arrivals   *protocol.Arrivals // wakes those who are served by HTTP
	httpErr    error              // why the server of opts.HTTP was of no use
	trusted    bool               // what the store says it has need not be read; set before there is a plan

	jobs    chan arrival
	buffers chan []byte   // that are free
	unmade  chan struct{} // one for each buffer that could be made
	events  events

	unhold func()                  // ends the hold on what is here, once the catalog needs all of that
	stop   context.CancelCauseFunc // ends the fetch as a whole, whoever calls it
	cancel context.CancelCauseFunc // ends the transfer; valid once that has begun
	work   sync.WaitGroup
	over   chan struct{} // closed at the end

	// beginning is held while the first record is taken in.
	beginning sync.Mutex

	// mu guards what follows. It is not held while anybody reads, writes or hashes.
	mu          sync.Mutex
	changed     *sync.Cond // for the preparers: there may be something to prepare
	content     *content   // nil until the record is known
	out         destination
	treeBegun   bool // the entries of a tree are here, and its output is being made
	part        span // of the data stream that is fetched; valid once ready
	ready       bool // chunks may be written
	hasOthers   bool // the catalog has other roots, so that parts of the list may be here
	plan        *plan
	idle        int                        // preparers that wait for something to prepare
	pageCursor  int                        // the list of everything before it in the plan's order is here
	ranges      map[int64]cafs.RangeChunks // the ranges that chunks are awaited of
	oldParts    map[int64]map[int]oldPart  // of these, what may be like their chunks; the inner maps are never changed
	awaited     map[cafs.Key][]placeAt     // places of a chunk that is being fetched, beside the one it is wished at
	httpBytes   int64                      // that came by HTTP, and were not counted yet
	news        news
	announced   bool
	sessions    map[peer.ID]*session
	sorted      []*session       // what sessionList returns; nil since sessions changed
	shares      []*PeerShare     // of every peer that had a session
	liars       map[peer.ID]bool // peers that are not worth another session
	stallers    map[peer.ID]bool // peers that stalled in a session
	webSeeds    int              // sessions with web seeds, and pauses between them
	searchStart time.Time
	idleSince   time.Time
	result      Result
	dropped     []*PeerError
}

// FetchOptions says how to fetch. The zero value fetches into the store only.
type FetchOptions struct {
	// Path is that of a file or a directory in a tree: only what is needed of it is fetched. The root is not complete then.
	Path string
	// From and To, in bytes, are what of a file is wanted; To 0 is its end. They are for fetches without an Output.
	From, To int64
	// DryRun finds out what there is to fetch, and fetches only the lists that tell it: Result.Missing. It writes no Output,
	// and does not catalogue the root.
	DryRun bool
	// List tells the entries of a tree, or those below Path, by an EventEntry each, and fetches only the list of them. It is
	// a DryRun.
	List bool
	// Output is the path of the file, or the directory, to write; it appears there when it is complete and verified. If it is
	// there already, and unchanged since the same root was written or added there, nothing is to be done. A file goes into
	// an existing directory under its name. Empty: none.
	Output string
	// Force allows an existing Output to be replaced. A directory is updated: files that differ are replaced one by one when
	// all that is needed is here, others are not touched.
	Force bool
	// Delete removes from an existing Output, a directory, what the tree does not have, but for what its .swarmignore files
	// name.
	Delete bool
	// KeepOld copies to the store, before an Output is replaced that another root is served from, what of that root is
	// nowhere else: the root stays complete.
	KeepOld bool
	// HTTP is the URL of the root at a server in the format of package httpsync, such as a Node.HTTPHandler. What is missing
	// comes from there first, into the store, and from the swarm if the server does not help. For whole roots only.
	HTTP string
	// WebSeeds are URLs of servers that have the file itself, and answer requests for byte ranges of it: they are holders
	// like others, once the list of the root is here, which they can't give. For files, and trees that are one.
	WebSeeds []string
	// Wait is how long to look for a holder while there is none; 0 means DefaultWait. When all sources and candidates have
	// answered, that nobody has the root, it ends after 5 s.
	Wait time.Duration
	// Events receives events; nil for none. While it runs the fetch does not look at the clock, and may wait for it in
	// other ways: one that blocks keeps silent holders from being dropped, and the fetch from ending.
	Events func(Event)
}

// Fetch gets the content of a link: what is here already is used, the rest comes from every holder that is found,
// first asking the link's peers. The root is catalogued, and so served, from before its first byte. A fetch that ends
// early keeps what was verified, and a later one continues there. Of several fetches of one root, one runs at a time.
//
// What is here already is read and hashed before it counts, except that a root which is complete here is not read for a
// fetch without an Output. If a part of a complete root turns out missing or damaged, the root is not complete any more,
// until a fetch has got that part again: without a network that is ErrOffline.
//
// The error wraps ErrNoHolder, ErrExists, ErrNoSpace, ErrRemoved, cafs.ErrBadRoot or the cause that ctx ended with, among
// others; the result is valid also then, as far as it goes.
func (n *Node) Fetch(ctx context.Context, link Link, opts FetchOptions) (Result, error) {
	f := &fetch{
		node:     n,
		link:     link,
		key:      protocol.DiscoveryKeyOf(link.Root),
		opts:     opts,
		started:  time.Now(),
		jobs:     make(chan arrival, buffersMax),
		buffers:  make(chan []byte, buffersMax),
		unmade:   make(chan struct{}, buffersMax),
		events:   events{send: opts.Events},
		ranges:   make(map[int64]cafs.RangeChunks),
		oldParts: make(map[int64]map[int]oldPart),
		similar:  similar{node: n},
		arrivals: protocol.NewArrivals(n.store),
		awaited:  make(map[cafs.Key][]placeAt),
		sessions: make(map[peer.ID]*session),
		liars:    make(map[peer.ID]bool),
		stallers: make(map[peer.ID]bool),
		over:     make(chan struct{}),
		out:      (*output)(nil),
		result:   Result{Root: link.Root, Name: link.Name, Peers: []PeerShare{}},
	}
	f.changed = sync.NewCond(&f.mu)
	f.candidates = newCandidates(n, link)
	f.candidates.use, f.candidates.refused = f.useSession, f.refused
	for range buffersMax {
		f.unmade <- struct{}{}
	}
	if f.opts.Wait == 0 {
		f.opts.Wait = DefaultWait
	}
	f.opts.DryRun = f.opts.DryRun || f.opts.List
	if f.opts.DryRun {
		f.opts.Output = ""
	}
	if err := f.opts.check(); err != nil {
		return f.result, err
	}
	err := f.run(ctx)
	f.result.Duration = time.Since(f.started)
	return f.result, err
}

func (f *fetch) run(ctx context.Context) error {
	if f.opts.Output != "" {
		if err := f.setOutput(ctx, f.opts.Output); err != nil {
			return err
		}
	}
	ctx, f.stop = context.WithCancelCause(ctx)
	defer f.stop(nil)
	release, err := f.node.beginFetch(ctx, f)
	if err != nil {
		return err
	}
	defer release()
	f.unhold = sync.OnceFunc(f.node.store.Hold())
	defer f.unhold()
	defer context.AfterFunc(f.node.ctx, func() { f.stop(ErrClosed) })()

	defer f.arrivals.End(errFetchOver)
	if f.opts.HTTP != "" {
		if err := f.tryHTTP(ctx); err != nil {
			return err
		}
	}
	transferring, cancel := context.WithCancelCause(ctx)
	f.cancel = cancel
	err = f.transfer(transferring)
	if err == nil {
		err = f.finish(ctx)
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx) // and not what became of it on the way
	} else if err != nil && f.httpErr != nil {
		err = fmt.Errorf("%w; %w", err, f.httpErr)
	}
	return errors.Join(err, f.release(err))
}

// transfer runs until everything is here, or ctx ends with the cause why not. Nothing that it started is left then.
func (f *fetch) transfer(ctx context.Context) error {
	for range preparers {
		f.work.Go(func() { f.prepareRanges(ctx) })
	}
	for range verifiers {
		f.work.Go(func() { f.storeArrivals(ctx) })
	}
	stopWaking := context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changed.Broadcast()
	})
	defer stopWaking()

	if err := f.start(ctx); err != nil {
		f.fail(err)
	}
	f.startWebSeeds(ctx)
	f.watch(ctx)
	f.work.Wait()
	f.closeSessions()
	f.events.now(f.progress())
	if cause := context.Cause(ctx); !errors.Is(cause, errComplete) {
		return cause
	}
	return nil
}

// errFetchOver is why chunks that a fetch did not get will not come.
var errFetchOver = errors.New("nothing is fetched any more")

// errComplete is the cause that a fetch ends with when all is here.
var errComplete = errors.New("complete")

// fail ends the fetch; only the first call counts.
func (f *fetch) fail(err error) { f.cancel(err) }

// start begins with what the catalog knows, or with the search.
func (f *fetch) start(ctx context.Context) error {
	info, err := f.node.store.Root(ctx, f.link.Root)
	switch {
	case errors.Is(err, cafs.ErrNotFound):
		f.mu.Lock()
		defer f.mu.Unlock()
		f.startSearch(ctx)
		return nil
	case err != nil:
		return fmt.Errorf("look up the root: %w", err)
	}
	if f.result.Name == "" {
		f.result.Name = info.Name
	}
	// Of a root that was not complete, or not any more since a part of it was damaged, other parts may be damaged too.
	f.trusted = info.Complete || f.opts.DryRun
	return f.begin(ctx, info.Record)
}

// begin takes in the root record: from here on it is known what there is to fetch.
func (f *fetch) begin(ctx context.Context, record []byte) error {
	f.beginning.Lock()
	defer f.beginning.Unlock()
	if f.content != nil { // written only with beginning held
		return nil
	}
	c, err := f.node.openContent(ctx, f.link.Root, record)
	if err != nil {
		return err
	}
	if !c.listed() {
		f.node.noteDamage(f.link.Root) // if it is called complete
	}
	if err := f.fitOutput(ctx, c.entries != nil); err != nil {
		c.release()
		return err
	}
	f.trusted = f.trusted && f.outPath == ""
	size := c.outline.Bytes()
	if c.entries == nil && f.opts.Path != "" {
		c.release()
		return fmt.Errorf("path %q: the root is a file, and no tree: %w", f.opts.Path, cafs.ErrNotFound)
	}
	out, err := f.reserve(ctx, size, c.entries != nil)
	if err != nil {
		c.release()
		return err
	}
	if !f.opts.DryRun {
		if err := f.node.catalogue(ctx, f.link.Root, record, f.link.Name); err != nil {
			c.release()
			return errors.Join(err, out.discard())
		}
	}
	others := f.node.hasOther(ctx, f.link.Root)
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails

	f.mu.Lock()
	defer f.mu.Unlock()
	f.content, f.out, f.hasOthers = c, out, others
	f.result.Bytes = size
	f.plan = newPlan(shuffle.Order(int(c.outline.RangesMax()), seed), size)
	f.plan.stallFirst = f.node.patience.stall
	if c.listed() {
		f.unhold()
	}
	if c.entries == nil {
		f.begun(ctx, span{0, size}, out)
		return nil
	}
	f.beginTree(ctx)
	if !f.treeBegun {
		f.startSearch(ctx)
	}
	return nil
}

// begun lets the fetch of a file, or a stretch of files, begin, now that it is known where that is in the data stream and
// where it is to go. Callers hold f.mu.
func (f *fetch) begun(ctx context.Context, whole span, out destination) {
	f.part = f.wanted(whole)
	f.result.PathBytes = whole.n
	f.out, f.ready = out, true
	if f.partial() {
		f.result.Bytes = f.part.n
		first, last := int64(1), int64(0) // none
		if f.part.n > 0 {
			// The first byte may be in a chunk that begins in the range before.
			first = max(0, f.part.offset-cafs.ChunkSizeMax+1) / cafs.RangeBytes
			last = (f.part.offset + f.part.n - 1) / cafs.RangeBytes
		}
		f.plan.skipOutside(first, last)
	}
	f.changed.Broadcast()
	f.askPagesAll()
	f.checkComplete()
	if _, _, missing := f.nextPages(nil, pagesAtOnce); missing {
		f.startSearch(ctx)
	}
}

// checkComplete ends the fetch if all is here. Callers hold f.mu.
func (f *fetch) checkComplete() {
	if f.ready && f.plan.done() && (f.partial() || f.content.listed()) {
		f.cancel(errComplete)
	}
}

// watch looks at the clock until the fetch ends.
func (f *fetch) watch(ctx context.Context) {
	ticker := time.NewTicker(reviseInterval)
	defer ticker.Stop()
	for tick := 1; ; tick++ {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			f.revise(now)
			f.tell(now)
			if tick%lookEvery > 0 {
				continue
			}
			f.dropStalled(now)
			if err := f.outOfHolders(now); err != nil {
				f.fail(err)
			}
			f.events.now(f.progress())
		}
	}
}

// revise lets every holder be asked for more, which may be what another one owes.
func (f *fetch) revise(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plan == nil {
		return
	}
	f.takeOverPages(now)
	f.refillAll()
}

// outOfHolders returns the error of a fetch that nobody can finish any more.
func (f *fetch) outOfHolders(now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.searchStart.IsZero() || f.expecting() {
		f.idleSince = now
		return nil
	}
	answered := len(f.sessions)+f.webSeeds == 0 && now.Sub(f.searchStart) >= min(answerGrace, f.opts.Wait) && f.candidates.answered()
	patience := f.opts.Wait
	if f.candidates.anyAsked() {
		patience += dialTimeout // who is being asked may answer yet
	}
	if !answered && now.Sub(f.idleSince) < patience {
		return nil
	}
	return &NoHolderError{
		Waited:   now.Sub(f.searchStart),
		Looked:   f.candidates.report.String(),
		Dropped:  f.dropped,
		Verified: f.result.Reused + f.result.Fetched,
	}
}

// expecting reports whether something is under way that may bring the fetch on. Callers hold f.mu.
func (f *fetch) expecting() bool {
	if f.plan == nil {
		return false
	}
	asked := func(s *session) bool { return len(s.pageRequests) > 0 && s.pageRefusals == 0 }
	return f.plan.expecting() || slices.ContainsFunc(f.sessionList(), asked)
}

// progress is an event that says how far the fetch is.
func (f *fetch) progress() Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	return Event{
		Kind:    EventProgress,
		Total:   f.result.Bytes,
		Reused:  f.result.Reused,
		Fetched: f.result.Fetched,
		Peers:   len(f.sessions),
		Shares:  f.sharesNow(),
	}
}

// sharesNow returns what each peer has brought so far, and brings now. Callers hold f.mu.
func (f *fetch) sharesNow() []PeerShare {
	now := time.Now()
	shares := make([]PeerShare, len(f.shares))
	for i, share := range f.shares {
		shares[i] = *share
		if s := f.sessions[share.Peer]; s != nil {
			shares[i].Rate = s.stream.received.rate(now)
		}
	}
	return shares
}
