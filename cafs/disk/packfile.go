package disk

import (
	"os"

	"github.com/swarmsync/swarmsync/internal/durable"
)

// osPackFile is a packFile of the operating system.
type osPackFile struct{ *os.File }

func openOSPackFile(path string, flag int) (packFile, error) {
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return osPackFile{f}, nil
}

func (f osPackFile) SyncData() error                { return durable.SyncData(f.File) }
func (f osPackFile) Prefetch(offset, n int64)       { durable.Prefetch(f.File, offset, n) }
func (f osPackFile) StartWriteback(offset, n int64) { durable.StartWriteback(f.File, offset, n) }
