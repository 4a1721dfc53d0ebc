package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

func newIDCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "id",
		Short: "print the identity of the node",
		Long: `Id prints the peer ID of the home, which is made if it has none yet, and below it the addresses of the node if one runs
there.`,
		Example:     "  $ swarmsync id",
		Args:        exactly(),
		Annotations: exits(exitInterrupted),
		RunE: func(command *cobra.Command, _ []string) (err error) {
			_, missing := os.Stat(a.home)
			s, err := a.openStore(command)
			if err != nil {
				return err
			}
			if errors.Is(missing, fs.ErrNotExist) {
				a.note("made the home %s", a.home)
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			status, err := s.Status(command.Context())
			if err != nil {
				return err
			}
			if a.json {
				return a.emit("result", idLine{status.ID.String(), status.Addresses})
			}
			for _, line := range append([]string{status.ID.String()}, status.Addresses...) {
				if err := a.result("", nil, line); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

type idLine struct {
	ID        string   `json:"id"`
	Addresses []string `json:"addresses"`
}
