package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

func newInfoCommand(a *app) *cobra.Command {
	flags := nodeFlags{passing: true}
	command := &cobra.Command{
		Use:   "info ROOT|LINK [flags]",
		Short: "tell what a root is",
		Long: `Info prints kind, size and number of chunks of a root: from the home, or else from the first holder that it finds. Of a
tree it lists the entries too, for which it fetches the list of them, and no content.`,
		Example:     "  $ swarmsync info 'swarmsync:3f9a…'",
		Args:        exactly("ROOT or LINK"),
		Annotations: exits(exitNotFound, exitCorrupt, exitInterrupted),
		RunE: func(command *cobra.Command, args []string) (err error) {
			link, err := parseLink(args[0])
			if err != nil {
				return err
			}
			enough := func(node.RootStatus) bool { return true }
			s, err := a.openFor(command, link, &flags, enough, a.openPassing)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			status, err := s.Info(command.Context(), link, flags.lookWait())
			if err != nil {
				return s.explain(command.Context(), err, flags.join.peers, link.Peers)
			}
			if status.Kind != "tree" {
				return a.result("result", status, infoText(status))
			}
			if !a.json {
				if err := a.result("result", status, infoText(status)); err != nil {
					return err
				}
			}
			if err := a.listEntries(command.Context(), s, link, flags.lookWait()); err != nil {
				return s.explain(command.Context(), err, flags.join.peers, link.Peers)
			}
			if !a.json {
				return nil
			}
			return a.result("result", status, "")
		},
	}
	flags.register(command.Flags())
	return command
}

// listEntries prints the entries of a tree.
func (a *app) listEntries(ctx context.Context, s *session, link node.Link, wait time.Duration) error {
	var failed error
	opts := node.FetchOptions{List: true, Wait: wait, Events: func(event node.Event) {
		if event.Kind == node.EventEntry && failed == nil {
			failed = a.result("entry", event.Entry, entryText(*event.Entry))
		}
	}}
	_, err := s.Fetch(ctx, link, opts)
	return errors.Join(err, failed)
}

func entryText(e node.Entry) string {
	switch e.Type {
	case "directory":
		return fmt.Sprintf("%10s  %s/", "", printable(e.Path))
	case "symlink":
		return fmt.Sprintf("%10s  %s -> %s", "", printable(e.Path), printable(e.Target))
	case "executable":
		return fmt.Sprintf("%10s  %s*", size(e.Size), printable(e.Path))
	}
	return fmt.Sprintf("%10s  %s", size(e.Size), printable(e.Path))
}

// infoText has a line for each thing that is known.
func infoText(status node.RootStatus) string {
	lines := []string{
		"root    " + status.Root.String(),
		"kind    " + status.Kind,
		fmt.Sprintf("size    %s (%d bytes)", size(status.Bytes), status.Bytes),
		fmt.Sprintf("chunks  %d", status.Chunks),
		"have    " + percent(status.Have, status.Bytes),
	}
	if status.Kind == "tree" {
		lines = append(lines, fmt.Sprintf("entries %d", status.Entries))
	}
	if status.Private {
		lines = append(lines, "salted  yes")
	}
	if status.Name != "" {
		lines = append(lines, "name    "+printable(status.Name))
	}
	if status.Place != "" {
		lines = append(lines, "place   "+printable(status.Place))
	}
	if !status.Added.IsZero() {
		lines = append(lines, "added   "+clock(status.Added))
	}
	return strings.Join(lines, "\n")
}
