package cafs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

// What callers decide on. Stores wrap these; classify with errors.Is.
var (
	// ErrNotFound: no chunk, or no root, of that key is here.
	ErrNotFound = errors.New("not found")
	// ErrCorrupt: bytes are not what their key says.
	ErrCorrupt = errors.New("corrupt")
	// ErrBadRoot: a root record or a list that hashes right breaks the rules of the format. No peer is to blame.
	ErrBadRoot = errors.New("bad root")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrChanged: a file of the user's is not what it was when it was opened, or another one has taken its place.
	ErrChanged = errors.New("file changed")
	// ErrQuota: the store has no room within its quota for what is put, though everything that nobody needs was
	// reclaimed. It is wrapped by a *QuotaError.
	ErrQuota = errors.New("quota exceeded")
)

// Getter is the role of a store that chunks are read from. Its methods may be called concurrently.
type Getter interface {
	// Get returns the bytes of the chunk named key, in buf if they fit there and in new memory if not; the caller
	// owns them. The error wraps ErrNotFound if no chunk of that key is here, and ErrCorrupt if the store's own checks
	// fail on every copy; a copy that failed is forgotten, so that the chunk can be put again.
	Get(ctx context.Context, key Key, buf []byte) ([]byte, error)

	// Has reports for each key whether Get would find it: have[i] is true for keys[i]. It costs one batch of look-ups
	// and reads no chunk, so a chunk that it reports may still turn out corrupt.
	Has(ctx context.Context, keys []Key) (have []bool, err error)
}

// RowReader is the role of a store that reads a row of chunks in less time than as many calls of Get take, as when they stand
// side by side in a file. Not every store has it: see ReadRow. Its methods may be called concurrently.
type RowReader interface {
	// ReadRow does what the function of that name does.
	ReadRow(ctx context.Context, row []ChunkInfo, buf []byte) (chunks []Chunk, damaged bool, err error)
}

// ReadRow reads of a row of chunks those that are here, hashes them, and returns them in the same places; in those of others
// is the zero Chunk. The chunks are in buf, which has room for all of the row, or in new memory; the caller owns both. damaged
// tells that of a chunk that seemed to be here no copy was good.
func ReadRow(ctx context.Context, store Getter, row []ChunkInfo, buf []byte) (chunks []Chunk, damaged bool, err error) {
	if reader, ok := store.(RowReader); ok {
		return reader.ReadRow(ctx, row, buf)
	}
	keys := make([]Key, len(row))
	for i, info := range row {
		keys[i] = info.Key
	}
	have, err := store.Has(ctx, keys)
	if err != nil {
		return nil, false, err
	}
	chunks = make([]Chunk, len(row))
	for i, info := range row {
		if have[i] {
			if chunks[i], err = ReadChunk(ctx, store, info, buf[:info.Size:info.Size]); errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
				damaged = true
			} else if err != nil {
				return nil, false, err
			}
		}
		buf = buf[info.Size:]
	}
	return chunks, damaged, nil
}

// ReadChunk reads a chunk as Get does, and hashes it.
func ReadChunk(ctx context.Context, store Getter, info ChunkInfo, buf []byte) (Chunk, error) {
	data, err := store.Get(ctx, info.Key, buf)
	if err != nil {
		return Chunk{}, fmt.Errorf("read chunk %s: %w", info.Key, err)
	}
	return VerifyChunk(info, data)
}

// Putter is the role of a store that chunks are written to. Its methods may be called concurrently.
type Putter interface {
	// Put stores chunks. When it returns nil they can be read at once and survive the end of the process, by whatever
	// cause; they survive a power cut after the next Sync. Storing a chunk twice is not an error and takes no space
	// twice. Put keeps no reference to the bytes. When it fails, any of the chunks may or may not be stored. In a store
	// with a quota Put makes room for them first, in its own time; the error wraps ErrQuota if that was not possible.
	Put(ctx context.Context, chunks ...Chunk) error

	// Sync returns when everything that was put before the call survives a power cut.
	Sync(ctx context.Context) error
}

// Checker is the role of a store that looks for damage. Its methods may be called concurrently.
type Checker interface {
	// Check reads and hashes every copy of a chunk, whatever the store believes of it. Copies that are bad are forgotten,
	// so that the chunk can be put again, and returned; of files of the user's that are not there now nothing is said. good
	// tells whether a good copy is left. Buf is room for the bytes, or nil.
	Check(ctx context.Context, key Key, buf []byte) (bad []BadCopy, good bool, err error)
}

// BadCopy is a copy of a chunk that is not what its key says.
type BadCopy struct {
	// Path is the file that it is in, and Offset where.
	Path   string
	Offset int64
	// Err says what is wrong. It wraps ErrChanged if the file was changed by somebody, which is no damage, and else
	// ErrCorrupt.
	Err error
}

