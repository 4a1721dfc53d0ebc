package cafs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// KeySize is the length of a Key in bytes.
const KeySize = sha256.Size

// Key is the SHA-256 of a chunk's bytes, or of a root record's. It is comparable and its zero value names nothing.
type Key [KeySize]byte

// KeyOf returns the key of data.
func KeyOf(data []byte) Key { return sha256.Sum256(data) }

// ParseKey reads the text form of a key: 64 hexadecimal digits, upper or lower case.
func ParseKey(text string) (Key, error) {
	var k Key
	if len(text) != 2*KeySize {
		return Key{}, fmt.Errorf("key %q: want %d hexadecimal digits, not %d characters", shorten(text), 2*KeySize, len(text))
	}
	if _, err := hex.Decode(k[:], []byte(text)); err != nil {
		return Key{}, fmt.Errorf("key %q: want %d hexadecimal digits: %w", text, 2*KeySize, err)
	}
	return k, nil
}

// String returns the 64 lower-case hexadecimal digits of k.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Short returns the first 8 digits of k and "…": enough to tell keys apart in errors, and no use to anybody who reads
// them, for a root hash is a secret.
func (k Key) Short() string { return hex.EncodeToString(k[:4]) + "…" }

// MarshalText implements encoding.TextMarshaler with the form of String.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; it accepts what ParseKey does.
func (k *Key) UnmarshalText(text []byte) error {
	parsed, err := ParseKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// shorten keeps hostile or mistyped input from filling a terminal.
func shorten(text string) string {
	const shown = 80
	if len(text) <= shown {
		return text
	}
	return text[:shown] + "…"
}
