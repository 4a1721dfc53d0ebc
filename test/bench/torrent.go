package main

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // it is what BitTorrent's first version hashes with
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
)

// torrent is what a torrent file of one file says, without a tracker.
type torrent struct {
	name        string
	size        int64
	pieceLength int
	pieces      []byte // the SHA-1 of each, one after the other
}

// A torrent has pieces of 1 MiB, or of a quarter of it if it is small, as its makers would choose.
const (
	pieceLarge     = 1 << 20
	pieceSmall     = 256 << 10
	pieceSmallUpTo = 256 << 20
)

func makeTorrent(path string) (*torrent, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // read only
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	t := &torrent{name: filepath.Base(path), size: info.Size(), pieceLength: pieceLarge}
	if t.size <= pieceSmallUpTo {
		t.pieceLength = pieceSmall
	}
	reader, piece := bufio.NewReader(file), make([]byte, t.pieceLength)
	for {
		n, err := io.ReadFull(reader, piece)
		if n > 0 {
			sum := sha1.Sum(piece[:n]) //nolint:gosec // see above
			t.pieces = append(t.pieces, sum[:]...)
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return t, nil
		case err != nil:
			return nil, err
		}
	}
}

// write writes the torrent file; announce may be empty.
func (t *torrent) write(path, announce string) error {
	text := "d"
	if announce != "" {
		text += bencode("announce") + bencode(announce)
	}
	text += bencode("info") + "d" +
		bencode("length") + fmt.Sprintf("i%de", t.size) +
		bencode("name") + bencode(t.name) +
		bencode("piece length") + fmt.Sprintf("i%de", t.pieceLength) +
		bencode("pieces") + bencode(string(t.pieces)) + "ee"
	return os.WriteFile(path, []byte(text), 0o644)
}

func bencode(text string) string { return fmt.Sprintf("%d:%s", len(text), text) }

// trackerInterval is how often peers are to ask again, in seconds: a crowd that asked at once must learn of each other.
const trackerInterval = 2

// serveTracker is a BitTorrent tracker for one torrent on the address args[0], any port. It prints its URL, and for
// each announcement the peer and how much it lacks.
func serveTracker(ctx context.Context, args []string) error {
	return serveHTTP(ctx, args[0], "/announce", newTracker(os.Stdout))
}

// tracker remembers who announced itself, as addresses in the compact form.
type tracker struct {
	log io.Writer

	// mu guards what follows, and the log.
	mu    sync.Mutex
	peers map[string]bool
}

func newTracker(log io.Writer) *tracker { return &tracker{log: log, peers: make(map[string]bool)} }

func (t *tracker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	port, errPort := strconv.ParseUint(r.URL.Query().Get("port"), 10, 16)
	ip := net.ParseIP(host).To4()
	if err != nil || errPort != nil || ip == nil {
		http.Error(w, "want an IPv4 peer with a port", http.StatusBadRequest)
		return
	}
	peer := string(binary.BigEndian.AppendUint16(ip, uint16(port)))
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.URL.Query().Get("event") == "stopped" {
		delete(t.peers, peer)
	} else {
		t.peers[peer] = true
	}
	var others string
	for other := range t.peers {
		if other != peer {
			others += other
		}
	}
	fmt.Fprintf(t.log, "peer %s:%d left %s\n", host, port, r.URL.Query().Get("left"))
	fmt.Fprintf(w, "d%si%de%s%se", bencode("interval"), trackerInterval, bencode("peers"), bencode(others))
}
