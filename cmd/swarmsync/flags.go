package main

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/multiformats/go-multiaddr"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/swarmsync/swarmsync/cafs/disk"
	"github.com/swarmsync/swarmsync/node"
)

const envPrefix = "SWARMSYNC_"

// nodeFlags are the flags of every command that runs a node.
type nodeFlags struct {
	listen        addressList
	join          peerList
	network       networkName
	dht           onOff
	mdns          bool
	announce      bool
	wait          duration
	transport     transport
	up, down      byteRate
	quota         byteSize
	defaultListen []multiaddr.Multiaddr // nil: any port
	// passing: the node ends with the command. Its announcements would outlive it by two days and send others to
	// nobody, so it makes none.
	passing bool
}

func (f *nodeFlags) register(flags *pflag.FlagSet) {
	f.network, f.dht, f.wait = node.DefaultNetwork, true, duration(node.DefaultWait)
	f.mdns, f.announce, f.transport = true, true, transport(node.TransportAuto)
	listenDefault := "TCP and QUIC on all interfaces, any port"
	if f.defaultListen != nil {
		listenDefault = fmt.Sprintf("TCP and QUIC on all interfaces, port %d", servePort)
	}
	flags.Var(&f.listen, "listen", "`MULTIADDR` to listen on; repeatable (default "+listenDefault+")")
	flags.Var(&f.join, "join", "`MULTIADDR` of a node to join, with /p2p/<peer id> at its end; repeatable")
	flags.Var(&f.network, "network", "`NAME` of the network; networks do not see each other")
	flags.Var(&f.dht, "dht", "look for holders in the network's DHT: `on|off`")
	registerBool(flags, &f.mdns, "mdns", "", "look for nodes in the local network")
	announced := "tell the DHT what is served here"
	if f.passing {
		announced += "; only a node that stays does"
	}
	registerBool(flags, &f.announce, "announce", "", announced)
	flags.Var(&f.transport, "transport", "connect over `auto|tcp|quic`; auto takes TCP on short ways and QUIC on others")
	flags.Var(&f.up, "up", "send at most `RATE` to all peers together, such as 10MB or 500KiB a second")
	flags.Var(&f.down, "down", "receive at most `RATE` from all peers together")
	registerQuota(flags, &f.quota)
	flags.Var(&f.wait, "wait", "how long to look for holders, a `DURATION` such as 30s; 0s tries once")
}

// answerTime is what a search that tries once gives the peers that are known: dialing, proving and asking take some
// round trips, and 4 of 200 ms are the worst that is usual.
const answerTime = time.Second

// fetchWait is --wait as a fetch takes it, where 0 means the default. A fetch waits for the peers that it is dialing
// in any case, so that the shortest time is one try.
func (f *nodeFlags) fetchWait() time.Duration { return max(time.Duration(f.wait), 1) }

// lookWait is --wait as a search takes it, which ends when that time is over, whoever is still being asked.
func (f *nodeFlags) lookWait() time.Duration {
	if f.wait == 0 {
		return answerTime
	}
	return time.Duration(f.wait)
}

// config returns what the flags say of a node.
func (f *nodeFlags) config() node.Config {
	listen := []multiaddr.Multiaddr(f.listen)
	if len(listen) == 0 {
		for _, address := range f.defaultListen {
			if node.Transport(f.transport).Allows(address) {
				listen = append(listen, address)
			}
		}
	}
	return node.Config{
		Listen:          listen,
		Transport:       node.Transport(f.transport),
		Join:            f.join.peers,
		Network:         string(f.network),
		DisableDHT:      !bool(f.dht),
		DisableMDNS:     !f.mdns,
		DisableAnnounce: !f.announce || f.passing,
		UpLimit:         int64(f.up),
		DownLimit:       int64(f.down),
		Quota:           int64(f.quota),
	}
}

// repeatable is a flag whose environment variable holds several values.
type repeatable interface{ isRepeatable() }

// fromVariable is the annotation of a flag whose value comes from an environment variable, and names that.
const fromVariable = "environment variable"

// variableOf returns the name of the environment variable that the value of a flag comes from, empty if it does not.
func variableOf(command *cobra.Command, name string) string {
	flag := command.Flags().Lookup(name)
	if flag == nil || len(flag.Annotations[fromVariable]) == 0 {
		return ""
	}
	return flag.Annotations[fromVariable][0]
}

// readEnvironment sets the flags of a command that the user did not give from the variables of their names.
func readEnvironment(command *cobra.Command) error {
	var failed error
	command.Flags().VisitAll(func(flag *pflag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
		value := os.Getenv(name)
		if flag.Changed || value == "" || flag.Name == "help" || flag.Name == "version" || failed != nil {
			return
		}
		flag.Annotations = map[string][]string{fromVariable: {name}}
		values := []string{value}
		if _, ok := flag.Value.(repeatable); ok {
			values = strings.Split(value, ",")
		}
		for _, value := range values {
			if err := flag.Value.Set(strings.TrimSpace(value)); err != nil {
				failed = usagef("environment variable %s: invalid value %q: %w", name, value, err)
			}
			flag.Changed = true
		}
	})
	return failed
}

