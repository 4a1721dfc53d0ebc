package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/disk"
	"github.com/swarmsync/swarmsync/internal/control"
	"github.com/swarmsync/swarmsync/node"
)

// The exit codes. New ones may be added; these keep their meaning.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPartly      = 3
	exitNotFound    = 4
	exitCorrupt     = 5
	exitInterrupted = 130
)

// exitMeanings are the words for the exit codes in the help of a command.
func exitMeanings() map[int]string {
	return map[int]string{
		exitDone:        "done",
		exitFailed:      "failed",
		exitUsage:       "wrong use",
		exitPartly:      "partly done: something was skipped",
		exitNotFound:    "nothing found: no holder, or an unknown root",
		exitCorrupt:     "verification failed, or a bad root",
		exitInterrupted: "interrupted",
	}
}

// partlyError tells that something was done, and something was skipped.
type partlyError struct{ err error }

func (e *partlyError) Error() string { return e.err.Error() }

func (e *partlyError) Unwrap() error { return e.err }

// usageError is a mistake in how the command was called.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// hintError adds what the user can do about an error.
type hintError struct {
	error
	hint string
}

func (e *hintError) Unwrap() error { return e.error }

func withHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// exitCode returns the code that tells a script what err means.
func exitCode(ctx context.Context, err error) int {
	var usage *usageError
	var partly *partlyError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &partly):
		return exitPartly
	case errors.As(err, &usage):
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, cafs.ErrBadRoot), errors.Is(err, cafs.ErrCorrupt):
		return exitCorrupt
	case errors.Is(err, node.ErrNoHolder), errors.Is(err, cafs.ErrNotFound):
		return exitNotFound
	default:
		return exitFailed
	}
}

// hintFor returns what the user can do about the error of a command, empty if there is nothing that the error itself
// does not say. It speaks only of flags that the command has.
func hintFor(command *cobra.Command, err error) string {
	var hinted *hintError
	if errors.As(err, &hinted) {
		return hinted.hint
	}
	var locked *disk.LockedError
	if errors.As(err, &locked) {
		return "wait for the other process to end, or choose another directory with --home"
	}
	elsewhere, holder := "--home", ""
	if command.Flags().Lookup("output") != nil {
		elsewhere = "-o or --home"
	}
	if command.Flags().Lookup("peer") != nil {
		holder = " name it with --peer, or"
	}
	for _, known := range []struct {
		err  error
		hint string
	}{
		{control.ErrRunning, "stop it first, or choose another directory with --home"},
		{control.ErrGone, "run the same command again to continue without it"},
		{node.ErrExists, "choose another output with -o, or replace it with --force"},
		{node.ErrNoSpace, "free some space, or choose another place with " + elsewhere},
		{cafs.ErrQuota, `forget roots with "swarmsync rm", or raise --quota`},
		{node.ErrNoHolder, "make sure that a holder runs;" + holder + " name a node of its network with --join"},
		{node.ErrForeignHome, "choose a new or empty directory with --home"},
		{node.ErrNewerHome, "update swarmsync, or choose another directory with --home"},
		{cafs.ErrBadRoot, "no holder can help; ask for a new root where you have this one from"},
		{cafs.ErrCorrupt, "run the same command again: what is damaged is taken from elsewhere"},
		{cafs.ErrNotFound, `"swarmsync ls" shows what is here`},
		{syscall.EADDRINUSE, "choose another port with --listen, such as --listen /ip4/0.0.0.0/tcp/0"},
		{fs.ErrPermission, "check the owner and the mode of the file and its directory"},
	} {
		if errors.Is(err, known.err) {
			return known.hint
		}
	}
	return ""
}

// finish reports the error of a command and returns the exit code.
func (a *app) finish(ctx context.Context, command *cobra.Command, args []string, err error) int {
	code := exitCode(ctx, err)
	if code == exitDone {
		return code
	}
	message, hint := shortRoots(oneLine(err), args), hintFor(command, err)
	if code == exitInterrupted {
		message = "interrupted" // which of the calls under way noticed it first is for nobody
	}
	if code == exitUsage && hint == "" {
		hint = fmt.Sprintf("%q tells more", command.CommandPath()+" --help")
	}
	// After a mistake in the flags a.json may not be set yet.
	if a.json || slices.Contains(args, "--json") {
		// There is nobody left to tell if this fails.
		_ = a.emit("error", errorLine{code, message, hint})
	}
	if a.json {
		return code
	}
	a.complain("%s", message)
	if code == exitUsage {
		a.complain("usage: %s", command.UseLine())
	}
	if hint != "" {
		a.complain("hint: %s", hint)
	}
	return code
}

// errorLine is the last line of a command that failed, with --json.
type errorLine struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// oneLine is the text of an error, also of several joined ones, on one line.
func oneLine(err error) string {
	return regexp.MustCompile(`;?\s*\n\s*(\* )?`).ReplaceAllString(err.Error(), "; ")
}

// shortRoots shortens the roots among args where text repeats them: they are secrets, and fill half a line.
func shortRoots(text string, args []string) string {
	for _, arg := range args {
		for _, root := range regexp.MustCompile(`[0-9a-fA-F]{64}`).FindAllString(arg, -1) {
			text = strings.ReplaceAll(text, root, shortText(root))
			text = strings.ReplaceAll(text, strings.ToLower(root), shortText(root))
		}
	}
	return text
}
