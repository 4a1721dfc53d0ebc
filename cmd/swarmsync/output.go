package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"
)

// app is what all commands share: the flags that they all have, and where their output goes.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	home     string
	json     bool
	quiet    bool
	logLevel level
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr}
}

// complain writes a line to standard error, in any case.
func (a *app) complain(format string, args ...any) {
	fmt.Fprintf(a.stderr, "swarmsync: %s\n", printable(fmt.Sprintf(format, args...)))
}

// note tells what is not the result: a line on standard error, an event with --json, nothing with --quiet.
func (a *app) note(format string, args ...any) {
	if a.json {
		_ = a.emit("note", noteLine{fmt.Sprintf(format, args...)}) // the result will fail in the same way
		return
	}
	if !a.quiet {
		a.complain(format, args...)
	}
}

type noteLine struct {
	Message string `json:"message"`
}

// result writes a line of the result: text, or with --json an event of that kind with the fields of value.
func (a *app) result(event string, value any, text string) error {
	if a.json {
		return a.emit(event, value)
	}
	if _, err := fmt.Fprintln(a.stdout, text); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// emit writes a JSON object of one line to standard output: the event first, then the fields of value.
func (a *app) emit(event string, value any) error {
	text, err := encode(value)
	if err != nil {
		return err
	}
	fields := strings.TrimPrefix(text, "{")
	if fields != "}" {
		fields = "," + fields
	}
	return a.printJSON(fmt.Sprintf("{\"event\":%q%s", event, fields))
}

func encode(value any) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", fmt.Errorf("encode the result: %w", err)
	}
	return strings.TrimSuffix(text.String(), "\n"), nil
}

func (a *app) printJSON(line string) error {
	if _, err := fmt.Fprintln(a.stdout, escapeUnprintable(line)); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// table writes rows as aligned columns, below their titles if a person looks. Nothing in a row reaches a terminal
// that is not printable.
func (a *app) table(titles []string, rows [][]string) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if isTerminal(a.stdout) && len(rows) > 0 {
		rows = append([][]string{titles}, rows...)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = printable(row[i])
		}
		fmt.Fprintln(w, strings.Join(row, "\t")) // the error is Flush's
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	return nil
}

// printable replaces what could steer a terminal, or turn the order of the text around, by question marks.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

// escapeUnprintable does for JSON what printable does for text, without a loss.
func escapeUnprintable(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return b.String()
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// terminalWidth returns how many columns a terminal has, 80 if it does not say so.
func terminalWidth(w io.Writer) int {
	if file, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// size is a number of bytes for people.
func size(bytes int64) string { return humanize.Bytes(uint64(max(0, bytes))) }

// clock is a time for people: it is theirs, and says which that is.
func clock(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 -07:00") }

// percent is how much of total is done; it says 100 only when all is.
func percent(done, total int64) string {
	if total <= 0 || done >= total {
		return "100%"
	}
	return fmt.Sprintf("%d%%", int(100*float64(done)/float64(total)))
}

// count is a number with its noun, such as "1 peer" or "2 peers".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
