// Package httpsync carries the origin's transfer over HTTP: one file, from a server that anybody with an HTTP client of
// this format can use, to a client that takes files from any server of it. Start with FileHandler, which serves, and
// SyncFrom, which fetches.
//
// A GET of the file's URL is answered with its SyncInfo as JSON. A POST carries the wishlist as its body, and its answer
// the chunk data, both at the same time: the client goes on wishing while chunks arrive.
//
//	client                                             server
//	GET url                                        →
//	                                               ←   {"Chunks":[{"Key":"…","Size":n},…],"Perm":[…]}
//	POST url, Connection: close                    →
//	one bit for each chunk, as the window allows   ⇄   each chunk that is wished, at once
//
// In HTTP/1.1 the header Connection: close tells that the client can do that; a POST without it is refused. In HTTP/2,
// and over whatever else net/http's interfaces reach, nothing has to be told. Proxies that hold back a request until it
// is complete can't be used: nothing would ever move.
//
// Bytes are checked against the list that the server chose, not against a root that the user knows. Whoever needs more
// adds what has come and compares its root.
package httpsync
