package node

import (
	"cmp"
	"context"
	"encoding/binary"
	"maps"
	"math/bits"
	"slices"
	"sync"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// similarOthers is how many of the newest roots are looked at beside the one that the output takes the place of, or that
	// has its name: content may be fetched by its root alone, and to another place.
	similarOthers = 3
	// similarTimes is how many times larger an older version may be.
	similarTimes = 8
	// anchorsMax bounds the chunks of a version whose places are kept: those of 4.8 GB, in some 3 MB. Of larger versions only
	// each second, fourth, … chunk is, by its key.
	anchorsMax = 1 << 17
	// anchorsAway is how far from a row of missing chunks an anchor may be.
	anchorsAway = 64
	// similarSlack is what is added to both ends of old bytes where only one neighbour of a row of missing chunks is known,
	// and similarShift the most that what stands between two neighbours may have got longer or shorter to be looked at as
	// one. The old bytes for a chunk of the largest size are protocol.OldChunkMax then.
	similarSlack = 4 << 10
	similarShift = protocol.OldChunkMax - cafs.ChunkSizeMax
	// pagesAway is how many pages before one it is looked for one that is here.
	pagesAway = 4
)

// similar finds what older versions of the content of a fetch have in the places of chunks that are missing: what stands
// between the same neighbours. What it finds is a hint; that may be wrong, or gone when it is read.
type similar struct {
	node *Node

	// mu guards what follows, and is held while versions are looked up.
	mu       sync.Mutex
	looked   bool
	versions []*version // those that belong to the output first, then the newest
}

// version is content that is here and may be an older version of another.
type version struct {
	info cafs.RootInfo
	// related tells that it has the place or the name of the content, so that the ends of the two belong together, too.
	related bool

	opened  bool
	file    cafs.File
	mask    uint64           // keys that are kept have none of these bits
	anchors map[uint64]int64 // where chunks begin, by the beginnings of their keys; -1 for those in several places
}

// oldPart is a part of a version that may be like a chunk.
type oldPart struct {
	version  *version
	from, to int64
}

// read returns the bytes of the part, or nothing if they can't be had.
func (o oldPart) read() []byte {
	if o.version == nil {
		return nil
	}
	data := make([]byte, o.to-o.from)
	if n, err := o.version.file.ReadAt(data, o.from); n < len(data) {
		log.Debugf("read what may be similar of %s: %v", o.version.info.Root.Short(), err)
		return nil
	}
	return data
}

// versionsOf chooses among the roots of the catalog: one at the place of the output, one with the name, and the newest.
func (s *similar) versionsOf(ctx context.Context, root cafs.Key, bytes int64, place, name string) {
	s.looked = true
	var all []cafs.RootInfo
	for info, err := range s.node.store.Roots(ctx) {
		if err != nil {
			return
		}
		if info.Root != root {
			all = append(all, info)
		}
	}
	slices.SortStableFunc(all, func(a, b cafs.RootInfo) int { return b.Added.Compare(a.Added) })
	add := func(related bool, most int, fits func(cafs.RootInfo) bool) {
		for _, info := range all {
			known := slices.ContainsFunc(s.versions, func(v *version) bool { return v.info.Root == info.Root })
			if most > 0 && !known && fits(info) {
				s.versions = append(s.versions, &version{info: info, related: related})
				most--
			}
		}
	}
	volume, _ := s.node.volumeAt(ctx, place)
	add(true, 1, func(info cafs.RootInfo) bool {
		return place != "" && (info.Root == volume.Root || info.Place == place)
	})
	add(true, 1, func(info cafs.RootInfo) bool { return name != "" && info.Name == name && mayBeSigned(info, bytes) })
	add(false, similarOthers, func(info cafs.RootInfo) bool { return mayBeSigned(info, bytes) })
}

