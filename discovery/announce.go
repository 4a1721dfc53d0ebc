package discovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Provide says that this node holds, in part or whole, what is behind key. If Config.Announce is set the node answers
// for the key from now on, and the DHT is told in the background: within about a second if its routing table is not
// empty, else as soon as there is somebody to tell, and again for as long as the key is provided. Providing a key
// twice is the same as once. After Close it does nothing.
func (d *Discovery) Provide(key Key) {
	if !d.announce {
		return
	}
	d.mu.Lock()
	if _, provided := d.keys[key]; !provided {
		d.keys[key] = d.history[key]
		delete(d.history, key)
	}
	d.mu.Unlock()
	d.changed.notify()
}

// Withdraw ends what Provide began. This node stops answering for the key at once; records that other nodes keep
// cannot be called back and last for up to 48 hours.
func (d *Discovery) Withdraw(key Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a := d.keys[key]
	delete(d.keys, key)
	if !a.stored.IsZero() {
		// Records of it are still out there: if the key is provided again soon, it need not be announced at once.
		d.history[key] = announcement{stored: a.stored, step: a.step, addrs: a.addrs}
	}
}

// provides tells whether this node answers for key.
func (d *Discovery) provides(key Key) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, provided := d.keys[key]
	return provided
}

// announceLoop announces keys as they come due. How many there are bounds neither its memory nor its traffic at any
// one time: announcesAtOnce does.
func (d *Discovery) announceLoop(ctx context.Context) {
	for ctx.Err() == nil {
		changed := d.changed.wait()
		addrs := fingerprintOf(d.host.Addrs())
		due, tableSize, next := d.dueKeys(time.Now(), addrs)
		if len(due) == 0 {
			waitUntil(ctx, next, changed)
			continue
		}
		var announces sync.WaitGroup
		for _, key := range due {
			announces.Go(func() {
				nodes, err := d.announceKey(ctx, key)
				if err != nil {
					log.Debugf("announce %s: %v", key, err)
					d.noteFailure(key, tableSize, err)
					return
				}
				log.Infof("announced %s to %d nodes", key, nodes)
				d.noteAnnounced(ctx, key, announcement{
					stored: time.Now(), step: growthStep(tableSize), addrs: addrs, thisRun: true,
				})
			})
		}
		announces.Wait()
	}
}

// dueKeys returns up to announcesAtOnce keys that are to be announced now, those that were never announced first and
// then those that waited for longest; or, if there are none, the time of the next one. tableSize is the size of the
// routing table that the answer is for.
func (d *Discovery) dueKeys(now time.Time, addrs fingerprint) (due []Key, tableSize int, next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for key, a := range d.keys {
		switch at, ok := a.due(key, d.tableSize, addrs); {
		case !ok:
		case !at.After(now):
			due = append(due, key)
		case next.IsZero() || at.Before(next):
			next = at
		}
	}
	slices.SortFunc(due, func(a, b Key) int { return d.keys[a].stored.Compare(d.keys[b].stored) })
	return due[:min(len(due), announcesAtOnce)], d.tableSize, next
}

// announceKey asks the nodes closest to key to keep the record that this node has what is behind it, and returns how
// many did. If none did it returns an error.
func (d *Discovery) announceKey(ctx context.Context, key Key) (nodes int, err error) {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	self := peer.AddrInfo{ID: d.host.ID(), Addrs: d.host.Addrs()}
	if len(self.Addrs) == 0 {
		return 0, errors.New("this node has no address that others could reach")
	}
	closest, err := d.dht.GetClosestPeers(ctx, string(key.multihash()))
	if err != nil {
		return 0, fmt.Errorf("find the nodes closest to %s: %w", key, err)
	}
	errs := make([]error, len(closest))
	var puts sync.WaitGroup
	for i, p := range closest {
		puts.Go(func() {
			// A message of its own for each: it is reduced to the addresses that p can use.
			msg := pb.NewMessage(pb.Message_ADD_PROVIDER, key.multihash(), 0)
			msg.ProviderPeers = pb.RawPeerInfosToPBPeers([]peer.AddrInfo{self})
			errs[i] = d.messenger.SendMessage(ctx, p, msg)
		})
	}
	puts.Wait()
	return countStored(key, errs)
}

// countStored returns how many of the nodes that were asked keep the record of key, by what each said, or the error that
// none of them does.
func countStored(key Key, errs []error) (nodes int, err error) {
	for _, err := range errs {
		if err == nil {
			nodes++
		}
	}
	switch {
	case len(errs) == 0:
		return 0, fmt.Errorf("no node keeps the record of %s: there is no other node yet", key)
	case nodes == 0:
		return 0, fmt.Errorf("no node keeps the record of %s: %w", key, errors.Join(errs...))
	}
	return nodes, nil
}

// noteFailure plans the next attempt to announce key.
func (d *Discovery) noteFailure(key Key, tableSize int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastErr = err
	if a, provided := d.keys[key]; provided {
		a.failures++
		a.tried, a.triedSize = time.Now(), tableSize
		d.keys[key] = a
	}
}

// noteAnnounced records that key was announced as a says, here and for later runs.
func (d *Discovery) noteAnnounced(ctx context.Context, key Key, a announcement) {
	if !d.setAnnounced(key, a) {
		return
	}
	if err := d.records.Put(ctx, announcedKey(key), a.appendTo(nil)); err != nil {
		// All that is lost is the time: the key is announced again after the next start.
		log.Warnf("remember the announcement of %s: %v", key, err)
	}
}

// setAnnounced returns false if the key was withdrawn meanwhile.
func (d *Discovery) setAnnounced(key Key, a announcement) (provided bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lastErr = nil
	if _, provided = d.keys[key]; provided {
		// If the table shrank meanwhile, those that come next are told again.
		a.step = min(a.step, growthStep(d.tableSize))
		d.keys[key] = a
	}
	return provided
}
