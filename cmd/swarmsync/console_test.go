package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// consoleCommand is a command in a fenced block without a language, with what the block shows below it.
type consoleCommand struct {
	line, user  string
	args, shown []string // no lines are shown where the document does not tell what is printed
	*process
}

var (
	consolePrompt  = regexp.MustCompile(`(?m)^(\w*)\$ +swarmsync (.*?)( &)?(\s+# .*)?$`)
	anyPrompt      = regexp.MustCompile(`(?m)^\w*\$ `)
	consoleWord    = regexp.MustCompile(`'[^']*'|\S+`)
	shownRoot      = regexp.MustCompile(`^(ROOT|[0-9a-f]{64})$`)
	printedRoot    = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	printedAddress = regexp.MustCompile(`/ip4/[^&\s]+/p2p/\w+`)
	printedLink    = regexp.MustCompile(`swarmsync:[0-9a-f]{64}\?\S+`)
	shownCode      = regexp.MustCompile(`"event":"error","code":(\d+)`)
)

// TestConsole runs what documents show of a console, and compares what is printed with what they show. Each user has a
// home and a working directory, and each section begins with new ones.
func TestConsole(t *testing.T) {
	for _, document := range []struct{ path, first string }{
		{"../../README.md", ""},
		{"../../docs/cli.md", "ann$ swarmsync share film.mkv"}, // whose link the page gets
	} {
		text, err := os.ReadFile(document.path)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for section := range strings.SplitSeq(strings.ReplaceAll(string(text), "\\\n", " "), "\n## ") {
			commands := consoleCommands(section)
			if found += len(commands); len(commands) == 0 {
				continue
			}
			if document.first != "" {
				commands = append(consoleCommands("\n```\n"+document.first), commands...)
			}
			title, _, _ := strings.Cut(section, "\n")
			t.Run(filepath.Base(document.path)+" "+title, func(t *testing.T) {
				t.Parallel()
				c := &console{T: t, dir: t.TempDir(), addresses: make(map[string]string)}
				for _, command := range commands {
					c.run(command)
				}
				c.end()
			})
		}
		if want := len(anyPrompt.FindAll(text, -1)); found != want || found == 0 {
			t.Errorf("%s has %d prompts, and %d of them in a block and before a command of swarmsync", document.path, want, found)
		}
	}
}

func consoleCommands(section string) (commands []*consoleCommand) {
	for i, block := range strings.Split(section, "\n```") {
		if i%2 == 0 || !strings.HasPrefix(block, "\n") {
			continue // between blocks, or with a language
		}
		before := len(commands)
		for line := range strings.SplitSeq(block, "\n") {
			if match := consolePrompt.FindStringSubmatch(line); match != nil {
				command := &consoleCommand{line: line, user: match[1]}
				for _, word := range consoleWord.FindAllString(match[2], -1) {
					command.args = append(command.args, strings.Trim(word, "'"))
				}
				commands = append(commands, command)
			} else if line != "" && len(commands) > before {
				last := commands[len(commands)-1]
				last.shown = append(last.shown, line)
			}
		}
	}
	return commands
}

// console is where the commands of a section run.
type console struct {
	*testing.T
	dir     string
	serving []*consoleCommand

	root, link, address string            // printed last
	addresses           map[string]string // printed, for each that the document shows
}

// run runs a command until it ends, or has printed as many lines as the document shows if it is one that serves.
func (c *console) run(command *consoleCommand) {
	path, err := exec.LookPath("swarmsync")
	if err != nil {
		c.Fatal(err)
	}
	user := filepath.Join(c.dir, "user"+command.user)
	cmd := exec.Command(path, c.fill(command)...)
	cmd.Dir = filepath.Join(user, "files")
	c.makeFiles(cmd.Dir, command.user)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + user, "GORACE=atexit_sleep_ms=0", envPrefix + "HOME=" + filepath.Join(user, "home"),
		envPrefix + "LISTEN=/ip4/127.0.0.1/tcp/0", envPrefix + "MDNS=false",
	}
	// Equal writers are one pipe, in which the lines keep their order.
	if command.process, err = start(cmd, io.Discard, io.Discard); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(command.kill)
	switch command.args[0] {
	case "serve", "share":
		c.serving = append(c.serving, command)
		enough := func(output string) bool { return len(wholeLines(output)) >= max(1, len(command.shown)) }
		if err := command.await(enough); err != nil {
			c.Fatalf("%s: %v", command.line, err)
		}
		c.link = cmp.Or(printedLink.FindString(command.text()), c.link)
		c.address = cmp.Or(printedAddress.FindString(command.text()), c.address)
	case "add":
		c.check(command)
		c.root = printedRoot.FindString(command.text())
	default:
		c.check(command)
	}
}

// fill puts what was printed in the place of what the document shows.
func (c *console) fill(command *consoleCommand) []string {
	args := slices.Clone(command.args)
	for i, arg := range args {
		switch {
		case shownRoot.MatchString(arg):
			args[i] = c.root
		case arg == "0123…":
			args[i] = strings.Repeat("0123", 16) // nobody has it
		case strings.HasPrefix(arg, "swarmsync:"):
			args[i] = c.link
		case strings.HasPrefix(arg, "/ip4/"):
			if c.addresses[arg] == "" {
				c.addresses[arg] = c.address // and the same node from now on
			}
			args[i] = c.addresses[arg]
		}
		if args[i] == "" || strings.Contains(args[i], "…") {
			c.Fatalf("%s: nothing was printed before that stands for %s", command.line, arg)
		}
	}
	return args
}

