package protocol

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A whole opening with given parties, root and nonce is the same bytes everywhere.
func TestProofVectors(t *testing.T) {
	for _, v := range loadVectors(t, "proof") {
		t.Run(v.name, func(t *testing.T) { checkProofVector(t, v) })
	}
}

func checkProofVector(t *testing.T, v vector) {
	field := func(name string) []byte { return unhex(t, v.fields[name]) }
	root := cafs.Key(field("root"))
	if got := DiscoveryKeyOf(root); got.String() != v.fields["discovery"] {
		t.Errorf("discovery key %s, want %s", got, v.fields["discovery"])
	}
	sent := field("open")
	shown := sent[len(sent)-proofSize:]
	if !bytes.Equal(shown, field("proofR")) {
		t.Errorf("OPEN does not end with the proof")
	}
	m := openBody{key: DiscoveryKeyOf(root), nonce: [nonceSize]byte(field("nonce")), network: v.fields["network"]}
	for i, octet := range field("features") {
		m.features |= features(octet) << (8 * i)
	}
	m.proof = openProof(root, field("receiver"), field("holder"), m.appendUnproved(nil))
	if got := appendFrame(nil, frameOpen, m.append(nil)); !bytes.Equal(got, sent) {
		t.Errorf("OPEN is\n%x, want\n%x", got, sent)
	}
	items, err := decodeHaveMap(field("have"), v.fields["complete"] == "true", RangesMax)
	if err != nil {
		t.Fatal(err)
	}
	c := &fakeContent{record: field("record"), complete: v.fields["complete"] == "true", have: items}
	rw := &script{in: bytes.NewReader(sent)}
	cfg := holderConfig(c)
	cfg.Network, cfg.Local, cfg.Remote = v.fields["network"], field("holder"), field("receiver")
	cfg.testOnlyWithout = ^m.features
	if _, err := Accept(rw, cfg); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(rw.out.Bytes(), field("accept")) {
		t.Errorf("ACCEPT is\n%x, want\n%x", rw.out.Bytes(), field("accept"))
	}
	rw = &script{in: bytes.NewReader(field("accept"))}
	_, accepted, err := Open(rw, ReceiverConfig{
		Root: root, Network: v.fields["network"], Local: field("receiver"), Remote: field("holder"),
		Rand: bytes.NewReader(field("nonce")), testOnlyWithout: ^m.features,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(rw.out.Bytes(), sent) {
		t.Errorf("Open sent\n%x, want\n%x", rw.out.Bytes(), sent)
	}
	if !bytes.Equal(accepted.Record, c.record) || accepted.Complete != c.complete || len(accepted.Have) != len(items) {
		t.Errorf("accepted as %+v", accepted)
	}
}

// script is a peer that says what it was told to, whatever it hears.
type script struct {
	in  io.Reader
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.out.Write(p) }
func (s *script) Close() error                { return nil }

func TestDiscoveryKeyText(t *testing.T) {
	key := DiscoveryKeyOf(cafs.KeyOf([]byte("root")))
	if len(key.String()) != 64 || key.Short() != key.String()[:8] {
		t.Errorf("%s is short for %s", key.Short(), key)
	}
	if key == DiscoveryKeyOf(cafs.KeyOf([]byte("other"))) {
		t.Error("two roots have one discovery key")
	}
}

// openedWith returns an OPEN for the content's root, as the parties of receiverConfig, changed by change before and by
// spoil after the proof is made.
func openedWith(c *fakeContent, change, spoil func(*openBody)) []byte {
	m := openBody{key: DiscoveryKeyOf(c.Root()), network: "test", features: featuresHere}
	if change != nil {
		change(&m)
	}
	m.proof = openProof(c.Root(), receiverID, holderID, m.appendUnproved(nil))
	if spoil != nil {
		spoil(&m)
	}
	return appendFrame(nil, frameOpen, m.append(nil))
}

// What a holder says to whoever is not to know anything must not differ by a byte.
func TestAcceptRefusesUnknownAlike(t *testing.T) {
	c, other := newFakeContent(1, 1, 1), newFakeContent(2, 1, 1)
	forbid := func(cfg *HolderConfig) { cfg.Allow = func(cafs.Key) bool { return false } }
	busy := func(cfg *HolderConfig) {
		cfg.Admit = func(cafs.Key) (Busy, bool) { return Busy{RetryAfter: time.Second}, false }
	}
	for _, test := range []struct {
		name   string
		sent   []byte
		change func(*HolderConfig)
	}{
		{"no such root", openedWith(other, nil, nil), nil},
		{"no such root while busy", openedWith(other, nil, nil), busy},
		{"wrong proof", openedWith(c, nil, func(m *openBody) { m.proof[31] ^= 1 }), nil},
		{"wrong proof while busy", openedWith(c, nil, func(m *openBody) { m.proof[0] ^= 1 }), busy},
		{"proof of another nonce", openedWith(c, nil, func(m *openBody) { m.nonce[0] ^= 1 }), nil},
		{"proof of another root", openedWith(other, nil, func(m *openBody) { m.key = DiscoveryKeyOf(c.Root()) }), nil},
		{"proof of other features", openedWith(c, nil, func(m *openBody) { m.features = 1 << 7 }), nil},
		{"wrong network", openedWith(c, func(m *openBody) { m.network = "other" }, nil), nil},
		{"wrong network while busy", openedWith(c, func(m *openBody) { m.network = "other" }, nil), busy},
		{"not allowed", openedWith(c, nil, nil), forbid},
		{"not the receiver's connection", openedWith(c, nil, nil), func(cfg *HolderConfig) { cfg.Remote = []byte("somebody") }},
		{"the holder's own proof", openedWith(c, nil, nil), func(cfg *HolderConfig) { cfg.Local, cfg.Remote = receiverID, holderID }},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := holderConfig(c)
			if test.change != nil {
				test.change(&cfg)
			}
			rw := &script{in: bytes.NewReader(test.sent)}
			_, err := Accept(rw, cfg)
			wantRefused(t, err, RefusedError{Code: RefuseUnknown})
			if want := []byte{3, 2, 1, 0}; !bytes.Equal(rw.out.Bytes(), want) {
				t.Errorf("answered %x, want %x", rw.out.Bytes(), want)
			}
		})
	}
}

