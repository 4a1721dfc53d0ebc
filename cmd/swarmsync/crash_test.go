package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/node"
	"github.com/swarmsync/swarmsync/protocol"
)

var (
	crashRounds = flag.Int("crashes", 4, "how many processes TestCrash kills")
	crashSeed   = flag.Uint64("crashseed", 0, "seed of TestCrash, 0 for a new one")
)

// crashContent is the size of each content in TestCrash; two versions of one have the first half in common.
const crashContent = 24 << 20

// crashTest has a holder of two versions of some content, and a home whose processes are killed.
type crashTest struct {
	*testing.T
	rnd      *rand.Rand
	dir      string
	home     string
	holder   string // address
	versions [2][]byte
	roots    [2]cafs.Key

	kept    []cafs.Key                               // roots that the home must have complete
	took    time.Duration                            // by the last process that was not killed
	version int                                      // that the output has
	killed  int                                      // before their ends
	ops     []func(kill time.Duration) (name string) // what is killed, after a time, or left alone if that is negative
}

// TestCrash kills processes that add, get and collect garbage at random times, each time on the same home. Afterwards no
// root is lost, every byte is right, and what had been verified is not fetched again.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts some fifty processes")
	}
	seed := *crashSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d; -crashseed=%d does the same again, as far as the machine does", seed, seed)
	c := newCrashTest(t, seed)
	takes := make([]time.Duration, len(c.ops))
	for i, op := range c.ops {
		op(-1)
		takes[i] = c.took
	}
	for round := range *crashRounds {
		i := c.rnd.IntN(len(c.ops))
		name := c.ops[i](time.Duration(c.rnd.Int64N(int64(takes[i]))))
		if t.Failed() {
			t.Fatalf("round %d: %s", round, name)
		}
	}
	c.run("verify")
	c.checkKept()
	t.Logf("%d of %d processes were killed before their end", c.killed, *crashRounds)
}

func newCrashTest(t *testing.T, seed uint64) *crashTest {
	c := &crashTest{
		T: t, rnd: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(),
	}
	c.home = filepath.Join(c.dir, "home")
	c.versions[0] = c.noise(crashContent)
	c.versions[1] = append(bytes.Clone(c.versions[0][:crashContent/2]), c.noise(crashContent/2)...)
	holderHome := filepath.Join(c.dir, "holder")
	for i, content := range c.versions {
		path := filepath.Join(c.dir, fmt.Sprint("version", i))
		c.write(path, content)
		c.roots[i] = c.rootOf(content)
		if out, err := c.command(holderHome, "add", path).Output(); err != nil || strings.TrimSpace(string(out)) != c.roots[i].String() {
			t.Fatalf("add: %q, %v, want %s", out, err, c.roots[i])
		}
	}
	serving := c.command(holderHome, "serve", "--dht", "off", "--up", "80MB")
	output, err := serving.StdoutPipe()
	if err == nil {
		err = serving.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = serving.Process.Kill()
		_ = serving.Wait()
	})
	text := make([]byte, 1000)
	n, err := output.Read(text)
	if c.holder = regexp.MustCompile(`/ip4/127\S*`).FindString(string(text[:n])); c.holder == "" {
		t.Fatalf("the holder says %q, %v", text[:n], err)
	}
	c.ops = []func(time.Duration) string{c.add, c.addCopy, c.get, c.get, c.gc}
	return c
}

func (c *crashTest) noise(size int) []byte {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(c.rnd.Uint32())
	}
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(data) // never fails
	return data
}

func (c *crashTest) write(path string, content []byte) {
	c.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		c.Fatal(err)
	}
}

func (c *crashTest) rootOf(content []byte) cafs.Key {
	c.Helper()
	record, err := cafs.AddFile(c.Context(), memory.New(), bytes.NewReader(content), cafs.AddOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return record.Root()
}

func (c *crashTest) command(home string, args ...string) *exec.Cmd {
	command := exec.CommandContext(c.Context(), "swarmsync", args...)
	command.Dir = c.dir
	command.Env = append(os.Environ(), "SWARMSYNC_HOME="+home, "SWARMSYNC_LISTEN=/ip4/127.0.0.1/tcp/0", "SWARMSYNC_MDNS=false")
	return command
}

// run runs swarmsync to its end, which must be a good one, and returns what it printed.
func (c *crashTest) run(args ...string) string {
	c.Helper()
	var stderr bytes.Buffer
	command := c.command(c.home, args...)
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		c.Errorf("swarmsync %s: %v\n%s%s", strings.Join(args, " "), err, out, &stderr)
	}
	return string(out)
}

// kill starts swarmsync and kills it after some time, if it has not ended before. A negative time lets it run.
func (c *crashTest) kill(after time.Duration, args ...string) {
	c.Helper()
	if after < 0 {
		began := time.Now()
		c.run(args...)
		c.took = time.Since(began)
		return
	}
	command := c.command(c.home, args...)
	if err := command.Start(); err != nil {
		c.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = command.Process.Kill() }) // it may have ended
	_ = command.Wait()                                                    // killed or not, the next run tells
	timer.Stop()
	if command.ProcessState.ExitCode() < 0 {
		c.killed++
	}
}

