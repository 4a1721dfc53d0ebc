package protocol

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
)

// largeContent has ranges of 8 chunks of the largest size.
func largeContent(ranges int) *fakeContent {
	c := newFakeContent(1, 0, 1)
	for i := range ranges {
		data := randomBytes(rand.New(rand.NewPCG(uint64(i), 0)), cafs.ChunkSizeMax)
		c.ranges = append(c.ranges, slices.Repeat([]cafs.ChunkInfo{c.put(data)}, 8))
	}
	return c
}

// holdFor runs a session of holders about c, and returns the receiver's end of the stream.
func holdFor(t *testing.T, holders *Holders, c *fakeContent) (receiverEnd net.Conn, ran chan error) {
	t.Helper()
	receiverEnd, holderEnd := net.Pipe()
	ran = make(chan error, 1)
	go func() {
		cfg := holderConfig(c)
		cfg.Holders = holders
		h, err := Accept(holderEnd, cfg)
		if err == nil {
			err = h.Run(context.Background())
		}
		ran <- err
	}()
	t.Cleanup(func() { receiverEnd.Close() })
	return receiverEnd, ran
}

// openOn opens a session with a holder.
func openOn(t *testing.T, stream net.Conn, c *fakeContent) *Receiver {
	t.Helper()
	r, _, err := Open(stream, receiverConfig(c))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// A receiver that reads and acknowledges nothing gets what the window allows, and loses its session, whatever else it says.
func TestHostileNoAcks(t *testing.T) {
	for _, test := range []struct {
		name   string
		others int
		most   int
	}{{"alone", 0, windowFirstAlone + cafs.ChunkSizeMax}, {"one of two", 1, windowMin + cafs.ChunkSizeMax}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var holders Holders
				c := largeContent(1)
				for range test.others {
					stream, _ := holdFor(t, &holders, c)
					openOn(t, stream, c)
				}
				stream, ran := holdFor(t, &holders, c)
				if _, err := stream.Write(openedWith(c, nil, nil)); err != nil {
					t.Fatal(err)
				}
				in := newFrameReader(stream, readBufferBytes)
				if _, _, err := in.expect(frameAccept); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				var work sync.WaitGroup
				work.Go(func() {
					for id := uint64(1); ; id++ { // CANCELs are answered, but that is no progress
						_, err := stream.Write([]byte(wishFrame(2*id, 0xff) + wishFrame(2*id+1, 0xff) + cancelFrame(2*id+1)))
						if err != nil {
							return
						}
						time.Sleep(time.Second) // on the bubble's clock
					}
				})
				got, answers := 0, 0
				for {
					frame, body, err := in.next(nil)
					if err != nil {
						break
					}
					if frame == frameChunk {
						got += len(body)
					} else {
						answers++
					}
				}
				ended := time.Now()
				work.Wait()
				if err := <-ran; !errors.Is(err, errUnacknowledged) {
					t.Errorf("the session ended with %v", err)
				}
				if took := ended.Sub(began); took < WriteTimeout || took > WriteTimeout+time.Second {
					t.Errorf("it ended after %v", took)
				}
				if got == 0 || got > test.most || answers < 20 {
					t.Errorf("%d bytes of chunks came, want at most %d, and %d answers", got, test.most, answers)
				}
			})
		})
	}
}

// cancelFrame returns CANCEL of the 8 chunks of wishFrame's range.
func cancelFrame(id uint64) string {
	body := append(binary.AppendUvarint(nil, id), 1, 0xff)
	return string(append([]byte{9, byte(len(body))}, body...))
}

// A session in which nothing is under way is not ended for its silence.
func TestIdleSessionsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := largeContent(1)
		stream, ran := holdFor(t, new(Holders), c)
		r := openOn(t, stream, c)
		for range 3 {
			if _, err := r.Wish(0, allBits(8), c.ranges[0]); err != nil {
				t.Fatal(err)
			}
			for range 8 {
				next[ChunkMessage](t, r)
			}
			time.Sleep(10 * WriteTimeout) // on the bubble's clock
		}
		select {
		case err := <-ran:
			t.Errorf("the session ended with %v", err)
		default:
		}
	})
}

// Of 32 receivers most stop reading with their windows full of wishes; the others get all they want and do not wait.
func TestReceiversThatDoNotReadHoldNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var holders Holders
		c := largeContent(8)
		open := func() *Receiver {
			stream, _ := holdFor(t, &holders, c)
			r := openOn(t, stream, c)
			for number := range c.ranges {
				if _, err := r.Wish(int64(number), allBits(8), c.ranges[number]); err != nil {
					t.Fatal(err)
				}
			}
			return r
		}
		for range 24 {
			open()
		}
		began := time.Now()
		var work sync.WaitGroup
		for range 8 {
			r := open()
			work.Go(func() {
				for range 8 * 8 {
					if _, err := r.Next(nil); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		work.Wait()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("8 MiB each took %v", took)
		}
	})
}

// Receivers that wish for the same get different chunks, as long as there are some that nobody got.
func TestSessionsGetDifferentChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var holders Holders
		c := newFakeContent(1, 0, 1)
		c.ranges = make([][]cafs.ChunkInfo, 1)
		for i := range 48 {
			c.ranges[0] = append(c.ranges[0], c.put(randomBytes(rand.New(rand.NewPCG(uint64(i), 0)), 64<<10)))
		}
		var receivers []*Receiver
		for range 3 {
			stream, _ := holdFor(t, &holders, c)
			r := openOn(t, stream, c)
			if _, err := r.Wish(0, allBits(48), c.ranges[0]); err != nil {
				t.Fatal(err)
			}
			receivers = append(receivers, r)
		}
		synctest.Wait() // all writers stand before their first write
		got := make(map[int]int)
		for range 12 {
			for _, r := range receivers {
				got[next[ChunkMessage](t, r).At.Number]++
			}
		}
		if len(got) != 36 {
			t.Errorf("36 chunks that came were %d different ones: %v", len(got), fmt.Sprint(got))
		}
	})
}

// A chunk that was read and waits for the next one from a slow disk is not under way yet.
func TestSlowDiskIsNotASilentReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := largeContent(1)
		reads := 0
		c.reading = func(ChunkAt) {
			if reads++; reads == 2 {
				time.Sleep(2 * WriteTimeout) // on the bubble's clock
			}
		}
		stream, _ := holdFor(t, new(Holders), c)
		r := openOn(t, stream, c)
		if _, err := r.Wish(0, allBits(8), c.ranges[0]); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			next[ChunkMessage](t, r)
		}
	})
}
