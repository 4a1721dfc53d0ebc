// Package corpus makes the data that is measured with, from a seed or from what is published, and compares what
// arrived with it. Everything is streamed: the harness must stay small beside what it measures.
package corpus

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
)

const bufferSize = 1 << 20

// source returns a stream of random bytes; equal seeds and labels give equal streams.
func source(seed uint64, label string) *rand.ChaCha8 {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	copy(key[8:], label)
	return rand.NewChaCha8(key)
}

// Random writes a file of random bytes, drawn from the seed.
func Random(path string, size int64, seed uint64) error {
	return create(path, func(w io.Writer) error {
		_, err := io.CopyN(w, source(seed, "content"), size)
		return err
	})
}

func create(path string, write func(io.Writer) error) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buffered := bufio.NewWriterSize(file, bufferSize)
	if err := write(buffered); err != nil {
		return err
	}
	return buffered.Flush()
}

// Edits says how a file is changed: so many places get bytes inserted, so many are overwritten.
type Edits struct {
	Insertions, InsertionMax int // each of 1 to InsertionMax bytes
	Overwrites, OverwriteLen int
}

// edit is one change: bytes to put at a place of the old file, in place of so many old ones.
type edit struct {
	at       int64
	text     []byte
	replaces int64
}

// Apply copies the file at from with edits at places drawn from the seed, and returns how many bytes of the copy are
// new.
func (e Edits) Apply(from, to string, seed uint64) (novel int64, err error) {
	old, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer func() { _ = old.Close() }() // read only
	info, err := old.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() <= int64(e.OverwriteLen) {
		return 0, fmt.Errorf("%s is too small to be changed", from)
	}
	edits := e.draw(info.Size(), seed)
	err = create(to, func(w io.Writer) error {
		position := int64(0)
		for _, change := range edits {
			if change.at < position { // it begins within the one before
				continue
			}
			if _, err := io.CopyN(w, old, change.at-position); err != nil {
				return err
			}
			if _, err := w.Write(change.text); err != nil {
				return err
			}
			novel += int64(len(change.text))
			var err error
			if position, err = old.Seek(change.at+change.replaces, io.SeekStart); err != nil {
				return err
			}
		}
		_, err := io.Copy(w, old)
		return err
	})
	return novel, err
}

func (e Edits) draw(size int64, seed uint64) []edit {
	stream := source(seed, "edits")
	random := rand.New(stream)
	var edits []edit
	for range e.Insertions {
		edits = append(edits, edit{at: random.Int64N(size), text: make([]byte, 1+random.IntN(e.InsertionMax))})
	}
	for range e.Overwrites {
		text := make([]byte, e.OverwriteLen)
		edits = append(edits, edit{at: random.Int64N(size - int64(e.OverwriteLen)), text: text, replaces: int64(len(text))})
	}
	for i := range edits {
		_, _ = stream.Read(edits[i].text) // it never fails
	}
	slices.SortFunc(edits, func(a, b edit) int { return int(min(1, max(-1, a.at-b.at))) })
	return edits
}

// SmallFiles makes a tree of n files of random bytes, a hundred to a directory.
func SmallFiles(dir string, n, size int, seed uint64) error {
	stream := source(seed, "small files")
	content := make([]byte, size)
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("%04d", i/100))
		if i%100 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		_, _ = stream.Read(content) // it never fails
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("%02d", i%100)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
