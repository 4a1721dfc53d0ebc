// Package report keeps what was measured and shows it: as a table on the terminal, as JSON, as tables and plots in the
// documents. What is stored are the single runs; medians, spreads and ratios are worked out when they are shown.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// Report is one run of the benchmarks.
type Report struct {
	Started   time.Time         `json:"started"`
	Commit    string            `json:"commit"` // with "+" if the work tree had changes
	Arguments []string          `json:"arguments"`
	Seed      uint64            `json:"seed"`
	Scale     float64           `json:"scale"` // of the sizes; only 1 is comparable
	Runs      int               `json:"runs"`  // asked for, of each row
	Machine   Machine           `json:"machine"`
	Versions  map[string]string `json:"versions"`
	Absent    map[string]string `json:"absent,omitempty"` // tools that are not here, and why
	Workloads []Workload        `json:"workloads"`
}

// Machine is where it ran.
type Machine struct {
	Processor  string `json:"processor"`
	CPUs       int    `json:"cpus"`
	Memory     int64  `json:"memory_bytes"`
	System     string `json:"system"`
	FileSystem string `json:"file_system"`
	Congestion string `json:"congestion_control"`
	Go         string `json:"go"`
}

// Workload is what was measured of one kind of work.
type Workload struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Notes   []string `json:"notes,omitempty"`
	Skipped string   `json:"skipped,omitempty"` // why nothing was measured
	// Baseline is the tool of the row that others are compared with; empty: none.
	Baseline string   `json:"baseline,omitempty"`
	Columns  []Column `json:"columns,omitempty"` // beside the common ones
	Rows     []Row    `json:"rows,omitempty"`
}

// Column is a figure that only one workload has.
type Column struct {
	Key   string `json:"key"` // in Run.Extra
	Title string `json:"title"`
	// Format is how fmt shows a value.
	Format string `json:"format"`
}

// Row is one tool on one case of a workload.
type Row struct {
	Tool    string `json:"tool"`
	Case    string `json:"case,omitempty"`
	Command string `json:"command,omitempty"` // of the timed part
	Note    string `json:"note,omitempty"`
	Skipped string `json:"skipped,omitempty"`
	Runs    []Run  `json:"runs,omitempty"`
}

// Run is one measurement. Figures that are not known are 0.
type Run struct {
	Void     string        `json:"void,omitempty"` // why it does not count
	Wall     time.Duration `json:"wall_ns"`        // with the writing to disk
	Unsynced time.Duration `json:"unsynced_ns"`    // without it
	Bytes    int64         `json:"bytes"`          // of content, of all receivers together
	Holder   Use           `json:"holder"`
	Receiver Use           `json:"receiver"`
	// WireIn and WireOut are the bytes that receivers got and sent, frame headers included. On a loopback interface,
	// where the two cannot be told apart, WireIn is their sum.
	WireIn  int64 `json:"wire_in"`
	WireOut int64 `json:"wire_out"`
	// Busy and Foreign are shares of the machine's processor time that anybody and that others used; see sandbox.Machine.
	Busy    float64 `json:"busy"`
	Foreign float64 `json:"foreign"`
	// Finished are the times at which the receivers were done, counted from the first request, ascending.
	Finished []time.Duration    `json:"finished_ns,omitempty"`
	Extra    map[string]float64 `json:"extra,omitempty"`
}

// Use is what the processes of one side used.
type Use struct {
	CPU  time.Duration `json:"cpu_ns"`
	Peak int64         `json:"peak_bytes"`
}

// Valid returns the runs that count.
func (r Row) Valid() []Run {
	return slices.DeleteFunc(slices.Clone(r.Runs), func(run Run) bool { return run.Void != "" })
}

// Label is what a row is called in tables and plots.
func (r Row) Label() string {
	if r.Case == "" {
		return r.Tool
	}
	return r.Case + " " + r.Tool
}

// Spread is the smallest, the middle and the largest of some values.
type Spread struct{ Min, Median, Max float64 }

// Of works out the spread of a figure over the runs that count; ok is false if there are none.
func (r Row) Of(figure func(Run) float64) (s Spread, ok bool) {
	var values []float64
	for _, run := range r.Valid() {
		values = append(values, figure(run))
	}
	return SpreadOf(values)
}

// SpreadOf works out the spread of values; ok is false if there are none.
func SpreadOf(values []float64) (s Spread, ok bool) {
	if len(values) == 0 {
		return Spread{}, false
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Spread{Min: sorted[0], Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Max: sorted[n-1]}, true
}

// Seconds is the wall time of a run in seconds.
func Seconds(run Run) float64 { return run.Wall.Seconds() }

// Unsynced is the time of a run in seconds without the writing to disk.
func Unsynced(run Run) float64 { return run.Unsynced.Seconds() }

// baseline returns the median time of the row that row is compared with: the one of the same case.
func (w Workload) baseline(row Row) (seconds float64, ok bool) {
	for _, other := range w.Rows {
		if other.Tool == w.Baseline && (other.Case == row.Case || other.Case == "") {
			s, ok := other.Of(Seconds)
			return s.Median, ok
		}
	}
	return 0, false
}

// Write stores a report as JSON.
func (r *Report) Write(path string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644)
}

// Read loads a report that Write stored.
func Read(path string) (*Report, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Report
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, fmt.Errorf("read report %s: %w", path, err)
	}
	return &r, nil
}
