package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// AddOptions says how to add content. The zero value is what most want.
type AddOptions struct {
	// Name replaces the base name of the path.
	Name string
	// Private salts the root, so that nobody can compute it by guessing the content.
	Private bool
	// Copy stores the content of a file, rather than serving it from where it is.
	Copy bool
	// Rehash reads files that are known and look unchanged again.
	Rehash bool
	// Times and Perms keep times of modification and permission bits of what is in a directory. The root of the same tree is
	// the same everywhere without them; of permissions only whether the owner may execute a file is kept then.
	Times, Perms bool
	// Exclude are patterns, as in a .gitignore, of what in a directory is left out, besides what its .swarmignore files say.
	Exclude []string
	// Events receives events; nil for none. It is called between reads: one that blocks stops the Add.
	Events func(Event)
}

// Add hashes the file or the directory at path and announces its root. Files are served from where they are, unless
// opts.Copy is set or the store can't do that; a known file that looks unchanged is not read again. A file that changes
// meanwhile is refused, and so, with ErrNoSpace, is one that is to be copied and that the store has no room for. Of what is
// in a directory, symbolic links are added as such, and what is neither file, directory nor link is skipped: an EventNote
// names it, and RootStatus.Skipped counts it.
func (n *Node) Add(ctx context.Context, path string, opts AddOptions) (status RootStatus, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return RootStatus{}, fmt.Errorf("add %s: %w", path, err)
	}
	// Opening a pipe or a device may wait forever, so what it is must be known before.
	before, err := os.Stat(path)
	if err != nil {
		return RootStatus{}, fmt.Errorf("add: %w", err)
	}
	if opts.Name == "" {
		opts.Name = filepath.Base(path)
	}
	if before.IsDir() {
		return n.addTree(ctx, path, opts)
	}
	if !before.Mode().IsRegular() {
		return RootStatus{}, fmt.Errorf("add %s: it is neither a regular file nor a directory: %w", path, ErrUnsupported)
	}
	if referrer, ok := n.store.(cafs.Referrer); ok && !opts.Copy {
		return n.addInPlace(ctx, referrer, path, opts)
	}
	file, err := os.Open(path)
	if err != nil {
		return RootStatus{}, fmt.Errorf("add: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if before, err = file.Stat(); err != nil {
		return RootStatus{}, fmt.Errorf("add: %w", err)
	}
	check := func(read int64, _ cafs.Key) error {
		after, err := file.Stat()
		if err != nil {
			return err
		}
		if read != before.Size() || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
			return changedMeanwhile(path)
		}
		return nil
	}
	if err := n.checkAddSpace(ctx, path, before.Size()); err != nil {
		return RootStatus{}, fmt.Errorf("add %s: %w", path, err)
	}
	return n.add(ctx, addition{reader: file, place: path, total: before.Size(), check: check}, opts)
}

// changedMeanwhile is the error of a file that somebody writes to.
func changedMeanwhile(path string) error {
	return fmt.Errorf("add %s: %w while it was read; add it again when nobody writes to it", path, cafs.ErrChanged)
}

// addInPlace adds a file that stays where it is.
func (n *Node) addInPlace(ctx context.Context, referrer cafs.Referrer, path string, opts AddOptions) (status RootStatus, err error) {
	// The store refuses a symbolic link in the file's place, so that nobody can put one there later.
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return RootStatus{}, fmt.Errorf("add: %w", err)
	}
	if !opts.Rehash && !opts.Private {
		if status, known := n.addedBefore(ctx, referrer, path); known {
			return status, nil
		}
	}
	volume, err := referrer.OpenVolume(ctx, path, cafs.VolumeOptions{})
	if err != nil {
		return RootStatus{}, fmt.Errorf("add: %w", err)
	}
	defer func() { err = errors.Join(err, volume.Close()) }()
	file, err := os.Lstat(path)
	if err != nil {
		return RootStatus{}, fmt.Errorf("add: %w", err)
	}
	seal := func(_ int64, root cafs.Key) error {
		err := volume.Seal(ctx, path, root)
		if errors.Is(err, cafs.ErrChanged) {
			return changedMeanwhile(path)
		}
		return err
	}
	reader := io.NewSectionReader(volume, 0, file.Size())
	return n.add(ctx, addition{reader: reader, volume: volume, place: path, total: file.Size(), check: seal}, opts)
}

