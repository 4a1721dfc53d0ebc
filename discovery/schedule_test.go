package discovery

import (
	"slices"
	"testing"
	"time"
)

func TestDue(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	middle := Key{0x80} // half of the spread: exactly 22 h
	at := func(d time.Duration) time.Time { return start.Add(d) }
	const here, elsewhere = fingerprint(1), fingerprint(2)
	stored := announcement{stored: start, step: 2, addrs: here, thisRun: true}
	failed := func(a announcement, failures, tableSize int) announcement {
		a.failures, a.tried, a.triedSize = failures, start, tableSize
		return a
	}
	restored := stored
	restored.thisRun = false

	for _, test := range []struct {
		name  string
		a     announcement
		size  int
		addrs fingerprint
		want  time.Time
		never bool
	}{
		{name: "nobody to tell", a: announcement{}, size: 0, addrs: here, never: true},
		{name: "nobody to tell any more", a: stored, size: 0, addrs: here, never: true},
		{name: "new key", a: announcement{}, size: 1, addrs: here},
		{name: "announced", a: stored, size: 4, addrs: here, want: at(22 * time.Hour)},
		{name: "announced in an earlier run", a: restored, size: 4, addrs: here, want: at(22 * time.Hour)},
		{name: "table shrank", a: stored, size: 1, addrs: here, want: at(22 * time.Hour)},
		{name: "table grew a little", a: stored, size: 9, addrs: here, want: at(22 * time.Hour)},
		{name: "table grew", a: stored, size: 10, addrs: here},
		{name: "table grew since an earlier run", a: restored, size: 10, addrs: here},
		{name: "addresses changed", a: stored, size: 4, addrs: elsewhere, want: at(10 * time.Minute)},
		{name: "came back elsewhere", a: restored, size: 4, addrs: elsewhere},
		{name: "failed once", a: failed(announcement{}, 1, 1), size: 1, addrs: here, want: at(5 * time.Second)},
		{name: "failed twice", a: failed(announcement{}, 2, 1), size: 1, addrs: here, want: at(10 * time.Second)},
		{name: "failed for ever", a: failed(announcement{}, 1000, 1), size: 1, addrs: here, want: at(2 * time.Hour)},
		{name: "failed before somebody came", a: failed(announcement{}, 9, 1), size: 2, addrs: here},
		{name: "failed to renew", a: failed(stored, 1, 4), size: 4, addrs: here, want: at(22 * time.Hour)},
		{name: "failed after growth", a: failed(stored, 1, 10), size: 10, addrs: here, want: at(5 * time.Second)},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := test.a.due(middle, test.size, test.addrs)
			if ok == test.never || !got.Equal(test.want) {
				t.Errorf("due at %v (%v), want %v (%v)", got, ok, test.want, !test.never)
			}
		})
	}
}

func TestReannounceInterval(t *testing.T) {
	last := Key{}
	for i := range last {
		last[i] = 0xff
	}
	if got := reannounceInterval(Key{}); got != 20*time.Hour {
		t.Errorf("first key: %v, want 20 h", got)
	}
	if got := reannounceInterval(last); got >= 24*time.Hour || got < 24*time.Hour-time.Second {
		t.Errorf("last key: %v, want just under 24 h", got)
	}
}

func TestGrowthStep(t *testing.T) {
	for size, want := range map[int]int{0: 0, 1: 1, 3: 1, 4: 2, 9: 2, 10: 3, 19: 3, 20: 4, 1000: growthStepMax} {
		if got := growthStep(size); got != want {
			t.Errorf("a table of %d: step %d, want %d", size, got, want)
		}
	}
}

func TestJitter(t *testing.T) {
	for u, want := range map[float64]time.Duration{0: 750 * time.Millisecond, 0.5: time.Second, 1: 1250 * time.Millisecond} {
		if got := jitter(time.Second, u); got != want {
			t.Errorf("jitter %v: %v, want %v", u, got, want)
		}
	}
}

func TestEmptyTableForgetsWhoKeepsTheRecords(t *testing.T) {
	d := &Discovery{keys: map[Key]announcement{{1}: {stored: time.Now(), step: 2, failures: 1, triedSize: 4}}}
	for _, size := range []int{4, 3, 1} {
		if !d.noteTableSize(size) || d.noteTableSize(size) {
			t.Errorf("a table of %d: want one change", size)
		}
		if got := d.keys[Key{1}].step; got != 2 {
			t.Errorf("a table of %d: step %d, want 2", size, got)
		}
	}
	d.noteTableSize(0)
	d.noteTableSize(1)
	if due, _, next := d.dueKeys(time.Now(), 0); len(due) != 1 {
		t.Errorf("after the table was empty the key is due at %v, want now", next)
	}
}

func TestAnnouncedWhileTheTableShrank(t *testing.T) {
	d := &Discovery{keys: map[Key]announcement{{1}: {}}, tableSize: 1}
	if !d.setAnnounced(Key{1}, announcement{stored: time.Now(), step: 2}) {
		t.Fatal("the key is not provided")
	}
	if got := d.keys[Key{1}].step; got != 1 {
		t.Errorf("step %d, want that of the table as it is", got)
	}
	if d.setAnnounced(Key{2}, announcement{stored: time.Now(), step: 1}) {
		t.Error("a key that was withdrawn is provided again")
	}
}

func TestProvidedAgainIsNotAnnouncedAgain(t *testing.T) {
	stored := announcement{stored: time.Now(), step: 1, addrs: 1, thisRun: true}
	d := &Discovery{
		announce:  true,
		tableSize: 1,
		keys:      map[Key]announcement{{1}: stored, {2}: {}},
		history:   map[Key]announcement{},
	}
	for _, key := range []Key{{1}, {2}, {3}} {
		d.Withdraw(key)
	}
	if len(d.history) != 1 || len(d.keys) != 0 {
		t.Errorf("withdrawn: %v remembered, %v provided", d.history, d.keys)
	}
	for _, key := range []Key{{1}, {2}} {
		d.Provide(key)
		d.Provide(key)
	}
	if due, _, _ := d.dueKeys(time.Now(), 1); !slices.Equal(due, []Key{{2}}) {
		t.Errorf("due are %v, want the key that was never announced", due)
	}
}

func TestDueKeysOrder(t *testing.T) {
	now := time.Now()
	d := &Discovery{tableSize: 1, keys: map[Key]announcement{
		{1}: {stored: now.Add(-30 * time.Hour), step: 1},
		{2}: {},
		{3}: {stored: now.Add(-40 * time.Hour), step: 1},
		{4}: {stored: now.Add(-time.Hour), step: 1},
		{5}: {stored: now.Add(-50 * time.Hour), step: 1},
		{6}: {stored: now.Add(-60 * time.Hour), step: 1},
	}}
	got, _, _ := d.dueKeys(now, 0)
	if want := []Key{{2}, {6}, {5}, {3}}; !slices.Equal(got, want) {
		t.Errorf("announced first: %v, want %v", got, want)
	}
}
