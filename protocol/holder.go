package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// Content is what a holder serves: one root, as far as it is here. Its methods are called concurrently.
type Content interface {
	// Root returns the root hash, and Record the root record, whose SHA-256 it is.
	Root() cafs.Key
	Record() []byte

	// Have returns what is here: complete with no items, or the have map: HaveAll and HaveAdd items, ascending. It is
	// called once a session; what changes afterwards is told with Holder.SendHave. The session keeps the items.
	Have() (items []HaveItem, complete bool)

	// Chunks returns the chunks of a range, none for a range that the root does not have; the caller does not change
	// them. The error wraps cafs.ErrNotFound if the pages that list them are not here.
	Chunks(ctx context.Context, rangeNumber int64) ([]cafs.ChunkInfo, error)

	// ReadChunk returns the bytes of a chunk, at.Info.Size of them, in buf if its capacity suffices. The error wraps
	// cafs.ErrNotFound if the chunk is not here, and cafs.ErrCorrupt if it does not hash to its key any more; the
	// receiver is told that it is missing. Any other error ends the session.
	ReadChunk(ctx context.Context, at ChunkAt, buf []byte) ([]byte, error)

	// Pages yields the pages of a request in preorder; each is valid until the next. The error wraps cafs.ErrNotFound for
	// a page that is not here, and for a request of pages that the root's lists do not have; any other one ends the
	// session. Nothing is taken after an error.
	Pages(ctx context.Context, request PagesRequest) iter.Seq2[[]byte, error]
}

// HolderConfig says what Accept serves, and as whom. Its functions are called by Accept and, for Members, by Run.
type HolderConfig struct {
	// Network is the name of the network: 1 to NetworkNameMax letters a to z, digits and hyphens.
	Network string
	// Local and Remote are the bytes of the peer IDs that the connection has authenticated, this side's and the
	// receiver's: 1 to PeerIDMax each.
	Local, Remote []byte
	// Find returns the content of a discovery key, if it is here. Its time must not depend on whether it is.
	Find func(DiscoveryKey) (Content, bool)
	// Allow reports whether the receiver, who has proved that it knows the root, may have it. Nil allows everybody.
	Allow func(root cafs.Key) bool
	// Admit reports whether there is room for a session, and if not what the receiver is told. It is called last, so a
	// session that is admitted is accepted. Nil admits all.
	Admit func(root cafs.Key) (told Busy, ok bool)
	// Members is told of the members that the receiver names, and owns them. It must not wait. Nil ignores them.
	Members func([]Member)
	// Holders is shared by all sessions in which this node is the holder. Nil stands for a session that is the only one.
	Holders *Holders

	testOnlyWithout features // not named in ACCEPT
}

// Busy is what a holder that has no room for a session tells a receiver.
type Busy struct {
	// RetryAfter is when it may ask again: at most RetryAfterMax, in whole milliseconds.
	RetryAfter time.Duration
	// Members are others that it may ask meanwhile: at most PeersMax.
	Members []Member
}

// Holder is the holding side of a session. Run serves it; the other methods may be called concurrently with Run and
// with each other, from Accept on, and never wait.
//
// It sets no deadlines: the stream should make a write that has no progress for WriteTimeout fail.
type Holder struct {
	stream  *meteredStream
	in      frameReader
	content Content
	members func([]Member)
	holders *Holders
	on      features

	// What follows belongs to the goroutine that reads.
	lastID    uint64
	tolerated budget   // members told by the receiver
	sigs      sigsTold // for the wish to come
	row       wishedRow

	// out and haveTimer belong to the goroutine that writes. The timer wakes it when a HAVE had to wait.
	out       batch
	haveTimer *time.Timer
	packer    packer
	held      bool // chunks wait for the window, or for a turn

	// wake has room for one signal that something was queued.
	wake chan struct{}

	// mu guards what follows. It is not held while content is read or the stream is written to.
	mu      sync.Mutex
	queue   wishQueue
	pages   []queuedPages // requests in order of arrival; the first is being answered
	control []byte        // encoded frames: answers to CANCEL, and PEERS
	answers int           // how many answers are in control
	haves   haveQueue
	told    budget // members told to the receiver

	accepted time.Time // when ACCEPT went out
	window   ackWindow
	writing  bool      // a write with chunks is under way
	progress time.Time // when one ended, or an ACK came, last
}