// Catalog is the role of a store that remembers roots. A catalogued root is pinned: its chunks stay until the root is
// removed. Its methods may be called concurrently.
type Catalog interface {
	// PutRoot adds a root, or replaces what is known of it, and returns when that survives a power cut, together with
	// everything that was put before. It keeps no reference to root.Record, and refuses what root.Check refuses. Whoever
	// fetches a root puts it here, incomplete, before its first chunk.
	PutRoot(ctx context.Context, root RootInfo) error

	// Root returns what is known of a root, which the caller owns; the error wraps ErrNotFound if it is not in the
	// catalog.
	Root(ctx context.Context, root Key) (RootInfo, error)

	// Roots enumerates the catalog in the order of the keys, as it was when the enumeration began. It stops after the
	// first error. The loop may use the store, but must not close it.
	Roots(ctx context.Context) iter.Seq2[RootInfo, error]

	// RemoveRoot forgets a root and its pin; its chunks stay as cache. The error wraps ErrNotFound if it is not there. It
	// needs no room within a quota.
	RemoveRoot(ctx context.Context, root Key) error
}

// Referrer is the role of a store that can serve chunks from the user's own files, where they are, in place of a copy.
// Such a file is a volume. Anybody may edit, replace, cut or remove it at any time: Get returns only bytes of it that were
// hashed and that cannot have changed since, or that it hashes itself. Its methods may be called concurrently.
//
// Not every store has this role. Probe for it in one place, with a type assertion; a store without it is given copies.
//
// A file is added like this: if Volume says that it is VolumeFresh and names a root, that is the one. Else OpenVolume;
// read and hash the file through the volume, and Refer; Seal; put the root; Close. A file is written like this:
// OpenVolume with Written; write verified chunks into it, and Refer; PrepareSeal with its new path; rename the file; Seal;
// put the root; Close.
type Referrer interface {
	// OpenVolume makes a volume of the regular file at path, which is absolute and clean and has at most 32,768 bytes; it
	// follows no symbolic link in the place of the file. If the file is a volume already, and as it was when it was
	// hashed, what that one refers to is kept; if it has changed, the new volume takes the place of the old one when it is
	// sealed. The volume is the caller's to close.
	OpenVolume(ctx context.Context, path string, opts VolumeOptions) (Volume, error)

	// Volume returns what is known of the file at path, after a look at it; the error wraps ErrNotFound if it is no volume.
	Volume(ctx context.Context, path string) (VolumeInfo, error)

	// Volumes enumerates the volumes in the order of their paths, as they were when the enumeration began, with a look at
	// each file. It stops after the first error. The loop may use the store, but must not close it.
	Volumes(ctx context.Context) iter.Seq2[VolumeInfo, error]

	// HasElsewhere is Has as if there were no volumes at path.
	HasElsewhere(ctx context.Context, path string, keys []Key) (have []bool, err error)

	// Locate says for each key where its chunk stands in a file that looks as it did when it was hashed: the path is empty if
	// there is none. A look at a file may be some seconds old; what stands there must be hashed before it is used.
	Locate(ctx context.Context, keys []Key) ([]Location, error)

	// RemoveVolume forgets the volumes at path with all that they refer to, and returns when that survives a power cut. The
	// file is not touched. The error wraps ErrNotFound if there is none.
	RemoveVolume(ctx context.Context, path string) error
}

// VolumeOptions say what becomes of a volume's file. The zero value is for a file that the caller only reads.
type VolumeOptions struct {
	// Written tells that the caller writes the file. Then each Sync syncs the bytes that were referred to, and what counts
	// as a change begins with Seal. What was referred to and not sealed when the process is killed counts as changed.
	Written bool
}

// Volume is a file that chunks are referred to in, as its caller has it open. Its methods may be called concurrently, but
// for Close, which comes last.
type Volume interface {
	// ReadAt reads the file that was opened, even if its path has come to lead elsewhere.
	io.ReaderAt

	// HoleAt returns how many bytes from an offset on are known to be zeros that nothing has to be read for, because the
	// file has a hole there; 0 if that is not known.
	HoleAt(offset int64) int64

	// Refer notes that chunks stand in the file; the caller has just hashed the bytes there, or written them. They can be
	// got at once. The note survives the end of the process, and a power cut, after the next Sync of the volume or the
	// store, not before: it tells of what can be found out again by hashing. To refer to a chunk twice is not an error; of
	// several places in one volume the last is kept, and a store may keep no more than eight volumes for a chunk. A Put
	// takes no notice of volumes. Refer keeps no reference to chunks.
	Refer(ctx context.Context, chunks ...ChunkRef) error

	// Sync is the Sync of the store, and fails as well if the bytes of this volume could not be synced, now or before: then
	// the volume is forgotten, and none of its calls but Close succeeds any more.
	Sync(ctx context.Context) error

	// PrepareSeal begins with a Sync, and notes that the file, which is Written and has the content of root, is about to be
	// renamed to path. If the process ends before the Seal that is to come next, then Seal happens when the store is opened,
	// provided that the file is at path by then.
	PrepareSeal(ctx context.Context, path string, root Key) error

	// Seal says that all of the file was referred to, that it is at path now, and that it has the content of root. From
	// here on it is compared with what it is at this moment, and other volumes at path are forgotten. The error wraps
	// ErrChanged, and nothing is different, if another file is at path, or if this one, not being Written, changed since
	// it was opened. It survives a power cut after the next Sync.
	Seal(ctx context.Context, path string, root Key) error

	// Close ends the use of the volume, not the volume. If it is Written, Close begins with a Sync. It may come after the
	// Close of the store. A second call does nothing.
	Close() error
}

