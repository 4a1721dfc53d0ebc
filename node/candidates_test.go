package node

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

func TestAttemptsAfter(t *testing.T) {
	const retry = time.Second
	busy := &protocol.RefusedError{Code: protocol.RefuseBusy, RetryAfter: 5 * time.Second}
	unknown := &protocol.RefusedError{Code: protocol.RefuseUnknown}
	broke := attemptOutcome{opened: true, err: io.ErrUnexpectedEOF}
	progressed := attemptOutcome{opened: true, progress: true, err: io.ErrUnexpectedEOF}
	gone := attemptOutcome{err: errUnreachable}
	full := attemptOutcome{err: errCrowded}
	const no = -1
	for name, c := range map[string]struct {
		outcomes []attemptOutcome
		waits    []time.Duration // no: not again
	}{
		"never reached":           {[]attemptOutcome{gone}, []time.Duration{no}},
		"crowded for ever":        {[]attemptOutcome{full, full, full, full, full, full}, []time.Duration{retry, 2 * retry, 4 * retry, 8 * retry, 8 * retry, 8 * retry}},
		"crowded, then busy":      {[]attemptOutcome{full, full, {err: busy}, full}, []time.Duration{retry, 2 * retry, 5 * retry, retry}},
		"crowded, then gone":      {[]attemptOutcome{full, gone, gone, gone, gone, gone}, []time.Duration{retry, retry, 2 * retry, 4 * retry, 8 * retry, no}},
		"broken, then crowded":    {[]attemptOutcome{broke, broke, full, broke}, []time.Duration{retry, 2 * retry, retry, 4 * retry}},
		"lets in in vain":         {[]attemptOutcome{broke, {err: busy}, broke, full, broke, {err: busy}, broke, broke}, []time.Duration{retry, 5 * retry, 2 * retry, retry, 4 * retry, 5 * retry, 8 * retry, no}},
		"enough, then gone":       {[]attemptOutcome{{opened: true, err: errEnough}, gone, gone}, []time.Duration{enoughPause, retry, 2 * retry}},
		"busy, then gone":         {[]attemptOutcome{{err: busy}, gone, gone}, []time.Duration{5 * retry, retry, 2 * retry}},
		"knows nothing":           {[]attemptOutcome{{err: unknown}}, []time.Duration{no}},
		"busy for long":           {[]attemptOutcome{{err: busy}, {err: busy}, {err: busy}, {err: busy}, {err: busy}, {err: busy}}, []time.Duration{5 * retry, 5 * retry, 5 * retry, 5 * retry, 5 * retry, 5 * retry}},
		"breaks again and again":  {[]attemptOutcome{broke, broke, broke, broke, broke}, []time.Duration{retry, 2 * retry, 4 * retry, 8 * retry, no}},
		"gone after a session":    {[]attemptOutcome{broke, gone, gone, gone, gone}, []time.Duration{retry, 2 * retry, 4 * retry, 8 * retry, no}},
		"breaks, but brings some": {[]attemptOutcome{broke, broke, progressed, progressed}, []time.Duration{retry, 2 * retry, retry, retry}},
		"stalls":                  {[]attemptOutcome{{opened: true, err: errStalled}}, []time.Duration{retry}},
		"lies":                    {[]attemptOutcome{{opened: true, progress: true, err: cafs.ErrCorrupt}}, []time.Duration{no}},
		"lied before":             {[]attemptOutcome{{opened: true, err: errLied}}, []time.Duration{no}},
		"breaks the protocol":     {[]attemptOutcome{{opened: true, err: &protocol.ViolationError{Err: io.EOF}}}, []time.Duration{no}},
		"the root is bad":         {[]attemptOutcome{{err: cafs.ErrBadRoot}}, []time.Duration{no}},
	} {
		t.Run(name, func(t *testing.T) {
			var tries attempts
			for i, outcome := range c.outcomes {
				wait, again := tries.after(outcome, retry)
				if !again {
					wait = no
				}
				if wait != c.waits[i] {
					t.Fatalf("after attempt %d: wait %v, want %v", i+1, wait, c.waits[i])
				}
			}
		})
	}
}

func TestCandidateLearnsAddresses(t *testing.T) {
	stale := multiaddr.StringCast("/ip4/192.0.2.1/tcp/1")
	right := multiaddr.StringCast("/ip4/192.0.2.1/tcp/2")
	c := newCandidates(&Node{}, Link{})
	p := &candidate{info: peer.AddrInfo{ID: "holder"}}
	p.learn([]multiaddr.Multiaddr{stale})
	if info, _ := c.next(p); len(info.Addrs) != 1 || p.news {
		t.Fatalf("addresses %v, news %v", info.Addrs, p.news)
	}
	p.learn([]multiaddr.Multiaddr{stale})
	if p.news {
		t.Error("an address that is known is news")
	}
	p.running = true
	p.learn([]multiaddr.Multiaddr{stale, right})
	if c.leave(p, errUnreachable) {
		t.Error("given up though a new address came")
	}
	if info, _ := c.next(p); len(info.Addrs) != 2 {
		t.Errorf("addresses %v, want both", info.Addrs)
	}
	if !c.leave(p, errUnreachable) || p.over {
		t.Error("a peer that could not be reached must wait for another address, and be tried there")
	}
	if !c.leave(p, errors.New("another reason")) || !p.over {
		t.Error("a peer that has had its say is asked again")
	}
}

func TestCandidatesWant(t *testing.T) {
	c := newCandidates(&Node{id: "self"}, Link{})
	c.known["asked"] = &candidate{running: true}
	c.known["over"] = &candidate{over: true}
	c.known["unreached"] = &candidate{}
	for _, test := range []struct {
		about, teller peer.ID
		want          bool
	}{
		{"self", "member", false},
		{"new", "member", true},
		{"new", unproved, true},
		{"asked", "member", false},
		{"over", "member", false},
		{"unreached", "member", true},
		{"unreached", unproved, false},
	} {
		if got := c.wants(test.about, test.teller); got != test.want {
			t.Errorf("%q told by %q: wanted is %v", test.about, test.teller, got)
		}
	}
	for range toldByOneMax {
		c.told.allow("member")
	}
	if c.wants("new", "member") || !c.wants("new", "another") {
		t.Error("a member that has told of many is heard, or another is not")
	}
}

// A peer that could not be reached is heard of again only with other addresses, and not for ever.
func TestCandidatesHear(t *testing.T) {
	address := func(port string) multiaddr.Multiaddr { return multiaddr.StringCast("/ip4/192.0.2.1/tcp/" + port) }
	c := newCandidates(&Node{}, Link{})
	c.known["unreached"] = &candidate{info: peer.AddrInfo{ID: "unreached", Addrs: []multiaddr.Multiaddr{address("1")}}}
	hears := func(port string) bool {
		info := peer.AddrInfo{ID: "unreached", Addrs: []multiaddr.Multiaddr{address(port)}}
		return c.wants(info.ID, "member") && c.hears(info, "member")
	}
	if hears("1") || c.told.all > 0 {
		t.Error("it was heard with the address where it could not be reached")
	}
	if !hears("2") || c.told.all != 1 {
		t.Error("it was not heard with another address")
	}
	if hears("3") {
		t.Errorf("it was heard more than %d times", retoldMax)
	}
}
