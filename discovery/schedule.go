package discovery

import (
	"encoding/binary"
	"time"
)

const (
	// reannounceMin and reannounceSpread make the 22 h ± 2 h between two announcements of a key. Records live for
	// recordValidity, so that one missed announcement loses nothing; the spread keeps many keys from coming due at
	// once.
	reannounceMin    = 20 * time.Hour
	reannounceSpread = 4 * time.Hour
	recordValidity   = 48 * time.Hour
	// addrTTL is how long nodes remember the addresses that came with a record.
	addrTTL = 24 * time.Hour
	// addrSettle keeps a node whose addresses change often from announcing everything each time.
	addrSettle = 10 * time.Minute

	announceRetryMin = 5 * time.Second
	announceRetryMax = 2 * time.Hour

	redialMin = time.Second
	redialMax = 5 * time.Minute

	bootstrapRetryMin = 2 * time.Second
	bootstrapRetryMax = time.Minute

	lookupRetryMin = 250 * time.Millisecond
	lookupRetryMax = time.Minute
)

// announcement is what is known about the announcements of one key.
type announcement struct {
	// stored is when another node last took the record; the zero time means never.
	stored time.Time
	// step is the growthStep of the routing table at that time, and addrs the fingerprint of what was announced.
	step  int
	addrs fingerprint
	// thisRun tells that stored happened since the node started.
	thisRun bool

	// failures counts the attempts since the last success; tried and triedSize are the time of the last of them and the
	// size of the routing table then.
	failures  int
	tried     time.Time
	triedSize int
}

// due returns when the key with the announcement a is to be announced next, given the size of the routing table and
// the addresses of now. The zero time means at once; ok is false if there is nobody to tell.
func (a announcement) due(key Key, tableSize int, addrs fingerprint) (at time.Time, ok bool) {
	if tableSize == 0 {
		return time.Time{}, false
	}
	switch {
	case a.stored.IsZero() || growthStep(tableSize) > a.step:
		// At once: never told, or told when there were fewer to keep it.
	case addrs != a.addrs && a.thisRun:
		at = a.stored.Add(addrSettle)
	case addrs != a.addrs:
		// At once: the node came back elsewhere, and the addresses that others know are wrong.
	default:
		at = a.stored.Add(reannounceInterval(key))
	}
	if a.failures > 0 && tableSize <= a.triedSize {
		if retry := a.tried.Add(backoff(a.failures, announceRetryMin, announceRetryMax)); retry.After(at) {
			at = retry
		}
	}
	return at, true
}

// reannounceInterval is 22 h ± 2 h, always the same for one key. Keys are as good as random, so it spreads them.
func reannounceInterval(key Key) time.Duration {
	fraction := time.Duration(binary.BigEndian.Uint16(key[:2]))
	return reannounceMin + reannounceSpread*fraction/(1<<16)
}

// growthStep counts the sizes at which it is worth telling the table's new nodes what is provided: from nobody to
// somebody, and at 4, 10 and 20 nodes, 20 being how many nodes keep one record.
func growthStep(tableSize int) int {
	step := 0
	for _, size := range [...]int{1, 4, 10, 20} {
		if tableSize >= size {
			step++
		}
	}
	return step
}

// growthStepMax is the largest value of growthStep.
const growthStepMax = 4

// backoff returns how long to wait after the given number of failures in a row, at least 1: from shortest, doubled
// each time, to longest.
func backoff(failures int, shortest, longest time.Duration) time.Duration {
	d := shortest
	for i := 1; i < failures && d < longest; i++ {
		d *= 2
	}
	return min(d, longest)
}

// jitter spreads d over ± 25 %, so that nodes that lost the same peer do not come back at the same moment. u is
// uniform in [0, 1).
func jitter(d time.Duration, u float64) time.Duration {
	return time.Duration(float64(d) * (0.75 + u/2))
}
