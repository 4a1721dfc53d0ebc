package discovery

import (
	"testing"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

func addrs(texts ...string) []ma.Multiaddr {
	var all []ma.Multiaddr
	for _, text := range texts {
		all = append(all, ma.StringCast(text))
	}
	return all
}

func TestDHTMode(t *testing.T) {
	for name, test := range map[string]struct {
		addrs []ma.Multiaddr
		want  dht.ModeOpt
	}{
		"listens nowhere": {nil, dht.ModeClient},
		"loopback":        {addrs("/ip4/127.0.0.1/tcp/1"), dht.ModeServer},
		"private":         {addrs("/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.1/tcp/1"), dht.ModeServer},
		"public":          {addrs("/ip4/10.0.0.1/tcp/1", "/ip4/1.1.1.1/tcp/1"), dht.ModeAutoServer},
	} {
		if got := dhtModeFor(test.addrs); got != test.want {
			t.Errorf("%s: mode %d, want %d", name, got, test.want)
		}
	}
}

func TestNetworkOf(t *testing.T) {
	for id, want := range map[protocol.ID]string{
		"/swarmsync/main/kad/1.0.0": "main",
		"/swarmsync/kad/1.0.0":      "",
		"/swarmsync/A/kad/1.0.0":    "",
		"/ipfs/kad/1.0.0":           "",
		"/swarmsync/main":           "",
	} {
		if got, ok := networkOf(id); ok != (want != "") || ok && got != want {
			t.Errorf("%s: network %q (%v), want %q", id, got, ok, want)
		}
	}
}

func TestFingerprintIgnoresTheOrder(t *testing.T) {
	a, b := "/ip4/1.1.1.1/tcp/1", "/ip4/1.1.1.1/tcp/2"
	if fingerprintOf(addrs(a, b)) != fingerprintOf(addrs(b, a)) {
		t.Error("the same addresses in another order have another fingerprint")
	}
	if fingerprintOf(addrs(a)) == fingerprintOf(addrs(b)) || fingerprintOf(addrs(a)) == fingerprintOf(nil) {
		t.Error("other addresses have the same fingerprint")
	}
}
