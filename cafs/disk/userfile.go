package disk

import (
	"errors"
	"io"
	"math"
	"os"

	"github.com/swarmsync/swarmsync/internal/durable"
)

// identity tells a file from others, and from what it was at other times, as far as metadata can. It is comparable.
// mtime alone would not do: everybody can set it back, but ctime only the clock.
type identity struct {
	device, inode uint64
	size          int64
	mtime, ctime  int64 // nanoseconds since 1970
}

// ctimeUnknown stands in the entry of a file that is about to be renamed, which changes its ctime.
const ctimeUnknown = math.MinInt64

// errNotRegular: there is something, but no regular file: a directory, link, pipe or device.
var errNotRegular = errors.New("not a regular file")

// userFile is what the store asks of a file of the user's.
type userFile interface {
	io.ReaderAt
	io.Closer
	// identity returns what the file is now; the error is errNotRegular if it is none that can be a volume.
	identity() (identity, error)
	// SyncData is that of package durable.
	SyncData() error
	// Prefetch is that of package durable.
	Prefetch(offset, n int64)
	// holeAt returns how many bytes from an offset on are in a hole of a file of size bytes.
	holeAt(offset, size int64) int64
	// timesTell reports whether the file system sets the times of a file before anybody can read what a change of it made,
	// if SyncData had returned before that change: then a file whose times are old has not changed.
	timesTell() bool
	// eachLookTells reports whether every change that begins after a look at identity gives the file a time that it did not
	// have at that look, however soon it comes.
	eachLookTells() bool
}

// userFiles are the files of the users.
type userFiles interface {
	// open opens the file at path, to read it, or as well to sync it if written is true. It follows no symbolic link at the
	// end of path and waits for nobody, whatever is there; only identity tells what that is.
	open(path string, written bool) (userFile, error)
	// identity returns what is at path now, without following a symbolic link at its end.
	identity(path string) (identity, error)
}

// osUserFiles are userFiles of the operating system.
type osUserFiles struct{}

type osUserFile struct{ *os.File }

func (osUserFiles) open(path string, written bool) (userFile, error) {
	f, err := openUserFile(path, written)
	if err != nil {
		return nil, err
	}
	return osUserFile{f}, nil
}

func (osUserFiles) identity(path string) (identity, error) { return identifyPath(path) }

func (f osUserFile) identity() (identity, error)     { return identify(f.File) }
func (f osUserFile) SyncData() error                 { return durable.SyncData(f.File) }
func (f osUserFile) Prefetch(offset, n int64)        { durable.Prefetch(f.File, offset, n) }
func (f osUserFile) holeAt(offset, size int64) int64 { return holeAt(f.File, offset, size) }
func (f osUserFile) timesTell() bool                 { return timesTell(f.File) }
func (f osUserFile) eachLookTells() bool             { return eachLookTells() && f.timesTell() }

// isAbsent reports whether an error of userFiles means that no file is there that could be read, rather than that
// reading failed.
func isAbsent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) || errors.Is(err, errNotRegular) ||
		isNoFile(err)
}
