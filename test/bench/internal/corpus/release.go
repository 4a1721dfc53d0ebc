package corpus

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// GoSource returns the directory of the Go toolchain's own source.
func GoSource(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOROOT: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(root)), "src"), nil
}

// Module returns the directory of a published version of a Go module, from the module cache or through the proxy.
// scratch is a directory outside of any module.
func Module(ctx context.Context, scratch, module string) (string, error) {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	command.Dir = scratch
	command.Env = append(os.Environ(), "GOWORK=off", "GO111MODULE=on")
	output, err := command.Output()
	var download struct{ Dir, Error string }
	if errJSON := json.Unmarshal(output, &download); errJSON != nil {
		return "", fmt.Errorf("go mod download %s: %w", module, errors.Join(err, errJSON))
	}
	if err != nil || download.Error != "" {
		return "", fmt.Errorf("go mod download %s: %s: %w", module, download.Error, err)
	}
	return download.Dir, nil
}

// Tar packs the files below dir into one archive whose bytes depend on their names and contents alone.
func Tar(dir, path string) error {
	return create(path, func(w io.Writer) error {
		archive := tar.NewWriter(w)
		source := os.DirFS(dir)
		err := fs.WalkDir(source, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			return pack(archive, source, name)
		})
		return errors.Join(err, archive.Close())
	})
}

func pack(archive *tar.Writer, source fs.FS, name string) error {
	content, err := fs.ReadFile(source, name)
	if err != nil {
		return err
	}
	header := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatPAX}
	if err := archive.WriteHeader(header); err != nil {
		return err
	}
	_, err = archive.Write(content)
	return err
}

// CopyTree copies the regular files of a tree, with the times of their modification.
func CopyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, 0o755)
		case entry.Type().IsRegular():
			if err := CopyFile(path, target); err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			return os.Chtimes(target, time.Time{}, info.ModTime())
		}
		return nil
	})
}

// ChangeSome appends a line to n files of a tree, which are the same for the same seed.
func ChangeSome(dir string, n int, seed uint64) error {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	r := rand.New(source(seed, "changes of files"))
	for i, file := range r.Perm(len(files))[:min(n, len(files))] {
		f, err := os.OpenFile(files[file], os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "// change %d\n", i)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// CopyFile copies a file.
func CopyFile(from, to string) error {
	file, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, file)
	return errors.Join(err, target.Close())
}