// Accept answers the OPEN of a fresh stream. It refuses with the same bytes, after the same work, when the root is not
// here, when the receiver has not proved that it knows it, when it is of another network, and when it is not allowed.
//
// The error is a *RefusedError if it refused, and a *ViolationError if what came was no OPEN. After an error the caller
// ends the stream; after success it calls Run. rw behaves like a net.Conn: a read and a write may be
// under way together, and Close makes both return. A libp2p stream's Close does not on every transport, its Reset does.
// The caller bounds Accept by a deadline of OpenTimeout.
func Accept(rw io.ReadWriteCloser, cfg HolderConfig) (*Holder, error) {
	if err := checkParties(cfg.Network, cfg.Local, cfg.Remote); err != nil {
		return nil, fmt.Errorf("accept a session: %w", err)
	}
	stream := &meteredStream{ReadWriteCloser: rw}
	h := &Holder{
		stream:    stream,
		in:        newFrameReader(stream, controlBufferBytes),
		members:   cfg.Members,
		holders:   cfg.Holders,
		tolerated: newTolerantBudget(PeersMax, memberEvery),
		wake:      make(chan struct{}, 1),
		told:      newBudget(PeersMax, memberEvery),
	}
	if h.holders == nil {
		h.holders = new(Holders)
	}
	_, body, err := h.in.expect(frameOpen)
	if err != nil {
		return nil, fmt.Errorf("read OPEN: %w", midFrame(err))
	}
	m, err := decodeOpen(body)
	if err != nil {
		return nil, violation(frameOpen, RuleMalformed, "%w", err)
	}
	if h.content, err = h.admit(cfg, m); err != nil {
		return nil, err
	}
	offered := featuresHere &^ cfg.testOnlyWithout
	h.on = m.features & offered
	h.packer = newPacker(m.nonce, h.on, &h.holders.compressor)
	if err := h.sendAccept(cfg, m.proof, offered); err != nil {
		return nil, err
	}
	return h, nil
}

// admit returns the content that the receiver may have, or refuses.
func (h *Holder) admit(cfg HolderConfig, m openBody) (Content, error) {
	content, found := cfg.Find(m.key)
	var root cafs.Key
	if found {
		root = content.Root()
	}
	// The proof is computed for a root that is not here too: strangers must not learn from the time it takes.
	proved := m.proof.matches(openProof(root, cfg.Remote, cfg.Local, m.appendUnproved(nil)))
	ours := m.network == cfg.Network
	if !found || !proved || !ours || cfg.Allow != nil && !cfg.Allow(root) {
		return nil, h.refuse(RefusedError{Code: RefuseUnknown})
	}
	if cfg.Admit != nil {
		if busy, ok := cfg.Admit(root); !ok {
			retryAfter := min(max(busy.RetryAfter, 0), RetryAfterMax).Truncate(time.Millisecond)
			return nil, h.refuse(RefusedError{RefuseBusy, retryAfter, busy.Members})
		}
	}
	return content, nil
}

func (h *Holder) refuse(refused RefusedError) error {
	if len(refused.Members) > 0 {
		if err := checkMembers(refused.Members); err != nil {
			return fmt.Errorf("refuse: %w", err)
		}
	}
	body := refuseBody{refused.Code, refused.RetryAfter}.append(nil)
	if _, err := h.stream.Write(appendFrame(nil, frameRefuse, body)); err != nil {
		return fmt.Errorf("send REFUSE: %w", err)
	}
	if len(refused.Members) > 0 {
		// Apart: what is small may pass where what is large has to wait.
		if _, err := h.stream.Write(appendFrame(nil, framePeers, peersBody{refused.Members}.append(nil))); err != nil {
			return fmt.Errorf("send PEERS: %w", err)
		}
	}
	return &refused
}

func (h *Holder) sendAccept(cfg HolderConfig, opened proof, offered features) error {
	items, complete := h.content.Have()
	if err := errors.Join(checkHave(items), checkHaveMap(items, complete)); err != nil {
		return fmt.Errorf("what is here of %s: %w", DiscoveryKeyOf(h.content.Root()).Short(), err)
	}
	have, rest := appendHave(nil, items, HaveMax)
	h.haves = haveQueue{items: rest, allowed: newBudget(HavesPerSecond, haveEvery)}
	body := acceptBody{record: h.content.Record(), complete: complete, features: offered, haveMap: have}.append(nil)
	h.accepted = time.Now()
	answer := acceptProof(h.content.Root(), cfg.Local, cfg.Remote, opened, body)
	if _, err := h.stream.Write(appendFrame(nil, frameAccept, append(body, answer[:]...))); err != nil {
		return fmt.Errorf("send ACCEPT: %w", err)
	}
	return nil
}

