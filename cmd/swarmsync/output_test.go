package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/disk"
	"github.com/swarmsync/swarmsync/internal/control"
	"github.com/swarmsync/swarmsync/node"
)

// hostile is a name that would turn a terminal red, ring its bell, turn the writing direction around and use the other
// form of the escape sequences.
const hostile = "a\x1b[31m\x07b\u202ec\u009b31m\n\U000e0001d"

func TestHostileTextStaysHarmless(t *testing.T) {
	var stdout, stderr bytes.Buffer
	a := newApp(nil, &stdout, &stderr)
	a.note("name %s", hostile)
	if err := a.table(nil, [][]string{{hostile, "second"}}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&stdout, infoText(node.RootStatus{Name: hostile, Place: hostile}))
	fmt.Fprintln(&stdout, holderText(node.Holder{Addresses: []string{hostile}}))
	if err := a.emit("root", node.RootStatus{Name: hostile}); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"stdout": stdout.String(), "stderr": stderr.String()} {
		if i := strings.IndexAny(text, "\x1b\x07\u202e\u009b\U000e0001"); i >= 0 {
			t.Errorf("%s has the character %q in:\n%q", name, text[i:i+1], text)
		}
	}
	if lines := strings.Count(stderr.String(), "\n"); lines != 1 {
		t.Errorf("a note has %d lines", lines)
	}
}

func TestJSONLosesNothing(t *testing.T) {
	var stdout bytes.Buffer
	a := newApp(nil, &stdout, nil)
	if err := a.emit("root", node.RootStatus{Name: hostile}); err != nil {
		t.Fatal(err)
	}
	var got struct{ Event, Name string }
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, stdout.String())
	}
	if got.Event != "root" || got.Name != hostile {
		t.Errorf("got %+q", got)
	}
}

func TestJSONWithoutFields(t *testing.T) {
	var stdout bytes.Buffer
	if err := newApp(nil, &stdout, nil).emit("result", struct{}{}); err != nil {
		t.Fatal(err)
	}
	if got := stdout.String(); got != "{\"event\":\"result\"}\n" {
		t.Errorf("got %q", got)
	}
}

func TestExitCodes(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name string
		ctx  context.Context //nolint:containedctx // an input of the case
		err  error
		want int
		hint string
	}{
		{"done", t.Context(), nil, exitDone, ""},
		{"unknown failure", t.Context(), errors.New("boom"), exitFailed, ""},
		{"usage", t.Context(), usagef("what?"), exitUsage, ""},
		{"no holder", t.Context(), fmt.Errorf("get: %w", &node.NoHolderError{}), exitNotFound, "--peer"},
		{"unknown root", t.Context(), fmt.Errorf("rm: %w", cafs.ErrNotFound), exitNotFound, "swarmsync ls"},
		{"bad root", t.Context(), fmt.Errorf("get: %w", cafs.ErrBadRoot), exitCorrupt, "new root"},
		{"corrupt", t.Context(), fmt.Errorf("get: %w", cafs.ErrCorrupt), exitCorrupt, "again"},
		{"exists", t.Context(), fmt.Errorf("get: %w", node.ErrExists), exitFailed, "--force"},
		{"no space", t.Context(), fmt.Errorf("get: %w", node.ErrNoSpace), exitFailed, "free some space"},
		{"locked", t.Context(), fmt.Errorf("open: %w", &disk.LockedError{Err: errors.New("busy")}), exitFailed, "--home"},
		{"port", t.Context(), fmt.Errorf("listen: %w", syscall.EADDRINUSE), exitFailed, "another port with --listen"},
		{"permission", t.Context(), &fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}, exitFailed, "mode"},
		{"running", t.Context(), control.ErrRunning, exitFailed, "--home"},
		{"interrupted", interrupted, fmt.Errorf("get: %w", context.Canceled), exitInterrupted, ""},
		{"failed before the interrupt", interrupted, errors.New("boom"), exitFailed, ""},
		{"cancelled by the other side", t.Context(), context.Canceled, exitFailed, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := exitCode(test.ctx, test.err); got != test.want {
				t.Errorf("exit code %d, want %d", got, test.want)
			}
			if test.err == nil {
				return
			}
			if got := hintFor(newGetCommand(newApp(nil, nil, nil)), test.err); (got == "") != (test.hint == "") || !strings.Contains(got, test.hint) {
				t.Errorf("hint %q, want one with %q", got, test.hint)
			}
		})
	}
}

