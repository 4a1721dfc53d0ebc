package discovery

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
)

// joinedTag and joinedWeight ask the connection manager to close other connections first. It may still close these:
// full protection is for peers in transfer.
const (
	joinedTag    = "swarmsync/joined"
	joinedWeight = 100
)

// joinedPeer is a peer to stay connected with.
type joinedPeer struct {
	info peer.AddrInfo
	// failures counts the dials since the peer was last seen connected; next is when to dial again, and the zero time
	// while it is connected.
	failures int
	next     time.Time
}

// Join connects to peers, at most 256 in all, and keeps the connections: one that is lost is dialled again, with
// growing pauses, until Close. A joined peer is a way into the network and a candidate in every search. Each dial
// takes 3 seconds at most. The error names every peer that could not be connected, or that is in another network; those
// are kept like the others and, as long as there is no connection, tried again, unless there is nothing to dial.
func (d *Discovery) Join(ctx context.Context, peers ...peer.AddrInfo) error {
	var accepted []peer.ID
	var errs []error
	for _, info := range peers {
		if err := d.addJoined(info); err != nil {
			errs = append(errs, fmt.Errorf("join %s: %w", info.ID, err))
			continue
		}
		accepted = append(accepted, info.ID)
	}
	d.changed.notify()
	for i, err := range d.dialAll(ctx, accepted) {
		p := accepted[i]
		if err == nil {
			err = d.checkNetwork(p)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("join %s: %w", p, err))
		}
		d.leaveToLoop(p, time.Now())
	}
	d.changed.notify()
	return errors.Join(errs...)
}

func (d *Discovery) addJoined(info peer.AddrInfo) error {
	select {
	case <-d.closing:
		return ErrClosed
	default:
	}
	if err := info.ID.Validate(); err != nil {
		return err
	}
	if info.ID == d.host.ID() {
		return errors.New("that is this node")
	}
	if len(info.Addrs) == 0 {
		info.Addrs = d.host.Peerstore().Addrs(info.ID)
	}
	if len(info.Addrs) == 0 {
		return errors.New("no address is known")
	}
	if !d.rememberJoined(info, time.Now()) {
		return fmt.Errorf("%d peers are joined already, which is the most", joinedMax)
	}
	d.host.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.PermanentAddrTTL)
	d.host.ConnManager().TagPeer(info.ID, joinedTag, joinedWeight)
	return nil
}

// rememberJoined returns false if there are too many. What was said of a peer before is replaced.
func (d *Discovery) rememberJoined(info peer.AddrInfo, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := d.joined[info.ID]
	if p == nil {
		if len(d.joined) == joinedMax {
			return false
		}
		// The first dial is Join's own; the loop leaves the peer alone until leaveToLoop.
		p = &joinedPeer{next: now.Add(time.Hour)}
		d.joined[info.ID] = p
	}
	p.info = peer.AddrInfo{ID: info.ID, Addrs: slices.Clone(info.Addrs)}
	return true
}

// leaveToLoop tells the loop that Join has dialled p.
func (d *Discovery) leaveToLoop(p peer.ID, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.joined[p].next = now.Add(jitter(redialMin, rand.Float64()))
}

// dialAll connects to peers, dialsAtOnce at a time, and returns the error of each.
func (d *Discovery) dialAll(ctx context.Context, peers []peer.ID) []error {
	errs := make([]error, len(peers))
	slots := make(chan struct{}, dialsAtOnce)
	var dials sync.WaitGroup
	for i, p := range peers {
		slots <- struct{}{}
		dials.Go(func() {
			defer func() { <-slots }()
			errs[i] = d.dial(ctx, p)
		})
	}
	dials.Wait()
	return errs
}

func (d *Discovery) dial(ctx context.Context, p peer.ID) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if s, ok := d.host.Network().(*swarm.Swarm); ok {
		// Our own pauses decide when it is time to try again, not those of the dialler.
		s.Backoff().Clear(p)
	}
	return d.host.Connect(ctx, peer.AddrInfo{ID: p})
}

// keepJoined dials joined peers again after their connection was lost.
func (d *Discovery) keepJoined(ctx context.Context) {
	for ctx.Err() == nil {
		changed := d.changed.wait()
		due, next := d.dueDials(time.Now())
		if len(due) > 0 {
			for i, err := range d.dialAll(ctx, due) {
				if err != nil {
					log.Debugf("redial %s: %v", due[i], err)
				}
			}
			continue
		}
		waitUntil(ctx, next, changed)
	}
}

// dueDials returns the peers to dial now, and plans their next dial in case this one fails; or, if there are none, the
// time of the next one.
func (d *Discovery) dueDials(now time.Time) (due []peer.ID, next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, p := range d.joined {
		switch {
		case d.connected(id):
			p.failures, p.next = 0, time.Time{}
			continue
		case p.next.IsZero():
			p.next = now.Add(jitter(redialMin, rand.Float64()))
		case !p.next.After(now):
			p.failures++
			p.next = now.Add(jitter(backoff(p.failures, redialMin, redialMax), rand.Float64()))
			due = append(due, id)
		}
		if next.IsZero() || p.next.Before(next) {
			next = p.next
		}
	}
	return due, next
}

// waitUntil waits for changed, for the time at unless that is zero, or for the end of ctx.
func waitUntil(ctx context.Context, at time.Time, changed <-chan struct{}) {
	var alarm <-chan time.Time
	if !at.IsZero() {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-alarm:
	}
}

func (d *Discovery) isJoined(p peer.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.joined[p] != nil
}

// joinedPeers returns the peers joined, in the order of their IDs.
func (d *Discovery) joinedPeers() []peer.AddrInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	infos := make([]peer.AddrInfo, 0, len(d.joined))
	for _, p := range d.joined {
		infos = append(infos, p.info)
	}
	sortPeers(infos)
	return infos
}

// checkNetwork returns an error if p is known to be in other networks only, which would leave the user waiting for
// nodes that p cannot lead to. A peer that takes no part in any DHT, or was not identified yet, is let through.
func (d *Discovery) checkNetwork(p peer.ID) error {
	protocols, err := d.host.Peerstore().GetProtocols(p)
	if err != nil || d.dht == nil || slices.Contains(protocols, d.dhtProtocol()) {
		return nil
	}
	for _, id := range protocols {
		name, ok := networkOf(id)
		if ok {
			return fmt.Errorf("it is in network %q, this node is in %q", name, d.network)
		}
	}
	return nil
}