// ChunkRef is a chunk in a file: Offset bytes from its beginning.
type ChunkRef struct {
	Chunk  ChunkInfo
	Offset int64
}

// Location is where a chunk stands in a file: Offset bytes from its beginning.
type Location struct {
	Path   string
	Offset int64
}

// VolumeInfo is what is known of a volume.
type VolumeInfo struct {
	// Path is where the file is, absolute.
	Path string
	// Size is the length of the file in bytes, when it was hashed.
	Size int64
	// Root is the root whose content the file had when it was sealed; the zero Key if it never was.
	Root Key
	// State tells what a look at the file says; of a tree, that at the file that is farthest from what it was, which may be
	// some seconds old.
	State VolumeState
	// Tree tells that it is a directory with a tree of files; Size is 0 then.
	Tree bool
}

// VolumeState is how a file compares with what it was when it was hashed, by device, inode, size, and times of
// modification and change.
type VolumeState int

// States of a volume. In the first two Has reports what the volume refers to, in the last two it does not; what Get
// returns is what was referred to in all of them.
const (
	// VolumeFresh: the file is the same, and had been left alone for 5 s before it was hashed. Who sealed it may take it
	// for the content of its root without hashing it again.
	VolumeFresh VolumeState = iota + 1
	// VolumeRacy: the file looks the same, but was changed so shortly before it was hashed that one more change need not
	// show. It is also the state of a file that somebody has open as Written.
	VolumeRacy
	// VolumeStale: the file has changed, or another has its place.
	VolumeStale
	// VolumeMissing: there is no regular file, or none that may be read.
	VolumeMissing
)

// String returns the state in one word: fresh, racy, stale, missing.
func (s VolumeState) String() string {
	switch s {
	case VolumeFresh:
		return "fresh"
	case VolumeRacy:
		return "racy"
	case VolumeStale:
		return "stale"
	case VolumeMissing:
		return "missing"
	}
	return fmt.Sprintf("VolumeState(%d)", int(s))
}

// Store is what a node keeps its content in. The implementations are memory.Store and disk.Store; others can be held
// to the contract with cafstest.Run.
type Store interface {
	Getter
	Putter
	Checker
	Catalog
	Reclaimer

	// Close ends the store after the calls under way; later calls fail with ErrClosed. Close syncs. A second call
	// does nothing but wait for the first.
	Close() error
}

// RootInfo is what the catalog knows of a root.
type RootInfo struct {
	// Root is the root hash: the key of Record.
	Root Key
	// Record is the encoded root record; see ParseRecord.
	Record []byte
	// Name is what users call the content: a file's base name, or the name in the link. It may be empty.
	Name string
	// Place is the absolute path of the user's file that the content was added from or written to. It is informative:
	// the store does not read there. Empty if there is none.
	Place string
	// Complete tells that every chunk of the root is here.
	Complete bool
	// Damaged tells that every chunk was here, and is not any more. A root is not Complete and Damaged.
	Damaged bool
	// Added is when the root came into the catalog.
	Added time.Time
}

// Largest fields of a RootInfo in bytes, so that every store can hold what another one gave out.
const (
	infoNameMax  = 4096  // a link, which names come from, is never larger
	infoPlaceMax = 32768 // the longest path that any of the operating systems knows
)

// Check returns an error if no store may hold i: when Root is not the key of Record (that error wraps ErrCorrupt), when
// Record has more than RecordSizeMax bytes, Name more than 4,096, or Place more than 32,768, or when it is both Complete
// and Damaged. It does not parse Record.
func (i RootInfo) Check() error {
	switch {
	case len(i.Record) > RecordSizeMax:
		return fmt.Errorf("root %s: record of %d bytes: want at most %d", i.Root.Short(), len(i.Record), RecordSizeMax)
	case len(i.Name) > infoNameMax:
		return fmt.Errorf("root %s: name of %d bytes: want at most %d", i.Root.Short(), len(i.Name), infoNameMax)
	case len(i.Place) > infoPlaceMax:
		return fmt.Errorf("root %s: place of %d bytes: want at most %d", i.Root.Short(), len(i.Place), infoPlaceMax)
	case i.Complete && i.Damaged:
		return fmt.Errorf("root %s: complete and damaged", i.Root.Short())
	case KeyOf(i.Record) != i.Root:
		return fmt.Errorf("root %s: the record hashes to something else: %w", i.Root.Short(), ErrCorrupt)
	}
	return nil
}
