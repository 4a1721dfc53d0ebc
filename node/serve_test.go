package node_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

// openAs opens a session with a node as a receiver that is none.
func openAs(t *testing.T, h host.Host, holder peer.AddrInfo, root cafs.Key) (*protocol.Receiver, error) {
	t.Helper()
	if err := h.Connect(t.Context(), holder); err != nil {
		t.Fatal(err)
	}
	stream, err := h.NewStream(t.Context(), holder.ID, protocol.ID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Reset() })
	receiver, _, err := protocol.Open(stream, protocol.ReceiverConfig{
		Root: root, Network: node.DefaultNetwork, Local: []byte(h.ID()), Remote: []byte(holder.ID),
	})
	if err != nil {
		_ = stream.Reset()
	}
	return receiver, err
}

// only leaves the addresses of a peer that have a word in them.
func only(info peer.AddrInfo, word string) peer.AddrInfo {
	kept := peer.AddrInfo{ID: info.ID}
	for _, address := range info.Addrs {
		if strings.Contains(address.String(), word) {
			kept.Addrs = append(kept.Addrs, address)
		}
	}
	return kept
}

// TestCloseDoesNotWaitForAReceiverThatDoesNotRead closes a holder whose writes have nowhere to go.
func TestCloseDoesNotWaitForAReceiverThatDoesNotRead(t *testing.T) {
	for transport, listen := range map[string]string{"tcp": "/ip4/127.0.0.1/tcp/0", "quic": "/ip4/127.0.0.1/udp/0/quic-v1"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			content := noise(32<<20, 8)
			holder := start(t, node.Config{})
			link := add(t, holder, content)
			receiver, err := openAs(t, startHost(t, listen), only(at(t, holder), transport), link.Root)
			if err != nil {
				t.Fatal(err)
			}
			hold(t, content).wishAll(t, receiver)
			if _, err := receiver.Next(nil); err != nil { // the holder writes, and more than there is room for
				t.Fatal(err)
			}
			started := time.Now()
			if err := holder.Close(); err != nil {
				t.Error(err)
			}
			if took := time.Since(started); took > protocol.WriteTimeout/3 {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// waitFor looks again and again until something holds.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// fill opens so many sessions with a holder, as few receivers.
func fill(t *testing.T, holder *node.Node, root cafs.Key, sessions int) {
	t.Helper()
	for opened := 0; opened < sessions; {
		h := startHost(t)
		for range min(sessions-opened, protocol.SessionsPerPeerMax) {
			if _, err := openAs(t, h, at(t, holder), root); err != nil {
				t.Fatalf("session %d: %v", opened+1, err)
			}
			opened++
		}
	}
}

func TestHolderServesNoMoreSessionsThanItsLimits(t *testing.T) {
	t.Parallel()
	holder := start(t, node.Config{})
	link := add(t, holder, noise(1000, 9))
	one := startHost(t)
	for range protocol.SessionsPerPeerMax {
		if _, err := openAs(t, one, at(t, holder), link.Root); err != nil {
			t.Fatal(err)
		}
	}
	var refused *protocol.RefusedError
	if _, err := openAs(t, one, at(t, holder), link.Root); !errors.As(err, &refused) || refused.Code != protocol.RefuseBusy {
		t.Errorf("session %d of one peer: %v, want busy", protocol.SessionsPerPeerMax+1, err)
	}
	fill(t, holder, link.Root, protocol.SessionsMax-protocol.SessionsPerPeerMax)
	late := startHost(t)
	if _, err := openAs(t, late, at(t, holder), link.Root); !errors.As(err, &refused) || refused.Code != protocol.RefuseBusy {
		t.Errorf("session %d: %v, want busy", protocol.SessionsMax+1, err)
	}
	// The places are free again when their sessions are over, and a receiver that was refused asks again and gets in.
	seen := newDrops()
	link.Peers = []peer.AddrInfo{at(t, holder)}
	fetching := fetch(t.Context(), start(t, node.Config{DisableDHT: true}), link, node.FetchOptions{Events: seen.see})
	fetching.until(t, seen.happens)
	if said := seen.of(holder.ID()); !strings.Contains(said, "busy") {
		t.Errorf("the receiver was told %q", said)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	<-fetching.done
	if fetching.err != nil {
		t.Errorf("the receiver that was refused: %v", fetching.err)
	}
	waitFor(t, "a free place", func() bool {
		_, err := openAs(t, late, at(t, holder), link.Root)
		return err == nil
	})
}

// TestHolderWithoutRoomNamesOthers fetches from a holder that never has room, and knows somebody who does.
func TestHolderWithoutRoomNamesOthers(t *testing.T) {
	t.Parallel()
	content := noise(1<<20, 92)
	holder := start(t, node.Config{DisableDHT: true})
	link := add(t, holder, content)
	link.Peers = []peer.AddrInfo{at(t, holder)}
	host := startHost(t)
	other := startOn(t, host, node.Config{DisableDHT: true})
	if _, err := other.Fetch(t.Context(), link, node.FetchOptions{}); err != nil {
		t.Fatal(err)
	}
	fill(t, holder, link.Root, protocol.SessionsMax-1)
	if _, err := openAs(t, host, at(t, holder), link.Root); err != nil { // it is met last, and for long enough to be known
		t.Fatal(err)
	}
	// The hosts that fill the places are named as well, and do not answer.
	result, err := start(t, node.Config{DisableDHT: true}).Fetch(t.Context(), link, node.FetchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Peers) != 1 || result.Peers[0].Peer != other.ID() || result.Peers[0].Source != "peers" {
		t.Errorf("it came from %v, want from %v, which the holder named", result.Peers, other.ID())
	}
}

// TestStreamsWithoutAProofAreFew opens streams and says nothing on them.
func TestStreamsWithoutAProofAreFew(t *testing.T) {
	t.Parallel()
	cfg := node.Config{DisableDHT: true}
	cfg.SetPatience(4*time.Second, time.Minute, 250*time.Millisecond)
	holder, receiverHost := start(t, cfg), startHost(t)
	receiver := startOn(t, receiverHost, cfg)
	link := add(t, holder, noise(1000, 10))
	const perPeer = 2 * protocol.SessionsPerPeerMax // what the resource manager lets through
	for range protocol.UnprovedStreamsMax/perPeer + 1 {
		h := startHost(t)
		if err := h.Connect(t.Context(), at(t, holder)); err != nil {
			t.Fatal(err)
		}
		for range perPeer {
			stream, err := h.NewStream(t.Context(), holder.ID(), protocol.ID)
			if err != nil {
				continue // it was more than the holder takes
			}
			_, _ = stream.Write(nil) // sends the negotiation, which is otherwise put off
			_, _ = stream.Write([]byte{1})
		}
	}
	late := startHost(t)
	if _, err := openAs(t, late, at(t, holder), link.Root); err == nil {
		t.Fatal("a stream too many was answered")
	}
	// A receiver that finds no place at first asks again.
	link.Peers = []peer.AddrInfo{at(t, holder)}
	seen := newDrops()
	fetching := fetch(t.Context(), receiver, link, node.FetchOptions{Events: seen.see})
	fetching.until(t, seen.happens)
	if said := seen.of(holder.ID()); !strings.Contains(said, "no room") {
		t.Errorf("the receiver was told %q", said)
	}
	waitFor(t, "the silent streams to be given up", func() bool {
		receiver, err := openAs(t, late, at(t, holder), link.Root)
		if err == nil {
			_ = receiver.Close()
		}
		return err == nil
	})
	<-fetching.done
	if fetching.err != nil {
		t.Errorf("the receiver that found no place: %v", fetching.err)
	}
	for _, conn := range receiverHost.Network().Conns() {
		for _, stream := range conn.GetStreams() {
			if stream.Protocol() == protocol.ID && stream.Stat().Direction == network.DirOutbound {
				t.Errorf("the stream %s was left behind", stream.ID())
			}
		}
	}
}

// TestStrangersLearnNothing sends a node what is no OPEN, or one that proves nothing.
func TestStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	holder := start(t, node.Config{})
	link := add(t, holder, noise(1000, 11))
	stranger := startHost(t)
	answers := make(map[string]string)
	for name, root := range map[string]cafs.Key{"unknown": cafs.KeyOf([]byte("other")), "flipped": {0: link.Root[0] ^ 1}} {
		_, err := openAs(t, stranger, at(t, holder), root)
		var refused *protocol.RefusedError
		if !errors.As(err, &refused) || refused.Code != protocol.RefuseUnknown {
			t.Errorf("%s root: %v, want it unknown", name, err)
			continue
		}
		answers[name] = err.Error()
	}
	if answers["unknown"] != answers["flipped"] {
		t.Errorf("answers differ: %q", answers)
	}
	for _, raw := range [][]byte{
		{0}, {1, 0}, {1, 0xff, 0xff, 0xff, 0x7f}, []byte("GET / HTTP/1.1\r\n\r\n"), slices.Repeat([]byte{0xff}, 100),
	} {
		if err := stranger.Connect(t.Context(), at(t, holder)); err != nil {
			t.Fatal(err)
		}
		stream, err := stranger.NewStream(t.Context(), holder.ID(), protocol.ID)
		if err != nil {
			t.Fatal(err)
		}
		_ = stream.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := stream.Write(raw); err != nil {
			t.Fatal(err)
		}
		_, err = stream.Read(make([]byte, 1))
		var reset *network.StreamError
		if !errors.As(err, &reset) && !errors.Is(err, network.ErrReset) {
			t.Errorf("after %.10q the stream ended with %v, want a reset", raw, err)
		}
	}
}
