package report

import (
	"fmt"
	"image/color"
	"maps"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

const (
	plotWidth = 18 * vg.Centimeter
	barHeight = 8 * vg.Millimeter
	plotFrame = 3 * vg.Centimeter // titles and axes
)

var (
	ours   = color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}
	others = color.RGBA{R: 0xb0, G: 0xb0, B: 0xb0, A: 0xff}
)

// Plot draws a workload into dir and returns the names of the files: bars of the times for all; how the rate grows
// with the number of holders for rows that have the column "holders"; when receivers were done where there are several.
func (w Workload) Plot(dir string) ([]string, error) {
	var files []string
	for _, drawing := range []struct {
		suffix string
		draw   func() (*plot.Plot, vg.Length, error)
	}{
		{"", w.bars}, {"-scaling", w.scaling}, {"-completion", w.completion},
	} {
		p, height, err := drawing.draw()
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		name := w.Name + drawing.suffix + ".svg"
		if err := p.Save(plotWidth, height, filepath.Join(dir, name)); err != nil {
			return nil, err
		}
		files = append(files, name)
	}
	return files, nil
}

// bars shows the median time of each row, with its spread, the fastest on top.
func (w Workload) bars() (*plot.Plot, vg.Length, error) {
	type bar struct {
		label string
		s     Spread
		own   bool
	}
	var bars []bar
	for _, row := range w.Rows {
		if s, ok := row.Of(Seconds); ok {
			bars = append(bars, bar{row.Label(), s, row.Tool == "swarmsync"})
		}
	}
	if len(bars) == 0 {
		return nil, 0, nil
	}
	slices.SortStableFunc(bars, func(a, b bar) int {
		switch {
		case a.s.Median > b.s.Median:
			return -1
		case a.s.Median < b.s.Median:
			return 1
		}
		return 0
	})
	p := plot.New()
	p.Title.Text = w.Title
	p.X.Label.Text = "seconds (less is better)"
	p.X.Min = 0
	labels := make([]string, len(bars))
	spread := &spreads{}
	for i, b := range bars {
		drawn, err := plotter.NewBarChart(plotter.Values{b.s.Median}, barHeight/2)
		if err != nil {
			return nil, 0, err
		}
		drawn.Horizontal, drawn.XMin, drawn.LineStyle.Width = true, float64(i), 0
		if drawn.Color = others; b.own {
			drawn.Color = ours
		}
		p.Add(drawn)
		labels[i] = b.label
		spread.points = append(spread.points, plotter.XY{X: b.s.Median, Y: float64(i)})
		spread.errors = append(spread.errors, struct{ Low, High float64 }{b.s.Median - b.s.Min, b.s.Max - b.s.Median})
	}
	whiskers, err := plotter.NewXErrorBars(spread)
	if err != nil {
		return nil, 0, err
	}
	p.Add(whiskers)
	p.NominalY(labels...)
	return p, plotFrame + vg.Length(len(bars))*barHeight, nil
}

// spreads are points with what they vary by, as the plotter wants them.
type spreads struct {
	points plotter.XYs
	errors plotter.XErrors
}

func (s *spreads) Len() int                         { return s.points.Len() }
func (s *spreads) XY(i int) (x, y float64)          { return s.points.XY(i) }
func (s *spreads) XError(i int) (low, high float64) { return s.errors.XError(i) }

// lines draws a line for each tool, swarmsync's thicker.
func lines(p *plot.Plot, byTool map[string]plotter.XYs, style plotter.StepKind) error {
	for i, tool := range slices.Sorted(maps.Keys(byTool)) {
		line, points, err := plotter.NewLinePoints(byTool[tool])
		if err != nil {
			return err
		}
		line.StepStyle = style
		line.Color, points.Color, points.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		if tool == "swarmsync" {
			line.Width = vg.Points(2.5)
		}
		p.Add(line, points)
		p.Legend.Add(tool, line, points)
	}
	p.Legend.Top, p.Legend.Left = true, true
	return nil
}

// HoldersKey is the Run.Extra of how many holders a row had.
const HoldersKey = "holders"

func (w Workload) scaling() (*plot.Plot, vg.Length, error) {
	byTool := make(map[string]plotter.XYs)
	for _, row := range w.Rows {
		rate, ok := row.Of(func(run Run) float64 { return float64(run.Bytes) / 1e6 / run.Unsynced.Seconds() })
		holders, _ := row.Of(func(run Run) float64 { return run.Extra[HoldersKey] })
		if ok && holders.Median > 0 {
			byTool[row.Tool] = append(byTool[row.Tool], plotter.XY{X: holders.Median, Y: rate.Median})
		}
	}
	if len(byTool) == 0 {
		return nil, 0, nil
	}
	p := plot.New()
	p.Title.Text = w.Title
	p.X.Label.Text, p.Y.Label.Text = "holders", "MB/s (more is better)"
	p.X.Min, p.Y.Min = 0, 0
	return p, plotWidth * 2 / 3, lines(p, byTool, plotter.NoStep)
}

func (w Workload) completion() (*plot.Plot, vg.Length, error) {
	byTool := make(map[string]plotter.XYs)
	for _, row := range w.Rows {
		run, ok := row.middle()
		if !ok || len(run.Finished) < 2 {
			continue
		}
		points := plotter.XYs{{}}
		for i, at := range run.Finished {
			points = append(points, plotter.XY{X: at.Seconds(), Y: float64(i + 1)})
		}
		byTool[row.Label()] = points
	}
	if len(byTool) == 0 {
		return nil, 0, nil
	}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("%s: receivers that are done, in the run of the middle", w.Name)
	p.X.Label.Text, p.Y.Label.Text = "seconds", "receivers"
	p.X.Min, p.Y.Min = 0, 0
	return p, plotWidth * 2 / 3, lines(p, byTool, plotter.PostStep)
}

// middle returns the run with the median time, the shorter one of two.
func (r Row) middle() (Run, bool) {
	runs := r.Valid()
	if len(runs) == 0 {
		return Run{}, false
	}
	slices.SortFunc(runs, func(a, b Run) int { return int(min(1, max(-1, a.Wall-b.Wall))) })
	return runs[(len(runs)-1)/2], true
}
