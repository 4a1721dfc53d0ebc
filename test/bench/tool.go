package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/swarmsync/swarmsync/test/bench/internal/sandbox"
)

// tool is a program that moves content, and how to make it do so.
type tool struct {
	name string
	// note says what a reader of the figures must know.
	note string
	// command is what is timed, as one would type it.
	command string
	// version is the command that prints the version in its first line; its first word is the program that is needed.
	// nil: this program itself.
	version []string
	prepare func(ctx context.Context, s *stage) (offer, error)
}

// tools are all that are known, references and swarmsync included.
func tools() []tool {
	return []tool{
		bareTool(), swarmsyncTool(), swarmsyncHTTPTool(), webSeedTool(), rsyncTool(), rsyncZTool(), curlTool(), libtorrentTool(), aria2Tool(), desyncTool(), desyncTreeTool(),
		casyncTool(), casyncTreeTool(), kuboTool(), kuboPinTool(),
	}
}

// program is what must be on the PATH; empty: nothing.
func (t tool) program() string {
	if t.version == nil {
		return ""
	}
	return t.version[0]
}

// tool returns the tool of a name if it can be used and was asked for.
func (b *bench) tool(name string) (tool, bool) {
	for _, t := range tools() {
		if t.name != name {
			continue
		}
		return t, b.wanted(name) && b.available(t) == nil
	}
	panic("bench: no tool " + name)
}

// wanted says whether -t allows a tool. What is measured and its references always are.
func (b *bench) wanted(name string) bool {
	return b.tools == "" || strings.HasPrefix(name, "swarmsync") || name == "bare" || slices.Contains(strings.Split(b.tools, ","), name)
}

// available returns nil if a tool is on this machine, or why not.
func (b *bench) available(t tool) error {
	if t.program() == "" {
		return nil
	}
	if _, err := exec.LookPath(t.program()); err != nil {
		return fmt.Errorf("%s is not on the PATH", t.program())
	}
	_, err := b.versionOf(context.Background(), t)
	return err
}

// versionOf returns what a tool says about its version: a Go program in what its build left in it, another one in the
// first line that it prints.
func (b *bench) versionOf(ctx context.Context, t tool) (string, error) {
	output, err := b.box.Run(ctx, sandbox.Command{Args: t.version})
	if err != nil {
		return "", fmt.Errorf("%s does not run: %w", t.name, err)
	}
	if path, err := exec.LookPath(t.program()); err == nil {
		if info, err := buildinfo.ReadFile(path); err == nil && info.Main.Version != "" {
			return info.Main.Version, nil
		}
	}
	line, _, _ := strings.Cut(strings.TrimSpace(output), "\n")
	return versionIn(line), nil
}

var versionNumber = regexp.MustCompile(`\b[0-9]+(\.[0-9]+)*\b`)

// versionIn returns the first version number of a line, or all of it if it has none.
func versionIn(line string) string {
	if number := versionNumber.FindString(line); number != "" {
		return number
	}
	return line
}

// commandText shows a command without the places of this machine.
func commandText(b *bench, args []string) string {
	text := strings.Join(args, " ")
	for _, place := range []string{filepath.Dir(b.program) + "/", b.box.Dir() + "/"} {
		text = strings.ReplaceAll(text, place, "")
	}
	return text
}
