package disk

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// prefetches notes what a file was asked to read ahead.
type prefetches []string

func (p *prefetches) Prefetch(offset, n int64) { *p = append(*p, fmt.Sprintf("%d+%d", offset, n)) }

func TestPrefetch(t *testing.T) {
	synctest.Test(t, testPrefetch) // within a period
}

func testPrefetch(t *testing.T) {
	var p prefetched
	var asked prefetches
	const mib = 1 << 20
	for _, offset := range []int64{0, 1000, mib - 1, mib, 1001, mib + 5000, 7*mib + 1, mib + 5001, 7*mib + 2, 3 * mib} {
		p.before(&asked, offset)
	}
	want := fmt.Sprint([]string{"0+1048576", "1048576+1048576", "7340032+1048576", "3145728+1048576"})
	if got := fmt.Sprint([]string(asked)); got != want {
		t.Errorf("read ahead %s, want %s", got, want)
	}
}

// What was read ahead long ago may have left the memory.
func TestPrefetchedIsReadAheadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p prefetched
		var asked prefetches
		for range 3 {
			p.before(&asked, 5)
			p.before(&asked, 6)
			time.Sleep(prefetchPeriod)
		}
		if len(asked) != 3 {
			t.Errorf("read ahead %d times in 3 periods", len(asked))
		}
	})
}
