package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/discovery"
	"github.com/swarmsync/swarmsync/protocol"
)

// catalogue makes sure that a root is in the catalog, and so pinned and served, before its first chunk.
func (n *Node) catalogue(ctx context.Context, root cafs.Key, record []byte, name string) error {
	n.catalog.Lock()
	defer n.catalog.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx) // a root that was removed meanwhile must not come back
	}
	_, err := n.store.Root(ctx, root)
	if !errors.Is(err, cafs.ErrNotFound) {
		return err
	}
	return n.put(ctx, cafs.RootInfo{Root: root, Record: record, Name: name, Added: time.Now()})
}

// complete notes that every chunk of a catalogued root is here, and where its file is.
func (n *Node) complete(ctx context.Context, root cafs.Key, place string) error {
	n.catalog.Lock()
	defer n.catalog.Unlock()
	info, err := n.store.Root(ctx, root)
	if err != nil {
		return fmt.Errorf("look up the root: %w", err)
	}
	if info.Complete && (place == "" || place == info.Place) {
		return nil
	}
	info.Complete, info.Damaged = true, false
	if place != "" {
		info.Place = place
	}
	return n.put(ctx, info)
}

// noteDamage notes that something of a root could not be read: a root that the catalog calls complete is so no longer.
// Then the next fetch of it looks for what is missing, and readers that would fail are told before they begin.
func (n *Node) noteDamage(root cafs.Key) {
	n.noteIncomplete(root, true, "a part of it is damaged or its file has changed; a fetch of it gets that part again")
	n.suspect(root)
}

// noteIncomplete notes that a root is not complete any more, by damage or because the user wants it so.
func (n *Node) noteIncomplete(root cafs.Key, damaged bool, why string) {
	n.catalog.Lock()
	defer n.catalog.Unlock()
	info, err := n.store.Root(n.ctx, root)
	if err == nil && info.Complete {
		info.Complete, info.Damaged = false, damaged
		log.Warnf("root %s is not complete any more: %s", root.Short(), why)
		err = n.store.PutRoot(n.ctx, info)
	}
	if err != nil && !errors.Is(err, cafs.ErrNotFound) {
		log.Warnf("note that root %s is not complete: %v", root.Short(), err) // it is noticed again
	}
}

// isDamage reports whether a store failed to give something because it is not there any more.
func isDamage(err error) bool {
	return errors.Is(err, cafs.ErrNotFound) || errors.Is(err, cafs.ErrCorrupt)
}

// put adds or replaces a root. Callers hold n.catalog.
func (n *Node) put(ctx context.Context, info cafs.RootInfo) error {
	if err := n.store.PutRoot(ctx, info); err != nil {
		return fmt.Errorf("put the root into the catalog: %w", err)
	}
	n.serve(info)
	if info.Complete {
		n.haves.drop(info.Root)
	}
	return nil
}

// Remove forgets a root and stops serving it: sessions about it end, and a Fetch of it that is under way fails with
// ErrRemoved. Files outside the store stay as they are.
func (n *Node) Remove(ctx context.Context, root cafs.Key) error {
	n.catalog.Lock()
	defer n.catalog.Unlock()
	if err := n.store.RemoveRoot(ctx, root); err != nil {
		return err
	}
	key := protocol.DiscoveryKeyOf(root)
	n.mu.Lock()
	delete(n.roots, key)
	if c := n.contents[root]; c != nil {
		c.forgetLocked() // its pages are cache from now on, and may go
	}
	fetching := n.fetches[root]
	n.mu.Unlock()
	n.haves.drop(root)
	if fetching != nil {
		fetching.stop(ErrRemoved)
	}
	if n.server != nil {
		n.server.end(key, ErrRemoved)
	}
	if n.discovery != nil {
		n.discovery.Withdraw(discovery.Key(key))
	}
	return nil
}

