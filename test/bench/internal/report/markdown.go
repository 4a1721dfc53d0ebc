package report

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// UpdateDocs puts the tables and plots of a report between the markers of a document,
//
//	<!-- bench:cold -->
//	<!-- /bench:cold -->
//
// one pair for each workload; the text around stays. Plots are written beside the document, into a directory of its
// name. Workloads that the report doesn't have or that were skipped keep what an earlier report said.
func (r *Report) UpdateDocs(document string) error {
	content, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	text := string(content)
	plots := strings.TrimSuffix(document, filepath.Ext(document))
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	for _, w := range r.Workloads {
		files, err := w.Plot(plots)
		if err != nil {
			return fmt.Errorf("plot %s: %w", w.Name, err)
		}
		text, err = replaceBlock(text, w.Name, func(old string) string {
			if w.Skipped != "" && strings.TrimSpace(old) != "" {
				return old
			}
			return r.markdown(w, filepath.Base(plots), files)
		})
		if err != nil {
			return err
		}
	}
	return os.WriteFile(document, []byte(text), 0o644)
}

// replaceBlock replaces what stands between the markers of a name.
func replaceBlock(text, name string, replace func(old string) string) (string, error) {
	begin, end := fmt.Sprintf("<!-- bench:%s -->\n", name), fmt.Sprintf("<!-- /bench:%s -->", name)
	before, rest, okBegin := strings.Cut(text, begin)
	old, after, okEnd := strings.Cut(rest, end)
	if !okBegin || !okEnd {
		return "", errors.New("the document lacks the markers " + strings.TrimSpace(begin) + " and " + end)
	}
	return before + begin + replace(old) + end + after, nil
}

func (r *Report) markdown(w Workload, plotDir string, plots []string) string {
	var b strings.Builder
	if w.Skipped != "" {
		fmt.Fprintf(&b, "\nNot measured: %s.\n\n", w.Skipped)
		return b.String()
	}
	fmt.Fprintf(&b, "\n%s\n\n", r.provenance(w))
	titles, lines := w.table()
	writeRow(&b, titles)
	writeRow(&b, slices.Repeat([]string{"---"}, len(titles)))
	for _, line := range lines {
		writeRow(&b, line)
	}
	b.WriteString("\n")
	for _, note := range append(w.notes(), legend) {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	b.WriteString("\n")
	w.commands(&b)
	for _, plot := range plots {
		fmt.Fprintf(&b, "![%s](%s/%s)\n", strings.TrimSuffix(plot, ".svg"), plotDir, plot)
	}
	b.WriteString("\n")
	return b.String()
}

// provenance says when, where and with what a table was measured.
func (r *Report) provenance(w Workload) string {
	m := r.Machine
	text := fmt.Sprintf("%s, commit %s, seed %d, %d runs of each row; %d × %s, %d GiB, %s, %s, TCP %s, %s.",
		r.Started.UTC().Format(time.DateOnly), r.Commit, r.Seed, r.Runs, m.CPUs, m.Processor, (m.Memory+1<<29)>>30,
		m.System, m.FileSystem, m.Congestion, m.Go)
	var versions []string
	for _, row := range w.Rows {
		tool, _, _ := strings.Cut(row.Tool, " ")
		version := r.Versions[tool]
		if text := tool + " " + version; version != "" && !slices.Contains(versions, text) {
			versions = append(versions, text)
		}
	}
	if len(versions) > 0 {
		text += " With " + strings.Join(versions, ", ") + "."
	}
	var absent []string
	for tool, why := range r.Absent {
		absent = append(absent, tool+" ("+why+")")
	}
	if slices.Sort(absent); len(absent) > 0 {
		text += " Not there: " + strings.Join(absent, ", ") + "."
	}
	return text
}

// commands lists what was timed.
func (w Workload) commands(b *strings.Builder) {
	seen := make(map[string]bool)
	for _, row := range w.Rows {
		if row.Command == "" || seen[row.Tool] {
			continue
		}
		if len(seen) == 0 {
			b.WriteString("Timed:\n\n")
		}
		seen[row.Tool] = true
		fmt.Fprintf(b, "- %s: `%s`\n", row.Tool, row.Command)
	}
	if len(seen) > 0 {
		b.WriteString("\n")
	}
}

func writeRow(b *strings.Builder, cells []string) {
	b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
}
