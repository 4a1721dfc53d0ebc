package cafs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"
)

// Tree is a tree of files in a store. It may be copied; its methods may be called concurrently. What it reads of the list of
// its entries, at most a few hundred KiB at a time, it checks.
type Tree struct {
	rec   Record
	top   decodedPage
	data  File
	store Getter
	cache *pageCache
}

// TreeEntry is an entry, and where the content of a file begins in the data stream of its tree, in bytes. Of other entries,
// Offset is where that of the next file begins.
type TreeEntry struct {
	Entry
	Offset int64
}

// OpenTree returns the tree of a root whose pages and chunks are read from g as they are needed. The error wraps ErrBadRoot
// if the record breaks the rules. Reads fail with ErrNotFound where a page or a chunk is not in g, and with ErrBadRoot where
// a page breaks the rules.
func OpenTree(g Getter, rec Record) (Tree, error) {
	if rec.Kind != KindTree {
		return Tree{}, fmt.Errorf("open tree: a %v is none", rec.Kind)
	}
	top, err := rec.Entries.top(rec.entryForm())
	if err != nil {
		return Tree{}, fmt.Errorf("open tree: %w", err)
	}
	data, err := openData(g, rec)
	if err != nil {
		return Tree{}, fmt.Errorf("open tree: %w", err)
	}
	return Tree{rec, top, data, g, &pageCache{}}, nil
}

// NumEntries returns the number of entries.
func (t Tree) NumEntries() int64 { return t.rec.Entries.Items }

// Data returns the content of all files, one after the other in the order of their entries.
func (t Tree) Data() File { return t.data }

// Entries enumerates the entries in their order, from the first one on that is not before the path from; an empty path is
// before all. It stops after the first error.
func (t Tree) Entries(ctx context.Context, from string) iter.Seq2[TreeEntry, error] {
	return func(yield func(TreeEntry, error) bool) {
		w := entryWalk{tree: t, ctx: ctx, from: from, yield: yield, whole: from == ""}
		if err := w.walk(t.top, t.start()); err != nil && !errors.Is(err, errStopWalk) {
			yield(TreeEntry{}, err)
		}
	}
}

// start is what covers the whole list, above the top list.
func (t Tree) start() PageInfo {
	return PageInfo{Level: t.rec.Entries.Depth, form: t.rec.entryForm()}
}

// entryWalk is one call of Tree.Entries.
type entryWalk struct {
	tree  Tree
	ctx   context.Context //nolint:containedctx // it ends with the call
	from  string
	yield func(TreeEntry, error) bool
	whole bool // all entries from the first on
	last  Entry
}

var errStopWalk = errors.New("no more entries are wanted")

func (w *entryWalk) walk(page decodedPage, at PageInfo) error {
	if at.Level == 0 {
		return w.leaf(page.entries, at.FirstByte)
	}
	first := page.refs[page.refOf(w.from)].path
	for below := range page.below(at) {
		if ComparePaths(below.path, first) < 0 {
			continue
		}
		next, err := w.tree.load(w.ctx, below)
		if err != nil {
			return err
		}
		if err := w.walk(next, below); err != nil {
			return err
		}
	}
	return nil
}

// refOf returns which of the pages that p refers to has the last entry that does not come after a path; the first if there
// is none.
func (p decodedPage) refOf(path string) int {
	return max(0, sort.Search(len(p.refs), func(i int) bool { return ComparePaths(p.refs[i].path, path) > 0 })-1)
}

func (t Tree) load(ctx context.Context, p PageInfo) (decodedPage, error) {
	return t.cache.load(ctx, t.store, p, t.rec.Entries.Items)
}

func (w *entryWalk) leaf(entries []Entry, offset int64) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	for _, e := range entries {
		if ComparePaths(e.Path, w.from) >= 0 {
			if err := w.checkNext(e); err != nil {
				return fmt.Errorf("list of entries: %w: %w", err, ErrBadRoot)
			}
			if !w.yield(TreeEntry{e, offset}, nil) {
				return errStopWalk
			}
			w.last = e
		}
		offset += e.Size
	}
	return nil
}

