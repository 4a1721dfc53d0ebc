package node

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/swarmsync/swarmsync/internal/durable"
)

// stageDir is where files are written before they get their places.
type stageDir struct {
	path  string
	root  *os.Root
	found bool // it was there

	mu   sync.Mutex
	dirs map[string]*os.Root // the directories used lately
}

// stageDirsMax bounds the directories that are kept open.
const stageDirsMax = 32

// openStage opens the directory at path, or makes it.
func openStage(path string) (*stageDir, error) {
	s := &stageDir{path: path, dirs: make(map[string]*os.Root)}
	err := os.Mkdir(path, 0o777)
	if errors.Is(err, fs.ErrExist) {
		s.found = true
		err = durable.CheckOwnDir(path)
	}
	if err != nil {
		return nil, err
	}
	if s.root, err = os.OpenRoot(path); err != nil {
		return nil, err
	}
	return s, nil
}

// create makes a file, or empties it if it is there, and the directories that it is in.
func (s *stageDir) create(path string, executable bool) (*os.File, error) {
	perm := fs.FileMode(0o666)
	if executable {
		perm = 0o777
	}
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	in, done, err := s.dir(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	return in.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC|openNoFollow, perm)
}

// dir returns a directory of the stage; done must be called after its use.
func (s *stageDir) dir(path string) (dir *os.Root, done func(), err error) {
	if path == "" {
		return s.root, func() {}, nil
	}
	s.mu.Lock()
	if dir, ok := s.dirs[path]; ok {
		return dir, s.mu.Unlock, nil
	}
	defer func() {
		if err != nil {
			s.mu.Unlock()
		}
	}()
	if len(s.dirs) >= stageDirsMax {
		if err := s.closeDirs(); err != nil {
			return nil, nil, err
		}
	}
	if err := s.root.MkdirAll(path, 0o777); err != nil {
		return nil, nil, err
	}
	if dir, err = s.root.OpenRoot(path); err != nil {
		return nil, nil, err
	}
	s.dirs[path] = dir
	return dir, s.mu.Unlock, nil
}

func (s *stageDir) closeDirs() error {
	var errs []error
	for path, dir := range s.dirs {
		errs = append(errs, dir.Close())
		delete(s.dirs, path)
	}
	return errors.Join(errs...)
}

func (s *stageDir) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.closeDirs(), s.root.Close())
}

func (s *stageDir) remove() error { return os.RemoveAll(s.path) }

// targetDir is a directory that is there and gets a tree.
type targetDir struct {
	root *os.Root

	mu   sync.Mutex
	real map[string]bool // which paths are directories, and no links to some
}

func openTarget(path string) (*targetDir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &targetDir{root: root, real: map[string]bool{"": true}}, nil
}

// isDir reports whether a path is a directory that no link leads to.
func (t *targetDir) isDir(path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.isDirLocked(path)
}

func (t *targetDir) isDirLocked(path string) bool {
	real, known := t.real[path]
	if known {
		return real
	}
	if t.isDirLocked(parentDir(path)) {
		info, err := t.root.Lstat(path)
		real = err == nil && info.IsDir()
	}
	t.real[path] = real
	return real
}

// hasFile reports whether there is a regular file of a size, and with which permissions.
func (t *targetDir) hasFile(path string, size int64) (perm fs.FileMode, ok bool) {
	if !t.isDir(parentDir(path)) {
		return 0, false
	}
	info, err := t.root.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() != size {
		return 0, false
	}
	return info.Mode().Perm(), true
}

// parentDir returns the path of the directory that a path is in, empty for the top.
func parentDir(path string) string { return path[:max(0, strings.LastIndexByte(path, '/'))] }