// mayBeSigned reports whether holders of content of the given size may learn sums of the blocks of a root, though the user has
// not said that the one takes the place of the other. Whoever can guess a block can tell from its sums that he is right: so
// not of private roots. And an older version is not far larger, for to look through its list takes time.
func mayBeSigned(info cafs.RootInfo, bytes int64) bool {
	record, err := cafs.ParseRecord(info.Record)
	return err == nil && record.Salt == nil && record.Data.Bytes <= similarTimes*bytes+similarTimes<<20
}

// hasOther reports whether the catalog has another root.
func (n *Node) hasOther(ctx context.Context, root cafs.Key) bool {
	for info, err := range n.store.Roots(ctx) {
		if err != nil || info.Root != root {
			return err == nil
		}
	}
	return false
}

// open notes where the chunks of a version begin, once.
func (v *version) open(ctx context.Context, store cafs.Getter) {
	if v.opened {
		return
	}
	v.opened = true
	record, err := cafs.ParseRecord(v.info.Record)
	if err != nil {
		return
	}
	record.Kind = cafs.KindFile // of a tree, the data stream
	file, err := cafs.OpenFile(store, record)
	if err != nil {
		return
	}
	if over := uint64(file.NumChunks()) / anchorsMax; over > 0 {
		v.mask = 1<<bits.Len64(over) - 1
	}
	v.file, v.anchors = file, make(map[uint64]int64)
	offset := int64(0)
	for chunk, err := range file.Chunks(ctx) {
		if err != nil {
			return // a part of the list is not here: what is known so far is good
		}
		if short := anchorOf(chunk.Key); short&v.mask == 0 {
			if _, twice := v.anchors[short]; twice {
				v.anchors[short] = -1
			} else {
				v.anchors[short] = offset
			}
		}
		offset += int64(chunk.Size)
	}
}

func anchorOf(key cafs.Key) uint64 { return binary.BigEndian.Uint64(key[:]) }

// place returns where the chunk with a key begins in v, if it is kept and in one place only.
func (v *version) place(key cafs.Key) (offset int64, ok bool) {
	offset, ok = v.anchors[anchorOf(key)]
	return offset, ok && offset >= 0
}

// surroundings are neighbouring chunks of content, and where they begin.
type surroundings struct {
	chunks  []cafs.ChunkInfo
	offsets []int64 // one more than there are chunks
	bytes   int64   // of the whole content
}

func (s *surroundings) add(row cafs.RangeChunks) {
	if len(row.Chunks) == 0 {
		return
	}
	if len(s.offsets) == 0 {
		s.offsets = append(s.offsets, row.Offset)
	}
	for _, chunk := range row.Chunks {
		s.chunks = append(s.chunks, chunk)
		s.offsets = append(s.offsets, s.offsets[len(s.offsets)-1]+int64(chunk.Size))
	}
}

// find returns the parts of v that may be like chunks from first to before end, of which v has none.
func (v *version) find(around surroundings, first, end int) []oldPart {
	left, leftKnown := v.before(around, first)
	right, rightKnown := v.after(around, end)
	start, stop := around.offsets[first], around.offsets[end]
	shift := right - left - (stop - start)
	far := leftKnown && rightKnown && (shift > similarShift || -shift > similarShift)
	var less, more int64 // how much earlier and later than after the left neighbour the old bytes may be
	switch {
	case far:
		less, more = -similarSlack, similarSlack
	case leftKnown && rightKnown:
		less, more = min(0, shift), max(0, shift)
	case leftKnown:
		less, more = -similarSlack, similarSlack
	case rightKnown:
		left = right - (stop - start)
		less, more = -similarSlack, similarSlack
	default:
		return nil
	}
	parts := make([]oldPart, end-first)
	for i := range parts {
		// Where much came or went between the neighbours, only beside them something of the old may be left.
		if far && i > 0 && i < len(parts)-1 {
			continue
		}
		if far && i > 0 {
			left = right - (stop - start)
		}
		from := max(0, left+around.offsets[first+i]-start+less)
		to := min(v.file.Size(), left+around.offsets[first+i+1]-start+more)
		if from < to {
			parts[i] = oldPart{v, from, min(to, from+protocol.OldChunkMax)}
		}
	}
	return parts
}

