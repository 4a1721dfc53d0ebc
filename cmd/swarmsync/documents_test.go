package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	documentedCommand = regexp.MustCompile("swarmsync ([a-z]+)((?: [^`\n|&;#]*)?)")
	documentedFlag    = regexp.MustCompile(`(?:^|[ \[])--([a-z][a-z-]*)`)
)

// Commands that documents show must exist, with the flags that stand behind them.
func TestDocumentsShowCommandsThatExist(t *testing.T) {
	root := newRootCommand(&app{})
	commands := make(map[string]*cobra.Command)
	for _, command := range root.Commands() {
		commands[command.Name()] = command
	}
	files := []string{"../../README.md", "../../CONTRIBUTING.md"}
	for _, pattern := range []string{"../../docs/*.md", "../../examples/*.md", "../../examples/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	seen := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// A command that goes on in the next line, in a block or in prose between backquotes.
		joined := strings.ReplaceAll(string(text), "\\\n", " ")
		for line := range strings.Lines(joined) {
			if !strings.Contains(line, "$ swarmsync ") && !strings.Contains(line, "`swarmsync ") && !strings.Contains(line, "$   swarmsync ") {
				continue
			}
			for _, match := range documentedCommand.FindAllStringSubmatch(line, -1) {
				command := commands[match[1]]
				if command == nil {
					if match[1] == "help" || match[1] == "completion" {
						continue
					}
					t.Errorf("%s: there is no command %q: %s", file, match[1], strings.TrimSpace(line))
					continue
				}
				seen++
				for _, flag := range documentedFlag.FindAllStringSubmatch(match[2], -1) {
					if command.Flags().Lookup(flag[1]) == nil && root.PersistentFlags().Lookup(flag[1]) == nil && flag[1] != "help" && flag[1] != "version" {
						t.Errorf("%s: %q has no flag --%s", file, match[1], flag[1])
					}
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands were found", seen)
	}
}
