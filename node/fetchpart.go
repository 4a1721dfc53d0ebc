package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/swarmsync/swarmsync/cafs"
)

// What this file adds to fetch is which part of the content is fetched, and that a tree can begin only when its entries are
// here.

func (o FetchOptions) check() error {
	switch {
	case o.From < 0 || o.To < 0 || o.To != 0 && o.To < o.From:
		return fmt.Errorf("fetch bytes %d to %d: there are no such bytes", o.From, o.To)
	case o.HTTP != "" && (o.Path != "" || o.ranged() || o.DryRun):
		return fmt.Errorf("fetch from %s: only whole roots can be had there: %w", redacted(o.HTTP), ErrUnsupported)
	case o.ranged() && o.Output != "":
		return fmt.Errorf("fetch bytes %d to %d into %s: an output is for whole files", o.From, o.To, o.Output)
	}
	return nil
}

// ranged tells that some bytes of a file are wanted.
func (o FetchOptions) ranged() bool { return o.From != 0 || o.To != 0 }

// wanted returns what is to be fetched of a file, or a stretch of files, by the options.
func (f *fetch) wanted(whole span) span {
	if f.opts.List {
		return span{}
	}
	to := f.opts.To
	if to == 0 || to > whole.n {
		to = whole.n
	}
	from := min(f.opts.From, to)
	return span{whole.offset + from, to - from}
}

// partial reports whether only a part of the content is fetched.
func (f *fetch) partial() bool {
	return f.part.n != f.content.outline.Bytes() || f.opts.Path != ""
}

// entriesMissing returns the pages of the list of entries that must be here before anything else, as far as they are known.
func (f *fetch) entriesMissing() []cafs.PageInfo {
	entries := f.content.entries
	if entries == nil || f.treeBegun {
		return nil
	}
	if f.opts.Path == "" {
		return entries.Missing(pagesLook)
	}
	return entries.MissingBelow(f.opts.Path)
}

// beginTree makes the output of a tree, once its entries are here. Callers hold f.mu.
func (f *fetch) beginTree(ctx context.Context) {
	if f.treeBegun || f.content.entries == nil || len(f.entriesMissing()) > 0 {
		return
	}
	f.treeBegun = true
	f.work.Go(func() {
		if err := f.makeTree(ctx); err != nil {
			f.fail(err)
		}
	})
}

// makeTree checks the entries as a whole, and makes the output.
func (f *fetch) makeTree(ctx context.Context) error {
	record, err := cafs.ParseRecord(f.content.record)
	if err != nil {
		return err
	}
	tree, err := cafs.OpenTree(f.node.store, record)
	if err != nil {
		return err
	}
	if f.opts.Path == "" {
		if err := tree.Check(ctx); err != nil {
			return err
		}
	}
	part, isFile, err := f.findPart(ctx, tree)
	if err != nil {
		return err
	}
	if f.opts.List && !isFile {
		for e, err := range tree.Below(ctx, f.opts.Path) {
			if err != nil {
				return err
			}
			f.events.now(Event{Kind: EventEntry, Entry: &Entry{e.Path, e.Type.String(), e.Size, e.Target}})
		}
	}
	var out destination = (*output)(nil)
	switch {
	case f.outPath == "":
	case isFile:
		if out, err = createPartOutput(f, part); err != nil {
			return err
		}
	default:
		if out, err = createTreeOutput(ctx, f, tree, record); err != nil {
			return err
		}
	}
	if !out.keeps() {
		if err := f.checkStoreSpace(ctx, f.wanted(part).n); err != nil {
			return errors.Join(err, out.discard())
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.begun(ctx, part, out)
	return nil
}

// findPart returns where in the data stream the content of the path is that is fetched.
func (f *fetch) findPart(ctx context.Context, tree cafs.Tree) (part span, isFile bool, err error) {
	if f.opts.Path == "" {
		if f.opts.ranged() {
			return span{}, false, fmt.Errorf("the root is a tree; say which of its files is meant: %w", ErrUnsupported)
		}
		return span{0, tree.Data().Size()}, false, nil
	}
	e, err := tree.Lookup(ctx, f.opts.Path)
	if err != nil {
		return span{}, false, err
	}
	switch e.Type {
	case cafs.TypeSymlink:
		return span{}, false, fmt.Errorf("%s is a symbolic link to %q: %w", f.opts.Path, e.Target, ErrUnsupported)
	case cafs.TypeDirectory:
		if f.opts.ranged() {
			return span{}, false, fmt.Errorf("%s is a directory, and no file: %w", f.opts.Path, ErrUnsupported)
		}
		part = span{offset: e.Offset}
		for below, err := range tree.Below(ctx, f.opts.Path) {
			if err != nil {
				return span{}, false, err
			}
			part.n += below.Size
		}
		return part, false, nil
	}
	return span{e.Offset, e.Size}, true, nil
}
