package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

func newAddCommand(a *app) *cobra.Command {
	var opts node.AddOptions
	var flags nodeFlags // but those that concern a network
	preserved := preserve{&opts}
	command := &cobra.Command{
		Use:   "add PATH|- [flags]",
		Short: "add a file or a directory and print its root",
		Long: `Add hashes a file, or all files in a directory, and prints the root: 64 hexadecimal digits that name the content and are
the key to it. Files are served from where they are; when one is edited, what was there before is not served any more. A
file that was added and looks unchanged since is not read again. Standard input, for "-", is copied into the store. If a
node runs on the home, it serves the content at once. A root is not the SHA-256 of the file.

Of a directory all files, directories and symbolic links are added, and of permissions whether the owner may execute a file,
so that the root of the same tree is the same everywhere; --preserve keeps more. What .swarmignore files and --exclude name
is left out; both have the patterns of a .gitignore. Pipes, sockets and devices are skipped.`,
		Example:     "  $ swarmsync add film.mkv\n  $ swarmsync add photos --exclude '*.tmp' --exclude /cache/",
		Args:        exactlyPath,
		Annotations: exits(exitPartly, exitInterrupted),
		RunE: func(command *cobra.Command, args []string) (err error) {
			s, err := a.open(command, node.Config{Offline: true, Quota: int64(flags.quota)}, &flags, false)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			added, err := s.add(command.Context(), args[0], opts)
			if err != nil {
				return err
			}
			if err := a.result("result", added, added.Root.String()); err != nil {
				return err
			}
			return skippedSome(added)
		},
	}
	registerBool(command.Flags(), &opts.Private, "private", "", "salt the root, so that nobody can compute it by guessing the content")
	registerBool(command.Flags(), &opts.Copy, "copy", "", "copy the content into the store, so that the file may change or go")
	registerBool(command.Flags(), &opts.Rehash, "rehash", "", "read a file again that is known and looks unchanged")
	command.Flags().Var(&preserved, "preserve", "keep more of what is in a directory: `mode`, mtime or both, with a comma between")
	command.Flags().StringArrayVar(&opts.Exclude, "exclude", nil, "leave out what the `PATTERN` of a .gitignore matches in a directory; repeatable")
	registerQuota(command.Flags(), &flags.quota)
	return command
}

// skippedSome is the error of an add that has left something out.
func skippedSome(added node.RootStatus) error {
	if added.Skipped == 0 {
		return nil
	}
	return &partlyError{fmt.Errorf("%s skipped; everything else was added", count(int(added.Skipped), "entry"))}
}

// preserve is the flag that says what to keep of the files in a directory.
type preserve struct{ opts *node.AddOptions }

func (p *preserve) Set(text string) error {
	p.opts.Perms, p.opts.Times = false, false
	for word := range strings.SplitSeq(text, ",") {
		switch word {
		case "mode":
			p.opts.Perms = true
		case "mtime":
			p.opts.Times = true
		default:
			return fmt.Errorf("want mode, mtime or both, with a comma between")
		}
	}
	return nil
}

func (p *preserve) String() string {
	var words []string
	if p.opts != nil && p.opts.Perms {
		words = append(words, "mode")
	}
	if p.opts != nil && p.opts.Times {
		words = append(words, "mtime")
	}
	return strings.Join(words, ",")
}

func (p *preserve) Type() string { return "string" }

// add adds the file at path, or standard input for "-", and shows how far it is.
func (s *session) add(ctx context.Context, path string, opts node.AddOptions) (node.RootStatus, error) {
	shown := s.app.startProgress()
	defer shown.stop()
	opts.Events = shown.event
	if path == "-" {
		return s.AddReader(ctx, interruptible(ctx, s.app.stdin), opts)
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return node.RootStatus{}, fmt.Errorf("add: %w", err)
	}
	added, err := s.Add(ctx, absolute, opts)
	if errors.Is(err, node.ErrUnsupported) {
		err = hintAtStdin(err, path)
	}
	return added, err
}

// hintAtStdin says how to add what is no regular file by reading it from standard input.
func hintAtStdin(err error, path string) error {
	info, statErr := os.Stat(path)
	switch {
	case statErr != nil:
		return err
	case info.Mode()&os.ModeNamedPipe != 0:
		return withHint(err, "swarmsync add - < %s", shellWord(path))
	}
	return err
}

// shellWord quotes text, if it needs that, for a shell.
func shellWord(text string) string {
	if regexp.MustCompile(`^[\w./][\w./:@%+,-]*$`).MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// exactlyPath wants one argument that can be a path: an empty one comes from a variable that is not set.
func exactlyPath(command *cobra.Command, args []string) error {
	if err := exactly("PATH")(command, args); err != nil {
		return err
	}
	if args[0] == "" {
		return usagef("PATH is empty")
	}
	return nil
}

// interruptible returns a reader of r whose reads fail when ctx is done, also when r itself waits for somebody to type.
// The goroutine that waits there ends with the process.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	go func() {
		_, err := io.CopyBuffer(in, struct{ io.Reader }{r}, make([]byte, 1<<20)) // large, as each read is handed over
		in.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()); in.CloseWithError(ctx.Err()) })
	return out
}
