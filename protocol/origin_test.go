package protocol_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/cafs"
	"github.com/swarmsync/swarmsync/cafs/memory"
	"github.com/swarmsync/swarmsync/protocol"
	"github.com/swarmsync/swarmsync/shuffle"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0: the time")

// random returns a source whose seed is printed if the test fails.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("replay with -seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// hexBytes is a byte string that is written in hexadecimal.
type hexBytes []byte

func (b *hexBytes) UnmarshalText(text []byte) (err error) {
	*b, err = hex.DecodeString(string(text))
	return err
}

// originCase is one golden vector of the origin.
type originCase struct {
	Name        string              `json:"name"`
	Chunks      []hexBytes          `json:"chunks_hex"`
	Perm        shuffle.Permutation `json:"perm"`
	ReceiverHas []int               `json:"receiver_has"`
	JSON        json.RawMessage     `json:"syncinfo_json"`
	Legacy      hexBytes            `json:"legacy_stream_hex"`
	KeyPrefixes []hexBytes          `json:"shuffled_keys_prefix"`
	WishList    hexBytes            `json:"wishlist_hex"`
	ChunkData   hexBytes            `json:"chunk_data_hex"`
	ContentHash hexBytes            `json:"content_sha256"`
}

func originCases(t testing.TB) []originCase {
	t.Helper()
	raw, err := os.ReadFile("testdata/origin-remotesync.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []originCase
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) != 11 {
		t.Fatalf("%d golden vectors, want 11", len(cases))
	}
	return cases
}

func (c originCase) content(t testing.TB) *content {
	t.Helper()
	var chunks [][]byte
	for _, chunk := range c.Chunks {
		chunks = append(chunks, chunk)
	}
	return newContent(t, c.Perm, c.ReceiverHas, chunks...)
}

// content is some content with the store of either side.
type content struct {
	info     protocol.SyncInfo
	whole    []byte
	sender   *memory.Store
	receiver *memory.Store
}

// newContent returns content of the chunks, some of which, by index, the receiver has.
func newContent(t testing.TB, perm shuffle.Permutation, receiverHas []int, chunks ...[]byte) *content {
	t.Helper()
	c := &content{info: protocol.SyncInfo{Perm: perm}, sender: memory.New(), receiver: memory.New()}
	for i, data := range chunks {
		c.info.Chunks = append(c.info.Chunks, protocol.ChunkInfo{Key: cafs.KeyOf(data), Size: len(data)})
		c.whole = append(c.whole, data...)
		put(t, c.sender, data)
		if slices.Contains(receiverHas, i) {
			put(t, c.receiver, data)
		}
	}
	return c
}

