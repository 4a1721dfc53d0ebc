package cafs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
)

// EntryType tells what an entry of a tree is.
type EntryType uint8

// The types of entries.
const (
	TypeDirectory  EntryType = 0
	TypeFile       EntryType = 1
	TypeExecutable EntryType = 2 // a file that its owner may execute
	TypeSymlink    EntryType = 3
)

// String returns "directory", "file", "executable", "symlink" or the number.
func (t EntryType) String() string {
	switch t {
	case TypeDirectory:
		return "directory"
	case TypeFile:
		return "file"
	case TypeExecutable:
		return "executable"
	case TypeSymlink:
		return "symlink"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Entry is a directory, a file or a symbolic link in a tree.
type Entry struct {
	// Path is the path below the top of the tree: 1 to PathDepthMax components with one "/" between them. Its bytes are
	// those of the file system, in no particular encoding.
	Path string
	Type EntryType
	// Size is that of a file in bytes, 0 for everything else.
	Size int64
	// Target is what a symbolic link says, 1 to TargetSizeMax bytes, and empty for everything else.
	Target string
	// Perm is the permission bits, 0 … 0777, in trees that keep them; 0 for symbolic links.
	Perm fs.FileMode
	// ModTime is the time of modification in ns since 1970-01-01 00:00 UTC, in trees that keep it.
	ModTime int64
}

// IsFile reports whether the entry has content.
func (e Entry) IsFile() bool { return e.Type == TypeFile || e.Type == TypeExecutable }

// entrySizeMin is the shortest encoding of an entry: of a directory in the same place as the one before, with a name of one
// byte.
const entrySizeMin = 4

// check reports what no entry may be.
func (e Entry) check(form itemForm) error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	switch {
	case e.Type > TypeSymlink:
		return fmt.Errorf("unknown %v", e.Type)
	case e.Size < 0 || e.Size > ContentBytesMax || e.Size > 0 && !e.IsFile():
		return fmt.Errorf("%v of %d bytes", e.Type, e.Size)
	case (e.Target != "") != (e.Type == TypeSymlink) || len(e.Target) > TargetSizeMax:
		return fmt.Errorf("%v with a target of %d bytes", e.Type, len(e.Target))
	case strings.IndexByte(e.Target, 0) >= 0:
		return errors.New("target with a NUL")
	case e.Perm > fs.ModePerm || e.Perm != 0 && (form&formPerms == 0 || e.Type == TypeSymlink):
		return fmt.Errorf("%v with permission bits %#o", e.Type, uint32(e.Perm))
	case form&formPerms != 0 && e.IsFile() && (e.Type == TypeExecutable) != (e.Perm&0o100 != 0):
		return fmt.Errorf("%v with permission bits %#o", e.Type, uint32(e.Perm))
	case e.ModTime != 0 && form&formTimes == 0:
		return errors.New("time of modification in a tree that keeps none")
	}
	return nil
}

// checkPath reports what no path of an entry may be.
func checkPath(path string) error {
	if len(path) == 0 || len(path) > PathSizeMax {
		return fmt.Errorf("path of %d bytes: want 1 to %d", len(path), PathSizeMax)
	}
	if strings.IndexByte(path, 0) >= 0 {
		return fmt.Errorf("path %q has a NUL", shorten(path))
	}
	depth := 0
	for name := range strings.SplitSeq(path, "/") {
		if name == "" || name == "." || name == ".." || len(name) > NameSizeMax {
			return fmt.Errorf("path %q: component %q", shorten(path), shorten(name))
		}
		if depth++; depth > PathDepthMax {
			return fmt.Errorf("path %q: more than %d components", shorten(path), PathDepthMax)
		}
	}
	return nil
}

// ComparePaths compares the places of two paths in a tree: byte by byte, with "/" below every other byte, so that what is
// below a directory comes directly behind it.
func ComparePaths(a, b string) int {
	n := commonPrefix(a, b)
	switch {
	case n == len(a) && n == len(b):
		return 0
	case n == len(a):
		return -1
	case n == len(b):
		return 1
	case a[n] == '/' || b[n] != '/' && a[n] < b[n]:
		return -1
	}
	return 1
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// parentPath returns the path of the directory that an entry is in, empty for the top.
func parentPath(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '/'))]
}

