package main

import "github.com/spf13/cobra"

func newCompletionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:         "completion bash|zsh|fish|powershell",
		Short:       "print a completion script for a shell",
		Long:        `Completion prints a script that makes a shell complete commands and flags.`,
		Example:     "  $ source <(swarmsync completion bash)",
		Args:        exactly("the shell"),
		ValidArgs:   []string{"bash", "zsh", "fish", "powershell"},
		Annotations: exits(),
		RunE: func(command *cobra.Command, args []string) error {
			root := command.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
			return usagef("shell %q: want bash, zsh, fish or powershell", args[0])
		},
	}
}
