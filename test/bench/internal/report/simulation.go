package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"github.com/swarmsync/swarmsync/internal/swarmtest"
)

// simulationName is that of the block in the document, and of the plot.
const simulationName = "simulation"

// UpdateSimulation puts the table and the plot of simulated swarms into a document, as Report.UpdateDocs does with what
// was measured.
func UpdateSimulation(document string, r *swarmtest.Results) error {
	content, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	plots := strings.TrimSuffix(document, filepath.Ext(document))
	if err := os.MkdirAll(plots, 0o755); err != nil {
		return err
	}
	p, err := growth(r)
	if err != nil {
		return err
	}
	if err := p.Save(plotWidth, plotWidth*2/3, filepath.Join(plots, simulationName+".svg")); err != nil {
		return err
	}
	text, err := replaceBlock(string(content), simulationName, func(string) string {
		return simulationTable(r, filepath.Base(plots))
	})
	if err != nil {
		return err
	}
	return os.WriteFile(document, []byte(text), 0o644)
}

func simulationTable(r *swarmtest.Results, plotDir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, commit %s, seed %d, %s.\n\n", r.Started.UTC().Format(time.DateOnly), r.Commit, r.Seed, r.Go)
	writeRow(&b, []string{"scenario", "network", "receivers", "MiB", "last s", "÷ bound", "copies", "twice %"})
	writeRow(&b, []string{"---", "---", "---", "---", "---", "---", "---", "---"})
	for _, run := range r.Runs {
		writeRow(&b, []string{
			run.Scenario, run.Network, strconv.Itoa(run.Receivers), strconv.FormatInt(run.Bytes>>20, 10),
			fmt.Sprintf("%.2f", run.Last.Seconds()), fmt.Sprintf("%.3f", run.Ratio),
			fmt.Sprintf("%.3f", run.Copies), fmt.Sprintf("%.2f", 100*run.Twice),
		})
	}
	fmt.Fprintf(&b, "\n![%s](%s/%s.svg)\n\n", simulationName, plotDir, simulationName)
	return b.String()
}

// growth shows the time of the last receiver against the number of receivers, a line for each series.
func growth(r *swarmtest.Results) (*plot.Plot, error) {
	series := make(map[string]plotter.XYs)
	most := 0
	for _, run := range r.Runs {
		if run.Series != "" {
			series[run.Series] = append(series[run.Series], plotter.XY{X: float64(run.Receivers), Y: run.Ratio})
			most = max(most, run.Receivers)
		}
	}
	p := plot.New()
	p.Title.Text = "A crowd of receivers from one source (simulated)"
	p.X.Label.Text, p.Y.Label.Text = "receivers", "time of the last one ÷ size/g"
	p.X.Scale, p.Y.Min = plot.LogScale{}, 0
	var ticks plot.ConstantTicks
	for n := 1; n <= most; n *= 2 {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: strconv.Itoa(n)})
	}
	p.X.Tick.Marker = ticks
	return p, lines(p, series, plotter.NoStep)
}
