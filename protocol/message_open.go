package protocol

import (
	"errors"
	"fmt"
	"time"
)

// features is a set of what a side can do beyond the plain protocol; bit i of byte j stands for feature 8j+i. What both
// sides have is on.
type features uint64

const (
	featureZstd  features = 1 << 0 // chunks may be compressed
	featureDelta features = 1 << 1 // chunks may come as deltas, and SIGS may be sent

	featuresHere = featureZstd | featureDelta
)

func (f features) has(feature features) bool { return f&feature != 0 }

// pagesMax returns how many PAGES of a session may be outstanding.
func (f features) pagesMax() int {
	if f.has(featureDelta) {
		return PagesOutstandingMax
	}
	return PagesOutstandingPlain
}

// encode returns the bytes of f without trailing zeros.
func (f features) encode() []byte {
	var encoded []byte
	for ; f != 0; f >>= 8 {
		encoded = append(encoded, byte(f))
	}
	return encoded
}

func (f *fields) features() features {
	raw := f.counted("features", 0, FeaturesMax)
	if len(raw) > 0 && raw[len(raw)-1] == 0 {
		f.fail("features", errors.New("not the shortest form of a set"))
		return 0
	}
	var set features
	for i, octet := range raw {
		set |= features(octet) << (8 * i)
	}
	return set
}

// openBody is OPEN: the receiver names a root without telling it, and proves that it knows it.
type openBody struct {
	key        DiscoveryKey
	nonce      [nonceSize]byte
	network    string
	features   features
	membership []byte // reserved: empty for now
	proof      proof
}

// appendUnproved appends the part that the proof covers.
func (m openBody) appendUnproved(dst []byte) []byte {
	dst = append(dst, m.key[:]...)
	dst = append(dst, m.nonce[:]...)
	dst = appendCounted(dst, []byte(m.network))
	dst = appendCounted(dst, m.features.encode())
	return appendCounted(dst, m.membership)
}

func (m openBody) append(dst []byte) []byte {
	return append(m.appendUnproved(dst), m.proof[:]...)
}

func decodeOpen(body []byte) (openBody, error) {
	var m openBody
	f := fields{rest: body}
	copy(m.key[:], f.fixed("discovery key", len(m.key)))
	copy(m.nonce[:], f.fixed("nonce", len(m.nonce)))
	m.network = string(f.counted("network", 1, NetworkNameMax))
	m.features = f.features()
	m.membership = f.counted("membership proof", 0, OpenBodyMax)
	copy(m.proof[:], f.fixed("proof", len(m.proof)))
	if f.err == nil && !validNetwork(m.network) {
		f.fail("network", errors.New("want letters a to z, digits and hyphens only"))
	}
	return m, f.end()
}

func validNetwork(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(name) >= 1 && len(name) <= NetworkNameMax
}

// splitProof cuts the proof off the end of an OPEN or ACCEPT, so that it can be checked before anything is decoded.
func splitProof(body []byte) (unproved []byte, shown proof, err error) {
	cut := len(body) - proofSize
	if cut < 0 {
		return nil, proof{}, fmt.Errorf("proof: %w", errTruncated)
	}
	return body[:cut], proof(body[cut:]), nil
}

// acceptBody is ACCEPT without its proof: what the holder has.
type acceptBody struct {
	record   []byte
	complete bool
	features features
	haveMap  []byte // encoded: it can be decoded when the record has told the number of ranges
}

const stateComplete = 1

func (m acceptBody) append(dst []byte) []byte {
	state := byte(0)
	if m.complete {
		state = stateComplete
	}
	dst = append(appendCounted(dst, m.record), state)
	dst = appendCounted(dst, m.features.encode())
	return appendCounted(dst, m.haveMap)
}

// decodeAccept decodes what splitProof left.
func decodeAccept(body []byte) (acceptBody, error) {
	f := fields{rest: body}
	m := acceptBody{
		record:   f.counted("root record", 1, RecordMax),
		complete: f.octet("state", stateComplete) == stateComplete,
		features: f.features(),
		haveMap:  f.counted("have map", 0, HaveMax),
	}
	return m, f.end()
}

// refuseBody is REFUSE.
type refuseBody struct {
	code       RefuseCode
	retryAfter time.Duration // whole milliseconds
}

func (m refuseBody) append(dst []byte) []byte {
	return appendNumber(append(dst, byte(m.code)), m.retryAfter.Milliseconds())
}

func decodeRefuse(body []byte) (refuseBody, error) {
	f := fields{rest: body}
	code := RefuseCode(f.octet("code", byte(RefuseBusy)))
	ms := f.number("retry after", 0, RetryAfterMax.Milliseconds())
	switch {
	case f.err != nil:
	case code == 0:
		f.fail("code", errors.New("0 is none"))
	case code == RefuseUnknown && ms != 0:
		f.fail("retry after", errors.New("only busy holders ask for a retry"))
	}
	return refuseBody{code, time.Duration(ms) * time.Millisecond}, f.end()
}
