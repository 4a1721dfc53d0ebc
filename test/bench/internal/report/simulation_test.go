package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/internal/swarmtest"
)

func TestUpdateSimulation(t *testing.T) {
	dir := t.TempDir()
	document := filepath.Join(dir, "performance.md")
	before := "before\n<!-- bench:simulation -->\nold\n<!-- /bench:simulation -->\nafter\n"
	if err := os.WriteFile(document, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	results := &swarmtest.Results{Commit: "abc", Runs: []swarmtest.Result{
		{Scenario: "crowd of 2", Network: "QUIC", Series: "1 MiB", Receivers: 2, Bytes: 1 << 20, Last: 1500 * time.Millisecond, Ratio: 1.0125, Copies: 1.011, Twice: 0.001},
		{Scenario: "crowd of 8", Network: "QUIC", Series: "1 MiB", Receivers: 8, Bytes: 1 << 20, Last: time.Second, Ratio: 1.1},
		{Scenario: "no series", Network: "QUIC", Receivers: 1, Ratio: 7},
	}}
	if err := UpdateSimulation(document, results); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"before\n", "after\n", "commit abc", "| crowd of 2 | QUIC | 2 | 1 | 1.50 | 1.012 | 1.011 | 0.10 |",
		"![simulation](performance/simulation.svg)",
	} {
		if !strings.Contains(string(content), want) {
			t.Errorf("%q is not in\n%s", want, content)
		}
	}
	if strings.Contains(string(content), "old") {
		t.Error("the old table is there still")
	}
	drawing, err := os.ReadFile(filepath.Join(dir, "performance", "simulation.svg"))
	if err != nil || !strings.Contains(string(drawing), "1 MiB") {
		t.Errorf("a plot of %d bytes without its series, %v", len(drawing), err)
	}
}
