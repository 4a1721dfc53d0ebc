package main

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/test/bench/internal/report"
	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

func testBench(t *testing.T, runs int) *bench {
	t.Helper()
	box, err := sandbox.New(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	return &bench{options: options{runs: runs, scale: 1}, box: box}
}

func TestAlternateTakesTurnsAndRepeatsVoidRuns(t *testing.T) {
	var order []string
	counts := make(map[string]int)
	made := func(name string, outcome func(n int) (string, error)) *contender {
		return &contender{row: report.Row{Tool: name}, measure: func(context.Context) (report.Run, error) {
			order = append(order, name)
			counts[name]++
			reason, err := outcome(counts[name])
			return report.Run{Wall: time.Second, Void: reason}, err
		}}
	}
	good := made("good", func(int) (string, error) { return "", nil })
	once := made("void once", func(n int) (string, error) {
		if n == 2 {
			return "busy", nil
		}
		return "", nil
	})
	always := made("always void", func(int) (string, error) { return "busy", nil })
	broken := made("broken", func(int) (string, error) { return "", errors.New("broken") })
	rows := testBench(t, 2).alternate(t.Context(), []*contender{good, once, always, broken})
	all := []string{"always void", "broken", "good", "void once"}
	for _, round := range [][]string{order[:4], order[4:8]} {
		if !slices.Equal(slices.Sorted(slices.Values(round)), all) {
			t.Errorf("the order was %q, in which not each had its turn", order)
		}
	}
	for name, want := range map[string]int{"good": 2, "void once": 3, "always void": 4, "broken": 2} {
		if counts[name] != want {
			t.Errorf("%s ran %d times, want %d", name, counts[name], want)
		}
	}
	if n := len(rows[1].Valid()); n != 2 {
		t.Errorf("%d runs count of the one that was void once, want 2", n)
	}
	if failures(&report.Report{Workloads: []report.Workload{{Rows: rows}}}) == nil {
		t.Error("what failed is no failure")
	}
}

func TestVoid(t *testing.T) {
	for _, c := range []struct {
		name   string
		run    report.Run
		shaped bool
		void   bool
	}{
		{"quiet", report.Run{Wall: time.Second, Busy: 0.5, Foreign: 0.1}, true, false},
		{"others", report.Run{Wall: time.Second, Busy: 1, Foreign: 0.9}, false, true},
		{"too short to tell", report.Run{Wall: time.Millisecond, Busy: 1, Foreign: 0.9}, false, false},
		{"busy", report.Run{Wall: time.Second, Busy: 0.99, Foreign: 0.1}, false, false},
		{"busy and shaped", report.Run{Wall: time.Second, Busy: 0.99, Foreign: 0.1}, true, true},
	} {
		if reason := void(c.run, c.shaped); (reason != "") != c.void {
			t.Errorf("%s: %q", c.name, reason)
		}
	}
}

func TestTimedReportsAFailure(t *testing.T) {
	b := testBench(t, 1)
	_, _, err := b.timed(t.Context(), timing{receivers: 2, work: func(_ context.Context, i int) (arrival, error) {
		if i == 1 {
			return arrival{}, errors.New("lost")
		}
		return arrival{path: b.box.Dir()}, nil
	}})
	if err == nil || !strings.Contains(err.Error(), "lost") {
		t.Errorf("got %v", err)
	}
}

func TestTimedAddsUpReceivers(t *testing.T) {
	b := testBench(t, 1)
	run, _, err := b.timed(t.Context(), timing{receivers: 3, work: func(context.Context, int) (arrival, error) {
		return arrival{in: 10, out: 1, extra: map[string]float64{"duplicate": 5}}, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if run.WireIn != 30 || run.WireOut != 3 || run.Extra["duplicate"] != 15 || len(run.Finished) != 3 {
		t.Errorf("got %+v", run)
	}
}

// A peer's program gets the torrent file, so its bytes are held against what the format says.
func TestTorrentFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "abc")
	if err := os.WriteFile(path, []byte("abc"), 0o644); err != nil {
		t.Fatal(err)
	}
	made, err := makeTorrent(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := made.write(path+".torrent", "http://x/announce"); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path + ".torrent")
	if err != nil {
		t.Fatal(err)
	}
	sum, _ := hex.DecodeString("a9993e364706816aba3e25717850c26c9cd0d89d") // SHA-1 of "abc"
	want := "d8:announce17:http://x/announce4:infod6:lengthi3e4:name3:abc12:piece lengthi262144e6:pieces20:" + string(sum) + "ee"
	if string(content) != want {
		t.Errorf("got %q, want %q", content, want)
	}
}

func TestTrackerTellsPeersOfEachOther(t *testing.T) {
	var log strings.Builder
	server := httptest.NewServer(newTracker(&log))
	defer server.Close()
	announce := func(query string) string {
		response, err := http.Get(server.URL + "/announce?" + query)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }() // read only
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	if got := announce("port=258&left=0"); got != "d8:intervali2e5:peers0:e" {
		t.Errorf("the first peer was told %q", got)
	}
	if got := announce("port=259&left=7"); got != "d8:intervali2e5:peers6:\x7f\x00\x00\x01\x01\x02e" {
		t.Errorf("the second peer was told %q", got)
	}
	announce("port=258&event=stopped")
	if got := announce("port=259"); got != "d8:intervali2e5:peers0:e" {
		t.Errorf("after the first peer went the second was told %q", got)
	}
	if !strings.Contains(log.String(), "peer 127.0.0.1:259 left 7\n") {
		t.Errorf("the log is %q", log.String())
	}
	if got := announce("port=70000"); !strings.Contains(got, "want an IPv4 peer") {
		t.Errorf("a port that there is not was answered by %q", got)
	}
}

func TestParseResult(t *testing.T) {
	result, err := parseResult("{\"event\":\"progress\"}\n{\"event\":\"result\",\"bytes\":7,\"wire_in\":8,\"duration_ns\":9}\n")
	if err != nil || result.Bytes != 7 || result.WireIn != 8 || result.Duration != 9 {
		t.Errorf("got %+v, %v", result, err)
	}
	for _, text := range []string{"", "{\"event\":\"progress\"}\n", "not JSON\n"} {
		if _, err := parseResult(text); err == nil {
			t.Errorf("%q has a result", text)
		}
	}
}

func TestVersionIn(t *testing.T) {
	for line, want := range map[string]string{
		"rsync  version 3.2.7  protocol version 32": "3.2.7",
		"aria2 version 1.36.0":                      "1.36.0",
		"casync 2":                                  "2",
		"2.0.8.0":                                   "2.0.8.0",
		"no number":                                 "no number",
	} {
		if got := versionIn(line); got != want {
			t.Errorf("version in %q: %q, want %q", line, got, want)
		}
	}
}

func TestRsyncStat(t *testing.T) {
	const stats = "Total bytes sent: 1,234\nTotal bytes received: 56,789,012\n\nsent"
	if got := rsyncStat(stats, "Total bytes received: "); got != 56789012 {
		t.Errorf("got %d", got)
	}
	if got := rsyncStat("other", "Total bytes sent: "); got != 0 {
		t.Errorf("got %d of nothing", got)
	}
}

// The document must have a place for each workload.
func TestDocumentHasMarkers(t *testing.T) {
	content, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range workloads() {
		if !strings.Contains(string(content), "<!-- bench:"+w.name+" -->\n") || !strings.Contains(string(content), "<!-- /bench:"+w.name+" -->") {
			t.Errorf("docs/performance.md lacks the markers of %s", w.name)
		}
	}
}
