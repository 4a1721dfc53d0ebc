package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

func newInfoCommand(a *app) *cobra.Command {
	flags := nodeFlags{passing: true}
	command := &cobra.Command{
		Use:         "info ROOT|LINK [flags]",
		Short:       "tell what a root is",
		Long:        `Info prints kind, size and number of chunks of a root: from the home, or else from the first holder that it finds.`,
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
			return a.result("result", status, infoText(status))
		},
	}
	flags.register(command.Flags())
	return command
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
