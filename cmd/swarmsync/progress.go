package main

import (
	"fmt"
	"io"
	"strings"
	"time"

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
	live bool // lines of a terminal that change
	bar  *progressbar.ProgressBar
	told time.Time // when progress was told, or the start

	printed time.Time   // with --json: when progress was
	held    *node.Event // and progress that came too soon after that; nil if it was printed since

	lines int // that are drawn
}

// livePeersMax is how many peers the live display has a line for.
const livePeersMax = 8

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

// say prints a line above the live ones.
func (p *progress) say(format string, args ...any) {
	p.clear()
	p.app.note(format, args...)
}

// update draws the live lines. The bar draws each of its two changes; only what comes of both is shown, so that its
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
	p.draw(append([]string{strings.Trim(p.bar.String(), "\r\n")}, peerLines(event.Shares)...)...)
}

// draw makes the live lines other ones.
func (p *progress) draw(lines ...string) {
	width := terminalWidth(p.app.stderr) - 1 // a full line may wrap
	for i, line := range lines {
		lines[i] = cutText(line, width)
	}
	fmt.Fprint(p.app.stderr, eraser(p.lines), strings.Join(lines, "\n"))
	p.lines = len(lines)
}

// clear removes the live lines for now.
func (p *progress) clear() {
	if p.lines > 0 {
		fmt.Fprint(p.app.stderr, eraser(p.lines))
		p.lines = 0
	}
}

// eraser moves to the beginning of the first of n lines, the last of which the cursor is in, and clears them.
func eraser(n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return "\r\x1b[J"
	}
	return fmt.Sprintf("\r\x1b[%dA\x1b[J", n-1)
}

// peerLines has a line for each of the peers that are in use, up to livePeersMax, and one for all others.
func peerLines(shares []node.PeerShare) []string {
	fetched := int64(0)
	var used []node.PeerShare
	for _, share := range shares {
		fetched += share.Bytes
		if share.Dropped == "" {
			used = append(used, share)
		}
	}
	var lines []string
	for _, share := range used[:min(len(used), livePeersMax)] {
		lines = append(lines, "  "+shareText(share, fetched))
	}
	if more := used[len(lines):]; len(more) > 0 {
		rate := int64(0)
		for _, share := range more {
			rate += share.Rate
		}
		lines = append(lines, fmt.Sprintf("  and %s more, %s/s", count(len(more), "peer"), size(rate)))
	}
	return lines
}

// cutText cuts what has no place in so many columns.
func cutText(text string, width int) string {
	if runes := []rune(text); width > 0 && len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text
}

// stop removes the live lines, and prints what was held back.
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