// Run serves until the receiver ends the session, and then returns nil; or until ctx ends or something fails, and then
// returns why: a *ViolationError if the receiver broke the protocol, or the error of a write that noticed the end of the
// stream first. It closes the stream in any case, and everything it
// started is gone when it returns.
func (h *Holder) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	root := h.content.Root()
	h.queue.sent = h.holders.join(root)
	defer h.holders.leave(h, root)
	defer h.watchAcks(ctx, cancel).Stop()
	var others sync.WaitGroup
	others.Go(func() {
		<-ctx.Done()
		h.stream.Close() // Its error is of no use to anybody: the session has ended for another reason.
	})
	// Control frames are read whatever the writer does: if each side waited for the other to read, both would forever.
	others.Go(func() { cancel(h.readControl(ctx)) })
	cancel(h.writeQueued(ctx))
	others.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, errEnded) {
		return cause
	}
	return nil
}

var (
	// errEnded: the receiver ended the session.
	errEnded = errors.New("ended by the receiver")
	// errUnacknowledged: nothing of what is on its way arrives.
	errUnacknowledged = fmt.Errorf("no ACK for %v", WriteTimeout)
)

// watchAcks starts the timer that ends the session when chunks were written and WriteTimeout passes without an ACK: their
// receiver keeps the session's place and its window shut. Writes under way are bounded by the stream.
func (h *Holder) watchAcks(ctx context.Context, end context.CancelCauseFunc) *time.Timer {
	h.mu.Lock()
	defer h.mu.Unlock()
	var timer *time.Timer
	timer = time.AfterFunc(WriteTimeout, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if ctx.Err() != nil {
			return // it has fired while it was stopped
		}
		wait := WriteTimeout
		if !h.writing && h.window.flushed > h.window.acked {
			wait -= time.Since(h.progress)
		}
		if wait <= 0 {
			end(errUnacknowledged)
			return
		}
		timer.Reset(wait)
	})
	return timer
}

// SendHave tells the receiver what has changed since Content.Have was called: items ascending, no range twice. They go
// out after what was told before, at most HavesPerSecond frames a second. The session keeps items. SendHave fails with
// ErrLimit while more than HaveQueueItemsMax wait: then the caller tells later, merged with what is new by then.
func (h *Holder) SendHave(items []HaveItem) error {
	if err := checkHave(items); err != nil {
		return fmt.Errorf("tell what is here: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.haves.add(items); err != nil {
		return fmt.Errorf("tell what is here: %w", err)
	}
	h.signal()
	return nil
}

// SendPeers tells the receiver of members: 1 to PeersMax. It fails with ErrLimit beyond PeersMax in PeersInterval, and
// while the receiver does not read.
func (h *Holder) SendPeers(members []Member) error {
	if err := checkMembers(members); err != nil {
		return fmt.Errorf("tell members: %w", err)
	}
	frame := appendFrame(nil, framePeers, peersBody{members}.append(nil))
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.control)+len(frame) > ControlQueueMax || !h.told.take(int64(len(members)), time.Now()) {
		return fmt.Errorf("tell members: %w", ErrLimit)
	}
	h.control = append(h.control, frame...)
	h.signal()
	return nil
}

// Unacknowledged returns the bytes of chunk data that were written and that the receiver has not acknowledged.
func (h *Holder) Unacknowledged() int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.window.out()
}

// Queued returns the number of wishes that wait, and the bytes of their chunks.
func (h *Holder) Queued() (wishes int, bytes int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.queue.wishes), h.queue.bytes
}

// Traffic returns the bytes read from and written to the stream so far, frames included.
func (h *Holder) Traffic() (read, written int64) { return h.stream.traffic() }

// signal tells the writer that something was queued.
func (h *Holder) signal() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// queuedPages is a request for pages that is not over.
type queuedPages struct {
	pagesBody
	sigs map[int]signature // for some of the pages, by their number in the answer; it is not changed
}

// haveQueue holds the have items that wait for the stream.
type haveQueue struct {
	items   []HaveItem   // the rest of the list that is going out
	later   [][]HaveItem // lists after it: a range may be in several, so they stay apart
	waiting int          // items in later
	allowed budget       // HAVE frames
}

func (q *haveQueue) add(items []HaveItem) error {
	if q.waiting+len(items) > HaveQueueItemsMax {
		return fmt.Errorf("%d items wait: %w", q.waiting, ErrLimit)
	}
	q.later = append(q.later, items)
	q.waiting += len(items)
	return nil
}

// take returns the body of the next HAVE, or how long until there may be one; neither if nothing waits.
func (q *haveQueue) take(now time.Time) (body []byte, wait time.Duration) {
	for len(q.items) == 0 {
		if len(q.later) == 0 {
			return nil, 0
		}
		q.items = q.later[0]
		q.waiting -= len(q.items)
		q.later = slices.Delete(q.later, 0, 1)
	}
	if !q.allowed.take(1, now) {
		return nil, q.allowed.wait(1, now)
	}
	body, q.items = appendHave(nil, q.items, HaveMax)
	return body, 0
}
