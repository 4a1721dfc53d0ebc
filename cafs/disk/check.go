package disk

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/swarmsync/swarmsync/cafs"
)

// Check implements cafs.Checker. A file of the user's that has wrong bytes though it looks as it did when it was hashed is
// hashed at each read from now on.
func (s *Store) Check(ctx context.Context, key cafs.Key, buf []byte) (bad []cafs.BadCopy, good bool, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, false, err
	}
	defer s.end()
	if err := s.readyToAppend(ctx); err != nil {
		return nil, false, err
	}
	s.holds.touch(key)
	for loc, err := range s.untried(key) {
		if err != nil {
			return bad, good, err
		}
		wrong, err := s.checkCopy(ctx, key, loc, buf)
		switch {
		case err != nil:
			return bad, good, err
		case wrong == nil:
			good = true
		case errors.Is(wrong.Err, cafs.ErrNotFound):
		default:
			bad = append(bad, *wrong)
		}
	}
	return bad, good, nil
}

// checkCopy reads one copy of a chunk, and returns what is wrong with it: with an error that wraps cafs.ErrNotFound if it
// can't be said because there is no file.
func (s *Store) checkCopy(ctx context.Context, key cafs.Key, loc location, buf []byte) (*cafs.BadCopy, error) {
	var path string
	var err error
	intact := true
	switch {
	case s.packs.known(loc.volume):
		path = s.packs.path(loc.volume)
		if buf, err = s.packs.read(ctx, key, loc, buf); err != nil && !s.packs.known(loc.volume) {
			err = errNoVolume // it was removed just now
		}
	case s.files.known(loc.volume):
		path, buf, _, err = s.files.fill(ctx, loc, buf)
		intact = s.files.usableAt(loc)
	default:
		return &cafs.BadCopy{Err: errNoVolume}, s.index.forget(key, loc)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil && cafs.KeyOf(buf) == key {
		return nil, nil
	}
	wrong := &cafs.BadCopy{Path: path, Offset: loc.offset, Err: err}
	switch {
	case errors.Is(err, cafs.ErrNotFound):
		return wrong, nil
	case errors.Is(err, cafs.ErrCorrupt): // the pack says so itself
	case !intact:
		wrong.Err = cafs.ErrChanged
	case err == nil || errors.Is(err, io.EOF):
		wrong.Err = cafs.ErrCorrupt
		s.append.doubt(loc.volume)
	default:
		wrong.Err = fmt.Errorf("%w: %w", cafs.ErrCorrupt, err) // the disk can't read it
	}
	return wrong, s.index.forget(key, loc)
}

// doubt makes a file be hashed at each read until it is sealed anew.
func (a *appender) doubt(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.files.mu.Lock()
	defer a.files.mu.Unlock()
	if v := a.files.volumes[id]; v != nil && v.info.hashed != 0 {
		v.info.hashed = 0
		a.touch(v)
	}
}
