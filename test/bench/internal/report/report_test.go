package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSpreadOf(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
		ok     bool
	}{
		{nil, Spread{}, false},
		{[]float64{3}, Spread{3, 3, 3}, true},
		{[]float64{3, 1}, Spread{1, 2, 3}, true},
		{[]float64{5, 1, 2}, Spread{1, 2, 5}, true},
		{[]float64{4, 1, 3, 2}, Spread{1, 2.5, 4}, true},
	} {
		if got, ok := SpreadOf(c.values); got != c.want || ok != c.ok {
			t.Errorf("spread of %v: %v, %t; want %v, %t", c.values, got, ok, c.want, c.ok)
		}
	}
}

func run(seconds float64) Run {
	d := time.Duration(seconds * float64(time.Second))
	return Run{Wall: d, Unsynced: d / 2, Bytes: 1e9}
}

// example has a row of each kind.
func example() Workload {
	voided := run(100)
	voided.Void = "others used 90 % of the machine"
	crowded := run(3)
	crowded.Finished = []time.Duration{time.Second, 2 * time.Second}
	crowded.Foreign = 0.5
	crowded.Extra = map[string]float64{HoldersKey: 2, "zero": 0}
	return Workload{
		Name: "cold", Title: "an example", Baseline: "bare", Notes: []string{"a note"},
		Columns: []Column{{"zero", "zero", "%.1f"}, {"missing", "missing", "%.1f"}},
		Rows: []Row{
			{Tool: "bare", Runs: []Run{run(1), run(2), run(3)}},
			{Tool: "swarmsync", Runs: []Run{run(4), voided}, Note: "of a row"},
			{Tool: "rsync", Runs: []Run{voided}},
			{Tool: "kubo", Skipped: "not here"},
			{Tool: "aria2", Runs: []Run{crowded}, Command: "aria2c FILE"},
		},
	}
}

func TestTable(t *testing.T) {
	titles, lines := example().table()
	cells := make(map[string]map[string]string)
	for _, line := range lines {
		if len(line) != len(titles) {
			t.Fatalf("%q has %d cells under %d titles", line, len(line), len(titles))
		}
		cells[line[0]] = make(map[string]string)
		for i, title := range titles {
			cells[line[0]][title] = line[i]
		}
	}
	for _, c := range []struct{ tool, title, want string }{
		{"bare", "s", "2.00"},
		{"bare", "min–max", "1.00–3.00"},
		{"bare", "MB/s", "500"},
		{"bare", "% of bare", "100"},
		{"bare", "zero", "-"},
		{"swarmsync", "s", "4.00"},
		{"swarmsync", "unsynced s", "2.00"},
		{"swarmsync", "% of bare", "50"},
		{"swarmsync", "runs", "1 (1 void)"},
		{"rsync", "s", "void: others used 90 % of the machine"},
		{"kubo", "s", "skipped: not here"},
		{"aria2", "zero", "0.0"},
		{"aria2", "missing", "-"},
		{"aria2", "runs", "1 ~50 %"},
	} {
		if got := cells[c.tool][c.title]; got != c.want {
			t.Errorf("%s of %s: %q, want %q", c.title, c.tool, got, c.want)
		}
	}
}

func TestUpdateDocs(t *testing.T) {
	document := filepath.Join(t.TempDir(), "performance.md")
	const text = "before\n<!-- bench:cold -->\nold cold\n<!-- /bench:cold -->\nbetween\n<!-- bench:tree -->\nold tree\n<!-- /bench:tree -->\nafter\n"
	if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &Report{Commit: "abc", Seed: 1, Runs: 3, Versions: map[string]string{"rsync": "3"}, Workloads: []Workload{
		example(), {Name: "tree", Skipped: "not built"},
	}}
	if err := r.UpdateDocs(document); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	updated := string(content)
	for _, want := range []string{
		"before\n", "between\n", "after\n", "old tree", "| bare | 2.00 |", "- a note\n", "- swarmsync: of a row\n",
		"`aria2c FILE`", "rsync 3", "(performance/cold.svg)", "(performance/cold-completion.svg)", "(performance/cold-scaling.svg)",
	} {
		if !strings.Contains(updated, want) {
			t.Errorf("%q is missing in\n%s", want, updated)
		}
	}
	if strings.Contains(updated, "old cold") {
		t.Error("the old table is still there")
	}
	for _, plot := range []string{"cold.svg", "cold-completion.svg", "cold-scaling.svg"} {
		info, err := os.Stat(filepath.Join(filepath.Dir(document), "performance", plot))
		if err != nil || info.Size() == 0 {
			t.Errorf("plot %s: %v", plot, err)
		}
	}
	if err := r.UpdateDocs(document); err != nil {
		t.Error("a second time:", err)
	}
}

func TestUpdateDocsWithoutMarkers(t *testing.T) {
	document := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(document, []byte("<!-- /bench:cold -->\n<!-- bench:cold -->\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := &Report{Workloads: []Workload{{Name: "cold", Skipped: "why"}}}
	if err := r.UpdateDocs(document); err == nil {
		t.Error("a document without a place for the table was updated")
	}
}

func TestReportIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	r := &Report{Commit: "abc", Workloads: []Workload{example()}}
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Workloads) != 1 || len(got.Workloads[0].Rows) != 5 || got.Workloads[0].Rows[0].Runs[0].Wall != time.Second {
		t.Errorf("got %+v", got)
	}
}
