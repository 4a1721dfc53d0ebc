package protocol

import (
	"bytes"
	"fmt"
	"time"
)

// Member is a peer that the teller had a proved session with lately. This package does not look into its bytes.
type Member struct {
	// Record is the envelope of the peer's signed record: 1 to MemberRecordMax bytes.
	Record []byte
	// Addr is the address that was used, as the bytes of a multiaddress: 1 to MemberAddrMax bytes.
	Addr []byte
}

// peersBody is PEERS.
type peersBody struct {
	members []Member
}

func (m peersBody) append(dst []byte) []byte {
	for _, member := range m.members {
		dst = appendCounted(appendCounted(dst, member.Record), member.Addr)
	}
	return dst
}

func decodePeers(body []byte) (peersBody, error) {
	var m peersBody
	f := fields{rest: body}
	for f.more() && len(m.members) < PeersMax {
		m.members = append(m.members, Member{
			Record: f.counted("record", 1, MemberRecordMax),
			Addr:   f.counted("address", 1, MemberAddrMax),
		})
	}
	if f.err == nil && len(m.members) == 0 {
		f.err = fmt.Errorf("members: %w", errTruncated)
	}
	return m, f.end()
}

// checkMembers checks what a caller wants to tell.
func checkMembers(members []Member) error {
	if len(members) < 1 || len(members) > PeersMax {
		return fmt.Errorf("%d members: want 1 to %d", len(members), PeersMax)
	}
	for _, member := range members {
		if n := len(member.Record); n < 1 || n > MemberRecordMax {
			return fmt.Errorf("member's record of %d bytes: want 1 to %d", n, MemberRecordMax)
		}
		if n := len(member.Addr); n < 1 || n > MemberAddrMax {
			return fmt.Errorf("member's address of %d bytes: want 1 to %d", n, MemberAddrMax)
		}
	}
	return nil
}

// decodePeersWithin decodes a PEERS that came from a side that is held to a budget of members. What it returns is a copy:
// members are looked at after the frame's buffer has gone to the next one.
func decodePeersWithin(allowed *budget, body []byte) (peersBody, error) {
	m, err := decodePeers(bytes.Clone(body))
	if err != nil {
		return m, violation(framePeers, RuleMalformed, "%w", err)
	}
	if !allowed.take(int64(len(m.members)), time.Now()) {
		return m, violation(framePeers, RuleLimit, "more than %d members in %v", PeersMax, PeersInterval)
	}
	return m, nil
}
