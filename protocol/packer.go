package protocol

import "time"

// packer makes the chunks of a session smaller, where that is worth it. It belongs to the goroutine that writes.
type packer struct {
	mac         *blockMAC
	compressor  *compressor // nil if chunks must not be compressed
	zstd, delta thrift
	waited      time.Duration // for the path, with nothing to do meanwhile
	idle        time.Duration // what may be spent on deltas because there was nothing to send; all that is spent counts
}

func newPacker(nonce [nonceSize]byte, on features, shared *compressor) packer {
	p := packer{
		mac:   newBlockMAC(nonce),
		zstd:  thrift{trialTime: zstdTrial},
		delta: thrift{trialTime: deltaTrial, patient: true}, // the receiver says so, until nothing comes of it
	}
	if on.has(featureZstd) {
		p.compressor = shared
	}
	return p
}

// wait notes that the writer waited for the path.
func (p *packer) wait(d time.Duration) { p.waited = min(p.waited+d, waitedMax) }

// rest notes that the writer had nothing to send.
func (p *packer) rest(d time.Duration) { p.idle = min(p.idle+d/idleShare, idleMax) }

// pack chooses the encoding of a chunk, and appends to dst, which is empty, what it is then; nothing if it stays raw.
func (p *packer) pack(dst, chunk []byte, sig signature, pathRate float64) (encoding byte, packed []byte) {
	if len(sig.sums) > 0 && p.delta.worth(len(chunk), pathRate, p.waited, p.idle) {
		start := time.Now()
		packed = appendDelta(dst, p.mac, chunk, sig, p.compressor)
		p.spent(&p.delta, chunk, packed, start)
		if len(packed) > 0 {
			return encodingDelta, packed
		}
	}
	if p.compressor == nil || len(chunk) < compressMin || !p.zstd.worth(len(chunk), pathRate, p.waited, 0) {
		return encodingRaw, nil
	}
	// Who waited for other sessions here would keep its buffers for that time, hundreds of sessions at once.
	if !p.compressor.using.TryLock() {
		return encodingRaw, nil
	}
	defer p.compressor.using.Unlock()
	p.compressor.prepare() // that is not this chunk's time
	start := time.Now()
	packed = p.compressor.compressPrepared(dst, chunk)
	p.spent(&p.zstd, chunk, packed, start)
	if len(packed) == 0 {
		return encodingRaw, nil
	}
	return encodingZstd, packed
}

// spent enters what making a chunk smaller has cost and brought.
func (p *packer) spent(t *thrift, chunk, packed []byte, start time.Time) {
	took := time.Since(start)
	p.waited, p.idle = max(0, p.waited-took), max(0, p.idle-took)
	left := len(packed)
	if left == 0 {
		left = len(chunk)
	}
	t.made(len(chunk), left, took)
}
