package discovery

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	lru "github.com/hashicorp/golang-lru/simplelru"
	ds "github.com/ipfs/go-datastore"
	dsq "github.com/ipfs/go-datastore/query"
	dssync "github.com/ipfs/go-datastore/sync"
	leveldb "github.com/ipfs/go-ds-leveldb"
	kadrecords "github.com/libp2p/go-libp2p-kad-dht/records"
	"github.com/libp2p/go-libp2p/core/peer"
	leveldberrors "github.com/syndtr/goleveldb/leveldb/errors"
	"github.com/syndtr/goleveldb/leveldb/storage"
)

// openRecords opens the database of provider records in dir, or one in memory if dir is empty, and reads what this
// node announced in earlier runs. Trouble with the database never stops a node: what is lost comes back with the next
// announcements. The library mends what it can; a database that is beyond that is moved to dir + ".corrupt", in place
// of an earlier one there; if none can be had in dir at all it is one in memory.
func openRecords(ctx context.Context, dir string) (ds.Batching, map[Key]announcement, error) {
	inMemory := func() (ds.Batching, map[Key]announcement, error) {
		return dssync.MutexWrap(ds.NewMapDatastore()), map[Key]announcement{}, nil
	}
	if dir == "" {
		return inMemory()
	}
	store, announced, err := openLeveldb(ctx, dir)
	if isCorrupt(err) {
		log.Warnf("starting afresh, the old provider records are kept in %s.corrupt: %v", dir, err)
		if err = setAside(dir); err == nil {
			store, announced, err = openLeveldb(ctx, dir)
		}
	}
	switch {
	case err == nil:
		return store, announced, nil
	case ctx.Err() != nil:
		return nil, nil, err
	default:
		log.Warnf("provider records are kept in memory: %v", err)
		return inMemory()
	}
}

// isCorrupt tells whether err means that what lies in the place of a database is none.
func isCorrupt(err error) bool {
	var inTable *leveldberrors.ErrCorrupted
	var inFile *storage.ErrCorrupted
	return errors.As(err, &inTable) || errors.As(err, &inFile) || errors.Is(err, syscall.ENOTDIR)
}

func setAside(dir string) error {
	return errors.Join(os.RemoveAll(dir+".corrupt"), os.Rename(dir, dir+".corrupt"))
}

func openLeveldb(ctx context.Context, dir string) (ds.Batching, map[Key]announcement, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("provider records: %w", err)
	}
	store, err := leveldb.NewDatastore(dir, &leveldb.Options{
		WriteBuffer:        leveldbBufferBytes,
		BlockCacheCapacity: leveldbBufferBytes,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("open provider records in %s: %w", dir, err)
	}
	announced, err := loadAnnounced(ctx, store, time.Now())
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read provider records in %s: %w", dir, err), store.Close())
	}
	return store, announced, nil
}

// announcedPrefix is where the time of the last announcement of each key is kept, beside the library's records.
const announcedPrefix = "/announced/"

func announcedKey(key Key) ds.Key {
	return ds.RawKey(announcedPrefix + fmt.Sprintf("%x", key[:]))
}

// loadAnnounced returns what earlier runs announced, and forgets what has expired everywhere.
func loadAnnounced(ctx context.Context, store ds.Batching, now time.Time) (map[Key]announcement, error) {
	results, err := store.Query(ctx, dsq.Query{Prefix: announcedPrefix})
	if err != nil {
		return nil, err
	}
	defer func() { _ = results.Close() }()
	announced := map[Key]announcement{}
	for result := range results.Next() {
		if result.Error != nil {
			return nil, result.Error
		}
		key, a, err := parseAnnounced(result.Key, result.Value)
		if err == nil && a.stored.After(now.Add(-recordValidity)) && !a.stored.After(now) {
			announced[key] = a
			continue
		}
		if err := store.Delete(ctx, ds.RawKey(result.Key)); err != nil {
			return nil, err
		}
	}
	return announced, nil
}

// announcedSize is the length of a kept announcement: the time in nanoseconds, the growth step, the fingerprint of
// the addresses, all big-endian.
const announcedSize = 8 + 1 + 8

func (a announcement) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(a.stored.UnixNano()))
	b = append(b, byte(a.step))
	return binary.BigEndian.AppendUint64(b, uint64(a.addrs))
}

func parseAnnounced(name string, value []byte) (Key, announcement, error) {
	text, ok := strings.CutPrefix(name, announcedPrefix)
	if !ok || len(value) != announcedSize {
		return Key{}, announcement{}, fmt.Errorf("announcement %q of %d bytes", name, len(value))
	}
	key, err := parseKey(text)
	if err != nil {
		return Key{}, announcement{}, err
	}
	a := announcement{
		stored: time.Unix(0, int64(binary.BigEndian.Uint64(value))),
		step:   int(value[8]),
		addrs:  fingerprint(binary.BigEndian.Uint64(value[9:])),
	}
	if a.step < 1 || a.step > growthStepMax {
		return Key{}, announcement{}, fmt.Errorf("announcement %q: growth step %d", name, a.step)
	}
	return key, a, nil
}

// ownRecords adds this node's own records to the answers that the DHT's provider store reads from its database. They
// are as true as the set of keys provided, cost no write, and make a node answer for itself before anybody else does,
// which in a network of up to 20 nodes is enough to be found.
type ownRecords struct {
	ds.Batching
	self     peer.ID
	provides func(Key) bool
}

// Query answers the provider store's question for the holders of one key, and passes on any other.
func (r ownRecords) Query(ctx context.Context, q dsq.Query) (dsq.Results, error) {
	results, err := r.Batching.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	if key, ok := recordKey(q.Prefix); !ok || !r.provides(key) {
		return results, nil
	}
	entries, err := results.Rest()
	if err != nil {
		return nil, err
	}
	entries = append(entries, dsq.Entry{
		Key:   q.Prefix + "/" + recordEncoding.EncodeToString([]byte(r.self)),
		Value: binary.AppendVarint(nil, time.Now().UnixNano()),
	})
	return dsq.ResultsWithEntries(q, entries), nil
}

// recordEncoding is how the provider store writes hashes and peer IDs in the names of records.
var recordEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// recordKey returns the discovery key whose records have the database keys that begin with prefix.
func recordKey(prefix string) (key Key, ok bool) {
	text, ok := strings.CutPrefix(prefix, kadrecords.ProvidersKeyPrefix)
	if !ok {
		return Key{}, false
	}
	hash, err := recordEncoding.DecodeString(text)
	if err != nil || recordEncoding.EncodeToString(hash) != text {
		return Key{}, false
	}
	return keyOfMultihash(hash)
}

// noCache stands in for the cache in front of the provider store, which would hide the changes of ownRecords. The
// store calls no other methods; a look-up in the database costs microseconds.
type noCache struct{ lru.LRUCache }

func (noCache) Add(any, any) bool   { return false }
func (noCache) Get(any) (any, bool) { return nil, false }