// before returns where in v the row begins that comes after the same chunk as the one from first on.
func (v *version) before(around surroundings, first int) (offset int64, ok bool) {
	for i := first - 1; i >= max(0, first-anchorsAway); i-- {
		if place, ok := v.place(around.chunks[i].Key); ok {
			return place + around.offsets[first] - around.offsets[i], true
		}
	}
	return around.offsets[first], v.related && around.offsets[max(0, first-anchorsAway)] == 0
}

// after returns where in v the row ends that comes before the same chunk as the one to before end.
func (v *version) after(around surroundings, end int) (offset int64, ok bool) {
	most := min(len(around.chunks), end+anchorsAway)
	for i := end; i < most; i++ {
		if place, ok := v.place(around.chunks[i].Key); ok {
			return place - (around.offsets[i] - around.offsets[end]), true
		}
	}
	left := around.bytes - around.offsets[end]
	return v.file.Size() - left, v.related && around.offsets[most] == around.bytes
}

// findSimilar returns what is here of older versions that may be like the chunks of a range that are needed, by their numbers.
func (f *fetch) findSimilar(ctx context.Context, number int64, row cafs.RangeChunks, need protocol.Bits) map[int]oldPart {
	if need.Count() == 0 {
		return nil
	}
	s := &f.similar
	s.mu.Lock()
	defer s.mu.Unlock()
	f.lookForVersions(ctx)
	alone := need.Count() == len(row.Chunks) // nothing of the range is here: only what is related can tell more
	if len(s.versions) == 0 || alone && !s.versions[0].related {
		return nil
	}
	around, first := f.surroundings(ctx, number, row)
	found := make(map[int]oldPart)
	for i := 0; i < len(row.Chunks); {
		end := i
		for end < len(row.Chunks) && need.Get(end) {
			end++
		}
		if end == i {
			i++
			continue
		}
		for chunk, part := range s.parts(ctx, around, first+i, first+end, alone) {
			if part.version != nil {
				found[i+chunk] = part
			}
		}
		i = end
	}
	return found
}

// lookForVersions chooses the versions, once. Callers hold similar.mu.
func (f *fetch) lookForVersions(ctx context.Context) {
	if !f.similar.looked {
		f.similar.versionsOf(ctx, f.link.Root, f.content.outline.Bytes(), cmp.Or(f.outPath, f.standing), f.name())
	}
}

// parts asks one version after the other. Callers hold s.mu.
func (s *similar) parts(ctx context.Context, around surroundings, first, end int, alone bool) []oldPart {
	for _, v := range s.versions {
		if alone && !v.related {
			continue
		}
		if v.open(ctx, s.node.store); v.file.Size() == 0 {
			continue
		}
		if parts := v.find(around, first, end); parts != nil {
			return parts
		}
	}
	return nil
}

// surroundings returns a range with those beside it, as far as their chunks are known, and which of the chunks is the range's
// first.
func (f *fetch) surroundings(ctx context.Context, number int64, row cafs.RangeChunks) (around surroundings, first int) {
	around.bytes = f.content.outline.Bytes()
	beside := func(number int64) {
		if f.content.outline.RangeKnown(number) {
			if row, err := f.content.rangeChunks(ctx, number); err == nil {
				around.add(row)
			}
		}
	}
	beside(number - 1)
	first = len(around.chunks)
	around.add(row)
	beside(number + 1)
	return around, first
}

// name returns the name of what is fetched, as far as it is known.
func (f *fetch) name() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.result.Name
}

// oldBytes returns what reads old bytes for the chunks of a wish; nil if there are none. Callers hold f.mu.
func (f *fetch) oldBytes(w *wish) func(number int) []byte {
	parts := f.oldParts[w.number()] // it is replaced, not changed
	if len(parts) == 0 {
		return nil
	}
	return func(number int) []byte { return parts[number].read() }
}

// mistakes notes that a delta of a holder was wrong, and reports whether that was its first.
func (f *fetch) mistakes(s *session) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := !s.mistaken
	s.mistaken = true
	return first
}

