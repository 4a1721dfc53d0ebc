package node

import (
	"errors"
	"testing"
	"testing/synctest"
)

func TestFlusher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		syncs, fails := 0, error(nil)
		blocked := make(chan struct{})
		f := flusher{sync: func() error {
			syncs++
			<-blocked
			return fails
		}}
		expect := func(want int) {
			t.Helper()
			if synctest.Wait(); syncs != want {
				t.Fatalf("%d syncs, want %d", syncs, want)
			}
		}
		f.wrote(flushBytes - 1)
		expect(0)
		f.wrote(1)
		expect(1)
		f.wrote(2 * flushBytes) // while that is running
		expect(1)
		fails = broken
		close(blocked)
		synctest.Wait()
		f.wrote(1)
		expect(2)
		fails = nil
		f.wrote(flushBytes)
		if expect(3); !errors.Is(f.wait(), broken) {
			t.Error("the error of a sync is forgotten")
		}
	})
}
