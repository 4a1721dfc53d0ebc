package swarmtest

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Results are those of a run of all simulations.
type Results struct {
	Started time.Time `json:"started"`
	Commit  string    `json:"commit"`
	Seed    uint64    `json:"seed"`
	Go      string    `json:"go"`
	Runs    []Result  `json:"runs"`
}

// Result is what one simulated swarm did.
type Result struct {
	Scenario  string `json:"scenario"`
	Network   string `json:"network"`
	Series    string `json:"series,omitempty"` // of the plot that it is a point of
	Seed      uint64 `json:"seed"`
	Receivers int    `json:"receivers"`
	Bytes     int64  `json:"bytes"` // of the content
	// Last is when the last receiver had everything, since the start.
	Last time.Duration `json:"last_ns"`
	// Ratio is the worst of the receivers' times as a multiple of what its bound is.
	Ratio float64 `json:"ratio"`
	// Copies is how often the content was sent by those who had it from the start, and Twice the share of the bytes
	// that came to somebody who had them already.
	Copies float64 `json:"copies"`
	Twice  float64 `json:"twice"`
	// Took is how long the simulation took in real time.
	Took time.Duration `json:"took_ns"`
}

// Write stores results as JSON.
func (r *Results) Write(path string) error {
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(content, '\n'), 0o644)
}

// ReadResults loads results that Write stored.
func ReadResults(path string) (*Results, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Results
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, fmt.Errorf("read results %s: %w", path, err)
	}
	return &r, nil
}
