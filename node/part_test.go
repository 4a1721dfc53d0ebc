package node_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/node"
)

// What is read is fetched, and not much more.
func TestOpenLinkFetchesWhatIsRead(t *testing.T) {
	t.Parallel()
	content := noise(40<<20, 141)
	holder := start(t, node.Config{DisableDHT: true})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}
	receiver := start(t, node.Config{Home: t.TempDir(), DisableDHT: true})
	reader, err := receiver.OpenLink(t.Context(), link, node.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if reader.Size() != int64(len(content)) {
		t.Errorf("%d bytes", reader.Size())
	}
	got := make([]byte, 1000)
	for _, offset := range []int64{17 << 20, 0, int64(len(content)) - 1000} {
		if _, err := reader.ReadAt(got, offset); err != nil || !bytes.Equal(got, content[offset:offset+1000]) {
			t.Errorf("at %d there are other bytes, or %v", offset, err)
		}
	}
	if n, err := reader.ReadAt(got, int64(len(content))-10); n != 10 || err != io.EOF {
		t.Errorf("at the end: %d bytes, %v", n, err)
	}
	if have := rootOf(t, receiver, link.Root).Have; have > 16<<20 {
		t.Errorf("%d bytes were fetched for three reads", have)
	}
	if _, err := reader.Seek(-5<<20, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(reader); err != nil || !bytes.Equal(all, content[len(content)-5<<20:]) {
		t.Errorf("the last 5 MiB: %d bytes, %v", len(all), err)
	}
	if err := reader.Close(); err != nil {
		t.Error(err)
	}
}

// The end of the context ends the reads.
func TestPartReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	holder := start(t, node.Config{DisableDHT: true})
	link := add(t, holder, noise(300_000, 143))
	ctx, cancel := context.WithCancel(t.Context())
	reader, err := holder.OpenPart(ctx, node.Part{Root: link.Root})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := reader.ReadAt(make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := io.ReadAll(reader); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
