package node_test

import (
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
)

// TestLimitsOfNodes fetches from one holder with two receivers at once, with the limit of the holder or of each receiver.
// Each fetches another content, so that they can't help each other.
func TestLimitsOfNodes(t *testing.T) {
	const size, limit = 4 << 20, 4 << 20
	for name, test := range map[string]struct {
		up, down int64
		takes    time.Duration
	}{
		"up":   {limit, 0, 2 * time.Second},
		"down": {0, limit, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holder := start(t, node.Config{UpLimit: test.up})
			began := time.Now()
			var work sync.WaitGroup
			for i := range 2 {
				link := add(t, holder, noise(size, byte(70+i)))
				link.Peers = []peer.AddrInfo{at(t, holder)}
				receiver := start(t, node.Config{DisableDHT: true, DownLimit: test.down})
				work.Go(func() {
					if _, err := receiver.Fetch(t.Context(), link, node.FetchOptions{}); err != nil {
						t.Error(err)
					}
				})
			}
			work.Wait()
			// A busy machine takes longer; that limits are used up is shown by TestLimitsHold.
			if took := time.Since(began); took < test.takes*97/100 || took > 3*test.takes {
				t.Errorf("it took %v, want %v", took, test.takes)
			}
		})
	}
}

func TestQuotaIsForTheNodesOwnStore(t *testing.T) {
	t.Parallel()
	if n, err := node.New(t.Context(), node.Config{Store: memory.New(), Quota: 1 << 30}); err == nil {
		_ = n.Close()
		t.Error("a quota was taken for a store that it has no effect on")
	}
}