// addressList is a repeatable flag of multiaddrs to listen on.
type addressList []multiaddr.Multiaddr

func (l *addressList) Set(text string) error {
	address, err := multiaddr.NewMultiaddr(text)
	if err != nil {
		return fmt.Errorf("want a multiaddr such as /ip4/0.0.0.0/tcp/4141: %w", err)
	}
	*l = append(*l, address)
	return nil
}

func (l *addressList) String() string {
	if l == nil {
		return ""
	}
	return strings.Join(addressTexts(*l), ",")
}

func (l *addressList) Type() string { return "MULTIADDR" }

func (l *addressList) isRepeatable() {}

// addressTexts returns the text forms of addresses.
func addressTexts(addresses []multiaddr.Multiaddr) []string {
	texts := make([]string, len(addresses))
	for i, address := range addresses {
		texts[i] = address.String()
	}
	return texts
}

// duration is a flag of a time span that is not negative.
type duration time.Duration

func (d *duration) Set(text string) error {
	parsed, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("want a duration such as 30s, 5m or 1h30m")
	}
	if parsed < 0 {
		return fmt.Errorf("it must not be negative")
	}
	*d = duration(parsed)
	return nil
}

func (d *duration) String() string { return time.Duration(*d).String() }

func (d *duration) Type() string { return "DURATION" }

// byteRate is a flag of bytes a second, 0 if there is no limit.
type byteRate int64

func (r *byteRate) Set(text string) error {
	parsed, err := humanize.ParseBytes(text)
	if err != nil || parsed < node.LimitMin || parsed > math.MaxInt64 {
		return fmt.Errorf("want bytes a second such as 10MB or 500KiB, at least %s", humanize.IBytes(node.LimitMin))
	}
	*r = byteRate(parsed)
	return nil
}

func (r *byteRate) String() string {
	if *r == 0 {
		return "" // no default for the help to show
	}
	return strconv.FormatInt(int64(*r), 10) + " B/s"
}

func (r *byteRate) Type() string { return "RATE" }

// byteSize is a flag of how large a store may be in bytes, 0 if there is no limit.
type byteSize int64

func registerQuota(flags *pflag.FlagSet, quota *byteSize) {
	flags.Var(quota, "quota", "let the store take at most `SIZE`, such as 20GB; files that are served from where they are don't count")
}

func (s *byteSize) Set(text string) error {
	parsed, err := humanize.ParseBytes(text)
	if err != nil || parsed < disk.QuotaLeast || parsed > math.MaxInt64 {
		return fmt.Errorf("want bytes such as 20GB or 500MiB, at least %s", humanize.IBytes(disk.QuotaLeast))
	}
	*s = byteSize(parsed)
	return nil
}

func (s *byteSize) String() string {
	if *s == 0 {
		return "" // no default for the help to show
	}
	return strconv.FormatInt(int64(*s), 10) + " B"
}

func (s *byteSize) Type() string { return "SIZE" }

// boolean is a flag that is true or false, and true if no value is given.
type boolean bool

// registerBool is pflag's BoolVarP with the value of now as the default, and errors that users understand.
func registerBool(flags *pflag.FlagSet, value *bool, name, shorthand, usage string) {
	flags.VarPF((*boolean)(value), name, shorthand, usage).NoOptDefVal = "true"
}

func (b *boolean) Set(text string) error {
	parsed, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("want true or false")
	}
	*b = boolean(parsed)
	return nil
}

func (b *boolean) String() string { return strconv.FormatBool(bool(*b)) }

func (b *boolean) Type() string { return "bool" }

// IsBoolFlag tells the help that the flag needs no value.
func (b *boolean) IsBoolFlag() bool { return true }

// level is a flag of what to log.
type level string

func (l *level) Set(text string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, text) {
		return fmt.Errorf("want debug, info, warn or error")
	}
	*l = level(text)
	return nil
}

func (l *level) String() string { return string(*l) }

func (l *level) Type() string { return "LEVEL" }

// onOff is a flag that is on or off.
type onOff bool

func (o *onOff) Set(text string) error {
	if text != "on" && text != "off" {
		return fmt.Errorf("want on or off")
	}
	*o = text == "on"
	return nil
}

func (o *onOff) String() string {
	if *o {
		return "on"
	}
	return "off"
}

func (o *onOff) Type() string { return "on|off" }

// transport is a flag of a node.Transport.
type transport node.Transport

func (t *transport) Set(text string) error {
	switch node.Transport(text) {
	case node.TransportAuto, node.TransportTCP, node.TransportQUIC:
		*t = transport(text)
		return nil
	}
	return fmt.Errorf("want auto, tcp or quic")
}

func (t *transport) String() string { return string(*t) }

func (t *transport) Type() string { return "auto|tcp|quic" }

// networkName is a flag of the name of a network.
type networkName string

func (n *networkName) Set(text string) error {
	if !regexp.MustCompile(`^[a-z0-9-]{1,63}$`).MatchString(text) {
		return fmt.Errorf("want 1 to 63 of a-z, 0-9 and -")
	}
	*n = networkName(text)
	return nil
}

func (n *networkName) String() string { return string(*n) }

func (n *networkName) Type() string { return "NAME" }
