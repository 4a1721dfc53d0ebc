package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/ipfs/go-log/v2"
	"github.com/libp2p/go-libp2p/gologshim"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/swarmsync/swarmsync/node"
)

// exitCodes is the annotation of a command that lists its exit codes for the help.
const exitCodes = "exit codes"

const helpTemplate = `{{with or .Long .Short}}{{.}}{{end}}

{{.UsageString}}`

// usageTemplate ends in the example, so that it stands right above the prompt.
const usageTemplate = `Usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} COMMAND{{else}}{{.UseLine}}{{end}}
{{- if .HasAvailableSubCommands}}

Commands:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}}  {{.Short}}{{end}}{{end}}{{end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
{{- if .HasAvailableInheritedFlags}}

Everywhere:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}

Each flag can be set by an environment variable too: SWARMSYNC_HOME for --home, and so on.
{{- with index .Annotations "exit codes"}}

Exit codes:
{{.}}{{end}}

Example:
{{.Example}}
`

// newRootCommand puts the commands together.
func newRootCommand(a *app) *cobra.Command {
	version := false
	root := &cobra.Command{
		Use:   "swarmsync COMMAND",
		Short: "rsync that gets faster with every peer",
		Long: `swarmsync moves files between machines through a swarm: every receiver serves what it has already, and nothing
that is here is fetched again. What "add" and "share" print is all that a receiver needs.`,
		Example: `  $ swarmsync share film.mkv                 # on one machine; prints a link
  $ swarmsync get 'swarmsync:3f9a…?name=…'   # on another`,
		SilenceErrors:         true,
		SilenceUsage:          true,
		DisableFlagsInUseLine: true, // those of the commands are meant
		CompletionOptions:     cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE:     func(command *cobra.Command, _ []string) error { return a.prepare(command) },
		RunE: func(*cobra.Command, []string) error {
			if version {
				return a.printVersion()
			}
			return usagef("which command?")
		},
		Args:                       exactly(),
		SuggestionsMinimumDistance: 2,
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(newHelpCommand())
	root.Flags().BoolVar(&version, "version", false, "print the version")
	flags := root.PersistentFlags()
	a.logLevel = "error"
	flags.StringVar(&a.home, "home", defaultHome(), "`DIR` of the identity, the store and the socket")
	registerBool(flags, &a.json, "json", "", "print one JSON object per line instead of text")
	registerBool(flags, &a.quiet, "quiet", "q", "print no progress and no notes")
	flags.Var(&a.logLevel, "log-level", "what to log on standard error: `LEVEL` debug, info, warn or error")
	root.AddCommand(
		newAddCommand(a), newShareCommand(a), newServeCommand(a), newGetCommand(a), newLsCommand(a), newInfoCommand(a), newCatCommand(a),
		newFindCommand(a), newJoinCommand(a), newPeersCommand(a), newIDCommand(a), newStatusCommand(a), newRmCommand(a),
		newMirrorCommand(a), newVerifyCommand(a), newGCCommand(a),
		newVersionCommand(a), newCompletionCommand(a),
	)
	return root
}

// flagError makes a usage error of a mistake in the flags.
func flagError(_ *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedName() == "v" {
		return withHint(&usageError{err}, `"swarmsync version" prints the version; --log-level debug prints more`)
	}
	return &usageError{err}
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "help [COMMAND]",
		Short:             "tell about a command",
		Long:              "Help prints what a command does, and its flags.",
		Example:           "  $ swarmsync help get",
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil }, // help needs nothing
		RunE: func(command *cobra.Command, args []string) error {
			root := command.Root()
			if len(args) == 0 {
				return root.Help()
			}
			for _, known := range root.Commands() {
				if known.Name() == args[0] {
					known.InitDefaultHelpFlag()
					return known.Help()
				}
			}
			return unknownCommand(root, args[0])
		},
	}
}

// checkCommand returns the error of a command line whose first word is no command. It comes before the flags are
// looked at: what follows a mistyped command is for no flag of the root, which would hide the mistake.
func checkCommand(root *cobra.Command, args []string) error {
	root.InitDefaultHelpCmd()
	word := firstWord(root, args)
	if word == "" || word == cobra.ShellCompRequestCmd || word == cobra.ShellCompNoDescRequestCmd {
		return nil
	}
	for _, known := range root.Commands() {
		if known.Name() == word {
			return nil
		}
	}
	return unknownCommand(root, word)
}

