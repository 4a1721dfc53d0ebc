package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/swarmsync/swarmsync/internal/durable"
)

// What is in the directory of a store.
const (
	versionName = "version" // the format of the store
	packsName   = "packs"   // directory of the packs
	indexName   = "index"   // directory of the key-value store
	damagedName = "damaged" // directory of a key-value store that was replaced
	rebuildName = "rebuild" // asks the next Open to replace the key-value store
	ballastName = "ballast" // space set aside
	lockName    = "lock"    // locked by the process that has the store open, whose number is in it
)

const (
	// formatVersion is the version of the format that this package writes; it reads all from 1 on. A store of an older
	// format has the newer one once it was opened, because older releases would take its new parts for damage:
	//
	//	1  packs
	//	2  volumes in files
	//	3  volumes in trees of files
	formatVersion = 3

	versionPrefix = "swarmsync store "
	// versionSizeMax bounds the version file: the prefix, a number of a sane length, a newline.
	versionSizeMax = 64
)

// versionPattern is what a version file of any release looks like.
var versionPattern = regexp.MustCompile(`^` + versionPrefix + `([1-9][0-9]{0,8})\n$`)

// checkVersion returns the format of the store in dir if it can be opened, and 0 if dir holds nothing.
func checkVersion(dir string) (version int, err error) {
	path := filepath.Join(dir, versionName)
	// The directory comes first: what another process adds to it once there is a version is none of ours to judge.
	errEmpty := checkEmpty(dir)
	content, err := readSmall(path, versionSizeMax)
	if errors.Is(err, os.ErrNotExist) {
		return 0, errEmpty
	}
	if err != nil {
		return 0, err
	}
	match := versionPattern.FindSubmatch(content)
	if match == nil {
		return 0, fmt.Errorf("%s: %w", path, ErrBadVersion)
	}
	version, err = strconv.Atoi(string(match[1]))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, ErrBadVersion)
	}
	if version > formatVersion {
		return 0, fmt.Errorf("%s: version %d, known up to %d: %w", path, version, formatVersion, ErrNewerFormat)
	}
	return version, nil
}

// checkEmpty returns ErrForeign if dir holds anything but what an Open leaves that was cut off before the store was
// there.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		switch entry.Name() {
		case lockName, durable.TempName(versionName):
		default:
			return fmt.Errorf("%s: there is %q: %w", dir, entry.Name(), ErrForeign)
		}
	}
	return nil
}

// readSmall reads a file of at most limit bytes; of a larger one it returns limit+1 bytes.
func readSmall(path string, limit int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content := make([]byte, limit+1)
	n, err := f.ReadAt(content, 0)
	if n == 0 && err != nil && !isEOF(err) {
		return nil, err
	}
	return content[:n], nil
}

func writeVersion(dir string) error {
	content := fmt.Appendf(nil, "%s%d\n", versionPrefix, formatVersion)
	return durable.WriteFile(filepath.Join(dir, versionName), content, 0o600)
}

// lockHome locks dir for this process, until the file is closed.
func lockHome(dir string) (*os.File, error) {
	f, err := durable.LockPath(filepath.Join(dir, lockName))
	var locked *durable.LockedError
	if errors.As(err, &locked) {
		return nil, &LockedError{Dir: dir, PID: locked.PID, Err: err}
	}
	return f, err
}
