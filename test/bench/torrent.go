package main

import (
	"context"
	"crypto/sha1" //nolint:gosec // it is what BitTorrent's first version hashes with
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// torrent is what a torrent file says, without a tracker.
type torrent struct {
	name        string
	size        int64
	files       []torrentFile // nil: it is one file, and no directory
	pieceLength int
	pieces      []byte // the SHA-1 of each, one after the other
}

// A torrent has pieces of 1 MiB, or of a quarter of it if it is small, as its makers would choose.
const (
	pieceLarge     = 1 << 20
	pieceSmall     = 256 << 10
	pieceSmallUpTo = 256 << 20
)

// torrentFile is a file of a directory, by the names of the directories that it is in and its own.
type torrentFile struct {
	names []string
	size  int64
}

// makeTorrent hashes a file, or the files of a directory, which are not empty.
func makeTorrent(path string) (*torrent, error) {
	t := &torrent{name: filepath.Base(path), pieceLength: pieceLarge}
	paths, err := t.list(path)
	if err != nil {
		return nil, err
	}
	if t.size <= pieceSmallUpTo {
		t.pieceLength = pieceSmall
	}
	var piece []byte
	flush := func() {
		sum := sha1.Sum(piece) //nolint:gosec // see above
		t.pieces, piece = append(t.pieces, sum[:]...), piece[:0]
	}
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		for err == nil {
			if piece = slices.Grow(piece, t.pieceLength-len(piece)); len(piece) == t.pieceLength {
				flush()
			}
			var n int
			n, err = file.Read(piece[len(piece):t.pieceLength])
			piece = piece[:len(piece)+n]
		}
		_ = file.Close() // read only
		if !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	if len(piece) > 0 {
		flush()
	}
	return t, nil
}

// list notes which files there are, and returns their paths.
func (t *torrent) list(top string) (paths []string, err error) {
	err = filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		t.size += info.Size()
		paths = append(paths, path)
		if path != top {
			relative, err := filepath.Rel(top, path)
			if err != nil {
				return err
			}
			t.files = append(t.files, torrentFile{strings.Split(filepath.ToSlash(relative), "/"), info.Size()})
		}
		return nil
	})
	return paths, err
}

// write writes the torrent file; announce may be empty.
func (t *torrent) write(path, announce string) error {
	var text strings.Builder
	add := func(parts ...string) {
		for _, part := range parts {
			text.WriteString(part)
		}
	}
	add("d")
	if announce != "" {
		add(bencode("announce"), bencode(announce))
	}
	add(bencode("info"), "d")
	if t.files == nil {
		add(bencode("length"), bencodeInt(t.size))
	} else {
		add(bencode("files"), "l")
		for _, file := range t.files {
			add("d", bencode("length"), bencodeInt(file.size), bencode("path"), "l")
			for _, name := range file.names {
				add(bencode(name))
			}
			add("ee")
		}
		add("e")
	}
	add(bencode("name"), bencode(t.name), bencode("piece length"), bencodeInt(int64(t.pieceLength)), bencode("pieces"), bencode(string(t.pieces)), "ee")
	return os.WriteFile(path, []byte(text.String()), 0o644)
}

func bencodeInt(n int64) string { return fmt.Sprintf("i%de", n) }

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
