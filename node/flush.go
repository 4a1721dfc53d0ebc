package node

import (
	"errors"
	"sync"
)

// flushBytes is after how many bytes a file that is being written is synced. A disk may take long to write what is in its
// own cache; at the end alone that was a fifth of the time of a copy of 1 GiB.
const flushBytes = 128 << 20

// flusher syncs a file now and then while it is written, beside that. Its methods may be called concurrently.
type flusher struct {
	sync func() error

	mu       sync.Mutex
	waiting  int64 // bytes since the last sync began
	flushing bool
	err      error // of all syncs; the system tells of it once
	running  sync.WaitGroup
}

// wrote notes that n more bytes were written.
func (f *flusher) wrote(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waiting += n; f.waiting < flushBytes || f.flushing {
		return
	}
	f.waiting, f.flushing = 0, true
	f.running.Go(func() {
		err := f.sync()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.flushing = false
		f.err = errors.Join(f.err, err)
	})
}

// wait waits for the sync that is running, and returns what was wrong with any. Nothing may be written meanwhile.
func (f *flusher) wait() error {
	f.running.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
