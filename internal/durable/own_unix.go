//go:build !windows

package durable

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openCareful are flags for a file that somebody may have replaced a moment ago: by a symbolic link, which is not
// followed, or by a FIFO, which is not waited for.
const openCareful = unix.O_NOFOLLOW | unix.O_NONBLOCK

// isOthers reports whether a file belongs to another user.
func isOthers(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || int64(stat.Uid) != int64(os.Geteuid())
}

func hasOtherNames(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return !ok || stat.Nlink != 1
}
