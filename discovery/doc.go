// Package discovery answers for one question: which nodes might hold the content behind a discovery key. It asks the
// network's own DHT, the local network by mDNS, and the peers that the user joined, and merges what they say into one
// stream of candidates. It also tells the DHT what this node holds. It knows no files, no stores and no root hashes:
// a candidate is a peer worth asking, and whether it holds anything is found out by whoever asks it.
//
// Start with New and Find. A node keeps one Discovery for as long as it runs:
//
//	d, err := discovery.New(ctx, discovery.Config{Host: h, Network: "main", DHT: true, Announce: true, Dir: dir})
//	err = d.Join(ctx, peers...)  // the way into the network
//	d.Provide(key)               // announced in the background, as soon as there is somebody to tell
//	err = d.Find(ctx, key, func(c discovery.Candidate) bool { … ; return wantMore })
//
// Silence is never taken for an answer: while the routing table is empty nothing is looked up and nothing counts as
// announced, and a record counts as announced once at least one other node has said that it keeps it.
package discovery
