package protocol

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// ReceiverConfig says what Open asks for, and as whom.
type ReceiverConfig struct {
	// Root is what is wanted. It never goes on the wire.
	Root cafs.Key
	// Network is the name of the network: 1 to NetworkNameMax letters a to z, digits and hyphens.
	Network string
	// Local and Remote are the bytes of the peer IDs that the connection has authenticated, this side's and the holder's:
	// 1 to PeerIDMax each.
	Local, Remote []byte
	// Ranges returns the number of ranges of the data that a root record describes, or an upper bound of it. It is called
	// once, with the record that Root names; its error, for a bad root, ends Open. Nil stands for RangesMax.
	Ranges func(record []byte) (int64, error)
	// Rand is where the nonce is read from. Nil stands for crypto/rand.Reader; another one is for tests.
	Rand io.Reader
	// Receivers is shared by all sessions of this receiver. Nil stands for a session that is the only one.
	Receivers *Receivers

	testOnlyWithout features // not named in OPEN
}

// Accepted is what a holder says of a root when it accepts a session. The caller owns it.
type Accepted struct {
	// Record is the root record; its SHA-256 is the root.
	Record []byte
	// Complete tells that the holder has every chunk and page.
	Complete bool
	// Have is what a holder has that is not complete, or the first part of it. HaveMessages add to it.
	Have []HaveItem
}

// ChunkAt is the place of a chunk in a root, and what the list says of it.
type ChunkAt struct {
	// Range is the number of the range that the chunk begins in, and Number the chunk's number in it; both from 0.
	Range  int64
	Number int
	Info   cafs.ChunkInfo
}

// Message is what a holder sends: a ChunkMessage, PageMessage, DoneMessage, HaveMessage or PeersMessage.
type Message interface{ message() }

// ChunkMessage is a chunk that was wished. Data has the size that the list says; whether it is the chunk, only
// cafs.VerifyChunk can tell.
type ChunkMessage struct {
	Wish uint64
	At   ChunkAt
	Data []byte
	// Sent is how many bytes came for it.
	Sent int
	// Delta tells that Data was made of old bytes of this side. If it is not the chunk, sums of two blocks may have been equal
	// by chance: the holder need not be to blame, and the chunk is to be wished again, with nothing similar.
	Delta bool
}

// PageMessage is the Number-th page, from 0, of the answer to a request. Data is whatever the holder sent, at most
// PageMax bytes: it must be checked against its ref before it is used.
type PageMessage struct {
	Request uint64
	Number  int
	Data    []byte
	// Delta tells that Data was made of old bytes of this side; see ChunkMessage.
	Delta bool
}

// DoneMessage tells what of a wish or request is not coming.
type DoneMessage struct {
	ID uint64
	// Pages tells that ID is a request of pages: it ends here, and the remaining pages are not coming.
	Pages bool
	// Parts are disjoint, and name what was outstanding and is not any more. For a request there is one without bits, or
	// none when all pages had been sent before a CANCEL came.
	Parts []DonePart
	// AnswersCancel tells that this is the answer to a Cancel, the first that had none.
	AnswersCancel bool
	// Over tells that nothing more will come under this ID.
	Over bool
}

// HaveMessage tells what a holder has, beside what it told before.
type HaveMessage struct {
	Items []HaveItem
}

// PeersMessage names members of the swarm.
type PeersMessage struct {
	Members []Member
}

func (ChunkMessage) message() {}
func (PageMessage) message()  {}
func (DoneMessage) message()  {}
func (HaveMessage) message()  {}
func (PeersMessage) message() {}

// Receiver is the receiving side of a session. Next is for one goroutine at a time; all other methods may be called
// concurrently with it and with each other, and none of them waits for the stream, except Close.
//
// It sets no deadlines: the stream should make a write that has no progress for WriteTimeout fail. When the stream is
// closed or fails, Next returns and so does everything else.
type Receiver struct {
	stream *meteredStream
	in     frameReader
	out    outbox
	ranges int64
	on     features
	shared *Receivers
	mac    *blockMAC // only for the goroutine that writes

	// unpacked is what a chunk that did not come raw is made in; only Next uses it.
	unpacked []byte

	// haves and members hold the holder to its rates; only Next uses them.
	haves, members budget

	// mu guards what follows. Frames go to out under it, so that they are in the order of the account.
	mu       sync.Mutex
	account  account
	told     budget // members told to the holder
	received int64  // bytes of chunk data
	ackTimer *time.Timer
	ackDue   bool
	closed   bool
}