// addedBefore returns the root of a file that was added and looks unchanged since.
func (n *Node) addedBefore(ctx context.Context, referrer cafs.Referrer, path string) (status RootStatus, known bool) {
	volume, err := referrer.Volume(ctx, path)
	if err != nil || volume.State != cafs.VolumeFresh {
		return RootStatus{}, false
	}
	info, err := n.store.Root(ctx, volume.Root)
	if err != nil || !info.Complete {
		return RootStatus{}, false
	}
	status, err = n.rootStatus(ctx, info)
	return status, err == nil && !status.Private
}

// checkAddSpace says in time that the store has no room for a file. One that was added before may take next to none.
func (n *Node) checkAddSpace(ctx context.Context, path string, size int64) error {
	space, err := n.store.Space(ctx)
	if err != nil {
		return err
	}
	if space.Quota > 0 && size > space.Quota {
		return fmt.Errorf("%d bytes don't fit in a store of %d: %w", size, space.Quota, cafs.ErrQuota)
	}
	err = n.checkStoreSpace(size)
	if !errors.Is(err, ErrNoSpace) {
		return err
	}
	for info, errRoots := range n.store.Roots(ctx) {
		if errRoots != nil {
			return fmt.Errorf("read the catalog: %w", errRoots)
		}
		if info.Place == path {
			return nil
		}
	}
	return err
}

// AddReader reads r to its end into the store and announces its root.
func (n *Node) AddReader(ctx context.Context, r io.Reader, opts AddOptions) (RootStatus, error) {
	return n.add(ctx, addition{reader: r, check: func(int64, cafs.Key) error { return nil }}, opts)
}

// addition is content to add, where it comes from, and what must hold of it when it was read.
type addition struct {
	reader io.Reader
	volume cafs.Volume // what reader reads, nil if it is to be copied
	place  string
	total  int64 // 0 if it is not known
	check  func(read int64, root cafs.Key) error
}

func (n *Node) add(ctx context.Context, a addition, opts AddOptions) (RootStatus, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(n.ctx, func() { cancel(ErrClosed) })()

	tell := &events{send: opts.Events}
	defer n.store.Hold()() // until the root is in the catalog
	record, err := cafs.AddFile(ctx, n.store, a.reader, cafs.AddOptions{
		Salt: newSalt(opts), Volume: a.volume, Progress: tell.reading(a.total),
	})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("add: %w", cause)
		}
		return RootStatus{}, err
	}
	if err := a.check(record.Data.Bytes, record.Root()); err != nil {
		return RootStatus{}, err
	}
	return n.added(ctx, record, opts.Name, a.place, tell)
}

// newSalt returns the salt of a root, nil if it has none.
func newSalt(opts AddOptions) []byte {
	if !opts.Private {
		return nil
	}
	salt := make([]byte, cafs.SaltSize)
	_, _ = rand.Read(salt) // never fails
	return salt
}

// added puts a root into the catalog that is here as a whole, and tells that.
func (n *Node) added(ctx context.Context, record cafs.Record, name, place string, tell *events) (RootStatus, error) {
	info := cafs.RootInfo{
		Root:     record.Root(),
		Record:   record.Encode(),
		Name:     name,
		Place:    place,
		Complete: true,
		Added:    time.Now(),
	}
	n.catalog.Lock()
	err := n.put(ctx, info)
	n.catalog.Unlock()
	if err != nil {
		return RootStatus{}, err
	}
	tell.now(Event{Kind: EventProgress, Total: record.Data.Bytes, Reused: record.Data.Bytes})
	return n.rootStatus(ctx, info)
}
