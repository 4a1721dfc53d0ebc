package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
)

func newGCCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "gc [flags]",
		Short: "free what no root needs",
		Long: `Gc frees the space of what is in the store and no root needs: what is left of roots that were forgotten, and of adds and
gets that did not come to their end. Until then it stays, and what of it another root has need not be fetched. Adding, fetching
and serving go on meanwhile. With --quota it need not be called.`,
		Example:     "  $ swarmsync gc",
		Args:        exactly(),
		Annotations: exits(exitCorrupt, exitInterrupted),
		RunE: func(command *cobra.Command, _ []string) (err error) {
			s, err := a.openExisting(command)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			return s.gc(command.Context())
		},
	}
}

func (s *session) gc(ctx context.Context) error {
	shown := s.app.startProgress()
	result, err := s.Reclaim(ctx, node.ReclaimOptions{Events: shown.event})
	shown.stop()
	if errors.Is(err, cafs.ErrCorrupt) {
		return withHint(err, `"swarmsync verify --repair" gets back what is damaged; or forget the root with "swarmsync rm"`)
	}
	if err != nil {
		return err
	}
	if s.app.json {
		return s.app.emit("result", result)
	}
	used := size(result.Used)
	if result.Quota > 0 {
		used += " of " + size(result.Quota)
	}
	s.app.note("freed %s; the store takes %s", size(result.Freed), used)
	return nil
}
