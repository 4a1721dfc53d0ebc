package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"

	"github.com/swarmsync/swarmsync/node"
)

// plainEvery is how often progress is told where no terminal shows it; runs that are shorter tell nothing.
const plainEvery = 10 * time.Second

// jsonEvery is how often --json tells progress, so that a log of it stays small.
const jsonEvery = 500 * time.Millisecond

// progress shows the events of one add or get. Its methods must not be called concurrently.
type progress struct {
	app  *app
	live bool // one line of a terminal that changes
	bar  *progressbar.ProgressBar
	told time.Time // when progress was told, or the start

	printed time.Time   // with --json: when progress was
	held    *node.Event // and progress that came too soon after that; nil if it was printed since

	width int // of the live line
}

// startProgress begins to show; the caller calls stop before anything else is printed.
func (a *app) startProgress() *progress {
	return &progress{app: a, live: isTerminal(a.stderr) && !a.quiet && !a.json, told: time.Now()}
}

// event shows an event. It is a callback for node.FetchOptions and node.AddOptions.
func (p *progress) event(event node.Event) {
	switch {
	case p.app.json:
		p.printSparsely(event)
	case p.app.quiet:
	case event.Kind == node.EventProgress && p.live:
		p.update(event)
	case event.Kind == node.EventProgress:
		if now := time.Now(); now.Sub(p.told) >= plainEvery {
			p.told = now
			p.app.note("%s", progressText(event))
		}
	case event.Kind == node.EventDropped:
		p.say("dropped peer %s: %s", event.Peer, event.Message)
	case event.Kind == node.EventNote:
		p.say("%s", event.Message)
	}
}

// printSparsely prints events, but progress at most every jsonEvery; the last is left to stop.
func (p *progress) printSparsely(event node.Event) {
	if event.Kind != node.EventProgress {
		p.print(event)
		return
	}
	now := time.Now()
	if now.Sub(p.printed) < jsonEvery {
		p.held = &event
		return
	}
	p.printed, p.held = now, nil
	p.print(event)
}

// print writes the event as it is: its first field is called "event" already.
func (p *progress) print(event node.Event) {
	if text, err := encode(event); err == nil {
		_ = p.app.printJSON(text) // the result will fail in the same way
	}
}

// say prints a line above the live one.
func (p *progress) say(format string, args ...any) {
	p.clear()
	p.app.note(format, args...)
}

// update draws the live line. The bar draws each of its two changes; only what comes of both is shown, so that its
// percentage is that of the text.
func (p *progress) update(event node.Event) {
	if event.Freed > 0 {
		p.draw(progressText(event))
		return
	}
	if p.bar == nil && event.Total == 0 {
		return
	}
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(event.Total,
			progressbar.OptionSetWriter(io.Discard),
			progressbar.OptionSetWidth(20),
			progressbar.OptionShowDescriptionAtLineEnd(),
			progressbar.OptionSetElapsedTime(false), // ours, because the bar would count what was here already
			progressbar.OptionSetPredictTime(false),
		)
	}
	_ = p.bar.Set64(min(event.Reused+event.Fetched, event.Total)) // it can't be too much
	p.bar.Describe(progressText(event))
	p.draw(strings.Trim(p.bar.String(), "\r\n"))
}

// draw makes the live line another one.
func (p *progress) draw(line string) {
	fmt.Fprintf(p.app.stderr, "\r%-*s", p.width, line)
	p.width = max(p.width, utf8.RuneCountInString(line))
}

// clear removes the live line for now.
func (p *progress) clear() {
	if p.width > 0 {
		fmt.Fprintf(p.app.stderr, "\r%*s\r", p.width, "")
		p.width = 0
	}
}

// stop removes the live line, and prints what was held back.
func (p *progress) stop() {
	p.clear()
	if p.held != nil {
		p.print(*p.held)
		p.held = nil
	}
}

// progressText is such as "13 MB of 152 MB, 3.1 MB of it here already, 25 MB/s, 6s left, 2 peers".
func progressText(event node.Event) string {
	if event.Freed > 0 {
		return "freed " + size(event.Freed)
	}
	if event.Total == 0 && event.Reused == 0 {
		return "looking for holders"
	}
	had := event.Reused + event.Fetched
	parts := []string{size(had)}
	if event.Total > 0 {
		parts[0] += " of " + size(event.Total)
	}
	if event.Fetched > 0 && event.Reused > 0 {
		parts = append(parts, size(event.Reused)+" of it here already")
	}
	if event.Rate > 0 {
		parts = append(parts, size(event.Rate)+"/s")
		if event.Total > had {
			left := time.Duration(float64(event.Total-had) / float64(event.Rate) * float64(time.Second))
			parts = append(parts, fmt.Sprintf("%s left", left.Round(time.Second)))
		}
	}
	if event.Peers > 0 {
		parts = append(parts, count(event.Peers, "peer"))
	}
	return strings.Join(parts, ", ")
}
