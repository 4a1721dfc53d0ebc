package disk

import (
	"context"
	"errors"

	"github.com/swarmsync/swarmsync/cafs"
)

// ReadRow implements cafs.RowReader. Chunks that stand side by side in a file of the user's are read by one call of the
// system, and looked at once.
func (s *Store) ReadRow(ctx context.Context, row []cafs.ChunkInfo, buf []byte) (chunks []cafs.Chunk, damaged bool, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, false, err
	}
	defer s.end()
	places, err := s.placesOf(ctx, row)
	if err != nil {
		return nil, false, err
	}
	chunks = make([]cafs.Chunk, len(row))
	for i := 0; i < len(row); {
		n, bytes := s.sideBySide(places[i:], row[i:])
		room := buf[:bytes:bytes]
		buf = buf[bytes:]
		if places[i] != (location{}) {
			bad, err := s.readSideBySide(ctx, places[i], row[i:i+n], room, chunks[i:i+n])
			if err != nil {
				return nil, false, err
			}
			damaged = damaged || bad
		}
		i += n
	}
	return chunks, damaged, nil
}

// placesOf chooses a location for each chunk that is here, if there is one, that is behind the chunk before it.
func (s *Store) placesOf(ctx context.Context, row []cafs.ChunkInfo) ([]location, error) {
	keys := make([]cafs.Key, len(row))
	for i, info := range row {
		keys[i] = info.Key
	}
	s.holds.touch(keys...)
	known := make([][]location, len(row))
	if err := s.index.visit(ctx, keys, func(i int, locations []location) { known[i] = locations }); err != nil {
		return nil, err
	}
	places := make([]location, len(row))
	var before location
	for i, locations := range known {
		for _, loc := range locations {
			if follows := before.followedBy(loc); (follows || places[i] == (location{})) && s.usable(loc) {
				if places[i] = loc; follows {
					break
				}
			}
		}
		if before = places[i]; before != (location{}) {
			s.recent.touch(row[i].Key)
		}
	}
	return places, nil
}

func (s *Store) usable(loc location) bool { return s.packs.usable(loc) || s.files.usableAt(loc) }

// followedBy reports whether another location begins where l ends.
func (l location) followedBy(other location) bool {
	return l.length > 0 && other.volume == l.volume && other.offset == l.offset+int64(l.length)
}

// sideBySide returns how many of the first chunks of a row can be read at once, at least one, and their bytes.
func (s *Store) sideBySide(places []location, row []cafs.ChunkInfo) (n, bytes int) {
	n, bytes = 1, row[0].Size
	if !s.files.known(places[0].volume) || places[0].length != row[0].Size {
		return n, bytes
	}
	for n < len(row) && places[n-1].followedBy(places[n]) && places[n].length == row[n].Size {
		bytes += row[n].Size
		n++
	}
	return n, bytes
}

// readSideBySide reads chunks that begin at a location; those that are not there as they should be it reads one by one.
func (s *Store) readSideBySide(
	ctx context.Context, at location, row []cafs.ChunkInfo, buf []byte, chunks []cafs.Chunk,
) (damaged bool, err error) {
	together := false
	if s.files.known(at.volume) && at.length == row[0].Size {
		at.length = len(buf)
		_, _, _, err := s.files.fill(ctx, at, buf)
		together = err == nil
	}
	for i, info := range row {
		data := buf[:info.Size:info.Size]
		buf = buf[info.Size:]
		if together {
			if chunks[i], err = cafs.VerifyChunk(info, data); err == nil {
				continue
			}
		}
		if data, err = s.get(ctx, info.Key, data); err == nil {
			chunks[i], err = cafs.VerifyChunk(info, data)
		}
		switch {
		case errors.Is(err, cafs.ErrNotFound) || errors.Is(err, cafs.ErrCorrupt):
			damaged = true
		case err != nil:
			return damaged, err
		}
	}
	return damaged, nil
}