// Open opens a session on a fresh stream: it proves to the holder that this side knows the root, and checks that the
// holder does. Everything that Accepted says is the holder's word, except for the record.
//
// The error is a *RefusedError if the holder refuses and a *ViolationError if it breaks the protocol. After an error the
// caller ends the stream; after success it calls Close. rw behaves like a net.Conn: a read and a write may
// be under way together, and Close makes both return. A libp2p stream's Close does not on every transport, its Reset
// does. The caller bounds Open by a deadline of OpenTimeout.
func Open(rw io.ReadWriteCloser, cfg ReceiverConfig) (*Receiver, Accepted, error) {
	if err := checkParties(cfg.Network, cfg.Local, cfg.Remote); err != nil {
		return nil, Accepted{}, fmt.Errorf("open a session: %w", err)
	}
	stream := &meteredStream{ReadWriteCloser: rw}
	r := &Receiver{
		stream: stream,
		in:     newFrameReader(stream, readBufferBytes),
		out:    outbox{w: stream},
		shared: cfg.Receivers,
	}
	if r.shared == nil {
		r.shared = new(Receivers)
	}
	r.account = newAccount(r.shared)
	shown, err := r.sendOpen(cfg)
	if err != nil {
		return nil, Accepted{}, err
	}
	accepted, err := r.readAnswer(cfg, shown)
	if err != nil {
		return nil, Accepted{}, err
	}
	r.haves = newTolerantBudget(HavesPerSecond, haveEvery)
	r.members = newTolerantBudget(PeersMax, memberEvery)
	r.told = newBudget(PeersMax, memberEvery)
	return r, accepted, nil
}

func checkParties(network string, ids ...[]byte) error {
	if !validNetwork(network) {
		return fmt.Errorf("network %q: want 1 to %d letters a to z, digits and hyphens", network, NetworkNameMax)
	}
	for _, id := range ids {
		if len(id) < 1 || len(id) > PeerIDMax {
			return fmt.Errorf("peer ID of %d bytes: want 1 to %d", len(id), PeerIDMax)
		}
	}
	return nil
}

func (r *Receiver) sendOpen(cfg ReceiverConfig) (proof, error) {
	m := openBody{key: DiscoveryKeyOf(cfg.Root), network: cfg.Network, features: featuresHere &^ cfg.testOnlyWithout}
	random := cfg.Rand
	if random == nil {
		random = rand.Reader
	}
	if _, err := io.ReadFull(random, m.nonce[:]); err != nil {
		return proof{}, fmt.Errorf("make a nonce: %w", err)
	}
	r.on, r.mac = m.features, newBlockMAC(m.nonce)
	m.proof = openProof(cfg.Root, cfg.Local, cfg.Remote, m.appendUnproved(nil))
	if _, err := r.stream.Write(appendFrame(nil, frameOpen, m.append(nil))); err != nil {
		return proof{}, fmt.Errorf("send OPEN: %w", err)
	}
	return m.proof, nil
}

// readAnswer looks into nothing before the holder's proof holds, and sends nothing.
func (r *Receiver) readAnswer(cfg ReceiverConfig, shown proof) (Accepted, error) {
	t, body, err := r.in.expect(frameAccept, frameRefuse)
	if err != nil {
		return Accepted{}, fmt.Errorf("answer to OPEN: %w", midFrame(err))
	}
	if t == frameRefuse {
		return Accepted{}, r.refusal(body)
	}
	unproved, answered, err := splitProof(body)
	if err != nil {
		return Accepted{}, violation(frameAccept, RuleMalformed, "%w", err)
	}
	if !answered.matches(acceptProof(cfg.Root, cfg.Remote, cfg.Local, shown, unproved)) {
		return Accepted{}, violation(frameAccept, RuleProof, "the holder does not know the root")
	}
	m, err := decodeAccept(unproved)
	if err != nil {
		return Accepted{}, violation(frameAccept, RuleMalformed, "%w", err)
	}
	if cafs.KeyOf(m.record) != cfg.Root {
		return Accepted{}, violation(frameAccept, RuleRecord, "its SHA-256 is not the root")
	}
	if r.ranges, err = cfg.rangesOf(m.record); err != nil {
		return Accepted{}, err
	}
	have, err := decodeHaveMap(m.haveMap, m.complete, r.ranges)
	if err != nil {
		return Accepted{}, violation(frameAccept, RuleMalformed, "%w", err)
	}
	r.on &= m.features
	return Accepted{Record: m.record, Complete: m.complete, Have: have}, nil
}

