package node

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/discovery"
	"github.com/swarmsync/swarmsync/protocol"
)

// announceFrom is how many bytes a fetch has before it is announced as a partial holder: one range or so. Whoever finds
// it then has something to ask for.
const announceFrom = 1 << 20

// news is what a running fetch has: what is told to receivers that open a session with this node, and what those who have
// one were not told yet. It is guarded by fetch.mu.
type news struct {
	here   haveMap
	untold map[int64]protocol.Bits // by range; whole ranges are in wholes
	wholes map[int64]bool
	told   time.Time // last
}

// add notes chunks of a range, which has so many, as here.
func (n *news) add(number int64, bits protocol.Bits, chunks int) {
	if bits.Count() == 0 {
		return
	}
	n.here.addPart(number, bits)
	if n.here.bits(number, chunks).Count() == chunks {
		n.here.addWhole(number, 1)
		delete(n.untold, number)
		if n.wholes == nil {
			n.wholes = make(map[int64]bool)
		}
		n.wholes[number] = true
		return
	}
	if n.untold == nil {
		n.untold = make(map[int64]protocol.Bits)
	}
	if n.untold[number] == nil {
		n.untold[number] = protocol.NewBits(chunks)
	}
	for chunk := range bits.Ones() {
		n.untold[number].Set(chunk)
	}
}

// due reports whether there is something to tell, and it is time.
func (n *news) due(now time.Time) bool {
	return len(n.untold)+len(n.wholes) > 0 && now.Sub(n.told) >= protocol.HaveInterval
}

// take returns what was not told yet, ascending.
func (n *news) take(now time.Time) []protocol.HaveItem {
	items := make([]protocol.HaveItem, 0, len(n.untold)+len(n.wholes))
	for number := range n.wholes {
		items = append(items, protocol.HaveItem{First: number, Count: 1, Op: protocol.HaveAll})
	}
	for number, bits := range n.untold {
		items = append(items, protocol.HaveItem{First: number, Count: 1, Op: protocol.HaveAdd, Bits: bits})
	}
	slices.SortFunc(items, func(a, b protocol.HaveItem) int { return cmp.Compare(a.First, b.First) })
	n.untold, n.wholes, n.told = nil, nil, now
	return items
}

// items returns the whole map as a list.
func (m *haveMap) items() []protocol.HaveItem {
	var items []protocol.HaveItem
	for number := range m.whole.Ones() {
		if m.parts[int64(number)] == nil {
			items = append(items, protocol.HaveItem{First: int64(number), Count: 1, Op: protocol.HaveAll})
		}
	}
	for number, bits := range m.parts {
		if !m.hasWhole(number) {
			items = append(items, protocol.HaveItem{First: number, Count: 1, Op: protocol.HaveAdd, Bits: slices.Clone(bits)})
		}
	}
	slices.SortFunc(items, func(a, b protocol.HaveItem) int { return cmp.Compare(a.First, b.First) })
	return items
}

// unknownOf returns what of items the owner of a have map lacks.
func (m *haveMap) unknownOf(items []protocol.HaveItem) []protocol.HaveItem {
	var left []protocol.HaveItem
	for _, item := range items {
		switch {
		case m.hasWhole(item.First) && m.parts[item.First] == nil:
			continue
		case item.Op == protocol.HaveAdd:
			bits := slices.Clone(item.Bits)
			for chunk := range item.Bits.Ones() {
				if m.has(item.First, chunk) {
					bits.Clear(chunk)
				}
			}
			if bits.Count() == 0 {
				continue
			}
			item.Bits = bits
		}
		left = append(left, item)
	}
	return left
}

// have returns what a fetch has, for a receiver that opens a session; false if it does not know yet.
func (f *fetch) have() ([]protocol.HaveItem, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plan == nil {
		return nil, false
	}
	return f.news.here.items(), true
}

// tell tells receivers that this node serves what has come since the last time, if it is time for that: each of them what
// it is not known to have.
func (f *fetch) tell(now time.Time) {
	f.mu.Lock()
	due := f.news.due(now)
	f.mu.Unlock()
	if !due || f.node.server == nil {
		return
	}
	receivers := f.node.server.receivers(f.key)
	f.mu.Lock()
	items := f.news.take(now)
	unknown := make(map[peer.ID][]protocol.HaveItem)
	for _, id := range receivers {
		switch s := f.sessions[id]; {
		case s == nil:
			unknown[id] = items
		case !s.holder.complete:
			unknown[id] = s.holder.have.unknownOf(items)
		}
	}
	announce := !f.announced && f.result.Reused+f.result.Fetched >= announceFrom
	f.announced = f.announced || announce
	f.mu.Unlock()
	if announce && f.node.discovery != nil {
		f.node.discovery.Provide(discovery.Key(f.key))
	}
	maps.DeleteFunc(unknown, func(_ peer.ID, items []protocol.HaveItem) bool { return len(items) == 0 })
	f.node.server.tellHave(f.key, unknown)
}

// tellComplete tells receivers that everything is here.
func (f *fetch) tellComplete() {
	if f.node.server == nil || len(f.plan.order) == 0 {
		return
	}
	all := []protocol.HaveItem{{First: 0, Count: int64(len(f.plan.order)), Op: protocol.HaveAll}}
	unknown := make(map[peer.ID][]protocol.HaveItem)
	for _, id := range f.node.server.receivers(f.key) {
		unknown[id] = all
	}
	f.node.server.tellHave(f.key, unknown)
}