// checkNext reports why next can't come directly after e: each path comes once and in order, after the directory that it
// is in. That holds for all entries if it holds for each two neighbours, and the first has no directory above it.
func (e Entry) checkNext(next Entry) error {
	if ComparePaths(e.Path, next.Path) >= 0 {
		return fmt.Errorf("entry %q comes after %q", shorten(next.Path), shorten(e.Path))
	}
	parent := parentPath(next.Path)
	inside := e.Path == parent && e.Type == TypeDirectory || strings.HasPrefix(e.Path, parent+"/")
	if parent != "" && !inside {
		return fmt.Errorf("entry %q: there is no directory %q before it", shorten(next.Path), shorten(parent))
	}
	return nil
}

// markedPath reports whether an entry ends its page, if the page has enough of them.
func markedPath(path string) bool { return marked(KeyOf([]byte(path))) }

// appendEntry appends an entry to a page in which before is the path of the one before it, empty if there is none.
func appendEntry(b []byte, form itemForm, before string, e Entry) []byte {
	shared := commonPrefix(before, e.Path)
	b = binary.AppendUvarint(b, uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(e.Path)-shared))
	b = append(append(b, e.Path[shared:]...), byte(e.Type))
	if form&formPerms != 0 && e.Type != TypeSymlink {
		b = binary.AppendUvarint(b, uint64(e.Perm))
	}
	if form&formTimes != 0 {
		b = binary.AppendVarint(b, e.ModTime)
	}
	switch {
	case e.IsFile():
		b = binary.AppendUvarint(b, uint64(e.Size))
	case e.Type == TypeSymlink:
		b = binary.AppendUvarint(b, uint64(len(e.Target)))
		b = append(b, e.Target...)
	}
	return b
}

// readEntries reads the entries of a page, at most limit, and checks all that can be seen in one page.
func readEntries(form itemForm, b []byte, limit int) ([]Entry, error) {
	before := Entry{}
	entries, err := readItems(b, limit, entrySizeMin, func(b []byte) (Entry, []byte, error) {
		e, rest, err := readEntry(form, b, before.Path)
		if err == nil && before.Path != "" {
			err = before.checkNext(e)
		}
		before = e
		return e, rest, err
	})
	return entries, err
}

func readEntry(form itemForm, b []byte, before string) (e Entry, rest []byte, err error) {
	shared, b, err := readUvarint(b, PathSizeMax)
	if err != nil {
		return Entry{}, nil, fmt.Errorf("shared bytes of a path: %w", err)
	}
	own, b, err := readBytes(b, PathSizeMax)
	if err != nil {
		return Entry{}, nil, fmt.Errorf("path: %w", err)
	}
	if shared > uint64(len(before)) {
		return Entry{}, nil, fmt.Errorf("path shares %d bytes with one of %d", shared, len(before))
	}
	e.Path = before[:shared] + string(own)
	if commonPrefix(before, e.Path) != int(shared) {
		return Entry{}, nil, fmt.Errorf("path %q shares more than the %d bytes that it says", shorten(e.Path), shared)
	}
	if len(b) == 0 {
		return Entry{}, nil, errTruncated
	}
	e.Type, b = EntryType(b[0]), b[1:]
	if b, err = e.readAttributes(form, b); err != nil {
		return Entry{}, nil, fmt.Errorf("entry %q: %w", shorten(e.Path), err)
	}
	if err := e.check(form); err != nil {
		return Entry{}, nil, fmt.Errorf("entry %q: %w", shorten(e.Path), err)
	}
	return e, b, nil
}

