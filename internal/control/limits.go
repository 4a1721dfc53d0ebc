package control

import "time"

const (
	// requestSizeMax bounds the JSON of a request in bytes; a link with 16 peers is below 8 KiB, and --join and --peer
	// can name a few hundred.
	requestSizeMax = 64 << 10
	// lineSizeMax bounds a line of an answer in bytes: the status of a node with a thousand transfers is below 1 MiB.
	lineSizeMax = 4 << 20
	// eventsQueued is how many events may wait for a client that does not read. Later ones are dropped: a suspended
	// client must not hold up the node.
	eventsQueued = 64
	// headerTimeout ends connections that never ask for anything. Nothing else times out: a fetch may take days.
	headerTimeout = 10 * time.Second
	// headerSizeMax bounds the header of a request in bytes; ours have less than 300.
	headerSizeMax = 8 << 10
	// recordSizeMax bounds the file that says where the socket is, in bytes.
	recordSizeMax = 4 << 10
	// socketPathMax is the longest socket path in bytes that every platform takes: 104 on darwin with its final NUL.
	socketPathMax = 103
)
