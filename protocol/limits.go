package protocol

import (
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// Sizes of frames in bytes. They are checked when a frame's header is read, before anything is allocated for its body.
const (
	// FrameBodyMax is the longest body of any frame: a chunk of the largest size and 64 bytes for what stands before it.
	FrameBodyMax = cafs.ChunkSizeMax + 64
	// OpenBodyMax is the longest OPEN. Strangers send it, so it is small: a key, a nonce, a proof, a network name, and
	// room for a membership proof of some 800 bytes.
	OpenBodyMax = 1 << 10
	// AcceptBodyMax is the longest ACCEPT: a root record, a have map, and some hundred bytes for the rest.
	AcceptBodyMax = 96 << 10
	// RecordMax is the longest root record that the format allows.
	RecordMax = 16 << 10
	// HaveMax is the longest have list, in ACCEPT and in HAVE. A partial copy of a TiB whose every other range is there
	// takes 1.5 MiB: such a map goes out in pieces, none of which holds up the chunks for long.
	HaveMax = 64 << 10
	// PageMax is the longest page that the format allows.
	PageMax = 64 << 10
	// FeaturesMax is the longest set of features: 64 of them are plenty for one version of the protocol.
	FeaturesMax = 8
	// PeerIDMax is the longest peer ID: a hash takes 34 bytes, a public key that stands for itself 42.
	PeerIDMax = 128
	// NetworkNameMax is the longest network name, that of a DNS label.
	NetworkNameMax = 63
)

// Positions in a root. They follow from the limits of the format: 2^44 bytes, 2^31 chunks, three neighbouring chunks of
// at least 8,192 bytes together, list trees of depth 6.
const (
	// RangesMax is the largest number of ranges of a root.
	RangesMax = 1 << 24
	// RangeChunksMax is the largest number of chunks that begin in one range: all but the last of them lie before its
	// end, so there are fewer than 2^20/8192 = 128 full groups of three among them.
	RangeChunksMax = 384
	// PageLevelMax is the highest level of a page.
	PageLevelMax = 5
	// LeafItemsMax is the largest number of leaf items of a list.
	LeafItemsMax = 1 << 31
)

// Deltas below the chunk.
const (
	// DeltaBlockMin and DeltaBlockMax bound the blocks that old bytes are signed in. Smaller ones cost more sums than they
	// save literals.
	DeltaBlockMin = 512
	DeltaBlockMax = 4096
	// PageBlockMin is the same for pages, which are short, and of which an edit changes an item or two.
	PageBlockMin = 64
	// pageBlockBytes is what this side takes: of a page of 3.3 KB an edit costs some 200 bytes of sums and as many of literals.
	pageBlockBytes = 128
	// SigsSumsMax bounds the sums for one chunk: those of 128 KiB in the smallest blocks, or of 1 MiB in the largest.
	SigsSumsMax = 2 << 10
	// OldChunkMax is the most bytes that a receiver signs for one chunk: twice the largest chunk, because what stands between
	// two neighbours may have got longer or shorter.
	OldChunkMax = 256 << 10
	// SigsBytesMax bounds the sums of a session that belong to chunks that are outstanding: those of 16 MiB. A holder keeps
	// them, in 256 sessions at most.
	SigsBytesMax = 256 << 10
	// OldBytesMax bounds what the sessions of a receiver hold of old bytes for chunks that are outstanding.
	OldBytesMax = 16 << 20
	// sigsIgnoredMax is how many signatures in a row may be of no use before a session sends no more.
	sigsIgnoredMax = 32
)

// What may be outstanding.
const (
	// WishesMax is the largest number of wishes of a session that are not over. A complete holder is given 2 s of work,
	// which at 1 GB/s is 2,000 ranges; but the bytes below stop that at 64, so this only bounds wishes of single chunks.
	WishesMax = 1024
	// WishedBytesMax bounds the chunk bytes wished and not yet arrived in a session: 2 s at 32 MB/s, or a round trip of
	// 100 ms at 640 MB/s.
	WishedBytesMax = 64 << 20
	// ReceiverWishedBytesMax bounds the chunk bytes wished over all sessions of a receiver. The windows of multiplexed
	// streams grow to 16 MiB each, eight of which would be a node's whole memory. The caller of Wish keeps it.
	ReceiverWishedBytesMax = 64 << 20
	// PagesMax is the largest number of pages in the answer to one PAGES: about 850 KB, and 16 MiB at the very most.
	PagesMax = 256
	// PagesOutstandingMax is the largest number of PAGES of a session that are not over, while deltas are on: of a new version
	// of a list single pages are asked for, here and there, and with few at a time that takes many round trips.
	// PagesOutstandingPlain is the same for peers without deltas, which are as old as that.
	PagesOutstandingMax   = 32
	PagesOutstandingPlain = 4
	// CancelsMax is the largest number of CANCELs of a session whose DONE has not come: one for each wish.
	CancelsMax = WishesMax
	// ControlQueueMax bounds the bytes of small frames that wait for the stream: a full set of wishes with a CANCEL each
	// takes 130 KB. Beyond it the other side does not read, and the caller is told ErrLimit.
	ControlQueueMax = 256 << 10
	// HaveQueueItemsMax bounds the have items that wait for the stream, beside the have map's. A node that tells 20
	// times a second fills it in minutes, when the stream has long been given up.
	HaveQueueItemsMax = 16 << 10
)

// What may be told, and how often. The sender keeps to the rate; the receiving side allows twice the burst, because
// frames that were held up on their way arrive together.
const (
	// HavesPerSecond is the rate of HAVE frames, with a burst of one second's. Holders tell at most every HaveInterval.
	HavesPerSecond = 40
	// PeersMax is the largest number of members in one PEERS, and in PeersInterval.
	PeersMax = 32
	// MemberRecordMax and MemberAddrMax are the longest signed record and address of a member in bytes. A record with
	// ten addresses takes about 600; 32 of the longest fit a frame.
	MemberRecordMax = 3584
	MemberAddrMax   = 480
	// RetryAfterMax is the longest time that a busy holder may ask a receiver to stay away.
	RetryAfterMax = time.Hour
)

// Times. Those without a word on who keeps them are kept by the caller, which knows the stream's deadlines.
const (
	// OpenTimeout is how long a holder waits for OPEN from the start of the stream, and a receiver for the answer:
	// enough for a slow path, short enough that strangers do not pile up.
	OpenTimeout = 10 * time.Second
	// WriteTimeout is how long a write may make no progress before the stream is reset.
	WriteTimeout = 30 * time.Second
	// AckInterval is how long a Receiver waits with an ACK after a chunk, and the least time between two: the window of
	// unacknowledged bytes is round trip + 5 ms long, so waiting longer would stall it and more would be chatter.
	AckInterval = 5 * time.Millisecond
	// HaveInterval is how late the news of a chunk may be, and so the least time between two HAVEs of a busy holder.
	HaveInterval = 50 * time.Millisecond
	// PeersInterval is the time in which PeersMax members may be told.
	PeersInterval = 10 * time.Second
	// MemberAge is how long ago a proved session with a member may have been when others are told about it.
	MemberAge = 10 * time.Minute
	// StallTimeout is how long a holder with wishes may send no chunk, or StallRateFactor times what its rate lets
	// expect if that is longer; StallTimeoutFirst is the same before a rate is known. Then its ranges go elsewhere.
	StallTimeout      = 3 * time.Second
	StallTimeoutFirst = 30 * time.Second
	StallRateFactor   = 8
)

// How many sessions a holder serves; the caller of Accept keeps these.
const (
	// SessionsMax and SessionsPerPeerMax bound the sessions of a holder: 256 of them with their buffers fit a node's
	// memory, and no peer alone may take a notable part of them.
	SessionsMax        = 256
	SessionsPerPeerMax = 8
	// sentRangesMax bounds the ranges of which a holder counts how often their chunks were sent, over all roots: those of
	// 64 GiB, which take about 6 MiB.
	sentRangesMax = 64 << 10
	// UnprovedStreamsMax bounds the streams whose OPEN has not been proved yet.
	UnprovedStreamsMax = 64
)

// Sizes of our own buffers; nothing in the protocol depends on them.
const (
	// readBufferBytes makes the receiver's reads few. Larger buffers are no faster, and there is one in each session.
	readBufferBytes = 16 << 10
	// controlBufferBytes serves a holder, which reads small frames only and has many sessions.
	controlBufferBytes = 4 << 10
	// batchTime is for how long a holder gathers at most: chunks that it makes smaller take their time.
	batchTime = 5 * time.Millisecond
	// writeBatchBytes is what a holder gathers before it writes, while there is more to send.
	writeBatchBytes = 256 << 10
)
