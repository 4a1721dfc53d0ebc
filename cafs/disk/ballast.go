package disk

import (
	"fmt"
	"os"
	"sync"

	"github.com/swarmsync/swarmsync/internal/durable"
)

// ballast is a file of no content that keeps space for the key-value store. That one cannot go on after a write of its
// own failed, so when it finds the disk full the ballast is dropped, which lets it finish; and nothing more is put
// before there is room for a new ballast.
type ballast struct {
	path string

	// mu guards lost.
	mu   sync.Mutex
	lost bool
}

// openBallast takes over the ballast at path, or makes it if there is room.
func openBallast(path string) *ballast {
	b := &ballast{path: path}
	if info, err := os.Lstat(path); err != nil || info.Size() != ballastBytes {
		b.lost = true
		if err := b.ready(); err != nil {
			log.Warnf("%v", err)
		}
	}
	return b
}

// drop sets the space free.
func (b *ballast) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lost = true
	if err := os.Remove(b.path); err != nil && !os.IsNotExist(err) {
		log.Errorf("drop ballast: %v", err)
	}
}

// ready makes a new ballast if the last was dropped, and returns why that can't be done.
func (b *ballast) ready() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.lost {
		return nil
	}
	if err := durable.Reserve(b.path, ballastBytes, 0o600); err != nil {
		return fmt.Errorf("set aside %d MiB for the index: %w", ballastBytes>>20, err)
	}
	b.lost = false
	return nil
}

// size returns what the ballast takes in bytes.
func (b *ballast) size() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost {
		return 0
	}
	return ballastBytes
}
