package discovery

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Source says where a candidate comes from.
type Source string

// The sources of this package. A node has others of its own, such as the peers that a link names.
const (
	// SourceJoined are the peers that the user joined.
	SourceJoined Source = "joined"
	// SourceLAN are the nodes of the network that mDNS found in the local network.
	SourceLAN Source = "lan"
	// SourceDHT are those that announced the key in the DHT.
	SourceDHT Source = "dht"
)

// Candidate is a peer that might hold what is looked for. Nothing about it is proved: it may be gone, hold nothing, or
// have been made up.
type Candidate struct {
	// Peer is the peer's ID and what is known of its addresses: at most 32, and none of a private range if a node on
	// a public connection told them.
	Peer   peer.AddrInfo
	Source Source
}

// Find looks for peers that might hold what is behind key, in all sources at once, and calls yield with each as soon as
// it is found: every peer at most once per source, since the sources may know different addresses, and at most 256 per
// source, picked at random. It goes on, for peers that come later, until yield returns false (Find returns nil), ctx
// ends (its error) or Close is called (ErrClosed). yield runs in the caller's goroutine; while it runs the search goes
// on, but nothing is yielded.
func (d *Discovery) Find(ctx context.Context, key Key, yield func(Candidate) bool) error {
	return d.FindReport(ctx, key, new(Report), yield)
}

// FindReport is Find with a report of where it looked and what came of it, which report holds from the call on.
func (d *Discovery) FindReport(ctx context.Context, key Key, report *Report, yield func(Candidate) bool) error {
	report.begin(d.mdns != nil, d.dht != nil, d.routingTableSize())
	ctx, cancel := context.WithCancel(ctx)
	found := make(chan Candidate)
	searched := make(chan struct{})
	go func() {
		defer close(searched)
		if d.dht != nil {
			d.searchDHT(ctx, key, report, found)
		}
	}()
	defer func() {
		cancel()
		<-searched
		report.setTableSize(d.routingTableSize())
	}()

	settled := time.NewTimer(time.Until(d.lanStarted.Add(lanSettle)))
	defer settled.Stop()
	told := newTold(report, yield)
	for {
		changed := d.changed.wait()
		report.setTableSize(d.routingTableSize())
		if !told.all(SourceJoined, d.joinedPeers()) || !told.all(SourceLAN, d.neighbours(time.Now())) {
			return nil
		}
		report.answer(SourceJoined)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.closing:
			return ErrClosed
		case c := <-found:
			if !told.one(c) {
				return nil
			}
		case <-settled.C:
			report.answer(SourceLAN)
		case <-changed:
		}
	}
}

// told keeps a search from telling its caller about a peer twice, or about too many.
type told struct {
	peers  map[Source]map[peer.ID]bool
	report *Report
	yield  func(Candidate) bool
}

func newTold(report *Report, yield func(Candidate) bool) *told {
	return &told{map[Source]map[peer.ID]bool{SourceJoined: {}, SourceLAN: {}, SourceDHT: {}}, report, yield}
}

// all tells about infos in random order. It returns false if the caller wants no more.
func (t *told) all(source Source, infos []peer.AddrInfo) bool {
	for _, i := range rand.Perm(len(infos)) {
		if !t.one(Candidate{infos[i], source}) {
			return false
		}
	}
	return true
}

// one tells about c unless that was done already. It returns false if the caller wants no more.
func (t *told) one(c Candidate) bool {
	peers := t.peers[c.Source]
	if peers[c.Peer.ID] || len(peers) == candidatesMax {
		return true
	}
	peers[c.Peer.ID] = true
	t.report.count(c.Source)
	return t.yield(c)
}

// searchDHT looks for the providers of key, again and again with growing pauses, and sends them to found until ctx
// ends. It waits while there is nobody to ask. The same provider may come more than once.
func (d *Discovery) searchDHT(ctx context.Context, key Key, report *Report, found chan<- Candidate) {
	for round := 1; ctx.Err() == nil; {
		changed := d.changed.wait()
		var again time.Time
		if d.routingTableSize() > 0 {
			if d.lookup(ctx, key, found) {
				report.answer(SourceDHT)
			}
			again = time.Now().Add(backoff(round, lookupRetryMin, lookupRetryMax))
			changed = nil
			round++
		}
		waitUntil(ctx, again, changed)
	}
}

// lookup is one round of a search: it sends the providers of key that the DHT knows to found, and tells whether any
// node of the DHT answered.
func (d *Discovery) lookup(ctx context.Context, key Key, found chan<- Candidate) (answered bool) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	counting, answers := withAnswers(ctx)
	var unresolved []peer.ID
	for info := range d.dht.FindProvidersAsync(counting, key.cid(), candidatesMax) {
		if info.ID == d.host.ID() || !wellFormed(info.ID) {
			continue
		}
		if len(info.Addrs) == 0 {
			unresolved = append(unresolved, info.ID)
			continue
		}
		if !send(ctx, found, Candidate{info, SourceDHT}) {
			break
		}
	}
	for _, p := range unresolved[:min(len(unresolved), resolveMax)] {
		if info, ok := d.resolve(ctx, p); ok && !send(ctx, found, Candidate{info, SourceDHT}) {
			break
		}
	}
	return answers.Load() > 0
}

// resolve finds the addresses of a provider whose record came without: nodes forget addresses before records.
func (d *Discovery) resolve(ctx context.Context, p peer.ID) (peer.AddrInfo, bool) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	info, err := d.dht.FindPeer(ctx, p)
	return info, err == nil && len(info.Addrs) > 0
}

func send(ctx context.Context, found chan<- Candidate, c Candidate) bool {
	select {
	case <-ctx.Done():
		return false
	case found <- c:
		return true
	}
}

// wellFormed tells whether p, which a peer sent, can be a peer ID at all.
func wellFormed(p peer.ID) bool {
	_, err := peer.IDFromBytes([]byte(p))
	return err == nil
}
