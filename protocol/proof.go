package protocol

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/swarmsync/swarmsync/cafs"
)

// ID is the libp2p protocol of a session.
const ID = "/remotesync/1.0"

// Labels of the three uses of a root as a key. They differ, so that no value made for one passes for another.
const (
	discoveryLabel = "swarmsync/discovery/1"
	openLabel      = "swarmsync/open/1"
	acceptLabel    = "swarmsync/accept/1"
)

const (
	nonceSize = 16
	proofSize = sha256.Size
)

// DiscoveryKey stands for a root wherever strangers can read: whoever knows the root can compute it, and nobody can
// compute the root from it. It is comparable.
type DiscoveryKey [sha256.Size]byte

// DiscoveryKeyOf returns the discovery key of root.
func DiscoveryKeyOf(root cafs.Key) DiscoveryKey {
	return DiscoveryKey(rootMAC(root, discoveryLabel))
}

// String returns the 64 lower-case hexadecimal digits of k.
func (k DiscoveryKey) String() string { return hex.EncodeToString(k[:]) }

// Short returns the first 8 hexadecimal digits of k, by which logs name the root.
func (k DiscoveryKey) Short() string { return hex.EncodeToString(k[:4]) }

type proof [proofSize]byte

// matches compares in constant time.
func (p proof) matches(other proof) bool { return hmac.Equal(p[:], other[:]) }

// openProof is what a receiver shows of the root. openBody is OPEN without the proof.
func openProof(root cafs.Key, receiverID, holderID, openBody []byte) proof {
	return rootMAC(root, openLabel, lp(receiverID), lp(holderID), lp([]byte(ID)), lp(openBody))
}

// acceptProof is what a holder answers with: fresh by the nonce in the proof that it answers, and bound to acceptBody,
// which is ACCEPT without the proof.
func acceptProof(root cafs.Key, holderID, receiverID []byte, opened proof, acceptBody []byte) proof {
	return rootMAC(root, acceptLabel, lp(holderID), lp(receiverID), opened[:], lp(acceptBody))
}

func rootMAC(root cafs.Key, label string, parts ...[]byte) proof {
	mac := hmac.New(sha256.New, root[:])
	mac.Write([]byte(label))
	for _, part := range parts {
		mac.Write(part)
	}
	return proof(mac.Sum(nil))
}

// lp returns x with its length before it.
func lp(x []byte) []byte {
	return append(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen32+len(x)), uint64(len(x))), x...)
}
