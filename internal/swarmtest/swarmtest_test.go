package swarmtest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

var networks = map[string]func(testing.TB, io.Reader) *Network{
	"QUIC":    NewQUIC,
	"streams": func(t testing.TB, entropy io.Reader) *Network { return NewStreams(t, entropy, false) },
}

func entropy() io.Reader { return rand.NewChaCha8([32]byte{7}) }

// TestBare holds the time of one stream against what the slower of two links allows.
func TestBare(t *testing.T) {
	tests := []struct {
		name     string
		from, to Link
		bytes    int64
		want     time.Duration // without headers and the start of the congestion control
		most     time.Duration
	}{
		{"slow uplink", Link{Up: 10 * Mbit, Down: 100 * Mbit, Latency: time.Millisecond}, Link{Up: 100 * Mbit, Down: 100 * Mbit, Latency: time.Millisecond}, 1e6, 800 * time.Millisecond, 900 * time.Millisecond},
		{"slow downlink", Link{Up: 100 * Mbit, Down: 100 * Mbit, Latency: time.Millisecond}, Link{Up: 100 * Mbit, Down: 10 * Mbit, Latency: time.Millisecond}, 1e6, 800 * time.Millisecond, 900 * time.Millisecond},
		{"far", Link{Up: 100 * Mbit, Down: 100 * Mbit, Latency: 10 * time.Millisecond}, Link{Up: 100 * Mbit, Down: 100 * Mbit, Latency: 15 * time.Millisecond}, 20e6, 1600 * time.Millisecond, 2600 * time.Millisecond},
	}
	for wire, make := range networks {
		for _, test := range tests {
			t.Run(wire+", "+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := make(t, entropy())
					took, err := Bare(t.Context(), n.Host(test.from), n.Host(test.to), test.bytes)
					if err != nil {
						t.Fatal(err)
					}
					if took < test.want || took > test.most {
						t.Errorf("it took %v, want %v to %v", took, test.want, test.most)
					}
				})
			})
		}
	}
}

// sendTogether lets hosts with these links send 1 MB each to another at the same time, and returns how long each took.
func sendTogether(t *testing.T, n *Network, to Link, from ...Link) []time.Duration {
	t.Helper()
	receiver := n.Host(to)
	took := make([]time.Duration, len(from))
	var all sync.WaitGroup
	for i, link := range from {
		sender := n.Host(link)
		all.Go(func() {
			var err error
			if took[i], err = Bare(t.Context(), sender, receiver, 1e6); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	return took
}

// TestStreamsShareALink lets three hosts send to a fourth, whose link is as fast as theirs.
func TestStreamsShareALink(t *testing.T) {
	link := Link{Up: 10 * Mbit, Down: 10 * Mbit, Latency: time.Millisecond}
	for _, uneven := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			took := sendTogether(t, NewStreams(t, entropy(), uneven), link, link, link, link)
			first, last := slices.Min(took), slices.Max(took)
			if last < 2400*time.Millisecond || last > 2600*time.Millisecond {
				t.Errorf("the last of three streams took %v, want what the link needs, 2.4 s", last)
			}
			if even := last-first < 100*time.Millisecond; even == uneven {
				t.Errorf("the streams took %v; shared unevenly: %t", took, uneven)
			}
		})
	}
}

// TestStreamsWeigh lets two hosts send to a third, one of them with four times the weight.
func TestStreamsWeigh(t *testing.T) {
	link := Link{Up: 10 * Mbit, Down: 10 * Mbit, Latency: time.Millisecond}
	heavy := link
	heavy.Weight = 4
	synctest.Test(t, func(t *testing.T) {
		took := sendTogether(t, NewStreams(t, entropy(), false), link, heavy, link)
		// The heavy one has 8 of 10 Mbit/s, and the other the rest and then all.
		if took[0] < 950*time.Millisecond || took[0] > 1100*time.Millisecond || took[1] < 1550*time.Millisecond || took[1] > 1700*time.Millisecond {
			t.Errorf("the heavy stream took %v and the other %v, want 1 s and 1.6 s", took[0], took[1])
		}
	})
}

