package httpsync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/swarmsync/swarmsync/protocol"
)

const (
	// wishTimeout is how long a client may wish nothing when everything is written that it wished. The last megabytes may
	// still be on their way to it, which takes minutes on the slowest lines that writeTimeout allows.
	wishTimeout = 10 * time.Minute
	// wishReadBytes is how much of a wishlist is read at once: the bits of 32,768 chunks, about a GiB.
	wishReadBytes = 4 << 10
)

// wishlist is the body of a request on its way to the sender. It is read ahead of what the sender asks for, because only
// who reads a connection notices that the client is gone, and the sender may wait for a chunk for a long time. It has
// room for all of the list, so that the reading never waits for the sender.
type wishlist struct {
	ctx    context.Context //nolint:containedctx // io.ByteReader has no parameter for it
	octets chan byte       // closed behind the last one
}

// newWishlist returns the wishlist of a transfer of info, whose reads end with ctx.
func newWishlist(ctx context.Context, info protocol.SyncInfo) *wishlist {
	places := len(info.Chunks) + max(len(info.Perm), 1) - 1
	return &wishlist{ctx, make(chan byte, protocol.BitsLen(places))}
}

// readFrom takes the list from a request's body up to its end. It is called once.
func (l *wishlist) readFrom(body io.Reader) error {
	buf := make([]byte, wishReadBytes)
	for room := cap(l.octets); ; {
		n, err := body.Read(buf)
		if n > room {
			return fmt.Errorf("read the wishlist: more than its %d bytes", cap(l.octets))
		}
		room -= n
		for _, octet := range buf[:n] {
			l.octets <- octet
		}
		if errors.Is(err, io.EOF) {
			close(l.octets)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the wishlist: %w", err)
		}
	}
}

// ReadByte implements io.ByteReader for the sender.
func (l *wishlist) ReadByte() (byte, error) {
	select {
	case octet, ok := <-l.octets:
		if !ok {
			return 0, io.EOF
		}
		return octet, nil
	case <-l.ctx.Done():
		return 0, context.Cause(l.ctx)
	case <-time.After(wishTimeout):
		return 0, fmt.Errorf("the client has wished nothing for %v", wishTimeout)
	}
}