// keep notes that the home has a root, and forgets the oldest if they are many.
func (c *crashTest) keep(root cafs.Key) {
	c.kept = append(c.kept, root)
	if len(c.kept) > 4 {
		c.run("rm", c.kept[0].String())
		c.kept = c.kept[1:]
	}
}

// checkKept wants all roots to be there that should be.
func (c *crashTest) checkKept() {
	c.Helper()
	if len(c.kept) == 0 {
		return
	}
	here := make(map[cafs.Key]bool)
	for line := range strings.Lines(c.run("ls", "--json")) {
		var status node.RootStatus
		if err := json.Unmarshal([]byte(line), &status); err != nil {
			c.Fatal(err)
		}
		here[status.Root] = status.Complete
	}
	for _, root := range c.kept {
		if complete, listed := here[root]; !complete {
			c.Errorf("root %s is listed %v, complete %v, want both", root.Short(), listed, complete)
		}
	}
}

func (c *crashTest) add(kill time.Duration) string { return c.addWith(kill, "add") }

func (c *crashTest) addCopy(kill time.Duration) string { return c.addWith(kill, "add", "--copy") }

// addWith kills an add of a new file, and adds it again.
func (c *crashTest) addWith(kill time.Duration, args ...string) string {
	c.Helper()
	content := c.noise(crashContent)
	root := c.rootOf(content)
	path := filepath.Join(c.dir, root.Short()[:8])
	c.write(path, content)
	args = append(args, path)
	c.kill(kill, args...)
	c.checkKept()
	if got := strings.TrimSpace(c.run(args...)); got != root.String() {
		c.Errorf("add printed %q, want %s", got, root)
	}
	c.run("verify", root.String())
	c.keep(root)
	c.checkKept()
	return strings.Join(args, " ")
}

// gc kills a gc that has a root to free which stands between others, and frees it again.
func (c *crashTest) gc(kill time.Duration) string {
	c.Helper()
	content := c.noise(crashContent)
	path := filepath.Join(c.dir, "freed")
	c.write(path, content)
	c.run("add", "--copy", path)
	c.addCopy(-1)
	c.run("rm", c.rootOf(content).String())
	c.kill(kill, "gc")
	c.checkKept()
	c.run("verify")
	c.run("gc")
	c.run("verify")
	c.checkKept()
	return "gc"
}

// get kills a get of one of the versions in place of the other, and gets it again.
func (c *crashTest) get(kill time.Duration) string {
	c.Helper()
	c.version = 1 - c.version
	content, root := c.versions[c.version], c.roots[c.version]
	output := filepath.Join(c.dir, "output")
	args := []string{"get", root.String(), "-o", output, "--force", "--peer", c.holder, "--dht", "off", "--json"}
	c.kill(kill, args...)
	c.checkKept()

	// Under the final name is one version or the other, and never a mixture.
	there, err := os.ReadFile(output)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Fatal(err)
	}
	if err == nil && !bytes.Equal(there, c.versions[0]) && !bytes.Equal(there, c.versions[1]) {
		c.Errorf("the output has %d bytes of neither version", len(there))
	}
	had := c.hadBytes(root, content, output)
	lines := strings.Split(strings.TrimSpace(c.run(args...)), "\n")
	var result node.Result
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &result); err != nil {
		c.Fatal(err)
	}
	if result.Root != root || result.Fetched > int64(len(content))-had {
		c.Errorf("%d bytes were fetched of root %s, want at most %d, as %d were in the output that was killed",
			result.Fetched, result.Root.Short(), int64(len(content))-had, had)
	}
	if there, err = os.ReadFile(output); err != nil || !bytes.Equal(there, content) {
		c.Errorf("the output has %d bytes, %v; want the %d of the version", len(there), err, len(content))
	}
	c.run("verify", root.String())
	return strings.Join(args[:5], " ")
}

// hadBytes counts the bytes of the chunks that a killed get left behind where they belong.
func (c *crashTest) hadBytes(root cafs.Key, content []byte, output string) (had int64) {
	c.Helper()
	name := "." + filepath.Base(output) + "." + protocol.DiscoveryKeyOf(root).Short() + ".partial"
	partial, err := os.ReadFile(filepath.Join(filepath.Dir(output), name))
	if errors.Is(err, fs.ErrNotExist) || len(partial) != len(content) {
		return 0
	}
	if err != nil {
		c.Fatal(err)
	}
	chunker, offset := cafs.NewChunker(bytes.NewReader(content)), 0
	for chunk, err := chunker.Next(); err == nil; chunk, err = chunker.Next() {
		if bytes.Equal(partial[offset:offset+len(chunk)], chunk) {
			had += int64(len(chunk))
		}
		offset += len(chunk)
	}
	return had
}