// pair opens a stream and returns both ends of it.
func pair(t *testing.T, n *Network) (near, far network.Stream, hosts [2]host.Host) {
	t.Helper()
	link := Link{Up: 10 * Mbit, Down: 10 * Mbit, Latency: 5 * time.Millisecond}
	hosts = [2]host.Host{n.Host(link), n.Host(link)}
	accepted := make(chan network.Stream, 1)
	hosts[1].SetStreamHandler("/test", func(s network.Stream) { accepted <- s })
	if err := hosts[0].Connect(t.Context(), peer.AddrInfo{ID: hosts[1].ID(), Addrs: hosts[1].Addrs()}); err != nil {
		t.Fatal(err)
	}
	near, err := hosts[0].NewStream(t.Context(), hosts[1].ID(), "/test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := near.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	far = <-accepted
	buf := make([]byte, 5)
	if _, err := io.ReadFull(far, buf); err != nil || string(buf) != "hello" {
		t.Fatalf("read %q, %v", buf, err)
	}
	return near, far, hosts
}

// TestStreamsBehaveAlike holds the model against QUIC in what transfers rely on.
func TestStreamsBehaveAlike(t *testing.T) {
	for wire, make := range networks {
		cases := map[string]func(t *testing.T, near, far network.Stream, hosts [2]host.Host){
			"a read ends with its deadline": func(t *testing.T, _, far network.Stream, _ [2]host.Host) {
				started := time.Now()
				_ = far.SetReadDeadline(started.Add(time.Second))
				if _, err := far.Read(bytesOf(1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(started) != time.Second {
					t.Errorf("%v after %v", err, time.Since(started))
				}
			},
			"a write ends with its deadline when nobody reads": func(t *testing.T, near, _ network.Stream, _ [2]host.Host) {
				started := time.Now()
				_ = near.SetWriteDeadline(started.Add(20 * time.Second))
				if _, err := near.Write(bytesOf(64 << 20)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(started) != 20*time.Second {
					t.Errorf("%v after %v", err, time.Since(started))
				}
			},
			"what was written before the end arrives": func(t *testing.T, near, far network.Stream, _ [2]host.Host) {
				go func() {
					_, _ = near.Write(bytesOf(1 << 20))
					_ = near.CloseWrite()
				}()
				if n, err := io.Copy(io.Discard, far); n != 1<<20 || err != nil {
					t.Errorf("%d bytes, %v", n, err)
				}
			},
			"a reset ends both sides": func(t *testing.T, near, far network.Stream, _ [2]host.Host) {
				_ = near.Reset()
				if _, err := far.Read(bytesOf(1)); !errors.Is(err, network.ErrReset) {
					t.Errorf("read: %v", err)
				}
				if _, err := far.Write(bytesOf(1)); err == nil {
					t.Error("write: it went well")
				}
				if _, err := near.Read(bytesOf(1)); err == nil {
					t.Error("read where it was reset: it went well")
				}
			},
			"a writer learns that nobody reads any more": func(t *testing.T, near, far network.Stream, _ [2]host.Host) {
				_ = far.Close()
				if _, err := near.Write(bytesOf(64 << 20)); err == nil {
					t.Error("the write went well")
				}
			},
			"streams end with their host": func(t *testing.T, near, _ network.Stream, hosts [2]host.Host) {
				_ = hosts[1].Close()
				if _, err := near.Read(bytesOf(1)); err == nil || errors.Is(err, io.EOF) {
					t.Errorf("read: %v", err)
				}
			},
		}
		for name, do := range cases {
			t.Run(wire+": "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					near, far, hosts := pair(t, make(t, entropy()))
					do(t, near, far, hosts)
				})
			})
		}
	}
}

func bytesOf(n int) []byte { return make([]byte, n) }

// TestDialNobody dials an address of a host that has left.
func TestDialNobody(t *testing.T) {
	for wire, make := range networks {
		t.Run(wire, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := make(t, entropy())
				link := Link{Up: 10 * Mbit, Down: 10 * Mbit, Latency: 5 * time.Millisecond}
				from, to := n.Host(link), n.Host(link)
				info := peer.AddrInfo{ID: to.ID(), Addrs: to.Addrs()}
				_ = to.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				if err := from.Connect(ctx, info); err == nil {
					t.Error("somebody answered")
				}
			})
		})
	}
}