func (cfg ReceiverConfig) rangesOf(record []byte) (int64, error) {
	if cfg.Ranges == nil {
		return RangesMax, nil
	}
	ranges, err := cfg.Ranges(record)
	if err != nil {
		return 0, fmt.Errorf("root record: %w", err)
	}
	if ranges < 0 || ranges > RangesMax {
		return 0, fmt.Errorf("root record: %d ranges: want 0 to %d", ranges, RangesMax)
	}
	return ranges, nil
}

// refusal returns why there is no session, with the members that a busy holder names behind its REFUSE.
func (r *Receiver) refusal(body []byte) error {
	m, err := decodeRefuse(body)
	if err != nil {
		return violation(frameRefuse, RuleMalformed, "%w", err)
	}
	refused := &RefusedError{Code: m.code, RetryAfter: m.retryAfter}
	if m.code != RefuseBusy {
		return refused
	}
	_, body, err = r.in.expect(framePeers)
	var wrong *ViolationError
	if errors.As(err, &wrong) {
		return err
	}
	if err != nil {
		return refused // it names nobody
	}
	named, err := decodePeers(body)
	if err != nil {
		return violation(framePeers, RuleMalformed, "%w", err)
	}
	refused.Members = named.members
	return refused
}

// Wish asks for the chunks of a range whose bits are set, at least one. chunks are all chunks of the range; the session
// keeps it until the wish is over, and nobody may change it. Wish returns the id under which the answers come.
//
// It fails with ErrLimit beyond WishesMax wishes or WishedBytesMax bytes outstanding, or while the holder does not read.
func (r *Receiver) Wish(rangeNumber int64, bits Bits, chunks []cafs.ChunkInfo) (id uint64, err error) {
	return r.WishSimilar(rangeNumber, bits, chunks, nil)
}

// WishSimilar is Wish for chunks of which something similar is here: old returns it for a wished chunk, or nothing. It is
// called by the goroutine that writes to the stream, right before the wish goes out, and may read from a disk. The
// session keeps what it returns, of which it uses OldChunkMax bytes at most, until the chunk is settled.
func (r *Receiver) WishSimilar(
	rangeNumber int64, bits Bits, chunks []cafs.ChunkInfo, old func(number int) []byte,
) (id uint64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rangeNumber < 0 || rangeNumber >= r.ranges {
		return 0, fmt.Errorf("wish: range %d of %d", rangeNumber, r.ranges)
	}
	bytes, err := r.account.checkWish(bits, chunks)
	if err != nil {
		return 0, fmt.Errorf("wish in range %d: %w", rangeNumber, err)
	}
	m := wishBody{id: r.account.last + 1, rangeNumber: rangeNumber, bits: bits}
	var sigs func() []byte
	if old != nil && r.signs() {
		wished := worthSigning(bits, chunks)
		sigs = func() []byte { return r.signWish(m.id, wished, old) }
	}
	if err := r.out.addAfter(sigs, appendFrame(nil, frameWish, m.append(nil))); err != nil {
		return 0, fmt.Errorf("wish in range %d: %w", rangeNumber, err)
	}
	r.account.addWish(rangeNumber, bits, chunks, bytes)
	return m.id, nil
}

// RequestPages asks for pages. They come in preorder, each page before the pages below it and these from left to right,
// and at most PagesMax of them; a holder that lacks one ends with a DoneMessage. Only the caller, who reads the refs,
// knows which page is the last: it then calls EndPages.
//
// It fails with ErrLimit beyond PagesOutstandingMax requests outstanding, PagesOutstandingPlain without deltas, or while the holder does not read.
func (r *Receiver) RequestPages(request PagesRequest) (id uint64, err error) {
	return r.RequestSimilarPages(request, 0, nil)
}

