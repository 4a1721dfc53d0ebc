package node

import (
	"sync"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// haveFreshMin is how long a have map is told without another look. A receiver that opens session after session must
	// not cost a look-up of every chunk each time; and what came in a second, others can do without for that long.
	haveFreshMin = time.Second
	// haveFreshFactor bounds what looking costs: the map of a large root is told for so many times as long as it took to
	// make, so no more than a tenth of a processor goes there.
	haveFreshFactor = 10
	// haveMapsMax bounds the maps that are kept; each is 56 bytes for a range of a MiB of which something is here.
	haveMapsMax = 16
)

// haveCache keeps the have maps of partial roots for a short time. The zero value is empty.
type haveCache struct {
	// mu guards what follows.
	mu   sync.Mutex
	maps map[cafs.Key]*cachedHave
}

type cachedHave struct {
	// mu guards what follows. It is held while somebody looks, so that others wait for the same look.
	mu    sync.Mutex
	items []protocol.HaveItem
	until time.Time
}

// get returns the have map of a root, which nobody may change: a kept one, or what look finds.
func (c *haveCache) get(root cafs.Key, clock func() time.Time, look func() []protocol.HaveItem) []protocol.HaveItem {
	kept := c.entry(root)
	kept.mu.Lock()
	defer kept.mu.Unlock()
	began := clock()
	if began.Before(kept.until) {
		return kept.items
	}
	kept.items = look()
	ended := clock()
	kept.until = ended.Add(max(haveFreshMin, haveFreshFactor*ended.Sub(began)))
	return kept.items
}

func (c *haveCache) entry(root cafs.Key) *cachedHave {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.maps[root]
	if kept != nil {
		return kept
	}
	if c.maps == nil {
		c.maps = make(map[cafs.Key]*cachedHave)
	}
	for other := range c.maps {
		if len(c.maps) < haveMapsMax {
			break
		}
		delete(c.maps, other) // whichever comes first
	}
	kept = &cachedHave{}
	c.maps[root] = kept
	return kept
}

// drop forgets the have map of a root that is complete or gone.
func (c *haveCache) drop(root cafs.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.maps, root)
}
