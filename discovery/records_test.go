package discovery

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	kadrecords "github.com/libp2p/go-libp2p-kad-dht/records"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
)

// The layout of the library's database is not part of its API. This fails when it changes.
func TestOwnRecordsFitTheProviderStore(t *testing.T) {
	peers, err := pstoremem.NewPeerstore()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peers.Close() }()
	self, other := peer.ID("self"), peer.ID("other")
	mine, foreign := Key{1}, Key{2}
	providing := true
	store, err := kadrecords.NewProviderManager(self, peers, ownRecords{
		dssync.MutexWrap(ds.NewMapDatastore()), self, func(k Key) bool { return providing && k == mine },
	}, kadrecords.Cache(noCache{}))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	expect := func(key []byte, want ...peer.ID) {
		t.Helper()
		got, err := store.GetProviders(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		ids := map[peer.ID]bool{}
		for _, info := range got {
			ids[info.ID] = true
		}
		for _, id := range want {
			if !ids[id] {
				t.Errorf("%s is missing among the holders %v", id, got)
			}
		}
		if len(got) != len(want) {
			t.Errorf("holders %v, want %v", got, want)
		}
	}

	expect(mine.multihash(), self)
	expect(foreign.multihash())
	expect([]byte("no multihash"))
	for _, key := range []Key{mine, foreign} {
		if err := store.AddProvider(t.Context(), key.multihash(), peer.AddrInfo{ID: other}); err != nil {
			t.Fatal(err)
		}
	}
	expect(mine.multihash(), self, other)
	expect(foreign.multihash(), other)
	providing = false
	expect(mine.multihash(), other)
}

func TestLoadAnnouncedForgets(t *testing.T) {
	now := time.Now()
	store := dssync.MutexWrap(ds.NewMapDatastore())
	put := func(name string, value []byte) {
		t.Helper()
		if err := store.Put(t.Context(), ds.RawKey(name), value); err != nil {
			t.Fatal(err)
		}
	}
	kept := announcement{stored: now.Add(-47 * time.Hour), step: 1, addrs: 7}
	put(announcedKey(Key{1}).String(), kept.appendTo(nil))
	put(announcedKey(Key{2}).String(), announcement{stored: now.Add(-49 * time.Hour), step: 1}.appendTo(nil))
	put(announcedKey(Key{3}).String(), announcement{stored: now.Add(time.Hour), step: 1}.appendTo(nil))
	put(announcedKey(Key{4}).String(), []byte("not an announcement"))
	put("/providers/x/y", []byte("the library's"))
	for range 2 {
		got, err := loadAnnounced(t.Context(), store, now)
		if err != nil {
			t.Fatal(err)
		}
		if a := got[Key{1}]; len(got) != 1 || !a.stored.Equal(kept.stored) || a.step != 1 || a.addrs != 7 || a.thisRun {
			t.Errorf("loaded %+v, want only %+v", got, kept)
		}
	}
	for name, want := range map[string]bool{
		announcedKey(Key{1}).String(): true,
		announcedKey(Key{2}).String(): false,
		announcedKey(Key{3}).String(): false,
		announcedKey(Key{4}).String(): false,
		"/providers/x/y":              true,
	} {
		if has, err := store.Has(t.Context(), ds.RawKey(name)); err != nil || has != want {
			t.Errorf("%s is still there: %v (%v), want %v", name, has, err, want)
		}
	}
}

func FuzzParseAnnounced(f *testing.F) {
	good := announcement{stored: time.Unix(1, 2), step: 4, addrs: 1 << 63}.appendTo(nil)
	f.Add(announcedKey(Key{0xab}).String(), good)
	f.Add(announcedKey(Key{0xab}).String(), good[:16])
	f.Add(strings.ToUpper(announcedKey(Key{0xab}).String()), good)
	f.Add("/announced/ab", good)
	f.Add(announcedKey(Key{}).String(), announcement{step: 5}.appendTo(nil))
	f.Fuzz(func(t *testing.T, name string, value []byte) {
		key, a, err := parseAnnounced(name, value)
		if err != nil {
			return
		}
		if got := announcedKey(key).String(); got != name {
			t.Errorf("%q encodes as %q", name, got)
		}
		if got := a.appendTo(nil); !bytes.Equal(got, value) {
			t.Errorf("%x encodes as %x", value, got)
		}
	})
}

func FuzzRecordKey(f *testing.F) {
	prefix := func(hash []byte) string { return kadrecords.ProvidersKeyPrefix + recordEncoding.EncodeToString(hash) }
	f.Add(prefix(Key{1}.multihash()))
	f.Add(prefix(Key{1}.multihash()[:33]))
	f.Add(prefix([]byte{0x13, 0x20}))
	f.Add(kadrecords.ProvidersKeyPrefix)
	f.Add(prefix(Key{1}.multihash()) + "\n")
	f.Add("/announced/" + hex.EncodeToString(make([]byte, KeySize)))
	f.Fuzz(func(t *testing.T, text string) {
		if key, ok := recordKey(text); ok && prefix(key.multihash()) != text {
			t.Errorf("%q decodes to %x", text, key[:])
		}
	})
}
