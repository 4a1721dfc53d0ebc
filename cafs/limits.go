package cafs

// The limits of the format. Every decoder enforces them before it allocates; docs/format.md states them for everybody.
const (
	// ContentBytesMax bounds the content of one root, 16 TiB, so that sums of sizes are far from overflowing.
	ContentBytesMax = 1 << 44
	// ContentChunksMax bounds the chunks of one root. At the mean size of a chunk that is 75 TiB, so only content made
	// of unusually small chunks meets it before it meets ContentBytesMax.
	ContentChunksMax = 1 << 31

	// TreeEntriesMax bounds the entries of a tree.
	TreeEntriesMax = 1 << 27
	// PathSizeMax bounds the path of an entry in bytes, NameSizeMax each of its components, and PathDepthMax their number.
	PathSizeMax  = 4096
	NameSizeMax  = 255
	PathDepthMax = 256
	// TargetSizeMax bounds the target of a symbolic link in bytes.
	TargetSizeMax = 4095
	// SegmentBytes is the size in bytes from which on a file of a tree is cut into chunks of its own, rather than together
	// with its neighbours.
	SegmentBytes = 16384

	// PageSizeMax bounds a page in bytes. Pages of chunk lists stay far below, with at most 12,033 bytes; the room is for
	// the long paths of entry tables.
	PageSizeMax = 65536
	// ListTopMax bounds the top list in bytes: a list that fits is not cut into pages.
	ListTopMax = 4096
	// ListDepthMax bounds the levels of pages. The smallest pages (32 items) reach ContentChunksMax with five.
	ListDepthMax = 6

	// RecordSizeMax bounds a root record in bytes: room for two top lists and some growth, small enough for one message.
	RecordSizeMax = 16384
	// SaltSize is the length in bytes of a root's salt.
	SaltSize = 32

	// RangeBytes is the unit of a transfer's bookkeeping: range k is the chunks that begin in
	// [k·RangeBytes, (k+1)·RangeBytes) of the stream.
	RangeBytes = 1 << 20
)

// When a page ends. The mark is one item in 64, so a page has 96 items or 3.3 KB on average.
const (
	pageItemsMin = 32   // keeps runs of marked items from making tiny pages
	pageItemsMax = 256  // bounds a page where nothing is marked, as in a long row of equal chunks
	pageMark     = 0x3f // the bits of a key's last byte that are all 0 in a marked item
)

// neighboursMin is what any three neighbouring chunks have together at least, in bytes, unless the last chunk of the
// stream is among them. It keeps hostile roots from listing 16 TiB in chunks of one byte.
const neighboursMin = 8192