// RequestSimilarPages is RequestPages for an answer of which something similar to the first pages is here: old returns it for a
// page by its number, or nothing. It is called as for WishSimilar.
func (r *Receiver) RequestSimilarPages(request PagesRequest, pages int, old func(number int) []byte) (id uint64, err error) {
	if err := request.check(); err != nil {
		return 0, fmt.Errorf("request pages: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.account.checkPages(r.on); err != nil {
		return 0, fmt.Errorf("request pages: %w", err)
	}
	m := pagesBody{r.account.last + 1, request}
	var sigs func() []byte
	if old != nil && r.signs() {
		sigs = func() []byte { return r.signPages(m.id, pages, old) }
	}
	if err := r.out.addAfter(sigs, appendFrame(nil, framePages, m.append(nil))); err != nil {
		return 0, fmt.Errorf("request pages: %w", err)
	}
	r.account.addPages()
	return m.id, nil
}

// EndPages says that the answer to a request of pages is complete: one more page of it would be a violation. For a
// request that is over it does nothing; requests end by themselves with a DoneMessage and after PagesMax pages.
func (r *Receiver) EndPages(id uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.account.endPages(id)
}

// Cancel takes back what is outstanding of a wish's chunks whose bits are set, or the rest of a request's pages, for
// which bits is ignored. Exactly one DoneMessage answers it; what comes before that counts. It fails with ErrOver, and
// is not answered, when nothing of it is outstanding, and with ErrLimit beyond CancelsMax.
func (r *Receiver) Cancel(id uint64, bits Bits) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	open, err := r.account.checkCancel(id, bits)
	if err != nil {
		return fmt.Errorf("cancel %d: %w", id, err)
	}
	if err := r.out.add(appendFrame(nil, frameCancel, cancelBody{id, open}.append(nil))); err != nil {
		return fmt.Errorf("cancel %d: %w", id, err)
	}
	r.account.addCancel(id, open)
	return nil
}

// SendPeers tells the holder of members: 1 to PeersMax. It fails with ErrLimit beyond PeersMax in PeersInterval.
func (r *Receiver) SendPeers(members []Member) error {
	if err := checkMembers(members); err != nil {
		return fmt.Errorf("tell members: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.told.take(int64(len(members)), time.Now()) {
		return fmt.Errorf("tell members: %w", ErrLimit)
	}
	return r.out.add(appendFrame(nil, framePeers, peersBody{members}.append(nil)))
}

// Outstanding returns the number of open wishes, and the bytes of the chunks that they wait for.
func (r *Receiver) Outstanding() (wishes int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.account.wishes), r.account.bytes
}

// Traffic returns the bytes read from and written to the stream so far, frames included.
func (r *Receiver) Traffic() (read, written int64) { return r.stream.traffic() }

// Wait waits until the next message has begun to arrive, or the session has ended, which Next tells. With it, callers
// with many sessions need buffers only for those that send. It is for the goroutine that calls Next.
func (r *Receiver) Wait() { r.in.wait() }

// Next waits for the next message. The byte slices in it point into buf if its capacity is at least FrameBodyMax; else
// into new memory where buf is too small. The caller owns them. Members never point into buf.
//
// The error is io.EOF when the holder ended the session between two frames, and a *ViolationError if it broke the
// protocol. After an error the session is of no use any more.
func (r *Receiver) Next(buf []byte) (Message, error) {
	t, body, err := r.in.next(buf)
	if err != nil {
		return nil, err
	}
	switch t {
	case frameChunk:
		return r.chunk(body, buf)
	case framePage:
		return r.page(body)
	case frameDone:
		return r.done(body)
	case frameHave:
		return r.have(body)
	case framePeers:
		return r.peers(body)
	default:
		return nil, violation(t, RuleUnexpected, "not from a holder in an open session")
	}
}

func (r *Receiver) chunk(body, buf []byte) (Message, error) {
	m, err := decodeChunk(body)
	if err != nil {
		return nil, violation(frameChunk, RuleMalformed, "%w", err)
	}
	at, old, err := r.enterChunk(m)
	if err != nil {
		return nil, err
	}
	data, err := r.unpack(m, at.Info.Size, old, buf)
	if err != nil {
		return nil, violation(frameChunk, RuleMalformed, "encoding %d: %w", m.encoding, err)
	}
	return ChunkMessage{Wish: m.id, At: at, Data: data, Sent: len(m.data), Delta: m.encoding == encodingDelta}, nil
}

