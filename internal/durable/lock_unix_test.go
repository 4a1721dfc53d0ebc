//go:build !windows

package durable

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLockTellsWhyNot(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tests := []struct {
		says unix.Errno
		want error
	}{
		{unix.EWOULDBLOCK, ErrLocked},
		{unix.ENOLCK, ErrNoLocks},
		{unix.ENOSYS, ErrNoLocks},
		{unix.ENOTSUP, ErrNoLocks},
		{unix.EOPNOTSUPP, ErrNoLocks},
		{unix.EIO, unix.EIO},
	}
	for _, test := range tests {
		interrupted := 2
		flock := func(int, int) error {
			if interrupted--; interrupted >= 0 {
				return unix.EINTR
			}
			return test.says
		}
		err := lockBy(flock, f)
		if !errors.Is(err, test.want) || errors.Is(err, ErrLocked) && errors.Is(err, ErrNoLocks) {
			t.Errorf("%v: error %v, want %v", test.says, err, test.want)
		}
	}
}
