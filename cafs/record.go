package cafs

import (
	"bytes"
	"errors"
	"fmt"
)

// Kind tells what a root record describes.
type Kind uint8

// The kinds of roots. Trees are reserved: their format is fixed, but this release refuses them.
const (
	KindFile Kind = 1
	KindTree Kind = 2
)

// String returns "file", "tree" or the number.
func (k Kind) String() string {
	switch k {
	case KindFile:
		return "file"
	case KindTree:
		return "tree"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Record is a root record: all that is needed, and nothing else, to fetch some content and to know that it is right. Its
// encoding is canonical, so that equal records have equal roots.
type Record struct {
	Kind Kind
	// Salt, if it is not nil, is SaltSize random bytes, which keep the root from being computed from guessed content.
	Salt []byte
	// Data lists the chunks of the content.
	Data List
}

const (
	recordMagic   = "SSR1"
	recordProfile = 1 // the chunking profile of NewChunker
	flagSalt      = 1 << 0
)

// ParseRecord reads an encoded root record of at most RecordSizeMax bytes, and checks all that it says. It keeps no
// reference to data. Errors wrap ErrBadRoot, except that for a tree, which wraps errors.ErrUnsupported: that root may be
// good, but needs a later release. That data is the record which a root names is the caller's check: KeyOf(data) == root.
func ParseRecord(data []byte) (Record, error) {
	rec, err := parseRecord(data)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, ErrBadRoot) {
		err = fmt.Errorf("%w: %w", err, ErrBadRoot)
	}
	if err != nil {
		return Record{}, fmt.Errorf("root record: %w", err)
	}
	return rec, nil
}

func parseRecord(data []byte) (rec Record, err error) {
	if len(data) > RecordSizeMax {
		return Record{}, fmt.Errorf("%d bytes: want at most %d", len(data), RecordSizeMax)
	}
	b, ok := bytes.CutPrefix(data, []byte(recordMagic))
	if !ok || len(b) < 3 {
		return Record{}, errors.New("it does not begin as one")
	}
	kind, profile, flags, b := Kind(b[0]), b[1], b[2], b[3:]
	switch {
	case kind == KindTree:
		return Record{}, fmt.Errorf("trees are not supported yet: %w", errors.ErrUnsupported)
	case kind != KindFile:
		return Record{}, fmt.Errorf("unknown %v", kind)
	case profile != recordProfile:
		return Record{}, fmt.Errorf("unknown chunking profile %d", profile)
	case flags&^flagSalt != 0:
		return Record{}, fmt.Errorf("unknown flags %#x", flags)
	}
	rec.Kind = kind
	if flags&flagSalt != 0 {
		if len(b) < SaltSize {
			return Record{}, errTruncated
		}
		rec.Salt, b = append([]byte(nil), b[:SaltSize]...), b[SaltSize:]
	}
	if rec.Data, b, err = readList(b); err != nil {
		return Record{}, err
	}
	if len(b) > 0 {
		return Record{}, fmt.Errorf("%d bytes after its end", len(b))
	}
	_, err = rec.Data.top()
	return rec, err
}

// Encode returns the encoded record. It panics if Kind is not KindFile or Salt is neither nil nor SaltSize bytes; that
// Data is a list as ListBuilder makes it is up to the caller.
func (r Record) Encode() []byte {
	if r.Kind != KindFile {
		panic(fmt.Sprintf("cafs: encode root record of %v", r.Kind))
	}
	flags := byte(0)
	if r.Salt != nil {
		if len(r.Salt) != SaltSize {
			panic(fmt.Sprintf("cafs: encode root record with a salt of %d bytes", len(r.Salt)))
		}
		flags |= flagSalt
	}
	b := append([]byte(recordMagic), byte(r.Kind), recordProfile, flags)
	b = append(b, r.Salt...)
	return r.Data.appendTo(b)
}

// Root returns the root hash: the key of the encoded record.
func (r Record) Root() Key { return KeyOf(r.Encode()) }
