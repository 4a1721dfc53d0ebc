package memory_test

import (
	"testing"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/cafstest"
	"github.com/swarmsync/swarmsync/cafs/memory"
)

func TestConformance(t *testing.T) {
	cafstest.Run(t, cafstest.Maker{
		Open:        func(*testing.T) cafs.Store { return memory.New() },
		OpenLimited: func(_ *testing.T, quotaBytes int64) cafs.Store { return memory.NewLimited(quotaBytes) },
	})
}
