// Command demo runs the main job on real data: three separate nodes on loopback, one that the others join, one that
// holds the source of the Go toolchain as one tar file, and one that knows only the first. The third finds the second
// through the DHT, gets the file by its root hash, and then a changed version of it. Everything is in a temporary
// directory, which is removed at the end. The exit code is not 0 if anything is off.
package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	program := flag.String("bin", "bin/swarmsync", "the program to run")
	seed := flag.Uint64("seed", 1, "what the edits are drawn from")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *program, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
	fmt.Println("\nall as it should be")
}

func run(ctx context.Context, program string, seed uint64) (err error) {
	program, err = filepath.Abs(program)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "swarmsync-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	d := &demo{program: program, dir: dir}
	defer func() { err = errors.Join(err, d.stop()) }()
	return d.run(ctx, seed)
}

// demo is one run: where its files are, and the nodes that it started.
type demo struct {
	program string
	dir     string
	nodes   []*process
}

func (d *demo) run(ctx context.Context, seed uint64) error {
	original := filepath.Join(d.dir, "go-src.tar")
	size, err := packGoSource(ctx, original)
	if err != nil {
		return fmt.Errorf("pack the Go source: %w", err)
	}
	step("the content: the Go toolchain's own source as one tar file, %s", bytesText(size))

	step("three nodes, each a process with a home of its own; the receiver knows only the hub")
	hub, err := d.start(ctx, "hub")
	if err != nil {
		return err
	}
	holder, err := d.start(ctx, "holder", "--join", hub.address)
	if err != nil {
		return err
	}
	receiver, err := d.start(ctx, "receiver", "--join", hub.address)
	if err != nil {
		return err
	}

	first, err := d.transfer(ctx, holder, receiver, original, "first.tar")
	if err != nil {
		return err
	}
	changed := filepath.Join(d.dir, "go-src-changed.tar")
	const edits = 20
	if err := edit(original, changed, edits, seed); err != nil {
		return fmt.Errorf("change the content: %w", err)
	}
	step("the content changes: %d small insertions and overwrites at places drawn from seed %d", edits, seed)
	second, err := d.transfer(ctx, holder, receiver, changed, "second.tar")
	if err != nil {
		return err
	}
	return summarize(os.Stdout, d.nodes, first, second)
}

// transfer adds the file at path to holder, and gets it by its root hash to receiver.
func (d *demo) transfer(ctx context.Context, holder, receiver *process, path, name string) (transfer, error) {
	t := transfer{name: filepath.Base(path)}
	started := time.Now()
	root, err := holder.command(ctx, "add", path)
	if err != nil {
		return t, err
	}
	root = strings.TrimSpace(root)
	t.added = time.Since(started)
	step("holder: swarmsync add %s\n%s", t.name, root)

	found, err := receiver.find(ctx, root)
	if err != nil {
		return t, err
	}
	step("receiver: swarmsync find %s…", root[:8])
	for _, h := range found {
		fmt.Printf("  %s, found by: %s, complete: %v\n", h.Peer, h.Source, h.Complete)
	}
	if len(found) != 1 || found[0].Peer.String() != holder.id || found[0].Source != "dht" {
		return t, fmt.Errorf("the DHT did not name the holder %s, and only it", holder.id)
	}

	output := filepath.Join(d.dir, name)
	text, err := receiver.command(ctx, "get", root, "-o", output, "--json", "--quiet")
	if err != nil {
		return t, err
	}
	if err := decodeEvents(text, "result", func(line []byte) error { return json.Unmarshal(line, &t.result) }); err != nil {
		return t, err
	}
	if err := sameFile(path, output); err != nil {
		return t, err
	}
	step("receiver: swarmsync get %s… -o %s: equal byte for byte", root[:8], name)
	for _, share := range t.result.Peers {
		fmt.Printf("  %s from %s over %s, found by: %s\n", bytesText(share.Bytes), share.Peer, share.Transport, share.Source)
	}
	if peers := t.result.Peers; len(peers) != 1 || peers[0].Source != "dht" || t.result.Fetched == 0 {
		return t, fmt.Errorf("%d bytes came from %d peers; want some, from the holder that the DHT named", t.result.Fetched, len(peers))
	}
	return t, nil
}

func step(format string, args ...any) { fmt.Printf("\n== "+format+"\n", args...) }

// packGoSource writes the source tree of the Go toolchain as a tar file whose bytes depend on the files' names and
// contents alone.
func packGoSource(ctx context.Context, path string) (size int64, err error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return 0, fmt.Errorf("go env GOROOT: %w", err)
	}
	source := os.DirFS(filepath.Join(strings.TrimSpace(string(root)), "src"))
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	archive := tar.NewWriter(file)
	err = fs.WalkDir(source, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return err
		}
		_, err = archive.Write(content)
		return err
	})
	if err := errors.Join(err, archive.Close()); err != nil {
		return 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// edit copies a file and makes n small changes on the way, one half of them insertions of up to 100 bytes, the other
// half as many overwritten ones.
func edit(from, to string, n int, seed uint64) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		text := make([]byte, 1+random.IntN(100))
		for j := range text {
			text[j] = byte('a' + random.IntN(26))
		}
		at := random.IntN(len(content) - len(text))
		if i%2 == 0 {
			copy(content[at:], text)
		} else {
			content = append(content[:at], append(text, content[at:]...)...)
		}
	}
	return os.WriteFile(to, content, 0o600)
}

// sameFile compares two files byte for byte.
func sameFile(a, b string) error {
	fileA, err := os.Open(a)
	if err != nil {
		return err
	}
	defer func() { _ = fileA.Close() }() // read only
	fileB, err := os.Open(b)
	if err != nil {
		return err
	}
	defer func() { _ = fileB.Close() }()
	const block = 1 << 20
	blockA, blockB := make([]byte, block), make([]byte, block)
	for at := int64(0); ; at += block {
		nA, errA := io.ReadFull(fileA, blockA)
		nB, errB := io.ReadFull(fileB, blockB)
		if nA != nB || string(blockA[:nA]) != string(blockB[:nB]) {
			return fmt.Errorf("%s and %s differ in the MiB at %d", a, b, at)
		}
		if errA != nil || errB != nil {
			if isEnd(errA) && isEnd(errB) {
				return nil
			}
			return errors.Join(errA, errB)
		}
	}
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