// put stores a chunk, unless it is the empty one, which no store takes.
func put(t testing.TB, store cafs.Putter, data []byte) {
	t.Helper()
	if len(data) == 0 {
		return
	}
	chunk, err := cafs.NewChunk(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Put(t.Context(), chunk); err != nil {
		t.Fatal(err)
	}
}

// chunks returns the sequence of chunks that the sender sends from.
func (c *content) chunks(t testing.TB) protocol.Chunks {
	list := &listedChunks{store: c.sender, list: c.info.Chunks}
	t.Cleanup(list.Dispose)
	return list
}

// listedChunks is a sequence of chunks that can hold the empty one, which no file does.
type listedChunks struct {
	store cafs.Getter
	list  []protocol.ChunkInfo
	reads int
}

func (c *listedChunks) NextChunk(context.Context) (protocol.ChunkInfo, error) {
	if len(c.list) == 0 {
		return protocol.ChunkInfo{}, io.EOF
	}
	chunk := c.list[0]
	c.list = c.list[1:]
	return chunk, nil
}

func (c *listedChunks) ReadChunk(ctx context.Context, chunk protocol.ChunkInfo, _ int64, buf []byte) ([]byte, error) {
	c.reads++
	return c.store.Get(ctx, chunk.Key, buf)
}

func (c *listedChunks) Dispose() {}

// builder returns one with the given window.
func (c *content) builder(t testing.TB, window int) *protocol.Builder {
	t.Helper()
	b, err := protocol.NewBuilder(c.receiver, c.info, window, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Dispose)
	return b
}

// received is what became of a reception.
type received struct {
	wishList []byte
	file     cafs.File
	wishErr  error
	err      error
}

// receive runs both halves of a Builder, the wishlist going to w and into the result.
func receive(t testing.TB, b *protocol.Builder, w protocol.FlushWriter, r io.Reader) received {
	t.Helper()
	var result received
	var wishes bytes.Buffer
	wished := make(chan error)
	go func() {
		out := protocol.SimpleFlushWriter{Writer: io.MultiWriter(w, &wishes), FlushFunc: w.Flush}
		wished <- b.WriteWishList(t.Context(), out)
	}()
	result.file, result.err = b.ReconstructFileFromRequestedChunks(t.Context(), r)
	result.wishErr = <-wished
	result.wishList = wishes.Bytes()
	return result
}

// mustHold checks that a reception succeeded and that the file is the content.
func (r received) mustHold(t testing.TB, whole []byte) {
	t.Helper()
	if r.err != nil || r.wishErr != nil {
		t.Fatalf("reconstruct: %v; wishlist: %v", r.err, r.wishErr)
	}
	if got := readAll(t, r.file); !bytes.Equal(got, whole) {
		t.Fatalf("received %d bytes that are not the %d bytes of the content", len(got), len(whole))
	}
}

func readAll(t testing.TB, file cafs.File) []byte {
	t.Helper()
	r := file.Open(t.Context())
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var discard = protocol.NopFlushWriter{Writer: io.Discard}

// windows are sizes below, at and above a byte of wishes, and one that nothing fills.
var windows = []int{1, 2, 7, 8, 9, 31, 1 << 40}

func TestOriginSyncInfo(t *testing.T) {
	for _, c := range originCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			info := c.content(t).info
			encoded, err := json.Marshal(info)
			if err != nil {
				t.Fatal(err)
			}
			if !jsonEqual(t, encoded, c.JSON) {
				t.Errorf("JSON is %s, want %s", encoded, c.JSON)
			}
			var decoded protocol.SyncInfo
			if err := json.Unmarshal(c.JSON, &decoded); err != nil || !reflect.DeepEqual(decoded, info) {
				t.Errorf("from JSON: %v, %v", decoded, err)
			}
			var legacy bytes.Buffer
			if err := info.WriteToLegacyStream(&legacy); err != nil || !bytes.Equal(legacy.Bytes(), c.Legacy) {
				t.Errorf("legacy stream is %x, want %x, error %v", legacy.Bytes(), c.Legacy, err)
			}
			fromLegacy := protocol.SyncInfo{Perm: info.Perm}
			err = fromLegacy.ReadFromLegacyStream(bytes.NewReader(c.Legacy))
			if err != nil || !reflect.DeepEqual(fromLegacy, info) {
				t.Errorf("from the legacy stream: %v, %v", fromLegacy, err)
			}
		})
	}
}

func jsonEqual(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

func TestOriginShuffle(t *testing.T) {
	for _, c := range originCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			shuffled, err := c.content(t).info.Shuffle()
			if err != nil {
				t.Fatal(err)
			}
			if len(shuffled.Chunks) != len(c.KeyPrefixes) || !slices.Equal(shuffled.Perm, shuffle.Trivial()) {
				t.Fatalf("%d chunks and permutation %v", len(shuffled.Chunks), shuffled.Perm)
			}
			for i, chunk := range shuffled.Chunks {
				if !bytes.HasPrefix(chunk.Key[:], c.KeyPrefixes[i]) {
					t.Errorf("chunk %d is %s, want %x…", i, chunk.Key, c.KeyPrefixes[i])
				}
			}
		})
	}
}

func TestOriginSender(t *testing.T) {
	for _, c := range originCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			var data bytes.Buffer
			size := int64(len(c.content(t).whole))
			err := protocol.WriteChunkData(t.Context(), c.content(t).chunks(t), size, bytes.NewReader(c.WishList),
				c.Perm, protocol.NopFlushWriter{Writer: &data}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(data.Bytes(), c.ChunkData) {
				t.Errorf("chunk data is %x, want %x", data.Bytes(), c.ChunkData)
			}
		})
	}
}

func TestOriginReceiver(t *testing.T) {
	for _, c := range originCases(t) {
		for _, window := range windows {
			t.Run(c.Name, func(t *testing.T) {
				content := c.content(t)
				got := receive(t, content.builder(t, window), discard, bytes.NewReader(c.ChunkData))
				got.mustHold(t, content.whole)
				if !bytes.Equal(got.wishList, c.WishList) {
					t.Errorf("window %d: wishlist is %x, want %x", window, got.wishList, c.WishList)
				}
				if sum := sha256.Sum256(readAll(t, got.file)); !bytes.Equal(sum[:], c.ContentHash) {
					t.Errorf("window %d: the content hashes to %x, want %x", window, sum, c.ContentHash)
				}
			})
		}
	}
}