func TestAcceptBusy(t *testing.T) {
	c := newFakeContent(1, 1, 1)
	members := make([]Member, PeersMax)
	for i := range members {
		members[i] = Member{Record: []byte{byte(i)}, Addr: []byte{1, 2}}
	}
	for _, test := range []struct {
		asked, told time.Duration
		members     []Member
	}{
		{asked: 1500*time.Millisecond + time.Microsecond, told: 1500 * time.Millisecond},
		{asked: 2 * RetryAfterMax, told: RetryAfterMax, members: members[:1]},
		{asked: -time.Second, told: 0, members: members},
	} {
		cfg := holderConfig(c)
		cfg.Admit = func(cafs.Key) (Busy, bool) { return Busy{test.asked, test.members}, false }
		rw := &script{in: bytes.NewReader(openedWith(c, nil, nil))}
		_, err := Accept(rw, cfg)
		wantRefused(t, err, RefusedError{RefuseBusy, test.told, test.members})
		_, _, err = Open(&script{in: bytes.NewReader(rw.out.Bytes())}, receiverConfig(c))
		wantRefused(t, err, RefusedError{RefuseBusy, test.told, test.members})
	}
}

// A holder that says of more members than it may would break the protocol.
func TestAcceptBusyNamesTooMany(t *testing.T) {
	c := newFakeContent(1, 1, 1)
	cfg := holderConfig(c)
	cfg.Admit = func(cafs.Key) (Busy, bool) { return Busy{Members: make([]Member, PeersMax+1)}, false }
	rw := &script{in: bytes.NewReader(openedWith(c, nil, nil))}
	var refused *RefusedError
	if _, err := Accept(rw, cfg); err == nil || errors.As(err, &refused) {
		t.Errorf("the error is %v", err)
	}
	if rw.out.Len() > 0 {
		t.Errorf("answered %x", rw.out.Bytes())
	}
}

