package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
)

func newVerifyCommand(a *app) *cobra.Command {
	flags := nodeFlags{passing: true}
	repair := false
	command := &cobra.Command{
		Use:   "verify [ROOT|LINK] [flags]",
		Short: "hash again what is stored, and report what is bad",
		Long: `Verify reads and hashes everything that is here of a root, or of all roots, in the store and in files that are served from
where they are, and prints a line for each damaged part: root, file, where in the content, how many bytes, what is wrong.
What is bad is not served any more. With --repair it looks for what is missing in the files of the roots, which helps when
the index was lost, and fetches the rest from holders.`,
		Example: "  $ swarmsync verify --repair",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("unexpected argument %q", args[1])
			}
			return nil
		},
		Annotations: exits(exitNotFound, exitCorrupt, exitInterrupted),
		RunE: func(command *cobra.Command, args []string) (err error) {
			opts := node.VerifyOptions{Repair: repair, Wait: flags.fetchWait()}
			for _, arg := range args {
				link, err := parseLink(arg)
				if err != nil {
					return err
				}
				opts.Roots = append(opts.Roots, link.Root)
			}
			if err := a.checkHome(true); err != nil {
				return err
			}
			var s *session
			if repair {
				s, err = a.openNetwork(command, &flags)
			} else {
				s, err = a.openStore(command)
			}
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			return s.verify(command.Context(), opts)
		},
	}
	registerBool(command.Flags(), &repair, "repair", "", "get back what is damaged, from the files of the roots and from holders")
	flags.register(command.Flags())
	return command
}

func (s *session) verify(ctx context.Context, opts node.VerifyOptions) error {
	shown := s.app.startProgress()
	var printErr error
	opts.Events = func(event node.Event) {
		if event.Kind != node.EventDamage || s.app.json {
			shown.event(event)
			return
		}
		shown.clear()
		printErr = errors.Join(printErr, s.app.result("damage", event.Damage, damageText(*event.Damage)))
	}
	result, err := s.Verify(ctx, opts)
	shown.stop()
	if err = errors.Join(err, printErr); err != nil {
		return err
	}
	left := result.Damaged - result.Repaired
	if s.app.json {
		if err := s.app.emit("result", result); err != nil {
			return err
		}
	} else {
		text := fmt.Sprintf("%s of %s are as they should be", size(result.Bytes), count(result.Roots, "root"))
		if result.Repaired > 0 {
			text += fmt.Sprintf("; repaired %s", count(result.Repaired, "root"))
		}
		s.app.note("%s", text)
	}
	if left > 0 {
		return withHint(fmt.Errorf("%s damaged: %w", count(left, "root"), cafs.ErrCorrupt),
			"swarmsync verify --repair fetches what is missing from holders")
	}
	return nil
}

// damageText is such as "3f9a… /home/ann/film.mkv 5242880+37000: corrupt".
func damageText(d node.Damage) string {
	place := d.Path
	if place == "" {
		place = "-"
	}
	text := fmt.Sprintf("%s %s %d+%d: %s", d.Root, printable(place), d.Offset, d.Bytes, printable(d.Message))
	if !d.Lost {
		text += "; another copy is good"
	}
	return text
}
