package discovery

import (
	"encoding/hex"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
)

// KeySize is the length of a Key in bytes.
const KeySize = 32

// Key is a discovery key: what holders of a root announce and receivers look for. It is derived from the root hash and
// does not reveal it. Keys are as good as random.
type Key [KeySize]byte

// String returns the first 8 hexadecimal digits of k, which is all of a key that belongs into a log.
func (k Key) String() string { return hex.EncodeToString(k[:4]) }

// multihash returns the name of k's record in the DHT: a SHA-256 multihash whose digest is k itself.
func (k Key) multihash() multihash.Multihash {
	return append(multihash.Multihash{multihash.SHA2_256, KeySize}, k[:]...)
}

func (k Key) cid() cid.Cid { return cid.NewCidV1(cid.Raw, k.multihash()) }

// keyOfMultihash is the inverse of Key.multihash.
func keyOfMultihash(hash []byte) (key Key, ok bool) {
	if len(hash) != 2+KeySize || hash[0] != multihash.SHA2_256 || hash[1] != KeySize {
		return Key{}, false
	}
	return Key(hash[2:]), true
}

// parseKey reads 64 lower-case hexadecimal digits.
func parseKey(text string) (Key, error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != KeySize || hex.EncodeToString(raw) != text {
		return Key{}, fmt.Errorf("discovery key of %d characters: want %d lower-case hexadecimal digits", len(text), 2*KeySize)
	}
	return Key(raw), nil
}
