// Package node is the library behind the command line: a libp2p host that keeps content in a store, serves it over
// /remotesync/1.0 and fetches what it lacks from every holder that it finds. It answers for everything that needs the
// network and the store together, and for nothing that needs a terminal.
//
// Start with New, Node.Add and Node.Fetch:
//
//	n, err := node.New(ctx, node.Config{Home: dir})
//	added, err := n.Add(ctx, "film.mkv", node.AddOptions{})     // on one machine
//	result, err := n.Fetch(ctx, link, node.FetchOptions{Output: "film.mkv"}) // on another
//	err = n.Close()
//
// The methods of Node may be called concurrently. Events tell what a running Add or Fetch does; the package never
// prints and never exits.
package node
