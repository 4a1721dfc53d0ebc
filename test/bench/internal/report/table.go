package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

const unknown = "-"

// noisy is the share of the machine that others may use before a row is marked; a tenth of two processors still
// changes what is measured by less than the runs differ from each other.
const noisy = 0.10

// table lays out a workload: titles and one line of cells for each row.
func (w Workload) table() (titles []string, lines [][]string) {
	titles = []string{"tool"}
	if w.hasCases() {
		titles = []string{"case", "tool"}
	}
	titles = append(titles, "s", "min–max", "unsynced s", "MB/s")
	if w.Baseline != "" {
		titles = append(titles, "% of "+w.Baseline)
	}
	for _, column := range w.Columns {
		titles = append(titles, column.Title)
	}
	titles = append(titles, "CPU s holder", "CPU s receiver", "peak MB holder", "peak MB receiver", "wire MB in", "wire MB out", "runs")
	for _, row := range w.Rows {
		lines = append(lines, w.line(row, len(titles)))
	}
	return titles, lines
}

func (w Workload) hasCases() bool {
	for _, row := range w.Rows {
		if row.Case != "" {
			return true
		}
	}
	return false
}

func (w Workload) line(row Row, cells int) []string {
	line := []string{row.Tool}
	if w.hasCases() {
		line = []string{row.Case, row.Tool}
	}
	wall, ok := row.Of(Seconds)
	if !ok {
		line = append(line, row.why())
		for len(line) < cells {
			line = append(line, "")
		}
		return line
	}
	unsynced, _ := row.Of(Unsynced)
	line = append(line, seconds(wall.Median), seconds(wall.Min)+"–"+seconds(wall.Max), seconds(unsynced.Median))
	rate, _ := row.Of(func(run Run) float64 { return float64(run.Bytes) / 1e6 / run.Wall.Seconds() })
	line = append(line, number(rate.Median, "%.0f"))
	if w.Baseline != "" {
		cell := unknown
		if base, ok := w.baseline(row); ok {
			cell = fmt.Sprintf("%.0f", 100*base/wall.Median)
		}
		line = append(line, cell)
	}
	for _, column := range w.Columns {
		line = append(line, row.extra(column))
	}
	for _, figure := range []func(Run) float64{
		func(run Run) float64 { return run.Holder.CPU.Seconds() },
		func(run Run) float64 { return run.Receiver.CPU.Seconds() },
	} {
		s, _ := row.Of(figure)
		line = append(line, number(s.Median, "%.2f"))
	}
	for _, figure := range []func(Run) float64{
		func(run Run) float64 { return float64(run.Holder.Peak) / 1e6 },
		func(run Run) float64 { return float64(run.Receiver.Peak) / 1e6 },
	} {
		s, _ := row.Of(figure)
		line = append(line, number(s.Max, "%.0f")) // of peaks, the highest counts
	}
	for _, figure := range []func(Run) float64{
		func(run Run) float64 { return float64(run.WireIn) / 1e6 },
		func(run Run) float64 { return float64(run.WireOut) / 1e6 },
	} {
		s, _ := row.Of(figure)
		line = append(line, number(s.Median, "%.2f"))
	}
	return append(line, row.count())
}

// extra shows a figure of the workload's own; it may be 0, which is known, or missing.
func (r Row) extra(column Column) string {
	var values []float64
	for _, run := range r.Valid() {
		if value, ok := run.Extra[column.Key]; ok {
			values = append(values, value)
		}
	}
	s, ok := SpreadOf(values)
	if !ok {
		return unknown
	}
	return fmt.Sprintf(column.Format, s.Median)
}

// why says why a row has no figures.
func (r Row) why() string {
	if r.Skipped != "" {
		return "skipped: " + r.Skipped
	}
	var reasons []string
	for _, run := range r.Runs {
		reasons = append(reasons, run.Void)
	}
	if len(reasons) == 0 {
		return "not measured"
	}
	return "void: " + shorten(reasons[len(reasons)-1])
}

// shorten cuts what does not fit into a table; the JSON file has it all.
func shorten(text string) string {
	const most = 120
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// count says how many runs count, how many do not, and whether others were busy meanwhile.
func (r Row) count() string {
	valid := len(r.Valid())
	text := fmt.Sprint(valid)
	if void := len(r.Runs) - valid; void > 0 {
		text += fmt.Sprintf(" (%d void)", void)
	}
	if foreign, ok := r.Of(func(run Run) float64 { return run.Foreign }); ok && foreign.Max > noisy {
		text += fmt.Sprintf(" ~%.0f %%", 100*foreign.Max)
	}
	return text
}

func seconds(s float64) string {
	switch {
	case s >= 100:
		return fmt.Sprintf("%.0f", s)
	case s >= 10:
		return fmt.Sprintf("%.1f", s)
	case s >= 0.1:
		return fmt.Sprintf("%.2f", s)
	}
	return fmt.Sprintf("%.3f", s)
}

func number(value float64, format string) string {
	if value == 0 {
		return unknown
	}
	return fmt.Sprintf(format, value)
}

// legend explains the last column.
var legend = fmt.Sprintf("runs: those that count; ~ is the largest share of the machine that others used meanwhile, if over %.0f %%", 100*noisy)

// Print writes a workload as a table for a terminal.
func (w Workload) Print(out io.Writer) error {
	fmt.Fprintf(out, "\n%s: %s\n", w.Name, w.Title)
	if w.Skipped != "" {
		_, err := fmt.Fprintf(out, "  skipped: %s\n", w.Skipped)
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	titles, lines := w.table()
	fmt.Fprintln(table, "  "+strings.Join(titles, "\t"))
	for _, line := range lines {
		fmt.Fprintln(table, "  "+strings.TrimRight(strings.Join(line, "\t"), "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, note := range append(w.notes(), legend) {
		if _, err := fmt.Fprintf(out, "  %s\n", note); err != nil {
			return err
		}
	}
	return nil
}

// notes are those of the workload and of its rows.
func (w Workload) notes() []string {
	notes := append([]string(nil), w.Notes...)
	seen := make(map[string]bool)
	for _, row := range w.Rows {
		if row.Note != "" && !seen[row.Tool] {
			seen[row.Tool] = true
			notes = append(notes, row.Tool+": "+row.Note)
		}
	}
	return notes
}
