package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/discovery"
	"github.com/swarmsync/swarmsync/protocol"
)

var (
	// errStalled: a holder had wishes and sent nothing.
	errStalled = errors.New("sent nothing")
	// errEnough: a fetch has as many sessions as it needs.
	errEnough = errors.New("enough holders for now")
	// errLied: bytes that a holder had sent before turned out to be wrong.
	errLied = errors.New("sent wrong bytes before")
)

// startSearch begins to look for holders; calls after the first do nothing. Callers hold f.mu.
func (f *fetch) startSearch(ctx context.Context) {
	if !f.searchStart.IsZero() {
		return
	}
	f.searchStart = time.Now()
	f.idleSince = f.searchStart
	if f.node.discovery == nil {
		f.fail(ErrOffline)
		return
	}
	f.work.Go(func() { f.candidates.run(ctx) })
}

// useSession has a session with a holder, and calls taken when that is one of the fetch's. It tells whether anything came, and
// why it ended.
func (f *fetch) useSession(
	ctx context.Context, opened *openedStream, source discovery.Source, taken func(),
) (progress bool, err error) {
	defer func() { _ = opened.receiver.Close() }() // whatever it says, the session is over
	s, err := f.admit(ctx, opened, source)
	if err != nil {
		return false, err
	}
	taken()
	err = f.receive(ctx, s)
	if ctx.Err() != nil {
		return false, err // the fetch is over, and nobody is to blame
	}
	if left(err) {
		err = errLeft
	}
	f.drop(s, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	return s.brought, s.dropped
}

// admit makes a holder of a peer whose session was opened.
func (f *fetch) admit(ctx context.Context, opened *openedStream, source discovery.Source) (*session, error) {
	if err := f.begin(ctx, opened.accepted.Record); err != nil {
		f.fail(err) // the record is the root's own, or the trouble is on this side
		return nil, err
	}
	s := &session{
		peer:         opened.peer,
		stream:       opened.stream,
		public:       opened.public,
		receiver:     opened.receiver,
		wishes:       make(map[uint64]*openWish),
		pageRequests: make(map[uint64]pagesAsked),
		heard:        time.Now(),
	}
	share := PeerShare{
		Peer:      opened.peer,
		Address:   opened.address,
		Transport: opened.transport,
		Relayed:   opened.relayed,
		Source:    string(source),
		Complete:  opened.accepted.Complete,
		RTT:       opened.rtt,
	}
	var have haveMap
	have.apply(opened.accepted.Have)
	f.events.now(Event{Kind: EventPeer, Peer: s.peer, Address: share.Address, Message: share.Transport})

	f.mu.Lock()
	defer f.mu.Unlock()
	if f.liars[s.peer] {
		return nil, errLied
	}
	if len(f.sessions) >= sessionsMax {
		return nil, errEnough
	}
	s.share = f.enterShare(share)
	f.sessions[s.peer], f.sorted = s, nil
	s.holder = f.plan.addHolder(s.peer, opened.accepted.Complete, have, opened.rtt)
	s.holder.suspect = f.stallers[s.peer]
	f.askPages(s)
	f.refill(s, time.Now())
	f.changed.Broadcast()
	return s, nil
}

// enterShare returns the entry of a peer in the result: one for all its sessions, with the sum of what they brought, and
// otherwise what is true of the last; why the one before was dropped stands until the new one brings something. Callers
// hold f.mu.
func (f *fetch) enterShare(latest PeerShare) *PeerShare {
	for _, share := range f.shares {
		if share.Peer == latest.Peer {
			latest.Bytes, latest.TakenOver, latest.Dropped = share.Bytes, share.TakenOver, share.Dropped
			*share = latest
			return share
		}
	}
	f.shares = append(f.shares, &latest)
	return &latest
}

// refused notes that a candidate gave no session.
func (f *fetch) refused(id peer.ID, source discovery.Source, err error) {
	if badRecord(err) {
		f.fail(err)
		return
	}
	// That a peer which is merely joined or near does not have a root is no news.
	if _, unknown := refusedAs(err, protocol.RefuseUnknown); (unknown || source == sourcePeers) && source != sourceNamed && source != discovery.SourceDHT {
		return
	}
	// Records in the DHT outlive those who put them there: that one is gone matters only if nobody else is found.
	quiet := source == discovery.SourceDHT && errors.Is(err, errUnreachable)
	if f.noteDropped(id, err) && !quiet {
		f.events.now(Event{Kind: EventDropped, Peer: id, Message: err.Error()})
	}
}

// noteDropped keeps why a peer could not be used, for the error of a fetch that nobody can finish: once for each peer,
// the last time. It reports whether it is the first.
func (f *fetch) noteDropped(id peer.ID, err error) (first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.noteDroppedLocked(id, err)
}

// noteDroppedLocked is noteDropped for callers that hold f.mu.
func (f *fetch) noteDroppedLocked(id peer.ID, err error) (first bool) {
	i := slices.IndexFunc(f.dropped, func(other *PeerError) bool { return other.Peer == id })
	if i >= 0 {
		f.dropped[i] = &PeerError{id, err}
		return false
	}
	f.dropped = append(f.dropped, &PeerError{id, err})
	return true
}