// end interrupts what serves, the last first, so that nobody loses a node that it has joined.
func (c *console) end() {
	for _, command := range slices.Backward(c.serving) {
		if err := command.cmd.Process.Signal(os.Interrupt); err != nil {
			c.Errorf("%s: %v", command.line, err)
		}
		c.check(command)
	}
}

// check waits until a command has ended, with the exit code of the error that is shown, and compares what it has printed.
func (c *console) check(command *consoleCommand) {
	code, err := command.finish()
	if err != nil {
		c.Fatalf("%s: %v", command.line, err)
	}
	shown, want := strings.Join(command.shown, "\n"), "0"
	if match := shownCode.FindStringSubmatch(shown); match != nil {
		want = match[1]
	}
	if fmt.Sprint(code) != want {
		c.Fatalf("%s: exit code %d, want %s; the output:\n%s", command.line, code, want, command.text())
	}
	lines := wholeLines(command.text())
	if slices.Contains(command.args, "--json") {
		c.checkEvents(command.line, shown, lines)
	} else if shown != "" && !slices.EqualFunc(command.shown, lines, sameShape) {
		c.Errorf("%s: it prints\n%s\nbut the document shows\n%s", command.line, strings.Join(lines, "\n"), shown)
	}
}

// makeFiles gives a new user the files that the commands name. Every word of them occurs twice, so that compression gains
// something, as the documents show: a session always tries with its first chunks.
func (c *console) makeFiles(dir, user string) {
	if _, err := os.Stat(dir); err == nil {
		return
	}
	random, data := make([]byte, 1_500_000), make([]byte, 0, 3_000_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(random) // never fails
	for word := range slices.Chunk(random, 50) {
		data = append(append(data, word...), word...)
	}
	files := map[string][]byte{}
	switch user {
	case "alice", "ann":
		files["go-src.tar"] = data
		files["go-src-2.tar"] = slices.Concat(data[:1_500_000], []byte("a line\n"), data[1_500_000:])
		files["film.mkv"] = slices.Concat(data[:2_000_000], data[:1_000_000]) // so that something is here already
		files["src/main.go"], files["src/main.o"] = data[:300_000], data[:4000]
		files["src/docs/README.md"], files["src/docs/README.o"] = data[:2000], data[:5000]
	case "bob":
		files["src/main.go"], files["src/old.go"] = data[1000:200_000], data[:6000]
	}
	err := os.MkdirAll(dir, 0o755)
	for name, data := range files {
		path := filepath.Join(dir, name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644))
	}
	if err != nil {
		c.Fatal(err)
	}
}

// wholeLines returns the lines of an output, but for what only nodes on loopback say.
func wholeLines(output string) []string {
	lines := strings.Split(output, "\n")
	return slices.DeleteFunc(lines[:len(lines)-1], func(line string) bool {
		return strings.HasPrefix(line, "swarmsync: the link works on this machine only: ")
	})
}

// consoleMarks stand for what differs from run to run, and for what documents shorten.
var consoleMarks = []struct {
	pattern *regexp.Regexp
	mark    string
}{
	{regexp.MustCompile(`12D3KooW\w*…?`), "PEER"},
	{regexp.MustCompile(`/ip4/[0-9.]+/tcp/\d+`), "ADDRESS"},
	{regexp.MustCompile(`\b([0-9a-f]{64}\b|[0-9a-f]{4,}…[0-9a-f]*)`), "ROOT"},
	{regexp.MustCompile(`\b\d+(\.\d+)? [kMG]?B\b`), "SIZE"},
	{regexp.MustCompile(` in (less than )?\d+\.\d+ s( \(SIZE/s\))?`), " in TIME"}, // no rate where time is too short
	{regexp.MustCompile(`\b\d+%`), "PERCENT"},
}

// sameShape tells whether a text is as shown, but for what the marks stand for and what "…" leaves out.
func sameShape(shown, printed string) bool {
	for _, m := range consoleMarks {
		shown, printed = m.pattern.ReplaceAllString(shown, m.mark), m.pattern.ReplaceAllString(printed, m.mark)
	}
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(shown), "…", ".*") + "$").MatchString(printed)
}

// checkEvents looks for each object that is shown among those that were printed.
func (c *console) checkEvents(command, shown string, lines []string) {
	events := make([]any, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal([]byte(line), &events[i]); err != nil {
			c.Errorf("%s: it prints %q: %v", command, line, err)
		}
	}
	for decoder := json.NewDecoder(strings.NewReader(shown)); decoder.More(); {
		var want any
		if err := decoder.Decode(&want); err != nil {
			c.Fatalf("%s: the document shows what is no JSON: %v", command, err)
		}
		if !slices.ContainsFunc(events, func(event any) bool { return hasFields("", want, event) }) {
			c.Errorf("%s: it prints\n%s\nbut nothing like %v", command, strings.Join(lines, "\n"), want)
		}
	}
}

// hasFields tells whether a value has at least the fields that are shown, with values of the same types, and says the same.
func hasFields(name string, shown, printed any) bool {
	switch shown := shown.(type) {
	case map[string]any:
		object, ok := printed.(map[string]any)
		for name, value := range shown {
			ok = ok && hasFields(name, value, object[name])
		}
		return ok
	case []any:
		list, ok := printed.([]any)
		return ok && slices.EqualFunc(shown, list, func(a, b any) bool { return hasFields(name, a, b) })
	case string:
		text, ok := printed.(string)
		says := name == "event" || name == "message" || name == "hint"
		return ok && (!says || sameShape(shown, text))
	}
	return fmt.Sprintf("%T", shown) == fmt.Sprintf("%T", printed)
}