// A hint speaks only of flags that the command has.
func TestHintsFitTheCommand(t *testing.T) {
	a := newApp(nil, nil, nil)
	for _, command := range newRootCommand(a).Commands() {
		for _, err := range []error{&node.NoHolderError{}, node.ErrNoSpace} {
			hint := hintFor(command, err)
			for _, flag := range regexp.MustCompile(`--[a-z]+|-o\b`).FindAllString(hint, -1) {
				known := command.Flags().Lookup(strings.TrimLeft(flag, "-")) != nil || flag == "--home" ||
					flag == "-o" && command.Flags().ShorthandLookup("o") != nil
				_, network := err.(*node.NoHolderError) //nolint:errorlint // it is ours, and not wrapped
				if !known && (!network || command.Flags().Lookup("join") != nil) {
					t.Errorf("%s: the hint %q is about %s", command.Name(), hint, flag)
				}
			}
		}
	}
}

func TestWaitZeroTriesOnce(t *testing.T) {
	var flags nodeFlags
	if flags.fetchWait() != 1 {
		t.Errorf("a fetch waits for %v, want the shortest time, as 0 is the default", flags.fetchWait())
	}
	if flags.lookWait() != answerTime {
		t.Errorf("a search waits for %v, want %v", flags.lookWait(), answerTime)
	}
}

