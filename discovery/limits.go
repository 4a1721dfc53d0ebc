package discovery

import "time"

// Limits on what other nodes can make this one keep, send or dial.
const (
	// candidatesMax bounds the candidates of one source in one search: more would be dialled for minutes at 16 dials
	// at a time, and a swarm's members tell each other about the rest.
	candidatesMax = 256
	// tellerProvidersMax is how many holders are taken from one answer: a quarter of a search, so that no single node
	// can fill it with its own friends.
	tellerProvidersMax = candidatesMax / 4
	// peerAddrsMax bounds the addresses kept for one peer that others tell about. A machine with a dozen interfaces
	// and two transports has fewer.
	peerAddrsMax = 32
	// joinedMax bounds the peers that are redialled for ever. A user joins a handful.
	joinedMax = 256
	// lanMax bounds the peers of the local network that are remembered; anything on the wire can invent more.
	lanMax = 256
	// resolveMax bounds the look-ups, one per holder whose record came without addresses, in one round of a search.
	resolveMax = 16
	// leveldbBufferBytes is for each of the provider database's write buffer and block cache. Records are 100 bytes
	// and read rarely, so that the library's 12 MiB would be wasted.
	leveldbBufferBytes = 1 << 20
)

// Times of single operations.
const (
	// dialTimeout is for one dial of a joined peer: six round trips of TCP and TLS on the slowest usual path.
	dialTimeout = 3 * time.Second
	// dialsAtOnce bounds the joined peers that are dialled at the same time.
	dialsAtOnce = 16
	// requestTimeout is for one request to a DHT node and its answer, with the dial if there is no connection.
	requestTimeout = 10 * time.Second
	// announceTimeout is for one key: a look-up of the closest nodes and one message to each.
	announceTimeout = time.Minute
	// announcesAtOnce bounds the keys announced at the same time; each talks to up to 20 nodes.
	announcesAtOnce = 4
	// lookupTimeout is for one round of a search in the DHT, and resolveTimeout for one holder's addresses.
	lookupTimeout  = time.Minute
	resolveTimeout = 10 * time.Second
	// tablePoll is how often the size of the routing table is looked at, which is one lock and no traffic: the
	// table tells nobody when it changes.
	tablePoll = 200 * time.Millisecond
	// lanSettle is how long after the start of mDNS its silence means that nobody is there: neighbours answer within
	// the 20 to 120 ms of the mDNS standard, a busy radio network within a second.
	lanSettle = 2 * time.Second
	// lanExpiry forgets a neighbour that was not heard of again. Records live for 53 minutes, then they are told anew.
	lanExpiry = 2 * time.Hour
)