func unknownCommand(root *cobra.Command, word string) error {
	err := usagef("unknown command %q", word)
	suggestions := root.SuggestionsFor(word)
	if len(suggestions) == 0 {
		return err
	}
	for i := range suggestions {
		suggestions[i] = strconv.Quote(suggestions[i])
	}
	return withHint(err, "did you mean %s?", strings.Join(suggestions, " or "))
}

// firstWord returns the first argument that is neither a flag nor the value of one, empty if there is none.
func firstWord(root *cobra.Command, args []string) string {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--":
			return ""
		case !strings.HasPrefix(arg, "-"):
			return arg
		case takesNext(root, arg):
			i++
		}
	}
	return ""
}

// takesNext reports whether the argument after a flag is its value. Flags of all commands are known, as those may stand
// before a command that is mistyped.
func takesNext(root *cobra.Command, arg string) bool {
	name, long := strings.CutPrefix(arg, "--")
	if strings.Contains(name, "=") {
		return false
	}
	for _, command := range append(root.Commands(), root) {
		for _, flags := range []*pflag.FlagSet{command.Flags(), command.PersistentFlags()} {
			flag := flags.Lookup(name)
			if !long && len(arg) == 2 {
				flag = flags.ShorthandLookup(arg[1:])
			}
			if flag != nil {
				return flag.NoOptDefVal == ""
			}
		}
	}
	return false
}

// prepare makes everything ready that commands rely on.
func (a *app) prepare(command *cobra.Command) error {
	if err := readEnvironment(command); err != nil {
		return err
	}
	if err := setLogLevel(string(a.logLevel)); err != nil {
		return err
	}
	if a.home == "" {
		return withHint(usagef("the home directory can't be guessed here"), "name one with --home")
	}
	home, err := filepath.Abs(a.home)
	if err != nil {
		return fmt.Errorf("home: %w", err)
	}
	a.home = home
	return nil
}

// setLogLevel sends the logs of all libraries to standard error. What the constructor of the libp2p host says is left
// out unless everything is wanted: it logs the error that it returns, which is reported anyway, three times.
func setLogLevel(text string) error {
	level, err := log.Parse(text)
	if err != nil {
		return usagef("log level: %w", err)
	}
	config := log.Config{Format: log.PlaintextOutput, Level: level, Stderr: true}
	if level > log.LevelDebug {
		config.SubsystemLevels = map[string]log.LogLevel{"p2p-config": log.LevelFatal}
	}
	log.SetupLogging(config)
	gologshim.SetDefaultHandler(log.SlogHandler())
	return nil
}

// exits is the annotation that lists exit codes.
func exits(codes ...int) map[string]string {
	var lines []string
	for _, code := range append([]int{exitDone, exitFailed, exitUsage}, codes...) {
		lines = append(lines, fmt.Sprintf("  %-3d  %s", code, exitMeanings()[code]))
	}
	return map[string]string{exitCodes: strings.Join(lines, "\n")}
}

// exactly is cobra.ExactArgs with a message for users: names are those of the arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < len(names) {
			return usagef("%s is missing", names[len(args)])
		}
		if len(args) > len(names) {
			return usagef("unexpected argument %q", args[len(names)])
		}
		return nil
	}
}

// linkScheme is what a link begins with.
const linkScheme = "swarmsync:"

// parseLink reads an argument that must be a root or a link. White space around it is what copying leaves there.
func parseLink(text string) (node.Link, error) {
	text = strings.TrimSpace(text)
	if scheme, rest, ok := strings.Cut(text, ":"); ok && strings.EqualFold(scheme+":", linkScheme) {
		if strings.HasPrefix(rest, "//") || scheme+":" != linkScheme {
			return node.Link{}, usagef("a link does not begin with %q: want %sROOT or %[2]sROOT?…",
				scheme+":"+rest[:len(rest)-len(strings.TrimLeft(rest, "/"))], linkScheme)
		}
	}
	link, err := node.ParseLink(text)
	if err != nil {
		return node.Link{}, usagef("root or link: %w", err)
	}
	return link, nil
}
