package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/git-pkgs/gitignore"

	"github.com/swarmsync/swarmsync/cafs"
)

// ignoreFile names the files of a tree with patterns of what is left out below their directories, as git's .gitignore.
const ignoreFile = ".swarmignore"

// walk goes through a directory in the order of the entries of a tree. It follows no symbolic link below the top.
type walk struct {
	ctx     context.Context //nolint:containedctx // it ends with the walk
	top     string
	exclude *gitignore.Matcher // of the user
	ignored *gitignore.Matcher // of the ignoreFiles
	home    string             // of the node, empty if there is none
	skip    func(path, why string)
	yield   func(walked) bool
}

// walked is an entry that was found.
type walked struct {
	cafs.Entry
	full string // where it is
}

// errStopWalk: nobody wants more entries.
var errStopWalk = errors.New("stop")

// walkTree enumerates what is below the directory at top, whose path has no links in it. exclude has patterns as in a
// .gitignore; home is the directory of the node, see home.resolved, which is left out without a word; skip is told what
// can't be part of a tree. It stops after the first error.
func walkTree(
	ctx context.Context, top string, exclude []string, home string, skip func(path, why string),
) iter.Seq2[walked, error] {
	return func(yield func(walked, error) bool) {
		w := &walk{ctx: ctx, top: top, exclude: gitignore.New(""), ignored: gitignore.New(""), home: home, skip: skip}
		w.yield = func(found walked) bool { return yield(found, nil) }
		err := w.addPatterns(w.exclude, []byte(strings.Join(exclude, "\n")), "", "--exclude")
		if err == nil {
			err = w.directory("")
		}
		if err != nil && !errors.Is(err, errStopWalk) {
			yield(walked{}, err)
		}
	}
}

// addPatterns takes in patterns; a pattern that is none is an error rather than one that leaves out nothing.
func (w *walk) addPatterns(m *gitignore.Matcher, patterns []byte, dir, source string) error {
	before := len(m.Errors())
	m.AddPatterns(patterns, dir)
	if bad := m.Errors(); len(bad) > before {
		return fmt.Errorf("%s: pattern %q: %s", source, bad[before].Pattern, bad[before].Message)
	}
	return nil
}

// directory goes through the directory at a path below the top; empty is the top.
func (w *walk) directory(path string) error {
	if err := w.ctx.Err(); err != nil {
		return context.Cause(w.ctx)
	}
	full := filepath.Join(w.top, filepath.FromSlash(path))
	found, err := os.ReadDir(full)
	if err != nil {
		return err
	}
	if err := w.readIgnoreFile(path, filepath.Join(full, ignoreFile)); err != nil {
		return err
	}
	for _, entry := range found { // in the order of their names, which is that of the entries
		below := entry.Name()
		if path != "" {
			below = path + "/" + below
		}
		if own := strings.HasPrefix(entry.Name(), ownPrefix) && strings.HasSuffix(entry.Name(), ownSuffix); own && entry.IsDir() {
			continue
		}
		if w.exclude.MatchPath(below, entry.IsDir()) || w.ignored.MatchPath(below, entry.IsDir()) {
			continue
		}
		if err := w.entry(below, filepath.Join(full, entry.Name()), entry); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) readIgnoreFile(dir, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	patterns, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return w.addPatterns(w.ignored, bytes.TrimPrefix(patterns, []byte("\xef\xbb\xbf")), dir, path)
}

func (w *walk) entry(path, full string, entry fs.DirEntry) error {
	if full == w.home {
		return nil
	}
	info, err := entry.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it went since the directory was read
	}
	if err != nil {
		return err
	}
	e := cafs.Entry{Path: path, ModTime: info.ModTime().UnixNano(), Perm: info.Mode().Perm()}
	switch {
	case info.IsDir():
		if !w.yield(walked{e, full}) {
			return errStopWalk
		}
		return w.directory(path)
	case info.Mode().IsRegular():
		e.Type, e.Size = cafs.TypeFile, info.Size()
		if isExecutable(info.Mode()) {
			e.Type = cafs.TypeExecutable
		}
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(full)
		if err != nil {
			return err
		}
		e.Type, e.Target, e.Perm = cafs.TypeSymlink, target, 0
	default:
		w.skip(full, specialKind(info.Mode()))
		return nil
	}
	if !w.yield(walked{e, full}) {
		return errStopWalk
	}
	return nil
}

// isExecutable reports whether the owner may execute a file. Windows has no such bit.
func isExecutable(mode fs.FileMode) bool { return mode&0o100 != 0 && runtime.GOOS != "windows" }

func specialKind(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "no regular file"
}
