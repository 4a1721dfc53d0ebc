package cafs

import (
	"context"
	"io"
	"iter"
)

// TreeReferrer is the role of a Referrer that serves chunks from the files of a whole directory: one volume for all of them.
// Where a chunk stands is told by an offset in the data stream of the tree, the files one after the other. Its methods may
// be called concurrently.
//
// A tree is added like this: OpenTree; read and hash each file through it, or Keep it, and Refer; Seal; put the root; Close.
// A tree is written like this: OpenTree with Written, a view of what is being written; write verified chunks there, and
// Refer; put the files in their places; Place or Keep each of them; Seal; put the root; Close.
type TreeReferrer interface {
	Referrer

	// OpenTree makes a volume of the directory at path, which is absolute and clean. What was known of a tree there stays
	// until the new volume is sealed. The volume is the caller's to close.
	OpenTree(ctx context.Context, path string, opts TreeVolumeOptions) (TreeVolume, error)

	// TreeFiles enumerates the files of the sealed tree at path in the order of their places in the data stream, each with a
	// look at it. It stops after the first error, which wraps ErrNotFound if there is none.
	TreeFiles(ctx context.Context, path string) iter.Seq2[TreeFile, error]
}

// TreeVolumeOptions say what becomes of the files of a tree. The zero value is for a tree that the caller only reads.
type TreeVolumeOptions struct {
	// Written, if not nil, is the data stream that is being written: chunks that were referred to are read there, and hashed,
	// until the volume is closed.
	Written io.ReaderAt
}

// TreeFile is a file of a tree as the store knows it.
type TreeFile struct {
	// Path is below the directory, with "/" between components. Offset is where the file begins in the data stream, and Size
	// its length, both in bytes. Only files with content are known.
	Path         string
	Offset, Size int64
	// State is how the file compares with what it was when it was hashed.
	State VolumeState
}

// TreeVolume is a directory that chunks are referred to in. Its methods may be called concurrently, but for Close, which
// comes last.
type TreeVolume interface {
	// Refer is as that of Volume, with offsets in the data stream. What is referred to survives the end of the process from
	// Seal on.
	Refer(ctx context.Context, chunks ...ChunkRef) error

	// Open opens a file that begins at offset in the data stream, to read it. The error wraps ErrChanged if it has not the
	// size. When it was read, Close notes that it stands there; the error of that wraps ErrChanged if it changed since Open.
	Open(ctx context.Context, path string, offset, size int64) (io.ReadCloser, error)

	// Place notes that a file, which was written or whose content was compared since the volume was opened, begins at offset
	// in the data stream; the error wraps ErrChanged if it has not the size.
	Place(ctx context.Context, path string, offset, size int64) error

	// Keep notes that a file of the tree that is sealed at the path of this one, TreeFiles told of it, begins at offset in the
	// new data stream. What was known of it stays valid.
	Keep(ctx context.Context, file TreeFile, offset int64) error

	// PrepareSeal notes that the directory, whose files were all placed or kept, is about to be renamed to path, as that of
	// Volume does.
	PrepareSeal(ctx context.Context, path string, root Key) error

	// Seal says that the directory is at path now and has the content of root: every file of it was opened and read, or
	// placed, or kept. Other volumes at path are forgotten. The error wraps ErrChanged if another directory is at path. It
	// survives a power cut after the next Sync.
	Seal(ctx context.Context, path string, root Key) error

	// Close ends the use of the volume. One that was not sealed is forgotten. A second call does nothing.
	Close() error
}
