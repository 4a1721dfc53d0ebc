package protocol

import "time"

// thrift decides whether a holder makes a chunk smaller before it sends it, in one way: by zstd, or by a delta. It decides
// without locks, clocks or I/O, and aims at never sending later than as the chunk is:
//
//   - a session may spend trialTime on finding out, or trialMin tries if those take longer;
//   - after that, making a chunk smaller and sending what is left of it must be expected to take less than sending it as it
//     is, at the rates of late, and one after the other, though both happen at the same time;
//   - and it must fit in time that the writer has waited for the path, because the rate of a path that is not the bottleneck
//     is not known: what arrives is then as slow as it is made.
//
// Beyond that, what halves a chunk may take a part of the time that the writer had nothing to send, if nobody else is served:
// then the transfer does not wait for the holder.
//
// Content that does not get smaller is tried ever more rarely, unless each chunk is said to be worth a try.
type thrift struct {
	trialTime time.Duration
	patient   bool

	tries int
	spent time.Duration
	rate  float64 // bytes of chunks a second that are made smaller, of late
	ratio float64 // what is left of a byte, of late
	vain  int     // chunks in a row that did not get smaller
	left  int     // chunks to be left as they are before the next try
}

const (
	// zstdTrial and deltaTrial are what a session may lose. A delta saves nearly all of a chunk, and only a receiver that
	// has something similar asks for it.
	zstdTrial  = 10 * time.Millisecond
	deltaTrial = 30 * time.Millisecond
	trialMin   = 16
	// thriftWorth is what must be left of a chunk at most.
	thriftWorth = 0.95
	// thriftIdle is the same for time with nothing to send.
	thriftIdle = 0.5
	// thriftVain is after how many chunks in a row that did not get smaller the next ones are left alone: first one, then two,
	// then four, …
	thriftVain = 4
	// thriftPauseMax is how many chunks are left alone at most between two tries.
	thriftPauseMax = 256
	// waitedMax bounds the time that counts as waited.
	waitedMax = time.Second
	// idleShare is which part of the time with nothing to send may be spent, and idleMax how much of that is kept for later.
	idleShare = 4
	idleMax   = 100 * time.Millisecond
	// writeBlocked is how long a write takes at least that waits for the path, and not for the processor only.
	writeBlocked = 5 * time.Millisecond
)

// worth reports whether to make a chunk of size bytes smaller. pathRate is at what rate bytes arrive, 0 if that is not
// known; waited is for how long the writer has waited for the path and nothing was done meanwhile, and idle what may be
// spent because there was nothing to send.
func (t *thrift) worth(size int, pathRate float64, waited, idle time.Duration) bool {
	if t.left > 0 {
		t.left--
		return false
	}
	if t.tries < trialMin || t.spent < t.trialTime {
		return true
	}
	takes := float64(size) / t.rate
	if takes <= idle.Seconds() && t.ratio <= thriftIdle {
		return true
	}
	if takes > waited.Seconds() || pathRate == 0 {
		return false
	}
	return takes+t.ratio*float64(size)/pathRate < float64(size)/pathRate
}

// made enters that of size bytes so many were left, and how long it took.
func (t *thrift) made(size, left int, took time.Duration) {
	t.tries++
	t.spent += took
	rate := float64(size) / max(took, time.Microsecond).Seconds()
	ratio := float64(left) / float64(size)
	if t.tries == 1 {
		t.rate, t.ratio = rate, ratio
	}
	t.rate = (3*t.rate + rate) / 4
	t.ratio = (3*t.ratio + ratio) / 4
	if t.vain++; ratio <= thriftWorth {
		t.vain = 0
	}
	if over := t.vain - thriftVain; over >= 0 && !t.patient {
		t.left = min(1<<min(over, 30), thriftPauseMax)
	}
}
