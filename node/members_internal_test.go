package node

import (
	"crypto/rand"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/record"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

// signedBy makes what can be told of a peer, signed by signer.
func signedBy(t testing.TB, signer crypto.PrivKey, about peer.ID, addresses ...string) protocol.Member {
	t.Helper()
	signed := &peer.PeerRecord{PeerID: about, Seq: 1}
	for _, address := range addresses {
		signed.Addrs = append(signed.Addrs, multiaddr.StringCast(address))
	}
	envelope, err := record.Seal(signed, signer)
	if err != nil {
		t.Fatal(err)
	}
	text, err := envelope.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return protocol.Member{Record: text, Addr: multiaddr.StringCast(addresses[0]).Bytes()}
}

func newIdentity(t testing.TB) (crypto.PrivKey, peer.ID) {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, id
}

// MadeUpMember is a peer that exists only in what is told of it.
func MadeUpMember(t testing.TB, address string) protocol.Member {
	t.Helper()
	key, id := newIdentity(t)
	return signedBy(t, key, id, address)
}

func TestParseMember(t *testing.T) {
	const private, public = "/ip4/192.168.1.2/tcp/4141", "/ip4/203.0.114.9/tcp/4141"
	key, id := newIdentity(t)
	liar, _ := newIdentity(t)
	good := signedBy(t, key, id, private, public)
	damaged := good
	damaged.Record = slices.Clone(good.Record)
	damaged.Record[len(damaged.Record)-1] ^= 1
	var many []string
	for port := range 2 * addressesMax {
		many = append(many, fmt.Sprintf("/ip4/203.0.114.9/tcp/%d", 1000+port))
	}
	for name, c := range map[string]struct {
		member       protocol.Member
		tellerPublic bool
		addresses    int // 0: refused
	}{
		"both addresses":                  {good, false, 2},
		"private ones from afar":          {good, true, 1},
		"only private ones from afar":     {signedBy(t, key, id, private), true, 0},
		"signed by somebody else":         {signedBy(t, liar, id, public), false, 0},
		"damaged":                         {damaged, false, 0},
		"no record":                       {protocol.Member{Record: []byte{1}, Addr: good.Addr}, false, 0},
		"no more addresses than are used": {signedBy(t, key, id, many...), true, addressesMax},
	} {
		info, ok := parseMember(c.member, c.tellerPublic)
		if ok != (c.addresses > 0) || len(info.Addrs) != c.addresses || ok && info.ID != id {
			t.Errorf("%s: %v, %v; want %d addresses", name, info, ok, c.addresses)
		}
	}
}

func FuzzParseMember(f *testing.F) {
	key, id := newIdentity(f)
	good := signedBy(f, key, id, "/ip4/203.0.114.9/tcp/4141")
	f.Add(good.Record, good.Addr, true)
	f.Fuzz(func(t *testing.T, signed, address []byte, public bool) {
		info, ok := parseMember(protocol.Member{Record: signed, Addr: address}, public)
		if ok && (len(info.Addrs) == 0 || len(info.Addrs) > addressesMax || info.ID.Validate() != nil) {
			t.Errorf("taken: %v", info)
		}
		if claimed, claims := claimedMember(protocol.Member{Record: signed}); ok && (!claims || claimed != info.ID) {
			t.Errorf("taken: %v, which it does not claim to be: %v", info, claimed)
		}
	})
}

// One member must not fill the places of all others.
func TestToldMembersAreBounded(t *testing.T) {
	var told toldMembers
	taken := 0
	for range 2 * toldMax {
		if told.allow("one") {
			taken++
		}
	}
	if taken != toldByOneMax {
		t.Errorf("one teller filled %d places, want %d", taken, toldByOneMax)
	}
	for i := range 2 * toldMax {
		if told.allow(peer.ID(fmt.Sprint(i))) {
			taken++
		}
	}
	if taken != toldMax {
		t.Errorf("all together filled %d places, want %d", taken, toldMax)
	}
}

// Members hear of each other whether it is known before or after their session begins what can be told of them.
func TestMembersAreIntroduced(t *testing.T) {
	var m members
	heard := make(map[peer.ID][]string)
	session := func(id peer.ID) func() {
		return m.meet(protocol.DiscoveryKey{}, id, func(members []protocol.Member) error {
			for _, member := range members {
				heard[id] = append(heard[id], string(member.Record))
			}
			return nil
		})
	}
	tell := func(id peer.ID) { m.know(id, protocol.Member{Record: []byte(id)}) }
	tell("a")
	leaveA := session("a")
	session("b")
	tell("b")
	leaveA()
	m.forget("a")
	session("c") // hears of a, who was here a moment ago
	tell("c")
	for id, want := range map[peer.ID][]string{"a": {"b"}, "b": {"a", "c"}, "c": {"b", "a"}} {
		if !slices.Equal(heard[id], want) {
			t.Errorf("%s heard of %v, want %v", id, heard[id], want)
		}
	}
	swarm := m.roots[protocol.DiscoveryKey{}]
	for i := range swarm.met {
		swarm.met[i].last = time.Now().Add(-2 * protocol.MemberAge)
	}
	session("d")
	if len(heard["d"]) > 0 {
		t.Errorf("d heard of %v, who were met long ago", heard["d"])
	}
}

func TestSomeMembers(t *testing.T) {
	var m members
	var key protocol.DiscoveryKey
	if some := m.some(key, "asks", 2); some != nil {
		t.Errorf("of a root that nobody has a session of it names %v", some)
	}
	send := func([]protocol.Member) error { return nil }
	for i, id := range []peer.ID{"a", "b", "asks", "c"} {
		m.know(id, protocol.Member{Addr: []byte(id)})
		leave := m.meet(key, id, send)
		if i == 0 {
			defer leave()
		} else {
			leave()
		}
	}
	named := func(n int) string {
		text := ""
		for _, member := range m.some(key, "asks", n) {
			text += string(member.Addr)
		}
		return text
	}
	for i, want := range []string{"cb", "ac", "ba"} {
		if got := named(2); got != want {
			t.Errorf("call %d names %q, want %q", i+1, got, want)
		}
	}
	if got := named(9); len(got) != 3 {
		t.Errorf("all of them are %q", got)
	}
	m.forget("b")
	if got := named(9); got != "ac" && got != "ca" {
		t.Errorf("without one that is not connected any more all are %q", got)
	}
	swarm := m.roots[key]
	swarm.met[0].last = swarm.met[0].last.Add(-2 * protocol.MemberAge)
	if got := named(9); got != "c" {
		t.Errorf("without one that was not met for long all are %q", got)
	}
}

func TestRetryAfter(t *testing.T) {
	s := newServer(nil)
	now := time.Now()
	for i := range 3 {
		if got, want := s.retryAfter(now), busyRetry+time.Duration(i)*busyEvery; got != want {
			t.Errorf("receiver %d may ask again after %v, want %v", i, got, want)
		}
	}
	if got := s.retryAfter(now.Add(time.Minute)); got != busyRetry {
		t.Errorf("a minute later it is %v, want %v", got, busyRetry)
	}
	s = newServer(nil)
	for range busyRetryMax / busyEvery {
		s.retryAfter(now)
	}
	if got := s.retryAfter(now); got != busyRetryMax {
		t.Errorf("after very many it is %v, want %v", got, busyRetryMax)
	}
}

// TestBusyNamesUnderABudget has a server that refuses one receiver after another, at once and then a minute later.
func TestBusyNamesUnderABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &Node{}
		s := newServer(n)
		root := cafs.KeyOf([]byte("root"))
		for i := range 2 * busyNames {
			id := peer.ID(fmt.Sprint("member ", i))
			n.members.know(id, protocol.Member{Addr: []byte(id)})
			defer n.members.meet(protocol.DiscoveryKeyOf(root), id, func([]protocol.Member) error { return nil })()
		}
		named := func(refused int) (named int) {
			for range refused {
				members := s.busy("receiver", root, true).Members
				if len(members) > busyNames {
					t.Fatalf("%d members are named at once", len(members))
				}
				named += len(members)
			}
			return named
		}
		if got := named(2 * busyNamesBurst / busyNames); got != busyNamesBurst {
			t.Errorf("%d members are named at once to all, want %d", got, busyNamesBurst)
		}
		time.Sleep(time.Minute)
		if got := named(busyNamesBurst / busyNames); got != 60*busyNamesRate {
			t.Errorf("%d members are named after a minute, want %d", got, 60*busyNamesRate)
		}
		// Whoever has too many sessions itself is no part of a crowd.
		retry := s.retry
		if told := s.busy("receiver", root, false); told.RetryAfter != busyRetry || len(told.Members) > 0 || s.retry != retry {
			t.Errorf("where nobody else is refused a receiver is told %+v", told)
		}
	})
}