// oldPages returns what makes, for each leaf page of a request, the items that an older version has in its place; nil if
// there is no other version, or the request is for more than leaf pages. Callers hold f.mu.
func (f *fetch) oldPages(s *session, request protocol.PagesRequest) func(number int) []byte {
	if !f.hasOthers || request.Level > 0 || s.mistaken {
		return nil
	}
	pages, _ := f.content.list(request.Stream).PagesFor(0, request.First, request.Last, protocol.PagesMax)
	return func(number int) []byte {
		if number >= len(pages) {
			return nil
		}
		return f.oldPage(f.node.ctx, pages[number])
	}
}

func (f *fetch) oldPage(ctx context.Context, p cafs.PageInfo) []byte {
	s := &f.similar
	s.mu.Lock()
	defer s.mu.Unlock()
	f.lookForVersions(ctx)
	for _, v := range s.versions {
		if path := p.FirstPath(); path != "" {
			if page := v.entryPage(ctx, s.node.store, path); page != nil {
				return page
			}
			continue
		}
		if v.open(ctx, s.node.store); v.file.Size() == 0 {
			continue
		}
		if start, ok := f.startOfPage(ctx, v, p); ok {
			return v.items(ctx, start, start+p.Bytes+similarShift)
		}
	}
	return nil
}

// startOfPage returns where in a version the chunks of a leaf page that is not here may begin. Callers hold similar.mu.
func (f *fetch) startOfPage(ctx context.Context, v *version, p cafs.PageInfo) (offset int64, ok bool) {
	outline := f.content.outline
	for item, tries := p.FirstItem-1, 0; item >= 0 && tries < pagesAway; tries++ {
		row, err := outline.Leaf(ctx, f.node.store, item)
		if err == nil {
			var around surroundings
			around.add(row)
			end := len(around.chunks)
			offset, ok := v.before(around, end)
			return offset + p.FirstByte - around.offsets[end], ok
		}
		before, _ := outline.PagesFor(0, item, item, 1)
		if len(before) == 0 {
			break
		}
		item = before[0].FirstItem - 1
	}
	if row, err := outline.Leaf(ctx, f.node.store, p.FirstItem+p.Items); err == nil {
		var around surroundings
		around.add(row)
		offset, ok := v.after(around, 0)
		return max(0, offset-p.Bytes), ok
	}
	return p.FirstByte, v.related
}

// entryPage returns the page of the entries of a version that a path is in, nil if it has none. It is a hint like all else.
func (v *version) entryPage(ctx context.Context, store cafs.Getter, path string) []byte {
	record, err := cafs.ParseRecord(v.info.Record)
	if err != nil || record.Kind != cafs.KindTree {
		return nil
	}
	tree, err := cafs.OpenTree(store, record)
	if err != nil {
		return nil
	}
	page, err := tree.EntryPage(ctx, path)
	if err != nil {
		return nil
	}
	return page
}

// items returns the items of a list for the chunks of v from one place to another.
func (v *version) items(ctx context.Context, from, to int64) (items []byte) {
	for chunk, err := range v.file.ChunksFrom(ctx, max(0, from)) {
		if err != nil || from >= to || len(items) > cafs.PageSizeMax {
			break
		}
		items = binary.AppendVarint(append(items, chunk.Key[:]...), int64(chunk.Size))
		from += int64(chunk.Size)
	}
	return items
}

// askPlainly takes back a chunk that came as a delta and is wrong, so that it is wished again as it is. The holder need not
// be to blame, the first time.
func (f *fetch) askPlainly(a arrival) bool {
	if !a.message.Delta {
		return false
	}
	if !f.mistakes(a.from) {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := a.message.At
	parts := maps.Clone(f.oldParts[at.Range])
	delete(parts, at.Number)
	f.oldParts[at.Range] = parts
	bits := protocol.NewBits(len(a.wish.chunks()))
	bits.Set(at.Number)
	f.plan.takeBack(a.wish, bits)
	f.refillAll()
	return true
}
