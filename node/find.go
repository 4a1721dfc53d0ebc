package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/discovery"
)

// Find looks for holders of a root and calls yield, in the caller's goroutine, for each that proved to know it, until
// yield returns false, everybody has answered, or wait is over (0 means DefaultWait); none of these is an error. looked
// says where it looked, for messages.
func (n *Node) Find(ctx context.Context, link Link, wait time.Duration, yield func(Holder) bool) (looked string, err error) {
	return n.search(ctx, link, wait, func(found foundHolder) bool { return yield(found.describe()) })
}

// Info returns what is known of a root: from the catalog, or else from the first holder that is found within wait (0
// means DefaultWait).
func (n *Node) Info(ctx context.Context, link Link, wait time.Duration) (RootStatus, error) {
	info, err := n.store.Root(ctx, link.Root)
	if err == nil {
		return n.rootStatus(ctx, info)
	}
	if !errors.Is(err, cafs.ErrNotFound) {
		return RootStatus{}, fmt.Errorf("look up the root: %w", err)
	}
	var record []byte
	started := time.Now()
	looked, err := n.search(ctx, link, wait, func(found foundHolder) bool {
		record = found.accepted.Record
		return false
	})
	if err != nil {
		return RootStatus{}, err
	}
	if record == nil {
		return RootStatus{}, &NoHolderError{Waited: time.Since(started), Looked: looked}
	}
	status, err := recordStatus(link.Root, record)
	status.Name = link.Name
	return status, err
}

// foundHolder is a holder with an open session.
type foundHolder struct {
	*openedStream
	source discovery.Source
}

func (h foundHolder) describe() Holder {
	return Holder{
		Peer:      h.peer,
		Addresses: []string{h.address},
		Transport: h.transport,
		Source:    string(h.source),
		Complete:  h.accepted.Complete,
		RTT:       h.rtt,
	}
}

// search opens a session with every candidate and calls yield with those that succeed; the session is closed when
// yield returns. It ends when yield wants no more, when wait is over, or, not before a grace, when everybody has answered.
func (n *Node) search(ctx context.Context, link Link, wait time.Duration, yield func(foundHolder) bool) (looked string, err error) {
	if n.discovery == nil {
		return "", ErrOffline
	}
	if wait == 0 {
		wait = DefaultWait
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(n.ctx, func() { stop(ErrClosed) })()
	searching, cancel := context.WithCancel(ctx)

	found := make(chan foundHolder)
	c := newCandidates(n, link)
	c.use = func(ctx context.Context, opened *openedStream, source discovery.Source, _ func()) (bool, error) {
		defer func() { _ = opened.receiver.Close() }() // it has served its purpose
		select {
		case found <- foundHolder{opened, source}:
		case <-ctx.Done():
		}
		return true, errAsked
	}
	c.refused = func(id peer.ID, source discovery.Source, err error) {
		log.Debugf("%s, found by %s: %v", id, source, err)
		if badRecord(err) {
			stop(err)
		}
	}
	var work sync.WaitGroup
	work.Go(func() { c.run(searching) })
	deliver(searching, c, found, yield, wait)
	cancel()
	work.Wait()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return c.report.String(), err
}

// errAsked: a holder was asked whether it is one, and that is all.
var errAsked = errors.New("asked")

func deliver(ctx context.Context, c *candidates, found <-chan foundHolder, yield func(foundHolder) bool, wait time.Duration) {
	started := time.Now()
	ticker := time.NewTicker(tickInterval)
	defer ticker.Stop()
	for {
		select {
		case holder := <-found:
			if !yield(holder) {
				return
			}
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			elapsed := now.Sub(started)
			switch {
			case elapsed >= wait+dialTimeout, elapsed >= wait && !c.anyAsked():
				return
			case elapsed >= min(answerGrace, wait) && c.answered():
				return
			}
		}
	}
}