// What may stand behind a REFUSE, and what may not.
func TestOpenAfterRefuse(t *testing.T) {
	c := newFakeContent(1, 1, 1)
	member := Member{Record: []byte{1}, Addr: []byte{2}}
	peers := appendFrame(nil, framePeers, peersBody{[]Member{member}}.append(nil))
	refuse := func(code RefuseCode) []byte { return appendFrame(nil, frameRefuse, refuseBody{code: code}.append(nil)) }
	busy := RefusedError{Code: RefuseBusy}
	for _, test := range []struct {
		name string
		sent []byte
		want RefusedError
	}{
		{"the end", refuse(RefuseBusy), busy},
		{"the end in PEERS", append(refuse(RefuseBusy), peers[:4]...), busy},
		{"members", append(refuse(RefuseBusy), peers...), RefusedError{RefuseBusy, 0, []Member{member}}},
		{"members twice", append(append(refuse(RefuseBusy), peers...), peers...), RefusedError{RefuseBusy, 0, []Member{member}}},
		{"members behind unknown", append(refuse(RefuseUnknown), peers...), RefusedError{Code: RefuseUnknown}},
	} {
		_, _, err := Open(&script{in: bytes.NewReader(test.sent)}, receiverConfig(c))
		t.Run(test.name, func(t *testing.T) { wantRefused(t, err, test.want) })
	}
	for name, wrong := range map[string]struct {
		frame []byte
		is    frameType
		rule  Rule
	}{
		"another REFUSE":      {refuse(RefuseBusy), frameRefuse, RuleUnexpected},
		"an unknown frame":    {appendFrame(nil, frameSkippable, nil), frameSkippable, RuleUnexpected},
		"PEERS without any":   {appendFrame(nil, framePeers, nil), framePeers, RuleMalformed},
		"PEERS of trailing 1": {appendFrame(nil, framePeers, append(peersBody{[]Member{member}}.append(nil), 1)), framePeers, RuleMalformed},
	} {
		_, _, err := Open(&script{in: bytes.NewReader(append(refuse(RefuseBusy), wrong.frame...))}, receiverConfig(c))
		t.Run(name, func(t *testing.T) { wantViolation(t, err, wrong.is, wrong.rule) })
	}
}

// A holder that does not know the root must not pass for one by sending back what it was sent.
func TestOpenRefusesReflection(t *testing.T) {
	c := newFakeContent(1, 1, 1)
	answer := acceptBody{record: c.record, complete: true}.append(nil)
	var shown proof // what the receiver will send, as its nonce is known here
	nonce := make([]byte, nonceSize)
	sent := openedWith(c, nil, nil)
	copy(shown[:], sent[len(sent)-proofSize:])
	good := acceptProof(c.Root(), holderID, receiverID, shown, answer)
	for _, test := range []struct {
		name  string
		proof proof
	}{
		{"the receiver's own proof", shown},
		{"the receiver's kind of proof over the answer", openProof(c.Root(), receiverID, holderID, answer)},
		{"the parties exchanged", acceptProof(c.Root(), receiverID, holderID, shown, answer)},
		{"the proof of another session", acceptProof(c.Root(), holderID, receiverID, proof{1}, answer)},
		{"the discovery key as the root", acceptProof(cafs.Key(DiscoveryKeyOf(c.Root())), holderID, receiverID, shown, answer)},
		{"zeros", proof{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			frame := appendFrame(nil, frameAccept, append(bytes.Clone(answer), test.proof[:]...))
			cfg := receiverConfig(c)
			cfg.Rand = bytes.NewReader(nonce)
			_, _, err := Open(&script{in: bytes.NewReader(frame)}, cfg)
			wantViolation(t, err, frameAccept, RuleProof)
		})
	}
	cfg := receiverConfig(c)
	cfg.Rand = bytes.NewReader(nonce)
	frame := appendFrame(nil, frameAccept, append(answer, good[:]...))
	if _, _, err := Open(&script{in: bytes.NewReader(frame)}, cfg); err != nil {
		t.Errorf("the right proof: %v", err)
	}
}

// A reflected proof of a holder who asks for the same root at the same time is of no use either.
func TestOpenReflectedToItself(t *testing.T) {
	c := newFakeContent(1, 1, 1)
	sent := openedWith(c, nil, nil)
	_, _, err := Open(&script{in: bytes.NewReader(sent)}, receiverConfig(c))
	wantViolation(t, err, frameOpen, RuleUnexpected)
}

func wantRefused(t testing.TB, err error, want RefusedError) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || !reflect.DeepEqual(*refused, want) {
		t.Fatalf("got the error %v, want %v", err, &want)
	}
}