// Roots enumerates the catalog in the order of the roots. It stops after the first error.
func (n *Node) Roots(ctx context.Context) iter.Seq2[RootStatus, error] {
	return func(yield func(RootStatus, error) bool) {
		for info, err := range n.store.Roots(ctx) {
			var status RootStatus
			if err == nil {
				status, err = n.rootStatus(ctx, info)
			}
			if err == nil {
				err = n.addOccupancy(ctx, &status)
			}
			if !yield(status, err) || err != nil {
				return
			}
		}
	}
}

// rootStatus works out what users are told of a catalogued root.
func (n *Node) rootStatus(ctx context.Context, info cafs.RootInfo) (RootStatus, error) {
	status, err := recordStatus(info.Root, info.Record)
	if err != nil {
		return RootStatus{}, err
	}
	status.Complete, status.Name, status.Place, status.Added = info.Complete, info.Name, info.Place, info.Added
	if n.stillComplete(ctx, info) {
		status.Have = status.Bytes
		return status, nil
	}
	status.Complete = false
	switch volume, known := n.volumeAt(ctx, info.Place); {
	case known && volume.Root != info.Root && volume.Root != (cafs.Key{}):
		status.State = "superseded by " + volume.Root.Short()
	case known && !unchanged(volume):
		status.State = volume.State.String()
	case info.Damaged:
		status.State = "damaged"
	}
	c, err := n.openContent(ctx, info.Root, info.Record)
	if err != nil {
		return RootStatus{}, err
	}
	defer c.release()
	status.Have, err = c.haveBytes(ctx)
	return status, err
}

// recordStatus is what a root record alone tells.
func recordStatus(root cafs.Key, record []byte) (RootStatus, error) {
	parsed, err := cafs.ParseRecord(record)
	if err != nil {
		return RootStatus{}, fmt.Errorf("root record: %w", err)
	}
	return RootStatus{
		Root:    root,
		Kind:    parsed.Kind.String(),
		Bytes:   parsed.Data.Bytes,
		Chunks:  parsed.Data.Items,
		Entries: parsed.Entries.Items,
		Private: parsed.Salt != nil,
	}, nil
}

// Open returns the content of a root that is a file for reading, see OpenPart for those in trees; the error wraps
// cafs.ErrNotFound if it is not complete here. If a part of it turns out missing or damaged, the read fails with
// cafs.ErrNotFound or cafs.ErrCorrupt, and the root is not complete any more: a Fetch gets what is missing.
func (n *Node) Open(ctx context.Context, root cafs.Key) (cafs.File, error) {
	info, err := n.store.Root(ctx, root)
	if err != nil {
		return cafs.File{}, fmt.Errorf("open root: %w", err)
	}
	if !info.Complete {
		return cafs.File{}, fmt.Errorf("open root: parts of it are missing: %w", cafs.ErrNotFound)
	}
	record, err := cafs.ParseRecord(info.Record)
	if err != nil {
		return cafs.File{}, fmt.Errorf("open root: %w", err)
	}
	return cafs.OpenFile(watchedGetter{n.store, n, root}, record)
}

// watchedGetter is the store as readers of a complete root see it: what it can't give them makes the root incomplete.
type watchedGetter struct {
	cafs.Getter
	node *Node
	root cafs.Key
}

func (g watchedGetter) Get(ctx context.Context, key cafs.Key, buf []byte) ([]byte, error) {
	data, err := g.Getter.Get(ctx, key, buf)
	if isDamage(err) {
		g.node.noteDamage(g.root)
	}
	return data, err
}

// Link returns the link of a catalogued root, with addresses of this node that others may reach.
func (n *Node) Link(ctx context.Context, root cafs.Key) (Link, error) {
	info, err := n.store.Root(ctx, root)
	if err != nil {
		return Link{}, fmt.Errorf("link to root: %w", err)
	}
	link := Link{Root: root, Name: SafeName(info.Name)}
	if n.host != nil {
		link.Peers = []peer.AddrInfo{{ID: n.id, Addrs: n.linkAddresses()}}
	}
	return link, nil
}
