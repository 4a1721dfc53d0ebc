package discovery

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Report tells where a search has looked and what each source answered, so that "nothing found" can be explained. Its
// zero value is for one call of FindReport. Its methods may be called at any time, while the search runs and after.
type Report struct {
	mu        sync.Mutex
	answered  chan struct{} // closed when every source that is on has answered
	sources   []SourceReport
	tableSize int
}

// SourceReport is what a search learnt from one source.
type SourceReport struct {
	Source Source
	// On tells that the source is looked at.
	On bool
	// Answered tells that the source has had its say at least once: the peers joined at once, the local network when
	// mDNS had the time to hear of it, the DHT when a look-up was answered by at least one node.
	Answered bool
	// Candidates counts those yielded.
	Candidates int
}

// Sources returns what is known of each source, in the order joined, LAN, DHT; nothing before the search begins.
func (r *Report) Sources() []SourceReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sources)
}

// TableSize returns the number of nodes in the DHT's routing table as the search last saw it.
func (r *Report) TableSize() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tableSize
}

// Answered returns a channel that is closed once every source that is on has answered: from then on, what was not
// found is not there, unless it comes later. It never happens while the DHT is on and nobody in it can be asked.
func (r *Report) Answered() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.answeredLocked()
}

// String returns the places looked at and what came of each, such as
// "joined peers (1), LAN (0), DHT (3 nodes in the table, 0 holders)".
func (r *Report) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var parts []string
	for _, s := range r.sources {
		name := map[Source]string{SourceJoined: "joined peers", SourceLAN: "LAN", SourceDHT: "DHT"}[s.Source]
		what := fmt.Sprint(s.Candidates)
		switch {
		case !s.On:
			what = "off"
		case s.Source == SourceDHT:
			what = fmt.Sprintf("%s in the table, %s", plural(r.tableSize, "node"), plural(s.Candidates, "holder"))
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", name, what))
	}
	return strings.Join(parts, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (r *Report) begin(lan, dht bool, tableSize int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sources = []SourceReport{
		{Source: SourceJoined, On: true},
		{Source: SourceLAN, On: lan},
		{Source: SourceDHT, On: dht},
	}
	r.tableSize = tableSize
}

func (r *Report) setTableSize(size int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tableSize = size
}

func (r *Report) count(source Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.find(source).Candidates++
}

// answer notes that source has answered.
func (r *Report) answer(source Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answering := r.find(source)
	if !answering.On || answering.Answered {
		return
	}
	answering.Answered = true
	for _, s := range r.sources {
		if s.On && !s.Answered {
			return
		}
	}
	close(r.answeredLocked())
}

func (r *Report) find(source Source) *SourceReport {
	for i := range r.sources {
		if r.sources[i].Source == source {
			return &r.sources[i]
		}
	}
	panic("discovery: report on unknown source " + string(source))
}

func (r *Report) answeredLocked() chan struct{} {
	if r.answered == nil {
		r.answered = make(chan struct{})
	}
	return r.answered
}
