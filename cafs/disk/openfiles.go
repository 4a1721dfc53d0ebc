package disk

import (
	"sync"
	"time"
)

const (
	// keptOpen is how long a file stays open after the last read: whoever removes it gets the space back soon, and whoever
	// removes a disk finds it idle.
	keptOpen = time.Second
	// keptOpenMax bounds the files that are open and not being read.
	keptOpenMax = 16
)

// openFiles opens files of the user's to read them, and keeps them open for a moment: to open the file for each of its
// chunks would take a fifth of the time of sending them. What is open need not be what is at its path any more. It may be
// used concurrently.
type openFiles struct {
	files userFiles

	mu     sync.Mutex
	open   map[string]*openFile // by path
	closer *time.Timer          // runs while files are open that are not being read
	closed bool
}

// openFile is a file that is open for some readers.
type openFile struct {
	userFile
	path string
	// tells is timesTell, which doesn't change.
	tells func() bool

	// What follows is guarded by openFiles.mu.

	readers int
	idle    time.Time // since when there are none
	gone    bool      // nobody else is to get it
}

func newOpenFiles(files userFiles) *openFiles {
	return &openFiles{files: files, open: make(map[string]*openFile)}
}

// get returns the file at path. known tells that it was open before. The caller puts it back.
func (o *openFiles) get(path string) (file *openFile, known bool, err error) {
	o.mu.Lock()
	if f := o.open[path]; f != nil {
		f.readers++
		o.mu.Unlock()
		return f, true, nil
	}
	o.mu.Unlock()
	opened, err := o.files.open(path, false)
	if err != nil {
		return nil, false, err
	}
	return &openFile{userFile: opened, path: path, tells: sync.OnceValue(opened.timesTell), readers: 1}, false, nil
}

func (f *openFile) timesTell() bool { return f.tells() }

// put takes a file back; keep tells that it is worth to be kept open.
func (o *openFiles) put(f *openFile, keep bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f.readers--
	f.idle = time.Now()
	if !keep || o.closed {
		o.dropLocked(f)
		return
	}
	if f.gone || o.open[f.path] == f {
		o.closeLocked(f)
		return
	}
	if o.open[f.path] != nil || !o.makeRoomLocked() {
		o.dropLocked(f) // somebody else was faster
		return
	}
	o.open[f.path] = f
	if o.closer == nil {
		o.closer = time.AfterFunc(keptOpen, o.closeIdle)
	}
}

// dropLocked closes a file once nobody reads it, and gives it to nobody else.
func (o *openFiles) dropLocked(f *openFile) {
	f.gone = true
	if o.open[f.path] == f {
		delete(o.open, f.path)
	}
	o.closeLocked(f)
}

// closeLocked closes a file that nobody reads and nobody can get.
func (o *openFiles) closeLocked(f *openFile) {
	if f.readers == 0 && f.gone {
		_ = f.Close() // nothing was written
	}
}

// makeRoomLocked reports whether there is room for one more file, after closing the one that was not read for longest if
// there is none.
func (o *openFiles) makeRoomLocked() bool {
	if len(o.open) < keptOpenMax {
		return true
	}
	var oldest *openFile
	for _, f := range o.open {
		if f.readers == 0 && (oldest == nil || f.idle.Before(oldest.idle)) {
			oldest = f
		}
	}
	if oldest == nil {
		return false
	}
	o.dropLocked(oldest)
	return true
}

// closeIdle closes the files that were not read for keptOpen.
func (o *openFiles) closeIdle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	for _, f := range o.open {
		if f.readers == 0 && now.Sub(f.idle) >= keptOpen {
			o.dropLocked(f)
		}
	}
	o.closer = nil
	if len(o.open) > 0 {
		o.closer = time.AfterFunc(keptOpen, o.closeIdle)
	}
}

// close closes the files that are not being read, and the others when they are put back.
func (o *openFiles) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for _, f := range o.open {
		o.dropLocked(f)
	}
	if o.closer != nil {
		o.closer.Stop()
	}
}
