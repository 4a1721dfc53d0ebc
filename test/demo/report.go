package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/swarmsync/swarmsync/node"
)

// transfer is what one add and get did.
type transfer struct {
	name   string
	added  time.Duration
	result node.Result
}

// decodeEvents calls decode with each event of one kind that a command with --json printed; there must be one.
func decodeEvents(text, kind string, decode func(line []byte) error) error {
	count := 0
	for line := range strings.Lines(text) {
		var event struct {
			Event string `json:"event"`
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			return fmt.Errorf("%q is not JSON: %w", line, err)
		}
		if event.Event == kind {
			count++
			if err := decode([]byte(line)); err != nil {
				return fmt.Errorf("decode %q: %w", line, err)
			}
		}
	}
	if count == 0 {
		return fmt.Errorf("no %s in %q", kind, text)
	}
	return nil
}

// Shares of the content that the session streams may take beside the chunks, and in all for a changed version.
const (
	overheadMax = 0.0025
	deltaMax    = 0.01
)

// summarize prints both transfers side by side and checks what they promise.
func summarize(w io.Writer, nodes []*process, first, second transfer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...string) { fmt.Fprintln(table, strings.Join(cells, "\t")+"\t") }
	fmt.Fprintln(w)
	row("", "content", "here already", "fetched", "on the wire", "add", "get", "speed", "peers")
	for _, t := range []transfer{first, second} {
		r := t.result
		row(t.name, bytesText(r.Bytes), bytesText(r.Reused), bytesText(r.Fetched), bytesText(r.WireIn+r.WireOut),
			t.added.Round(time.Millisecond).String(), r.Duration.Round(time.Millisecond).String(),
			bytesText(int64(float64(r.Bytes)/r.Duration.Seconds()))+"/s", strconv.Itoa(len(r.Peers)))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, n := range nodes {
		if peak, ok := peakMemory(n.cmd.Process.Pid); ok {
			fmt.Fprintf(w, "%-8s peak memory %s\n", n.name, bytesText(peak))
		}
	}
	overhead := float64(first.result.WireIn+first.result.WireOut+first.result.Saved-first.result.Fetched) / float64(first.result.Bytes)
	delta := float64(second.result.WireIn+second.result.WireOut) / float64(second.result.Bytes)
	fmt.Fprintf(w, "beside the chunks the first get moved %.2f %% of the content; the changed version took %.2f %% of its size\n",
		100*overhead, 100*delta)
	var problems []error
	if overhead > overheadMax {
		problems = append(problems, fmt.Errorf("the first get moved more than %.2f %% of the content beside the chunks", 100*overheadMax))
	}
	if delta > deltaMax {
		problems = append(problems, fmt.Errorf("the changed version took more than %.2f %% of its size", 100*deltaMax))
	}
	return errors.Join(problems...)
}

// peakMemory reads the largest resident size that a process had; only Linux tells.
func peakMemory(pid int) (int64, bool) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10, err == nil
		}
	}
	return 0, false
}

func bytesText(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }
