package node

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/swarmsync/swarmsync/cafs"
)

const (
	linkScheme = "swarmsync:"
	// A link is pasted by people; 4 KiB and 16 peers are more than any of them needs, and bound what a hostile one costs.
	linkSizeMax  = 4096
	linkPeersMax = 16
	// No file system takes longer names.
	linkNameMax = 255
)

// Link is all that a receiver needs: the root, what to call the content, and peers to ask first.
type Link struct {
	Root cafs.Key
	// Name is one safe path component, or empty.
	Name  string
	Peers []peer.AddrInfo
}

// ParseLink reads the text form of a link, swarmsync:<root>?name=<name>&peer=<multiaddr>&peer=…, or a bare root. Unknown
// fields are ignored; the name is reduced to one safe component.
func ParseLink(text string) (Link, error) {
	rest, ok := strings.CutPrefix(text, linkScheme)
	if !ok {
		root, err := cafs.ParseKey(text)
		if err != nil {
			return Link{}, fmt.Errorf("%w, or a link %s<root>?…", err, linkScheme)
		}
		return Link{Root: root}, nil
	}
	if len(text) > linkSizeMax {
		return Link{}, fmt.Errorf("link of %d bytes: want at most %d", len(text), linkSizeMax)
	}
	rootText, query, _ := strings.Cut(rest, "?")
	root, err := cafs.ParseKey(rootText)
	if err != nil {
		return Link{}, fmt.Errorf("link: %w", err)
	}
	fields, err := url.ParseQuery(query)
	if err != nil {
		return Link{}, fmt.Errorf("link: fields after the question mark: %w", err)
	}
	addresses := fields["peer"]
	if len(addresses) > linkPeersMax {
		return Link{}, fmt.Errorf("link with %d peers: want at most %d", len(addresses), linkPeersMax)
	}
	peers, err := ParsePeers(addresses...)
	if err != nil {
		return Link{}, fmt.Errorf("link: %w", err)
	}
	return Link{Root: root, Name: SafeName(fields.Get("name")), Peers: peers}, nil
}

// String returns the text form of l. Peers beyond what a link may hold are left out.
func (l Link) String() string {
	text := linkScheme + l.Root.String()
	separator := "?"
	field := func(key, value string) {
		added := separator + key + "=" + escapeField(value)
		if len(text)+len(added) <= linkSizeMax {
			text += added
			separator = "&"
		}
	}
	if l.Name != "" {
		field("name", l.Name)
	}
	left := linkPeersMax
	for _, info := range l.Peers {
		addresses, err := peer.AddrInfoToP2pAddrs(&info)
		if err != nil {
			continue // a peer without an ID can't be dialed by anybody
		}
		for _, address := range addresses {
			if left > 0 {
				field("peer", address.String())
				left--
			}
		}
	}
	return text
}

// escapeField escapes what would end a field or a link in a sentence, and keeps multiaddrs readable.
func escapeField(value string) string {
	return strings.ReplaceAll(url.QueryEscape(value), "%2F", "/")
}

// ParsePeers reads multiaddrs that end in /p2p/<peer id>, and joins those of one peer.
func ParsePeers(texts ...string) ([]peer.AddrInfo, error) {
	addresses := make([]multiaddr.Multiaddr, 0, len(texts))
	for _, text := range texts {
		address, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return nil, fmt.Errorf("address %q: want a multiaddr such as /ip4/192.0.2.1/tcp/4141/p2p/12D3KooW…: %w", text, err)
		}
		if _, err := address.ValueForProtocol(multiaddr.P_P2P); err != nil {
			return nil, fmt.Errorf("address %q: the /p2p/<peer id> at its end is missing", text)
		}
		addresses = append(addresses, address)
	}
	infos, err := peer.AddrInfosFromP2pAddrs(addresses...)
	if err != nil {
		return nil, fmt.Errorf("peer addresses: %w", err)
	}
	// AddrInfosFromP2pAddrs goes through a map: keep the order in which the user named them.
	position := func(info peer.AddrInfo) int {
		return slices.IndexFunc(addresses, func(address multiaddr.Multiaddr) bool {
			return strings.HasSuffix(address.String(), info.ID.String())
		})
	}
	slices.SortFunc(infos, func(a, b peer.AddrInfo) int { return position(a) - position(b) })
	return infos, nil
}

// SafeName reduces a name that came from elsewhere to one component that is safe to create here: no separators of any
// platform, no control characters, no leading dots, dashes or spaces, no dots or spaces at the end, at most 255 bytes.
// It returns "" if nothing is left.
func SafeName(name string) string {
	name = path.Base(strings.ReplaceAll(name, `\`, "/"))
	name = strings.Map(func(r rune) rune {
		if r == '/' || r == ':' || r == utf8.RuneError || unicode.IsControl(r) || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	name = strings.TrimLeft(name, " .-")
	for len(name) > linkNameMax {
		_, size := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-size]
	}
	return strings.TrimRight(name, " .")
}