// checkNext applies the rules that a page alone can't break.
func (w *entryWalk) checkNext(e Entry) error {
	if w.last.Path != "" {
		return w.last.checkNext(e)
	}
	if w.whole && parentPath(e.Path) != "" {
		return fmt.Errorf("entry %q: there is no directory before it", shorten(e.Path))
	}
	return nil
}

// Below enumerates what is in a directory, at any depth, with paths that begin there; an empty path is the top. It stops
// after the first error.
func (t Tree) Below(ctx context.Context, dir string) iter.Seq2[TreeEntry, error] {
	return func(yield func(TreeEntry, error) bool) {
		for e, err := range t.Entries(ctx, dir) {
			if err == nil && e.Path == dir {
				continue
			}
			if err == nil && !isBelow(e.Path, dir) {
				return
			}
			if err == nil && dir != "" {
				e.Path = e.Path[len(dir)+1:]
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// Lookup returns the entry of a path; the error wraps ErrNotFound if there is none.
func (t Tree) Lookup(ctx context.Context, path string) (TreeEntry, error) {
	for e, err := range t.Entries(ctx, path) {
		if err != nil {
			return TreeEntry{}, err
		}
		if e.Path == path {
			return e, nil
		}
		break
	}
	return TreeEntry{}, fmt.Errorf("entry %q: %w", shorten(path), ErrNotFound)
}

// EntryPage returns the encoded leaf page, or top list, that has the last entry which does not come after a path. It is what an
// older version has in the place of a page that begins with that path.
func (t Tree) EntryPage(ctx context.Context, path string) ([]byte, error) {
	if t.rec.Entries.Depth == 0 {
		return t.rec.Entries.Top, nil
	}
	page, at := t.top, t.start()
	for {
		first := page.refs[page.refOf(path)].path
		for below := range page.below(at) {
			if at = below; below.path == first {
				break
			}
		}
		if at.Level == 0 {
			return t.store.Get(ctx, at.Key, nil)
		}
		var err error
		if page, err = t.load(ctx, at); err != nil {
			return nil, err
		}
	}
}

// MissingBelow is Missing for the pages of a tree's entries that are needed to enumerate those of a path and below.
func (o *Outline) MissingBelow(path string) []PageInfo {
	o.mu.RLock()
	defer o.mu.RUnlock()
	var pages []PageInfo
	if o.top != nil {
		o.missingBelow(o.top, path, &pages)
	}
	return pages
}

func (o *Outline) missingBelow(b *branch, path string, pages *[]PageInfo) {
	first := max(0, sort.Search(len(b.paths), func(i int) bool { return ComparePaths(b.paths[i], path) > 0 })-1)
	for i := first; i < len(b.pages); i++ {
		if i > first && !(b.paths[i] == path || isBelow(b.paths[i], path)) {
			return
		}
		page := &b.pages[i]
		if !page.added {
			*pages = append(*pages, o.info(b, i))
			continue
		}
		if page.below != nil {
			o.missingBelow(page.below, path, pages)
		}
	}
}

// isBelow reports whether a path is below a directory.
func isBelow(path, dir string) bool {
	return len(path) > len(dir) && path[:len(dir)] == dir && (dir == "" || path[len(dir)] == '/')
}

// Check reads the list of the entries from the first to the last, and holds it against all rules, also those that show
// only where one page follows the other. The error wraps ErrBadRoot if one is broken.
func (t Tree) Check(ctx context.Context) error {
	builder := NewEntryListBuilder(t.rec, func(Chunk) error { return nil })
	for e, err := range t.Entries(ctx, "") {
		if err != nil {
			return err
		}
		if err := builder.Add(e.Entry); err != nil {
			return fmt.Errorf("%w: %w", err, ErrBadRoot)
		}
	}
	list, err := builder.Finish()
	if err != nil {
		return fmt.Errorf("%w: %w", err, ErrBadRoot)
	}
	want := t.rec.Entries
	if list.Bytes != want.Bytes || list.Items != want.Items || list.Depth != want.Depth || !bytes.Equal(list.Top, want.Top) {
		return fmt.Errorf("list of entries: it is not cut into pages by the rules: %w", ErrBadRoot)
	}
	return nil
}
