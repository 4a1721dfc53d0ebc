package discovery

import (
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/p2p/discovery/mdns"
)

// AnnouncedThisRun tells whether key was announced since the node started, and not only in an earlier run.
func (d *Discovery) AnnouncedThisRun(key Key) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keys[key].thisRun
}

// SetMDNS makes cfg use a service that tests provide: the real one would talk to the machine's networks.
func (cfg *Config) SetMDNS(newService func(host.Host, string, mdns.Notifee) mdns.Service) {
	cfg.MDNS, cfg.testOnlyMDNS = true, newService
}
