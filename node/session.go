package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/protocol"
)

// session is the receiving end of one stream to a holder.
type session struct {
	peer     peer.ID
	stream   *sessionStream
	receiver *protocol.Receiver
	holder   *holder
	public   bool // it is on a public address

	// What follows is guarded by fetch.mu.
	share        *PeerShare
	wishes       map[uint64]*openWish // by the id of the session
	pageRequests map[uint64]pagesAsked
	pagesPause   time.Time // not zero: it turned pages down, and is not asked for any before
	pageRefusals int       // since it last sent a page
	storing      bool      // a page: nothing is read meanwhile, whatever the holder sends
	heard        time.Time
	bytesIn      int64 // when it was last looked at, to tell a slow holder from a silent one
	dropped      error
	brought      bool // something that was asked for
	mistaken     bool // a delta was not the chunk
}

// openWish is a wish that is not over on the stream: what has arrived may still wait to be verified, before the plan takes
// it in.
type openWish struct {
	wish *wish
	left int // chunks that are outstanding
}

// receive takes what a holder sends until the session ends.
func (f *fetch) receive(ctx context.Context, s *session) error {
	connections := f.node.host.ConnManager()
	connections.Protect(s.peer, f.protectTag())
	defer connections.Unprotect(s.peer, f.protectTag())
	// Closing makes Next return.
	defer context.AfterFunc(ctx, func() { _ = s.receiver.Close() })()
	if err := f.checkAccepted(s); err != nil {
		return err
	}
	defer f.node.members.meet(f.key, s.peer, s.receiver.SendPeers)()
	for {
		// A holder that is silent must not keep one of the few buffers.
		s.receiver.Wait()
		buf, err := f.buffer(ctx)
		if err != nil {
			return err
		}
		message, err := s.receiver.Next(buf)
		if err != nil {
			f.buffers <- buf
			if dropped := f.droppedWith(s); dropped != nil {
				return dropped
			}
			return err
		}
		if chunk, ok := message.(protocol.ChunkMessage); ok {
			select {
			case f.jobs <- arrival{s, f.countChunk(s, chunk), chunk, buf}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			continue
		}
		err = f.handle(ctx, s, message)
		f.buffers <- buf
		if err != nil {
			return err
		}
	}
}

// protectTag keeps connections that this fetch uses from being trimmed.
func (f *fetch) protectTag() string { return service + " fetch " + f.key.Short() }

// buffer waits for a free buffer. One is made only if none is free, so that there are as many as were in use at once.
func (f *fetch) buffer(ctx context.Context) ([]byte, error) {
	select {
	case buf := <-f.buffers:
		return buf, nil
	default:
	}
	select {
	case buf := <-f.buffers:
		return buf, nil
	case <-f.unmade:
		return make([]byte, protocol.FrameBodyMax), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// buffersInUse tells whether all buffers are, so that nothing is read.
func (f *fetch) buffersInUse() bool { return len(f.buffers)+len(f.unmade) == 0 }

// countChunk keeps the account of open wishes, and returns the one that a chunk is of.
func (f *fetch) countChunk(s *session, m protocol.ChunkMessage) *wish {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.hear(time.Now())
	open := s.wishes[m.Wish]
	open.left--
	s.forget(open)
	return open.wish
}

// forget ends a wish if nothing more comes for it, not even the answer to a CANCEL. Callers hold fetch.mu.
func (s *session) forget(open *openWish) {
	if open.left == 0 && len(open.wish.cancels) == 0 {
		delete(s.wishes, open.wish.id)
	}
}

func (f *fetch) handle(ctx context.Context, s *session, message protocol.Message) error {
	switch m := message.(type) {
	case protocol.PageMessage:
		f.mu.Lock()
		s.heard = time.Now()
		f.mu.Unlock()
		return f.page(ctx, s, m)
	case protocol.DoneMessage:
		f.done(s, m)
	case protocol.HaveMessage:
		return f.told(s, m)
	case protocol.PeersMessage:
		f.mu.Lock()
		s.skip()
		f.mu.Unlock()
		f.candidates.tell(tale{teller: s.peer, public: s.public, members: m.Members})
	}
	return nil
}

// told takes in what a holder says it has now.
func (f *fetch) told(s *session, m protocol.HaveMessage) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.skip()
	cancels, err := f.plan.told(s.holder, m.Items, time.Now())
	if err != nil {
		return wrongHave("HAVE", err)
	}
	s.share.Complete = s.holder.complete
	f.sendCancels(cancels)
	s.pagesPause = time.Time{}
	f.askPages(s)
	f.refill(s, time.Now())
	f.changed.Broadcast()
	return nil
}

// checkAccepted holds the have map of ACCEPT against what is known of the content already.
func (f *fetch) checkAccepted(s *session) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.plan.checkHave(s.holder); err != nil {
		return wrongHave("ACCEPT", err)
	}
	return nil
}

// wrongHave is the violation of a holder that tells of more or fewer chunks than a range has. A session can't notice it,
// because it doesn't know the list.
func wrongHave(frame string, err error) error {
	return &protocol.ViolationError{Frame: frame, Rule: protocol.RuleSize, Err: err}
}

// done notes what a holder will not send.
func (f *fetch) done(s *session, m protocol.DoneMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	s.skip()
	s.heard = now
	if m.Pages {
		f.pagesDone(s, m, now)
		return
	}
	open := s.wishes[m.ID]
	if open == nil || s.dropped != nil {
		return
	}
	cancelled := protocol.NewBits(len(open.wish.chunks()))
	for _, part := range m.Parts {
		open.left -= part.Bits.Count()
		if part.Reason == protocol.DoneCancelled {
			cancelled = part.Bits
			continue
		}
		f.plan.refused(open.wish, part.Bits, part.Reason, now)
	}
	if m.AnswersCancel {
		s.share.TakenOver += f.plan.confirmed(open.wish, cancelled, now)
	}
	s.forget(open)
	f.refillAll()
}

// refill asks a holder for as much as it should be asked ahead. Callers hold f.mu.
func (f *fetch) refill(s *session, now time.Time) {
	if f.plan == nil || s.dropped != nil {
		return
	}
	wishes, cancels := f.plan.next(s.holder, now)
	for _, w := range wishes {
		var err error
		if w.id, err = s.receiver.WishSimilar(w.number(), w.bits, w.chunks(), f.oldBytes(w)); err != nil {
			// At a limit, or over, which the session's reader tells: the chunks are free for others.
			f.plan.takeBack(w, w.bits)
			continue
		}
		s.wishes[w.id] = &openWish{w, w.bits.Count()}
	}
	f.sendCancels(cancels)
	f.askPages(s)
}

// sendCancels takes wishes back, or leaves them where they are if nothing of them is outstanding any more. Callers hold f.mu.
func (f *fetch) sendCancels(cancels []cancel) {
	for _, c := range cancels {
		s := f.sessions[c.wish.holder.id]
		if s == nil || s.holder != c.wish.holder {
			continue // dropped, and with it its wishes
		}
		if err := s.receiver.Cancel(c.wish.id, c.bits); err != nil {
			f.plan.uncancelled(c)
			if open := s.wishes[c.wish.id]; open != nil {
				s.forget(open)
			}
		}
	}
}

// refillAll gives every holder the chance to be asked for more. Callers hold f.mu.
func (f *fetch) refillAll() {
	now := time.Now()
	for _, s := range f.sessionList() {
		f.refill(s, now)
	}
	if f.plan.unprepared() {
		f.changed.Broadcast()
	}
}

// sessionList returns the sessions in the order of their peers, so that runs can be compared. It is the caller's to read
// only. Callers hold f.mu.
func (f *fetch) sessionList() []*session {
	if f.sorted == nil {
		f.sorted = slices.SortedFunc(maps.Values(f.sessions), func(a, b *session) int {
			return strings.Compare(string(a.peer), string(b.peer))
		})
	}
	return f.sorted
}

func (f *fetch) removeSession(s *session) {
	delete(f.sessions, s.peer)
	f.sorted = nil
}

// dropStalled ends sessions with holders that were asked and send nothing, and asks others again that turned something
// down some time ago.
func (f *fetch) dropStalled(now time.Time) {
	f.mu.Lock()
	stalled := f.stalled(now)
	f.askAgain(now)
	f.mu.Unlock()
	for s, err := range stalled {
		f.drop(s, err)
	}
}

// askAgain asks holders for what they turned down, if that was long enough ago. Callers hold f.mu.
func (f *fetch) askAgain(now time.Time) {
	if f.plan == nil {
		return
	}
	for _, s := range f.sessionList() {
		if !s.pagesPause.IsZero() && !now.Before(s.pagesPause) {
			s.pagesPause = time.Time{}
			f.askPages(s)
		}
	}
	if f.plan.forgive(now) {
		f.refillAll()
	}
}

// stalled returns the sessions that something should have come on, and what is wrong with them. What came and waits to
// be stored is this side's delay, not the holder's. Callers hold f.mu.
func (f *fetch) stalled(now time.Time) map[*session]error {
	if f.plan == nil {
		return nil
	}
	if f.buffersInUse() { // nothing is read now, whatever holders send
		for _, s := range f.sessions {
			s.hear(now)
		}
		return nil
	}
	for _, s := range f.sessions {
		if s.listen(now) {
			f.idleSince = now
		}
	}
	stalled := make(map[*session]error)
	silent := func(s *session) error {
		return fmt.Errorf("%w for %s though it was asked", errStalled, now.Sub(s.heard).Round(time.Second/10))
	}
	for _, h := range f.plan.stalled(now) {
		s := f.sessions[h.id]
		switch {
		case h.refusals >= refusalsMax:
			stalled[s] = fmt.Errorf("%w and turned down %d wishes", errStalled, h.refusals)
		case h.answers > 0 && now.Sub(h.cancelled) > f.plan.patience(h):
			stalled[s] = fmt.Errorf("%w in answer to a CANCEL for %s", errStalled, now.Sub(h.cancelled).Round(time.Second/10))
		case len(s.wishes) > 0:
			stalled[s] = silent(s)
		}
	}
	for _, s := range f.sessions {
		if len(s.pageRequests) > 0 && now.Sub(s.heard) > f.node.patience.stall {
			stalled[s] = silent(s)
		}
	}
	return stalled
}

// listen notes and reports that part of a chunk or page came since it was last called: at a few KiB a second a whole one
// takes longer than a holder may be silent. Callers hold fetch.mu.
func (s *session) listen(now time.Time) bool {
	in, _ := s.receiver.Traffic()
	if in == s.bytesIn && !s.storing {
		return false
	}
	s.bytesIn = in
	s.hear(now)
	return true
}

// skip keeps listen from taking what came until now, which is neither chunk nor page, for a sign that some are coming:
// a holder whose disk hangs may go on talking. Callers hold fetch.mu.
func (s *session) skip() { s.bytesIn, _ = s.receiver.Traffic() }

// hear notes that a holder is not silent. Callers hold fetch.mu.
func (s *session) hear(now time.Time) {
	s.heard = now
	s.holder.heard = now
}

// bring notes that something came that was asked for: so why an earlier session ended is past. Callers hold fetch.mu.
func (s *session) bring() {
	s.brought = true
	if s.dropped == nil {
		s.share.Dropped = ""
	}
}

// drop ends the use of a holder: what it was asked for goes to others. Only the first call for a session counts, unless
// a later one knows of a lie.
func (f *fetch) drop(s *session, err error) {
	f.mu.Lock()
	first := s.dropped == nil
	if !first && (worthAnother(err) || !worthAnother(s.dropped)) {
		f.mu.Unlock()
		return
	}
	s.dropped = err
	if first {
		f.removeSession(s)
		f.plan.removeHolder(s.holder)
		f.addTraffic(s)
	}
	if !worthAnother(err) {
		f.liars[s.peer] = true
	}
	if errors.Is(err, errStalled) {
		f.stallers[s.peer] = true
	}
	over := f.plan.done()
	if !over {
		s.share.Dropped = err.Error()
		f.noteDroppedLocked(s.peer, err)
	}
	newer := f.sessions[s.peer]
	f.askPagesAll()
	f.refillAll()
	f.mu.Unlock()
	if !over {
		log.Debugf("drop %s: %v", s.peer, err)
		f.events.now(Event{Kind: EventDropped, Peer: s.peer, Message: err.Error()})
	}
	_ = s.receiver.Close() // makes its reader return
	if newer != nil && !worthAnother(err) {
		f.drop(newer, errLied)
	}
}

func (f *fetch) droppedWith(s *session) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.dropped
}

// closeSessions ends the sessions of a fetch that is over; nobody is to blame.
func (f *fetch) closeSessions() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sessions {
		f.addTraffic(s)
		f.removeSession(s)
		s.dropped = errComplete
	}
	for _, share := range f.shares {
		f.result.Peers = append(f.result.Peers, *share)
	}
}

// addTraffic counts what went over a session's stream. Callers hold f.mu.
func (f *fetch) addTraffic(s *session) {
	in, out := s.receiver.Traffic()
	f.result.WireIn += in
	f.result.WireOut += out
}
