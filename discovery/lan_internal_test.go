package discovery

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

func TestMDNSName(t *testing.T) {
	// RFC 6335: 1 to 15 letters, digits and hyphens, at least one letter, no hyphen at either end or beside another.
	legal := regexp.MustCompile(`^_[a-z0-9]+(-[a-z0-9]+)*\._udp$`)
	names := map[string]string{}
	for network, want := range map[string]string{
		"main":                  "_ss-main._udp",
		"twelve-chars":          "_ss-twelve-chars._udp",
		"thirteen-char":         "",
		"-":                     "",
		"a-":                    "",
		"a--b":                  "",
		strings.Repeat("a", 63): "",
	} {
		got := mdnsName(network)
		if want != "" && got != want {
			t.Errorf("network %q: service %q, want %q", network, got, want)
		}
		if !legal.MatchString(got) || len(got) > len("_")+15+len("._udp") {
			t.Errorf("network %q: service %q is no service name", network, got)
		}
		if other, taken := names[got]; taken {
			t.Errorf("networks %q and %q share the service %q", network, other, got)
		}
		names[got] = network
	}
}

func TestNeighboursAreBoundedAndForgotten(t *testing.T) {
	d := &Discovery{lan: map[peer.ID]neighbour{}}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	id := func(i int) peer.ID { return peer.ID(fmt.Sprintf("%04d", i)) }
	for i := range lanMax + 10 {
		d.addNeighbour(peer.AddrInfo{ID: id(i)}, start.Add(time.Duration(i)*time.Second))
	}
	got := d.neighbours(start.Add(time.Hour))
	if len(got) != lanMax || got[0].ID != id(10) {
		t.Errorf("%d neighbours are remembered, from %q; want %d, from %q", len(got), got[0].ID, lanMax, id(10))
	}
	last := time.Duration(lanMax+9) * time.Second
	if got := d.neighbours(start.Add(lanExpiry + last)); len(got) != 1 {
		t.Errorf("%d neighbours are remembered after two hours, want the last one", len(got))
	}
}