func TestSummary(t *testing.T) {
	share := node.PeerShare{Transport: "quic", Source: "dht"}
	for _, test := range []struct {
		name   string
		result node.Result
		want   string
	}{
		{"rate", node.Result{Bytes: 3e6, Reused: 3e6, Duration: time.Second}, "3.0 MB in 1.0 s (3.0 MB/s): 3.0 MB here already"},
		{
			"saved",
			node.Result{Bytes: 3e6, Reused: 2e6, Fetched: 1e6, Saved: 9e5, Duration: time.Second, Peers: make([]node.PeerShare, 1)},
			"3.0 MB in 1.0 s (3.0 MB/s): 2.0 MB here already, 1.0 MB from 1 peer, sent as 100 kB\n0 B (0%) from  over  (), partial",
		},
		{"no time for a rate", node.Result{Bytes: 3, Reused: 3, Duration: 20 * time.Millisecond}, "3 B in less than 0.1 s: 3 B here already"},
		{
			"nothing of nothing",
			node.Result{Duration: time.Second, Peers: []node.PeerShare{share}},
			"0 B in 1.0 s (0 B/s): 0 B here already, 0 B from 1 peer\n0 B from  over quic (dht), partial",
		},
		{
			"what moved",
			node.Result{Bytes: 3e6, Fetched: 3e6, Duplicate: 5000, Duration: time.Second, Peers: []node.PeerShare{
				{Transport: "tcp/tls", Source: "peers", Bytes: 3e6, TakenOver: 1e6},
			}},
			"3.0 MB in 1.0 s (3.0 MB/s): 0 B here already, 3.0 MB from 1 peer, 5.0 kB of it twice\n" +
				"3.0 MB (100%) from  over tcp/tls (peers), partial; others took over 1.0 MB",
		},
	} {
		if got := strings.Join(summary(test.result), "\n"); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestClockSaysItsZone(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	got, err := time.Parse("2006-01-02 15:04:05 -07:00", clock(at))
	if err != nil || !got.Equal(at) {
		t.Errorf("%q is %v, %v; want %v", clock(at), got, err, at)
	}
}

// With --json progress is told twice a second at most, and the last of it always.
func TestJSONProgressIsSparse(t *testing.T) {
	var stdout bytes.Buffer
	a := newApp(nil, &stdout, nil)
	a.json = true
	shown := a.startProgress()
	for done := range int64(100) {
		shown.event(node.Event{Kind: node.EventProgress, Total: 99, Fetched: done})
	}
	shown.stop()
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	if len(lines) < 2 || len(lines) > 10 { // two, unless the machine stood still
		t.Errorf("100 events at once are told in %d lines", len(lines))
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, `"fetched":99`) {
		t.Errorf("the last line is %s", last)
	}
}

// The percentage in the live line is that of the bytes beside it, and 100 at the end.
func TestLiveLineAgreesWithItself(t *testing.T) {
	var stderr bytes.Buffer
	shown := newApp(nil, nil, &stderr).startProgress()
	shown.live = true
	const total = 1000e6
	for done := int64(0); done <= total; done += 123456789 {
		shown.event(node.Event{Kind: node.EventProgress, Total: total, Reused: done})
	}
	shown.event(node.Event{Kind: node.EventProgress, Total: total, Reused: total})
	lines := regexp.MustCompile(`(\d+)% [^\r]*\s(\d+) M?B of 1\.0 GB`).FindAllStringSubmatch(stderr.String(), -1)
	if len(lines) < 8 {
		t.Fatalf("no percentages in %q", stderr.String())
	}
	for _, line := range lines {
		percent, _ := strconv.Atoi(line[1])
		if megabytes, _ := strconv.Atoi(line[2]); megabytes/10 != percent {
			t.Errorf("the line %q disagrees with itself", line[0])
		}
	}
	if !strings.Contains(stderr.String(), "100% |") {
		t.Errorf("there is no 100%% in %q", stderr.String())
	}
}

func TestShortRoots(t *testing.T) {
	root := strings.Repeat("3F9a", 16)
	other := strings.Repeat("77", 32)
	text := shortRoots(fmt.Sprintf("%s, %s and %s", root, strings.ToLower(root), other), []string{"get", "swarmsync:" + root + "?name=x"})
	if want := "3F9a3F9a…, 3F9a3F9a… and " + other; text != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

func TestShellWord(t *testing.T) {
	for text, want := range map[string]string{
		"dir/a-b_c.1": "dir/a-b_c.1", "my dir": "'my dir'", "it's": `'it'\''s'`, "-x": "'-x'", "": "''", "a;b": "'a;b'",
	} {
		if got := shellWord(text); got != want {
			t.Errorf("%q is quoted as %s, want %s", text, got, want)
		}
	}
}

// What a command says of its links: that they end at this machine, and that a shell would cut them.
func TestTellLink(t *testing.T) {
	peer := func(address string) string {
		return "&peer=" + address + "/p2p/12D3KooWAnSEjX1kpivQPpdbmd2ahZ8KXBedvJxbqbpu9XvRPh54"
	}
	near, far := peer("/ip4/127.0.0.1/tcp/1"), peer("/ip4/192.0.2.1/tcp/1")
	for _, test := range []struct {
		name, fields  string
		quiet         bool
		quote, nearby bool
	}{
		{name: "near", fields: "?name=x" + near, quote: true, nearby: true},
		{name: "far", fields: "?name=x" + near + far, quote: true},
		{name: "only a root"},
		{name: "quiet", fields: "?name=x" + near, quiet: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			link, err := node.ParseLink("swarmsync:" + strings.Repeat("77", 32) + test.fields)
			if err != nil {
				t.Fatal(err)
			}
			var stderr bytes.Buffer
			a := newApp(nil, io.Discard, &stderr)
			a.quiet = test.quiet
			a.tellLink(link)
			if got := strings.Contains(stderr.String(), "quote the link"); got != test.quote {
				t.Errorf("told to quote: %v, want %v", got, test.quote)
			}
			if got := strings.Contains(stderr.String(), "this machine only"); got != test.nearby {
				t.Errorf("told that it is for this machine: %v, want %v", got, test.nearby)
			}
		})
	}
}

func TestProgressText(t *testing.T) {
	for want, event := range map[string]node.Event{
		"looking for holders": {},
		"1.0 MB":              {Reused: 1e6},
		"150 MB of 200 MB, 100 MB of it here already, 25 MB/s, 2s left, 2 peers": {
			Total: 200e6, Reused: 100e6, Fetched: 50e6, Rate: 25e6, Peers: 2,
		},
		"200 MB of 200 MB, 25 MB/s, 1 peer": {Total: 200e6, Fetched: 200e6, Rate: 25e6, Peers: 1},
	} {
		if got := progressText(event); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestProgressLine(t *testing.T) {
	event := node.Event{Kind: node.EventProgress, Total: 200e6, Fetched: 50e6, Peers: 2}
	for _, test := range []struct {
		name               string
		live, quiet, plain bool
		want               string
	}{
		{name: "terminal", live: true, want: "50 MB of 200 MB, 2 peers"},
		{name: "short run"},
		{name: "long run", plain: true, want: "swarmsync: 50 MB of 200 MB, 2 peers\n"},
		{name: "quiet", plain: true, quiet: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stderr bytes.Buffer
			a := newApp(nil, nil, &stderr)
			a.quiet = test.quiet
			shown := a.startProgress()
			shown.live = test.live
			if test.plain {
				shown.told = shown.told.Add(-plainEvery - time.Second)
			}
			shown.event(event)
			shown.stop()
			if got := stderr.String(); (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
		})
	}
}

// The live display has a line for each peer in use, and leaves nothing behind.
func TestLiveLinesOfPeers(t *testing.T) {
	var stderr bytes.Buffer
	shown := newApp(nil, nil, &stderr).startProgress()
	shown.live = true
	shares := make([]node.PeerShare, 12)
	for i := range shares {
		shares[i] = node.PeerShare{Transport: "tcp/tls", RTT: time.Millisecond, Bytes: int64(i) * 1e6, Rate: 2e6, Complete: i%2 == 0}
	}
	shares[3].Dropped = "sent wrong bytes"
	shown.event(node.Event{Kind: node.EventProgress, Total: 100e6, Fetched: 66e6, Shares: shares})
	text := stderr.String()
	if lines := strings.Split(text, "\n"); len(lines) != 1+livePeersMax+1 || lines[9] != "  and 3 peers more, 6.0 MB/s" {
		t.Errorf("shown %q", text)
	}
	for _, want := range []string{"1.0 MB (1%), 2.0 MB/s over tcp/tls, 1ms away, partial", "2.0 MB (3%), 2.0 MB/s over tcp/tls, 1ms away, complete"} {
		if !strings.Contains(text, want) {
			t.Errorf("shown %q, want %q in it", text, want)
		}
	}
	stderr.Reset()
	shown.stop()
	if got := stderr.String(); got != "\r\x1b[9A\x1b[J" {
		t.Errorf("at the end there is %q", got)
	}
	for width, want := range map[int]string{0: "grün", 4: "grün", 3: "gr…"} {
		if got := cutText("grün", width); got != want {
			t.Errorf("cut to %d: %q, want %q", width, got, want)
		}
	}
}

func TestPercentSaysHundredOnlyWhenAllIsDone(t *testing.T) {
	for want, pair := range map[string][2]int64{
		"0%": {0, 10}, "99%": {1e9 - 1, 1e9}, "100%": {10, 10},
	} {
		if got := percent(pair[0], pair[1]); got != want {
			t.Errorf("percent(%d, %d) = %s, want %s", pair[0], pair[1], got, want)
		}
	}
	if got := percent(0, 0); got != "100%" {
		t.Errorf("nothing of nothing is %s", got)
	}
}
