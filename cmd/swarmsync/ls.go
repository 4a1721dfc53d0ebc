package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/swarmsync/swarmsync/node"
)

func newLsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls [flags]",
		Short: "list the roots in the home",
		Long: `Ls lists the roots that are here: root, kind, size, how much of it is here, how much it takes in the store, name and place
of the file. What roots share counts for each of them; what is served from a file of the user's takes nothing. A file that was
changed since it was hashed is stale; what of it still matches is found when it is added again.`,
		Example:     "  $ swarmsync ls",
		Args:        exactly(),
		Annotations: exits(exitInterrupted),
		RunE: func(command *cobra.Command, _ []string) (err error) {
			s, err := a.openExisting(command)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.close(command.Context())) }()
			var roots []node.RootStatus
			for status, err := range s.Roots(command.Context()) {
				if err != nil {
					return err
				}
				roots = append(roots, status)
			}
			return a.list("root", anyOf(roots), []string{"ROOT", "KIND", "SIZE", "HAVE", "STORED", "NAME", "PLACE"}, rootRows(roots))
		},
	}
}

func rootRows(roots []node.RootStatus) [][]string {
	var rows [][]string
	for _, r := range roots {
		rows = append(rows, []string{r.Root.String(), r.Kind, size(r.Bytes), percent(r.Have, r.Bytes), size(r.Stored), r.Name, place(r)})
	}
	return rows
}

// place is where the file of a root is, and what is wrong with it.
func place(r node.RootStatus) string {
	if r.State == "" {
		return r.Place
	}
	return r.Place + " (" + r.State + ")"
}

// list prints rows; with --json the items as events, and a result with their number.
func (a *app) list(event string, items []any, titles []string, rows [][]string) error {
	if !a.json {
		return a.table(titles, rows)
	}
	for _, item := range items {
		if err := a.emit(event, item); err != nil {
			return err
		}
	}
	return a.emit("result", countLine{len(items)})
}

type countLine struct {
	Count int `json:"count"`
}

func anyOf[T any](items []T) []any {
	list := make([]any, len(items))
	for i, item := range items {
		list[i] = item
	}
	return list
}