func (r *Receiver) enterChunk(m chunkBody) (ChunkAt, oldChunk, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, old, err := r.account.chunk(m, r.on)
	if err != nil {
		return ChunkAt{}, oldChunk{}, err
	}
	r.received += int64(len(m.data))
	r.scheduleAck()
	return at, old, nil
}

// decompressor returns nil if nothing may be compressed.
func (r *Receiver) decompressor() *decompressor {
	if r.on.has(featureZstd) {
		return &r.shared.decompressor
	}
	return nil
}

// unpack returns the bytes of a chunk, in buf if its capacity suffices.
func (r *Receiver) unpack(m chunkBody, size int, old oldChunk, buf []byte) ([]byte, error) {
	if m.encoding == encodingRaw {
		return m.data, nil
	}
	if r.unpacked == nil {
		r.unpacked = make([]byte, 0, cafs.ChunkSizeMax)
	}
	var err error
	if m.encoding == encodingZstd {
		r.unpacked, err = r.decompressor().decompress(r.unpacked[:0], m.data, size)
	} else {
		r.unpacked, err = applyDelta(r.unpacked[:0], m.data, old.bytes, old.blockBytes, size, r.decompressor())
	}
	if err != nil {
		return nil, err
	}
	return append(buf[:0], r.unpacked...), nil
}

// scheduleAck sees to it that an ACK goes out AckInterval after the first chunk that has none. Callers hold r.mu.
func (r *Receiver) scheduleAck() {
	if r.ackDue || r.closed {
		return
	}
	r.ackDue = true
	if r.ackTimer == nil {
		r.ackTimer = time.AfterFunc(AckInterval, r.sendAck)
		return
	}
	r.ackTimer.Reset(AckInterval)
}

func (r *Receiver) sendAck() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ackDue = false
	// The only error that is worth another attempt is that the holder does not read now.
	if err := r.out.add(appendFrame(nil, frameAck, ackBody{r.received}.append(nil))); errors.Is(err, ErrLimit) {
		r.scheduleAck()
	}
}

func (r *Receiver) page(body []byte) (Message, error) {
	m, err := decodePage(body)
	if err != nil {
		return nil, violation(framePage, RuleMalformed, "%w", err)
	}
	r.mu.Lock()
	old, err := r.account.page(m, r.on)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if !m.isDelta() {
		return PageMessage{Request: m.id, Number: m.number, Data: m.data}, nil
	}
	page, err := applyPageDelta(m.data[1:], old.bytes, old.blockBytes)
	if err != nil {
		return nil, violation(framePage, RuleMalformed, "delta: %w", err)
	}
	return PageMessage{Request: m.id, Number: m.number, Data: page, Delta: true}, nil
}

func (r *Receiver) done(body []byte) (Message, error) {
	m, err := decodeDone(body)
	if err != nil {
		return nil, violation(frameDone, RuleMalformed, "%w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	message, err := r.account.done(m)
	if err != nil {
		return nil, err
	}
	return message, nil
}

func (r *Receiver) have(body []byte) (Message, error) {
	if !r.haves.take(1, time.Now()) {
		return nil, violation(frameHave, RuleLimit, "more than %d a second", HavesPerSecond)
	}
	items, err := decodeHave(body, r.ranges)
	if err != nil {
		return nil, violation(frameHave, RuleMalformed, "%w", err)
	}
	return HaveMessage{items}, nil
}

func (r *Receiver) peers(body []byte) (Message, error) {
	m, err := decodePeersWithin(&r.members, body)
	if err != nil {
		return nil, err
	}
	return PeersMessage{m.members}, nil
}

// Close ends the session: it closes the stream, drops what was not sent yet and returns when nothing runs any more that
// the session started. The holder sees the end of the stream, and stops.
func (r *Receiver) Close() error {
	r.mu.Lock()
	r.closed = true
	if r.ackTimer != nil {
		r.ackTimer.Stop()
	}
	r.mu.Unlock()
	err := r.stream.Close()
	r.out.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.account.dropOld()
	return err
}
