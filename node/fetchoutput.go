package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/swarmsync/swarmsync/cafs"
)

// What this file adds to fetch is where its content goes, and what becomes of that at the end.

// setOutput makes path the output, unless the content stands there already.
func (f *fetch) setOutput(ctx context.Context, path string) error {
	path, err := checkOutput(path, f.opts.Force)
	f.outPath, f.standing = path, ""
	if f.opts.Path == "" && (err == nil || errors.Is(err, ErrExists)) && f.node.standsAt(ctx, f.link.Root, path) {
		f.outPath, f.standing = "", path
		return nil
	}
	if err == nil && !isDir(path) {
		f.noteReplaced(ctx, path)
	}
	return err
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// fitOutput makes the output fit to what the root turned out to be: a file gets its own name in a directory.
func (f *fetch) fitOutput(ctx context.Context, tree bool) error {
	if f.outPath == "" || tree || !isDir(f.outPath) {
		return nil
	}
	name := SafeName(f.result.Name)
	if name == "" {
		return fmt.Errorf("output %s is a directory, and the content has no name: %w", f.outPath, ErrExists)
	}
	if err := f.setOutput(ctx, filepath.Join(f.outPath, name)); err != nil {
		return err
	}
	if isDir(f.outPath) {
		return fmt.Errorf("output %s is a directory: %w", f.outPath, ErrExists)
	}
	return nil
}

// reserve makes the output, if there is one, and sees to it that the store has room for what may have to be fetched.
func (f *fetch) reserve(ctx context.Context, size int64, tree bool) (*output, error) {
	if tree {
		return nil, nil // see makeTree
	}
	var out *output
	if f.outPath != "" {
		var err error
		if out, err = createOutput(ctx, f.node.store, f.outPath, f.key, size, f.opts.Force); err != nil {
			return nil, err
		}
	}
	if out.keeps() {
		return out, nil
	}
	if err := f.checkStoreSpace(ctx, f.wanted(span{0, size}).n); err != nil {
		return nil, errors.Join(err, out.discard())
	}
	return out, nil
}

// checkStoreSpace says in time that the store has no room for content of which it has nothing yet.
func (f *fetch) checkStoreSpace(ctx context.Context, size int64) error {
	if f.opts.DryRun {
		return nil
	}
	_, err := f.node.store.Root(ctx, f.link.Root)
	if !errors.Is(err, cafs.ErrNotFound) {
		return err
	}
	return f.node.checkStoreSpace(size)
}

// finish makes what was fetched durable and known.
func (f *fetch) finish(ctx context.Context) error {
	if err := f.node.store.Sync(ctx); err != nil {
		return fmt.Errorf("sync the store: %w", err)
	}
	f.result.Output = f.standing
	if f.opts.DryRun {
		return nil
	}
	if f.partial() {
		f.result.Bytes = f.result.Reused + f.result.Fetched
		if f.outPath == "" {
			return nil
		}
		if err := f.out.publish(ctx, f.link.Root); err != nil {
			return err
		}
		f.result.Output = f.outPath
		return nil
	}
	if f.outPath != "" {
		after, err := f.replaceOld(ctx)
		if err != nil {
			return err
		}
		if err := f.out.publish(ctx, f.link.Root); err != nil {
			return err
		}
		f.result.Output = f.outPath
		if err := after(); err != nil {
			return err
		}
	}
	if err := f.node.complete(ctx, f.link.Root, f.result.Output); err != nil {
		return err
	}
	f.tellComplete()
	return nil
}

// release gives back what the fetch holds. An output that was not published stays for a later fetch if it is where
// verified chunks are kept; else they are in the store.
func (f *fetch) release(outcome error) error {
	if f.content != nil {
		f.content.release()
	}
	keeps := f.out.keeps() && (f.out.wasResumed() || f.result.Fetched > 0) && !errors.Is(outcome, cafs.ErrBadRoot)
	if keeps || f.result.Output != "" {
		return f.out.close()
	}
	return f.out.discard()
}
