package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/internal/durable"
)

// treePublication is one call of treeOutput.publish.
type treePublication struct {
	*treeOutput
	ctx   context.Context //nolint:containedctx // it ends with the call
	root  *os.Root        // of the directory that becomes, or is, the tree
	stage string          // where the staged files are below it, empty if they are in their places
	next  int             // the file with content that comes next
	dirs  []cafs.Entry    // those passed, whose attributes are set last
}

func (o *treeOutput) publish(ctx context.Context, root cafs.Key) error {
	if err := o.closeFiles(); err != nil {
		return err
	}
	p := &treePublication{treeOutput: o, ctx: ctx, root: o.stage.root}
	dir := o.stage.path
	if o.target != nil {
		p.root, p.stage, dir = o.target.root, filepath.Base(o.stage.path)+"/", o.path
	}
	if err := p.fill(); err != nil {
		return fmt.Errorf("write output %s: %w", o.path, err)
	}
	if o.target != nil {
		if err := errors.Join(o.stage.close(), o.stage.remove()); err != nil {
			return fmt.Errorf("write output %s: %w", o.path, err)
		}
		o.stage = nil
	}
	if err := durable.SyncFS(dir); err != nil {
		return fmt.Errorf("write output %s: %w", o.path, err)
	}
	if o.target == nil {
		if err := o.rename(ctx, root); err != nil {
			return err
		}
	}
	if o.volume == nil {
		return nil
	}
	if err := o.volume.Seal(ctx, o.path, root); err != nil {
		return fmt.Errorf("keep output %s: %w", o.path, err)
	}
	return nil
}

// rename makes the stage the tree.
func (o *treeOutput) rename(ctx context.Context, root cafs.Key) error {
	if o.volume != nil {
		if err := o.volume.PrepareSeal(ctx, o.path, root); err != nil {
			return fmt.Errorf("write output %s: %w", o.path, err)
		}
	}
	if err := o.stage.close(); err != nil {
		return err
	}
	err := durable.RenameNew(o.stage.path, o.path)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("output %s came into being meanwhile: %w", o.path, ErrExists)
	}
	o.stage = nil
	return err
}

// fill brings everything to its place. What is there and has to go goes last.
func (p *treePublication) fill() error {
	for e, err := range p.entries(p.ctx) {
		if err == nil {
			err = p.entry(e)
		}
		if err != nil {
			return err
		}
	}
	if p.fetch.opts.Delete && p.target != nil {
		if err := p.deleteOthers(); err != nil {
			return err
		}
	}
	// From the inside out, as what is done in a directory changes its time.
	for _, dir := range slices.Backward(p.dirs) {
		if err := p.setAttributes(dir); err != nil {
			return err
		}
	}
	return nil
}

func (p *treePublication) entry(e cafs.TreeEntry) error {
	switch {
	case e.Type == cafs.TypeDirectory:
		p.dirs = append(p.dirs, e.Entry)
		return p.makeDir(e.Path)
	case e.Type == cafs.TypeSymlink:
		return p.makeLink(e.Path, e.Target)
	case e.Size == 0:
		return p.makeEmpty(e.Entry)
	}
	file := &p.files[p.next]
	p.next++
	if err := p.placeFile(file); err != nil {
		return err
	}
	// A file that stays was looked at already. What the user does to it meanwhile is his.
	looked := !file.staged && !p.record.Times && p.permOf(e.Entry, file.perm) == file.perm
	if !looked {
		if err := p.setAttributes(e.Entry); err != nil {
			return err
		}
	}
	if p.volume == nil {
		return nil
	}
	if !file.staged && p.old != nil {
		if before, ok := p.old.files[file.path]; ok && before.State == cafs.VolumeFresh && before.Size == file.size {
			return p.volume.Keep(p.ctx, before, file.offset)
		}
	}
	return p.volume.Place(p.ctx, file.path, file.offset, file.size)
}

// placeFile moves a file from the stage to its place, or sees to it that it is there.
func (p *treePublication) placeFile(file *treeOutputFile) error {
	if !file.staged {
		if !covers(file.kept, file.size) {
			return fmt.Errorf("%s was not written", file.path)
		}
		return nil
	}
	if p.stage == "" {
		return nil
	}
	if err := p.makeWay(file.path); err != nil {
		return err
	}
	return p.root.Rename(p.stage+file.path, file.path)
}