// readAttributes reads what follows the type of an entry.
func (e *Entry) readAttributes(form itemForm, b []byte) (rest []byte, err error) {
	var v uint64
	if form&formPerms != 0 && e.Type != TypeSymlink {
		if v, b, err = readUvarint(b, uint64(fs.ModePerm)); err != nil {
			return nil, fmt.Errorf("permission bits: %w", err)
		}
		e.Perm = fs.FileMode(v)
	}
	if form&formTimes != 0 {
		if v, b, err = readUvarint(b, math.MaxUint64); err != nil {
			return nil, fmt.Errorf("time of modification: %w", err)
		}
		e.ModTime = int64(v>>1) ^ -int64(v&1)
	}
	switch {
	case e.IsFile():
		if v, b, err = readUvarint(b, ContentBytesMax); err != nil {
			return nil, fmt.Errorf("size: %w", err)
		}
		e.Size = int64(v)
	case e.Type == TypeSymlink:
		var target []byte
		if target, b, err = readBytes(b, TargetSizeMax); err != nil {
			return nil, fmt.Errorf("target: %w", err)
		}
		e.Target = string(target)
	}
	return b, nil
}

// readBytes reads bytes that their length, at most limit, comes before. They are part of b.
func readBytes(b []byte, limit uint64) (data, rest []byte, err error) {
	n, b, err := readUvarint(b, limit)
	if err != nil {
		return nil, nil, err
	}
	if uint64(len(b)) < n {
		return nil, nil, errTruncated
	}
	return b[:n:n], b[n:], nil
}

// EntryListBuilder makes the list of a tree's entries. What it holds is bounded as that of a ListBuilder. It is not safe
// for concurrent use.
type EntryListBuilder struct {
	listBuilder
	last  Entry
	paged string // path of the last entry of the page that level 0 is at
	flat  []byte // all entries encoded as one page, until they take more than ListTopMax bytes
}

// NewEntryListBuilder returns the builder of an empty list for a record that keeps times and permission bits or does not.
// For put see NewListBuilder.
func NewEntryListBuilder(rec Record, put func(Chunk) error) *EntryListBuilder {
	return &EntryListBuilder{listBuilder: listBuilder{put: put, form: rec.entryForm()}}
}

// Add appends an entry to the list. It fails if put does, if there can be no such entry, if it does not come after the one
// before and after the directory that it is in, or if the list gets too long. After an error the builder is of no use.
func (b *EntryListBuilder) Add(e Entry) error {
	if err := b.check(e); err != nil {
		return fmt.Errorf("list of entries, item %d: %w", b.list.Items, err)
	}
	if len(b.flat) <= ListTopMax {
		b.flat = appendEntry(b.flat, b.form, b.last.Path, e)
	}
	b.last = e
	b.list.Items++
	b.list.Bytes += e.Size
	l := b.level(0)
	l.total = len(b.flat)
	encoded := appendEntry(nil, b.form, b.paged, e)
	if len(l.page.data)+len(encoded) > PageSizeMax {
		if err := b.cut(0); err != nil {
			return err
		}
		encoded = appendEntry(nil, b.form, "", e)
	}
	b.paged = e.Path
	item := listItem{encoded: encoded, marked: markedPath(e.Path), items: 1, bytes: e.Size, path: e.Path}
	if err := b.add(0, item); err != nil {
		return err
	}
	if l.page.count == 0 {
		b.paged = ""
	}
	return nil
}

func (b *EntryListBuilder) check(e Entry) error {
	if err := e.check(b.form); err != nil {
		return err
	}
	if b.list.Items == TreeEntriesMax || b.list.Bytes > ContentBytesMax-e.Size {
		return fmt.Errorf("the tree has more than %d bytes or %d entries", int64(ContentBytesMax), TreeEntriesMax)
	}
	if b.list.Items > 0 {
		return b.last.checkNext(e)
	}
	if parentPath(e.Path) != "" {
		return fmt.Errorf("entry %q: there is no directory before it", shorten(e.Path))
	}
	return nil
}

// Finish ends the list and returns it. The builder is of no use afterwards.
func (b *EntryListBuilder) Finish() (List, error) {
	if len(b.flat) <= ListTopMax {
		b.list.Top = b.flat
		return b.list, nil
	}
	return b.listBuilder.Finish()
}
