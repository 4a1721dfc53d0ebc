package node_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/node"
)

// Receivers that know nobody but the source hear of each other from it, and get from each other what the source sends to
// one of them.
func TestCrowdServesItself(t *testing.T) {
	t.Parallel()
	const receivers, rate = 6, 8 << 20
	content := noise(12<<20, 23)
	source := start(t, node.Config{DisableDHT: true, UpLimit: rate})
	link := add(t, source, content)
	link.Peers = []peer.AddrInfo{at(t, source)}

	results := make([]node.Result, receivers)
	var work sync.WaitGroup
	for i := range receivers {
		n := start(t, node.Config{DisableDHT: true, UpLimit: rate})
		work.Go(func() {
			output := filepath.Join(t.TempDir(), "output")
			var err error
			if results[i], err = n.Fetch(t.Context(), link, node.FetchOptions{Output: output}); err != nil {
				t.Error(err)
				return
			}
			assertFile(t, output, content)
		})
	}
	work.Wait()
	fromSource := int64(0)
	for i, result := range results {
		if result.Duplicate > int64(len(content))/250 {
			t.Errorf("receiver %d got %d bytes twice", i, result.Duplicate)
		}
		for _, share := range result.Peers {
			if share.Peer == source.ID() {
				fromSource += share.Bytes
			} else if share.Source != "peers" {
				t.Errorf("receiver %d found another by %q", i, share.Source)
			}
		}
		t.Logf("receiver %d: %v, %d peers, %d bytes twice", i, result.Duration.Round(time.Millisecond), len(result.Peers), result.Duplicate)
	}
	if copies := float64(fromSource) / float64(len(content)); copies > receivers/2 {
		t.Errorf("the source sent %.2f copies to %d receivers", copies, receivers)
	} else {
		t.Logf("the source sent %.2f copies", copies)
	}
}
