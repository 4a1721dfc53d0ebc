package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/swarmsync/swarmsync/cafs"
)

const packSuffix = ".pack"

// packName returns the name of a pack's file: 16 hexadecimal digits of its volume id, and the suffix.
func packName(id uint64) string { return fmt.Sprintf("%016x%s", id, packSuffix) }

// parsePackName returns the volume id in a name that packName made.
func parsePackName(name string) (id uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, packSuffix)
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 16, 64)
	return id, err == nil && packName(id) == name
}

// packFile is what the store asks of the file of a pack.
type packFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	// SyncData, Prefetch and StartWriteback are those of package durable.
	SyncData() error
	Prefetch(offset, n int64)
	StartWriteback(offset, n int64)
}

// openPackFile opens a pack with the flags of os.OpenFile.
type openPackFile func(path string, flag int) (packFile, error)

// packSet is the packs that are here, and the few of them that are open for reading.
type packSet struct {
	dir      string
	openFile openPackFile
	// reading has room for as many reads as there may be open packs.
	reading chan struct{}
	// lost are the packs that the index knows and that were not here when the store was opened. They may come back.
	lost map[uint64]struct{}

	// mu guards the fields below.
	mu    sync.Mutex
	packs map[uint64]volumeInfo // what can be read of each pack, synced or not
	bytes int64                 // of them together
	open  map[uint64]*openPack
	clock uint64     // counts the uses of open packs
	idle  *sync.Cond // a pack that is to be removed is no longer read
}

// openPack is a pack that is open for reading; the fields are guarded by packSet.mu.
type openPack struct {
	file packFile
	// ahead is not guarded; it needs no lock.
	ahead prefetched
	uses  int    // reads under way
	last  uint64 // value of the clock at the last use
	gone  bool   // it is to be removed
}

func newPackSet(dir string, openFile openPackFile) *packSet {
	p := &packSet{
		dir:      dir,
		openFile: openFile,
		reading:  make(chan struct{}, openPacksMax),
		lost:     make(map[uint64]struct{}),
		packs:    make(map[uint64]volumeInfo),
		open:     make(map[uint64]*openPack),
	}
	p.idle = sync.NewCond(&p.mu)
	return p
}

func (p *packSet) path(id uint64) string { return filepath.Join(p.dir, packName(id)) }

// set tells what can be read of a pack from now on.
func (p *packSet) set(id uint64, info volumeInfo) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += info.end - p.packs[id].end
	p.packs[id] = info
}

// get returns what can be read of a pack.
func (p *packSet) get(id uint64) (info volumeInfo, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, ok = p.packs[id]
	return info, ok
}

// before returns the ids of the packs that have one below end, the oldest first.
func (p *packSet) before(end uint64) []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	var ids []uint64
	for id := range p.packs {
		if id < end {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// size returns what the packs take in bytes.
func (p *packSet) size() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

// take takes a pack out of the set. From then on there are no reads of it, and its file is not open for them.
func (p *packSet) take(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes -= p.packs[id].end
	delete(p.packs, id)
	pack := p.open[id]
	if pack == nil {
		return
	}
	delete(p.open, id)
	pack.gone = true
	for pack.uses > 0 {
		p.idle.Wait()
	}
	_ = pack.file.Close() // it was only read
}

// usable reports whether a location is inside of a pack that is here.
func (p *packSet) usable(loc location) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, ok := p.packs[loc.volume]
	return ok && loc.offset <= info.end-int64(loc.length)
}

// known reports whether there is a pack of an id.
func (p *packSet) known(id uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.packs[id]
	return ok
}

// total returns the number of packs and what can be read of them together.
func (p *packSet) total() (packs int, bytes, chunks int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, info := range p.packs {
		bytes += info.end
		chunks += info.chunks
	}
	return len(p.packs), bytes, chunks
}

// read returns the bytes of a chunk at a location, in buf if they fit. The error wraps cafs.ErrCorrupt if they are not
// those that were put; other errors are those of the operating system.
func (p *packSet) read(ctx context.Context, key cafs.Key, loc location, buf []byte) ([]byte, error) {
	if !p.usable(loc) {
		return nil, fmt.Errorf("chunk %s: pack %s ends before it or is gone: %w", key, p.path(loc.volume), cafs.ErrCorrupt)
	}
	if cap(buf) < loc.length {
		buf = make([]byte, loc.length)
	}
	buf = buf[:loc.length]
	err := p.readAt(ctx, loc, buf)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("chunk %s: %w: %w", key, err, cafs.ErrCorrupt)
	case err != nil:
		return nil, fmt.Errorf("chunk %s: %w", key, err)
	case chunkChecksum(key, buf) != loc.crc:
		return nil, fmt.Errorf("chunk %s: wrong checksum in %s at %d: %w", key, p.path(loc.volume), loc.offset, cafs.ErrCorrupt)
	}
	return buf, nil
}

