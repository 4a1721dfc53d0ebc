package discovery

import (
	"slices"
	"testing"
)

func TestReport(t *testing.T) {
	answered := func(r *Report) bool {
		select {
		case <-r.Answered():
			return true
		default:
			return false
		}
	}
	var r Report
	if r.String() != "" || r.Sources() != nil || answered(&r) {
		t.Errorf("before the search: %q, %v", &r, r.Sources())
	}
	r.begin(true, true, 1)
	r.count(SourceJoined)
	r.count(SourceDHT)
	if got, want := r.String(), "joined peers (1), LAN (0), DHT (1 node in the table, 1 holder)"; got != want {
		t.Errorf("looked in %q, want %q", got, want)
	}
	for _, source := range []Source{SourceDHT, SourceJoined, SourceDHT} {
		r.answer(source)
		if answered(&r) {
			t.Error("all have answered before the LAN has")
		}
	}
	r.answer(SourceLAN)
	r.answer(SourceLAN)
	if !answered(&r) {
		t.Error("all have answered, and the report does not say so")
	}
	want := []SourceReport{{SourceJoined, true, true, 1}, {SourceLAN, true, true, 0}, {SourceDHT, true, true, 1}}
	if got := r.Sources(); !slices.Equal(got, want) {
		t.Errorf("sources %v, want %v", got, want)
	}
	r.setTableSize(3)
	if got := r.TableSize(); got != 3 {
		t.Errorf("table of %d, want 3", got)
	}
}

func TestReportDoesNotWaitForWhatIsOff(t *testing.T) {
	var r Report
	r.begin(false, false, 0)
	r.answer(SourceLAN)
	r.answer(SourceJoined)
	<-r.Answered()
	if got, want := r.String(), "joined peers (0), LAN (off), DHT (off)"; got != want {
		t.Errorf("looked in %q, want %q", got, want)
	}
}
