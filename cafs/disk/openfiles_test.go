package disk

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// countedFiles counts the files that are open.
type countedFiles struct {
	userFiles
	handles, opened atomic.Int64
}

type countedFile struct {
	userFile
	files  *countedFiles
	closed atomic.Bool
}

func (c *countedFiles) open(string, bool) (userFile, error) {
	c.handles.Add(1)
	c.opened.Add(1)
	return &countedFile{files: c}, nil
}

func (f *countedFile) Close() error {
	if f.closed.Swap(true) {
		panic("closed twice")
	}
	f.files.handles.Add(-1)
	return nil
}

// read gets a file and puts it back.
func (o *openFiles) read(t *testing.T, path string, keep bool) {
	t.Helper()
	f, _, err := o.get(path)
	if err != nil {
		t.Error(err)
		return
	}
	if f.userFile.(*countedFile).closed.Load() {
		t.Error("a closed file was given out")
	}
	o.put(f, keep)
}

func TestFilesStayOpenForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		files := &countedFiles{}
		o := newOpenFiles(files)
		defer o.close()
		for range 5 {
			o.read(t, "a", true)
			time.Sleep(keptOpen / 2)
		}
		if n := files.opened.Load(); n != 1 {
			t.Errorf("opened %d times", n)
		}
		time.Sleep(2 * keptOpen)
		if n := files.handles.Load(); n != 0 {
			t.Errorf("%d files are open", n)
		}
		o.read(t, "a", false)
		if n := files.handles.Load(); n != 0 {
			t.Errorf("%d files are open that are not worth to be kept", n)
		}
		for i := range 3 * keptOpenMax {
			o.read(t, fmt.Sprint(i), true)
		}
		if n := files.handles.Load(); n != keptOpenMax {
			t.Errorf("%d files are open, want %d", n, keptOpenMax)
		}
		f, _, err := o.get("reading")
		if err != nil {
			t.Fatal(err)
		}
		o.close()
		if n := files.handles.Load(); n != 1 {
			t.Errorf("%d files are open, want the one that is being read", n)
		}
		o.put(f, true)
		if n := files.handles.Load(); n != 0 {
			t.Errorf("%d files are open", n)
		}
	})
}

func TestFilesAreOpenForManyReaders(t *testing.T) {
	files := &countedFiles{}
	o := newOpenFiles(files)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var group sync.WaitGroup
	for i := range 8 {
		r := rand.New(rand.NewPCG(seed, uint64(i)))
		group.Go(func() {
			for range 2000 {
				o.read(t, fmt.Sprint(r.IntN(2*keptOpenMax)), r.IntN(10) > 0)
			}
		})
	}
	group.Wait()
	o.close()
	if n := files.handles.Load(); n != 0 {
		t.Errorf("%d files are open", n)
	}
}