func (p *packSet) readAt(ctx context.Context, loc location, buf []byte) error {
	select {
	case p.reading <- struct{}{}:
		defer func() { <-p.reading }()
	case <-ctx.Done():
		return ctx.Err()
	}
	pack, err := p.acquire(loc.volume)
	if err != nil {
		return err
	}
	defer p.release(pack)
	pack.ahead.before(pack.file, loc.offset)
	if _, err := pack.file.ReadAt(buf, loc.offset); err != nil {
		return fmt.Errorf("read %s: %w", p.path(loc.volume), err)
	}
	return nil
}

// acquire returns a pack that stays open until release. The caller has a place in reading.
func (p *packSet) acquire(id uint64) (*openPack, error) {
	if pack := p.use(id); pack != nil {
		return pack, nil
	}
	file, err := p.openFile(p.path(id), os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	pack, surplus := p.install(id, file)
	if surplus != nil {
		_ = surplus.Close() // it was only read
	}
	if pack == nil {
		return nil, fmt.Errorf("open %s: %w", p.path(id), fs.ErrNotExist)
	}
	return pack, nil
}

// use returns the pack if it is open.
func (p *packSet) use(id uint64) *openPack {
	p.mu.Lock()
	defer p.mu.Unlock()
	pack, ok := p.open[id]
	if !ok {
		return nil
	}
	p.clock++
	pack.uses++
	pack.last = p.clock
	return pack
}

// install adds a pack that was just opened, and returns a file to be closed: that one if another read was faster, or if
// the pack was taken out of the set, and is nil then; or the one that was used longest ago if there are too many.
func (p *packSet) install(id uint64, file packFile) (pack *openPack, surplus packFile) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.packs[id]; !ok {
		return nil, file
	}
	p.clock++
	if pack, ok := p.open[id]; ok {
		pack.uses++
		pack.last = p.clock
		return pack, file
	}
	if len(p.open) >= openPacksMax {
		surplus = p.evict()
	}
	pack = &openPack{file: file, uses: 1, last: p.clock}
	p.open[id] = pack
	return pack, surplus
}

// evict takes out the pack that was used longest ago. The places in reading see to it that one is unused.
func (p *packSet) evict() packFile {
	var oldest uint64
	var found *openPack
	for id, pack := range p.open {
		if pack.uses == 0 && (found == nil || pack.last < found.last) {
			oldest, found = id, pack
		}
	}
	if found == nil {
		panic("disk: more reads under way than there are places")
	}
	delete(p.open, oldest)
	return found.file
}

func (p *packSet) release(pack *openPack) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pack.uses--
	if pack.gone && pack.uses == 0 {
		p.idle.Broadcast()
	}
}

// close closes what is open for reading; no read may be under way.
func (p *packSet) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, pack := range p.open {
		errs = append(errs, pack.file.Close())
	}
	clear(p.open)
	return errors.Join(errs...)
}