// makeWay removes a directory that stands where something else is to be. A file or a link is replaced by what takes its
// name.
func (p *treePublication) makeWay(path string) error {
	info, err := p.root.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	if p.fetch.opts.Delete && !p.holdsHome(path) {
		return p.root.RemoveAll(path)
	}
	err = p.root.Remove(path)
	if err != nil {
		return fmt.Errorf("%s is a directory, and is to be something else: %w", path, ErrExists)
	}
	return nil
}

// holdsHome reports whether the home of the node is in a directory of the target.
func (p *treePublication) holdsHome(path string) bool {
	top, err := filepath.EvalSymlinks(p.path)
	home := p.fetch.node.home.resolved()
	if err != nil || home == "" {
		return err != nil
	}
	below, err := filepath.Rel(filepath.Join(top, filepath.FromSlash(path)), home)
	return err == nil && filepath.IsLocal(below)
}

// makeDir makes a directory where there is none. A link to one is replaced.
func (p *treePublication) makeDir(path string) error {
	info, err := p.root.Lstat(path)
	if err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		err = p.root.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return p.root.Mkdir(path, 0o777)
}

func (p *treePublication) makeLink(path, target string) error {
	if there, err := p.root.Readlink(path); err == nil && there == target {
		return nil
	}
	if err := p.makeWay(path); err != nil {
		return err
	}
	if err := p.root.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return p.root.Symlink(target, path)
}

func (p *treePublication) makeEmpty(e cafs.Entry) error {
	info, err := p.root.Lstat(e.Path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > 0 {
		if err := p.makeWay(e.Path); err != nil {
			return err
		}
		if err := p.root.Remove(e.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		perm := fs.FileMode(0o666)
		if e.Type == cafs.TypeExecutable {
			perm = 0o777
		}
		made, err := p.root.OpenFile(e.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
		if err != nil {
			return err
		}
		if err := made.Close(); err != nil {
			return err
		}
	}
	return p.setAttributes(e)
}

// setAttributes sets what the tree says of permissions and times, where it differs.
func (p *treePublication) setAttributes(e cafs.Entry) error {
	if !p.record.Perms && !p.record.Times && p.target == nil {
		return nil // files were made as they should be
	}
	info, err := p.root.Lstat(e.Path)
	if err != nil {
		return err
	}
	if perm := p.permOf(e, info.Mode().Perm()); perm != info.Mode().Perm() {
		if err := p.root.Chmod(e.Path, perm); err != nil {
			return err
		}
	}
	if modified := time.Unix(0, e.ModTime); p.record.Times && !modified.Equal(info.ModTime()) {
		return p.root.Chtimes(e.Path, modified, modified)
	}
	return nil
}

// permOf returns the permissions that what has some is to have.
func (p *treePublication) permOf(e cafs.Entry, perm fs.FileMode) fs.FileMode {
	switch {
	case p.record.Perms:
		return e.Perm
	case e.Type == cafs.TypeExecutable && !isExecutable(perm):
		return perm | 0o100 | perm&0o444>>2 // who may read it may execute it
	case e.Type == cafs.TypeFile:
		return perm &^ 0o111
	}
	return perm
}

// deleteOthers removes what is no part of the tree, and not ignored.
func (p *treePublication) deleteOthers() error {
	var others []string
	skip := func(string, string) {}
	next, stop := pullEntries(p.entries(p.ctx))
	defer stop()
	e, more, err := next()
	if err != nil {
		return err
	}
	top, err := filepath.EvalSymlinks(p.path)
	if err != nil {
		return err
	}
	for found, err := range walkTree(p.ctx, top, nil, p.fetch.node.home.resolved(), skip) {
		if err != nil {
			return err
		}
		for more && cafs.ComparePaths(e.Path, found.Path) < 0 {
			if e, more, err = next(); err != nil {
				return err
			}
		}
		if !more || e.Path != found.Path {
			others = append(others, found.Path)
		}
	}
	for _, path := range slices.Backward(others) {
		err := p.root.Remove(path)
		if info, errLook := p.root.Lstat(path); err != nil && errLook == nil && info.IsDir() {
			p.fetch.events.now(Event{Kind: EventNote, Message: fmt.Sprintf("%s stays: there is something in it that is not deleted", filepath.Join(p.path, path))})
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		p.fetch.result.Deleted++
	}
	return nil
}

// pullEntries is iter.Pull2 with the error last.
func pullEntries(entries iter.Seq2[cafs.TreeEntry, error]) (next func() (e cafs.TreeEntry, more bool, err error), stop func()) {
	pull, stop := iter.Pull2(entries)
	return func() (cafs.TreeEntry, bool, error) {
		e, err, more := pull()
		return e, more, err
	}, stop
}
