package node

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/disk"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/internal/durable"
)

// What a home holds. The format version is that of the directory as a whole; the store carries its own.
const (
	homeVersionFile  = "version"
	homeVersion      = "swarmsync home 1\n"
	homeVersionWords = "swarmsync home "
	homeLockFile     = "lock" // locked by the process whose node uses the home, whose number is in it
	homeIdentityFile = "identity"
	homeStoreDir     = "store"
	homeDHTDir       = "dht"
)

// home is an opened home directory, or its stand-in in memory.
type home struct {
	dir      string   // empty: in memory
	lock     *os.File // nil in memory
	identity crypto.PrivKey
	store    cafs.Store
	ownStore bool // close it with the node
}

// resolved returns the absolute path of the home with no links in it, empty if it is in memory.
func (h *home) resolved() string {
	if h.dir == "" {
		return ""
	}
	path, err := filepath.Abs(h.dir)
	if err != nil {
		return h.dir
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// openHome opens the home in dir and makes what is missing there. A directory that holds something else, or a newer
// format, is refused and left as it is.
func openHome(dir string, store cafs.Store, quota int64) (*home, error) {
	h := &home{dir: dir, store: store}
	if dir == "" {
		identity, _, err := crypto.GenerateEd25519Key(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make an identity: %w", err)
		}
		h.identity = identity
		if store == nil {
			h.store, h.ownStore = memory.NewLimited(quota), true
		}
		return h, nil
	}
	if err := h.lockDir(); err != nil {
		return nil, err
	}
	if err := h.fill(quota); err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// lockDir makes the directory a home if it is none yet, and locks it against other nodes.
func (h *home) lockDir() error {
	if _, err := checkHomeVersion(h.dir); err != nil {
		return err
	}
	if err := durable.MkdirAll(h.dir, 0o700); err != nil {
		return fmt.Errorf("make home: %w", err)
	}
	lock, err := durable.LockPath(filepath.Join(h.dir, homeLockFile))
	var locked *durable.LockedError
	switch {
	case errors.As(err, &locked):
		return fmt.Errorf("open home: %w", &disk.LockedError{Dir: h.dir, PID: locked.PID, Err: err})
	case errors.Is(err, durable.ErrNoLocks):
		return fmt.Errorf("open home %s: without locks two nodes could use it at the same time: %w", h.dir, err)
	case err != nil:
		return fmt.Errorf("open home: %w", err)
	}
	// Once more, now that nobody else is about to make a home here.
	fresh, err := checkHomeVersion(h.dir)
	if err == nil && fresh {
		if err = durable.WriteFile(filepath.Join(h.dir, homeVersionFile), []byte(homeVersion), 0o600); err != nil {
			err = fmt.Errorf("make home: %w", err)
		}
	}
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	h.lock = lock
	return nil
}

// fill opens or makes what is in a home.
func (h *home) fill(quota int64) error {
	if h.store == nil {
		opened, err := disk.Open(filepath.Join(h.dir, homeStoreDir), disk.Options{Quota: quota})
		if err != nil {
			return fmt.Errorf("open home %s: %w", h.dir, err)
		}
		h.store, h.ownStore = opened, true
	}
	var err error
	h.identity, err = loadIdentity(filepath.Join(h.dir, homeIdentityFile))
	return err
}

func (h *home) close() error {
	var err error
	if h.ownStore {
		err = h.store.Close()
	}
	if h.lock != nil {
		err = errors.Join(err, h.lock.Close())
	}
	return err
}

// dhtDir is where the provider records are, empty for in memory.
func (h *home) dhtDir() string {
	if h.dir == "" {
		return ""
	}
	return filepath.Join(h.dir, homeDHTDir)
}

// checkHomeVersion returns nil for a home of this version, and fresh for a directory that is empty or missing. It changes
// nothing.
func checkHomeVersion(dir string) (fresh bool, err error) {
	// The directory comes first: what another node adds to it once there is a version is none of ours to judge.
	errEmpty := checkNoHome(dir)
	text, err := os.ReadFile(filepath.Join(dir, homeVersionFile))
	switch {
	case err == nil && string(text) == homeVersion:
		return false, nil
	case err == nil && strings.HasPrefix(string(text), homeVersionWords) && strings.HasSuffix(string(text), "\n"):
		return false, fmt.Errorf("open home %s: it says %q, this version writes %q: %w", dir, strings.TrimSpace(string(text)),
			strings.TrimSpace(homeVersion), ErrNewerHome)
	case err == nil:
		return false, fmt.Errorf("open home %s: its file %s is damaged or not ours: %w", dir, homeVersionFile, ErrForeignHome)
	case errors.Is(err, fs.ErrNotExist):
		return true, errEmpty
	default:
		return false, fmt.Errorf("open home: %w", err)
	}
}

// checkNoHome returns an error if a directory without a version holds anything but what a node leaves that was cut off
// before there was one.
func checkNoHome(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open home: %w", err)
	}
	for _, entry := range entries {
		switch entry.Name() {
		case homeLockFile, durable.TempName(homeVersionFile):
		default:
			return fmt.Errorf("open home %s: it has no file %s but holds %q: %w", dir, homeVersionFile, entry.Name(), ErrForeignHome)
		}
	}
	return nil
}

// loadIdentity reads the node's private key, or makes one if there is none yet. A damaged one is never replaced: it is
// who the node is.
func loadIdentity(path string) (crypto.PrivKey, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeIdentity(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read identity: %w", err)
	}
	key, err := crypto.UnmarshalPrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("identity %s is damaged: %w; move it away to get a new one", path, err)
	}
	return key, nil
}

func makeIdentity(path string) (crypto.PrivKey, error) {
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an identity: %w", err)
	}
	raw, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make an identity: %w", err)
	}
	if err := durable.WriteFile(path, raw, 0o600); err != nil {
		return nil, fmt.Errorf("write identity: %w", err)
	}
	return key, nil
}
