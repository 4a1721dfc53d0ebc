package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// treeAddition is one Add of a directory.
type treeAddition struct {
	node    *Node
	path    string
	opts    AddOptions
	events  events
	volume  cafs.TreeVolume // nil if the files are to be copied
	old     cafs.File       // data of the tree that was added from there before
	known   *knownFiles     // its files; nil if there is none
	skipped int64
}

// addTree adds the directory at path.
func (n *Node) addTree(ctx context.Context, path string, opts AddOptions) (status RootStatus, err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return RootStatus{}, fmt.Errorf("add: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(n.ctx, func() { cancel(ErrClosed) })()
	a := &treeAddition{node: n, path: path, opts: opts, events: events{send: opts.Events}}
	if err := a.openVolume(ctx); err != nil {
		return RootStatus{}, fmt.Errorf("add: %w", err)
	}
	if a.volume != nil {
		defer func() { err = errors.Join(err, a.volume.Close()) }()
	}
	defer a.known.close()
	defer n.store.Hold()() // until the root is in the catalog
	record, err := a.add(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("add: %w", cause)
		}
		return RootStatus{}, err
	}
	if a.volume != nil {
		err := a.volume.Seal(ctx, path, record.Root())
		if errors.Is(err, cafs.ErrChanged) {
			return RootStatus{}, changedMeanwhile(path)
		}
		if err != nil {
			return RootStatus{}, err
		}
	}
	status, err = n.added(ctx, record, opts.Name, path, &a.events)
	status.Skipped = a.skipped
	return status, err
}

// openVolume makes the volume of the directory, if its files are to be served from where they are.
func (a *treeAddition) openVolume(ctx context.Context) error {
	referrer, ok := a.node.store.(cafs.TreeReferrer)
	if !ok || a.opts.Copy {
		return nil
	}
	volume, err := referrer.OpenTree(ctx, a.path, cafs.TreeVolumeOptions{})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	a.volume = volume
	if a.opts.Rehash {
		return nil
	}
	// What is known of the tree that was there before is of use as long as its list of chunks is here.
	known, ok := a.node.volumeAt(ctx, a.path)
	if !ok || !known.Tree {
		return nil
	}
	tree, _, err := a.node.openTreeOf(ctx, known.Root)
	if err != nil {
		return nil // it was removed from the catalog
	}
	a.old, a.known = tree.Data(), openKnownFiles(ctx, referrer, a.path)
	return nil
}

func (a *treeAddition) add(ctx context.Context) (cafs.Record, error) {
	opts := cafs.TreeOptions{
		Salt: newSalt(a.opts), Times: a.opts.Times, Perms: a.opts.Perms, Volume: a.volume, Old: a.old,
		Progress: a.events.reading(0),
	}
	return cafs.AddTree(ctx, a.node.store, a.entries(ctx), opts)
}

// entries enumerates what is to be added.
func (a *treeAddition) entries(ctx context.Context) iter.Seq2[cafs.SourceEntry, error] {
	skip := func(path, why string) {
		a.skipped++
		a.events.now(Event{Kind: EventNote, Message: fmt.Sprintf("skipped %s: it is %s", path, why)})
	}
	return func(yield func(cafs.SourceEntry, error) bool) {
		for found, err := range walkTree(ctx, a.path, a.opts.Exclude, a.node.home.resolved(), skip) {
			var entry cafs.SourceEntry
			if err == nil {
				entry, err = a.entry(ctx, found)
			}
			if err != nil {
				yield(cafs.SourceEntry{}, fmt.Errorf("%s: %w", a.path, err))
				return
			}
			if !yield(entry, nil) {
				return
			}
		}
	}
}

func (a *treeAddition) entry(ctx context.Context, found walked) (cafs.SourceEntry, error) {
	e := cafs.SourceEntry{Entry: found.Entry}
	if !e.IsFile() || e.Size == 0 {
		return e, nil
	}
	if a.volume == nil {
		e.Open = func(int64) (io.ReadCloser, error) { return openUnchanged(found.full, e.Size) }
		return e, nil
	}
	return knownSource(ctx, found.Entry, a.known, a.volume)
}

// knownFiles are the files of a tree that was added before. A nil one has none.
type knownFiles struct {
	next func() (cafs.TreeFile, error, bool)
	stop func()
	file cafs.TreeFile // the first that was not passed, if ok
	ok   bool
}

func openKnownFiles(ctx context.Context, referrer cafs.TreeReferrer, path string) *knownFiles {
	k := &knownFiles{ok: true}
	k.next, k.stop = iter.Pull2(referrer.TreeFiles(ctx, path))
	return k
}

func (k *knownFiles) close() {
	if k != nil {
		k.stop()
	}
}

// find returns the file of a path, which comes after all that were looked for before.
func (k *knownFiles) find(path string) (file cafs.TreeFile, found bool, err error) {
	if k == nil {
		return cafs.TreeFile{}, false, nil
	}
	for k.ok && (k.file.Path == "" || cafs.ComparePaths(k.file.Path, path) < 0) {
		if k.file, err, k.ok = k.next(); err != nil {
			return cafs.TreeFile{}, false, err
		}
	}
	return k.file, k.ok && k.file.Path == path, nil
}

// unchangedFile is a file that is read and must not change meanwhile.
type unchangedFile struct {
	*os.File
	size   int64
	opened time.Time // its time of modification then
}

// openUnchanged opens a file of a size to read it once.
func openUnchanged(path string, size int64) (io.ReadCloser, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != size) {
		err = changedMeanwhile(path)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &unchangedFile{file, size, info.ModTime()}, nil
}

// Close fails if the file was changed since it was opened.
func (f *unchangedFile) Close() error {
	info, err := f.Stat()
	if err == nil && (info.Size() != f.size || !info.ModTime().Equal(f.opened)) {
		err = changedMeanwhile(f.Name())
	}
	return errors.Join(err, f.File.Close())
}
