package disk

import (
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

const (
	// PackSizeMax is the largest size of a pack in bytes. A pack is what is removed or rewritten at once, so it is small
	// against a disk; and with 16,000 of them in 4 TiB it is large enough for a list in memory.
	PackSizeMax = 256 << 20

	// packSizeLeast keeps a wrong option from making a file per chunk; a group of the largest size fits in.
	packSizeLeast = 4 << 20

	// groupSizeMax bounds the records, in bytes, that one write call appends; the appender keeps a buffer of that size.
	// 32 chunks of the mean size take 1.2 MiB; more gains nothing.
	groupSizeMax = 2 << 20
	// groupChunksMax bounds the chunks of a group, so that very small ones don't make it expensive in entries.
	groupChunksMax = 4096

	// overlayEntriesMax and overlayBytesMax bound what was put since the last Sync: a Put that finds more there syncs
	// first. Entries take about 150 bytes of memory each. The bytes are what the next Open may have to hash if the
	// process is killed now, and the unsynced packs are open files.
	overlayEntriesMax = 32768
	overlayBytesMax   = 1 << 30

	// unsyncedPacksMax bounds the packs that wait for a sync, which are open files: more than 1 GiB has of the usual size.
	unsyncedPacksMax = 8

	// batchEntriesMax bounds a batch of the key-value store to 0.6 MiB, well below its memtable.
	batchEntriesMax = 8192

	// locationsMax bounds the places that the index knows for one chunk. More than one helps if a place goes bad or
	// goes away; more than eight don't help more.
	locationsMax = 8

	// fileReadsMax bounds the files of users that are open for reading, each for as long as one read of a chunk takes.
	fileReadsMax = 32

	// checkInterval is how long a look at the metadata of a user's file serves. Who asks for a million chunks of a file
	// makes one call of the system; and an edited file is offered for no longer than this.
	checkInterval = time.Second

	// racyAge is how much older than its hashing the last change of a file must be to be sure that another one would
	// show: more than a tick of any file system's clock, the slowest of which takes 2 s.
	racyAge = 5 * time.Second

	// racyAgeFine takes the place of racyAge where each look tells. A change gives the file its time first, and its bytes may
	// take this long to arrive: a long write, or a page of a mapping that waits for the disk.
	racyAgeFine = 2 * time.Second

	// offsetMax bounds sizes and offsets in the index, far above what any file has, so that sums don't overflow.
	offsetMax = 1 << 62

	// volumePathMax bounds the path of a volume in bytes, as RootInfo.Check does.
	volumePathMax = 32768

	// openPacksMax bounds the packs that are open for reading, and with them the reads at the same time.
	openPacksMax = 32

	// writebackBytes is how much is appended to a pack before the kernel is asked to start writing it to the disk.
	writebackBytes = 16 << 20

	// prefetchBytes is how much the kernel is asked to read ahead where a chunk is read, because whoever asks for a chunk asks
	// for its neighbours: a range of the content. By itself it does not, as files are opened for each read.
	prefetchBytes = 1 << 20

	// scanWindow is the buffer that a pack is scanned through; it holds several records of the largest size.
	scanWindow = 1 << 20

	// recoveredRootsMax bounds the root records that a recovery keeps in memory, 3.4 MB at their largest.
	recoveredRootsMax = 64

	// rootDataMax bounds an encoded RootInfo in bytes: what is always there, and record, name and place at their largest
	// (see RootInfo.Check).
	rootDataMax = 20 + cafs.RecordSizeMax + 4096 + 32768

	// QuotaLeast is the smallest quota in bytes: ballast, packs of the least size, and the index with room to work in.
	QuotaLeast = 64 << 20

	// quotaPacks is how many packs fit in a quota: a pack is what must be kept free to be able to rewrite another.
	quotaPacks = 16

	// indexRoomBytes is kept free for the index, besides as much as it takes up to indexRoomMax: logs of two memtables, and
	// tables that a compaction has written before it removes those that they replace.
	indexRoomBytes = 8 << 20
	indexRoomMax   = 32 << 20

	// neededFilterBytes bounds the filter of what the catalog needs. It has 16 bits for a chunk, and so takes 1 in 1,000
	// chunks of cache for needed; with more than 16 million chunks, 600 GiB, it has fewer: 10 at 1 TiB, where 1 in 70 is.
	neededFilterBytes = 32 << 20
	filterKeyBits     = 16

	// The first filter of what is held serves for 32,768 chunks, each further one for more, up to a million: that takes 2 MiB.
	// When there are 16 of them, more chunks count as held than are.
	holdKeysFirst  = 32 << 10
	holdKeysMax    = 1 << 20
	holdFiltersMax = 16

	// A filter of what was read lately takes 2 MiB and serves for a million chunks; there are two.
	recentKeys  = 1 << 20
	recentBytes = 2 << 20

	// A pack is rewritten while there are others if half of it can go, and at last if wasteLeast-th of it can: to rewrite
	// it costs what stays of it.
	wasteUsual = 2
	wasteLeast = 32

	// sweepBatch is how many records of a pack are looked at together.
	sweepBatch = 4096
	// sweepWindow is how much of a pack is read for the header of a record; those of small chunks stand close together.
	sweepWindow = 4096

	// ballastBytes is set aside on the disk for the key-value store, which cannot go on when a write of its own finds the
	// disk full: two memtables to flush, a log, and what a compaction takes before it gives up.
	ballastBytes = 16 << 20

	// Memory of the key-value store in bytes: the cache holds blocks and filters, and the memtables are two at most
	// (one that is filled, one that is written out). Together with the rest of the store that stays below 40 MiB.
	indexCacheBytes    = 12 << 20
	indexMemtableBytes = 4 << 20
	// indexOpenFilesMax bounds the open files of the key-value store; the index of 1 TiB has about 60 tables.
	indexOpenFilesMax = 64
	// indexBloomBits is the size of the filters in bits per key: 1 % of the look-ups of absent keys read a block in vain.
	indexBloomBits = 10
)
