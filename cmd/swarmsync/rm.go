package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/cafs"
)

func newRmCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:         "rm ROOT|LINK",
		Short:       "forget a root",
		Long:        `Rm forgets a root and stops serving it. Files that were added or fetched stay as they are.`,
		Example:     "  $ swarmsync rm 3f9a…",
		Args:        exactly("ROOT or LINK"),
		Annotations: exits(exitNotFound, exitInterrupted),
		RunE: func(command *cobra.Command, args []string) (err error) {
			link, err := parseLink(args[0])
			if err != nil {
				return err
			}
			s, err := a.openExisting(command)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			if err := s.Remove(command.Context(), link.Root); err != nil {
				return err
			}
			if a.json {
				return a.emit("result", rootLine{link.Root})
			}
			return nil
		},
	}
}

type rootLine struct {
	Root cafs.Key `json:"root"`
}
