package cafs

import (
	"bytes"
	"errors"
	"fmt"
)

// Kind tells what a root record describes.
type Kind uint8

// The kinds of roots.
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
	// Times and Perms tell that the entries of a tree keep times of modification and permission bits.
	Times, Perms bool
	// Entries lists the entries of a tree. Entries.Bytes equals Data.Bytes.
	Entries List
	// Data lists the chunks of the content: of a tree, the content of its files, one after the other.
	Data List
}

// entryForm returns the form of the entries of a tree.
func (r Record) entryForm() itemForm {
	form := formEntries
	if r.Times {
		form |= formTimes
	}
	if r.Perms {
		form |= formPerms
	}
	return form
}

const (
	recordMagic   = "SSR1"
	recordProfile = 1 // the chunking profile of NewChunker
	flagSalt      = 1 << 0
	flagTimes     = 1 << 1
	flagPerms     = 1 << 2
)

// flagsOf are the flags that are defined for each kind.
var flagsOf = map[Kind]byte{KindFile: flagSalt, KindTree: flagSalt | flagTimes | flagPerms}

// ParseRecord reads an encoded root record of at most RecordSizeMax bytes, and checks all that it says. It keeps no
// reference to data. Errors wrap ErrBadRoot, except that for a kind that is not known, which wraps errors.ErrUnsupported:
// that root may be good, but needs a later release. That data is the record which a root names is the caller's check:
// KeyOf(data) == root.
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
	known, ok := flagsOf[kind]
	switch {
	case !ok:
		return Record{}, fmt.Errorf("%v is not known here: %w", kind, errors.ErrUnsupported)
	case profile != recordProfile:
		return Record{}, fmt.Errorf("unknown chunking profile %d", profile)
	case flags&^known != 0:
		return Record{}, fmt.Errorf("unknown flags %#x", flags)
	}
	rec.Kind = kind
	rec.Times, rec.Perms = flags&flagTimes != 0, flags&flagPerms != 0
	if flags&flagSalt != 0 {
		if len(b) < SaltSize {
			return Record{}, errTruncated
		}
		rec.Salt, b = append([]byte(nil), b[:SaltSize]...), b[SaltSize:]
	}
	if kind == KindTree {
		if rec.Entries, b, err = readList(formEntries, b); err != nil {
			return Record{}, err
		}
	}
	if rec.Data, b, err = readList(0, b); err != nil {
		return Record{}, err
	}
	if len(b) > 0 {
		return Record{}, fmt.Errorf("%d bytes after its end", len(b))
	}
	if _, err = rec.Data.top(0); err != nil || kind != KindTree {
		return rec, err
	}
	if rec.Entries.Bytes != rec.Data.Bytes {
		return rec, fmt.Errorf("%d bytes in the files of the entries, but %d of data", rec.Entries.Bytes, rec.Data.Bytes)
	}
	_, err = rec.Entries.top(rec.entryForm())
	return rec, err
}

// Encode returns the encoded record. It panics if Kind is none of the kinds, if Salt is neither nil nor SaltSize bytes, or
// if a file has entries; that the lists are as their builders make them is up to the caller.
func (r Record) Encode() []byte {
	known, ok := flagsOf[r.Kind]
	flags := byte(r.entryForm() &^ formEntries)
	if !ok || flags&^known != 0 || r.Kind == KindFile && r.Entries.Items != 0 {
		panic(fmt.Sprintf("cafs: encode root record of %v with flags %#x and %d entries", r.Kind, flags, r.Entries.Items))
	}
	if r.Salt != nil {
		if len(r.Salt) != SaltSize {
			panic(fmt.Sprintf("cafs: encode root record with a salt of %d bytes", len(r.Salt)))
		}
		flags |= flagSalt
	}
	b := append([]byte(recordMagic), byte(r.Kind), recordProfile, flags)
	b = append(b, r.Salt...)
	if r.Kind == KindTree {
		b = r.Entries.appendTo(b)
	}
	return r.Data.appendTo(b)
}

// Root returns the root hash: the key of the encoded record.
func (r Record) Root() Key { return KeyOf(r.Encode()) }
