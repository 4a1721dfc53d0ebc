// Package control lets a command talk to the node that runs on the same home already, through a socket in that home
// which only the same user can open. It answers for the socket, for what goes over it, and for errors that errors.Is
// recognises on both sides; it decides nothing about nodes.
//
// Start with Listen, which offers a Node to others, and Dial, which returns the same methods on the other side:
//
//	server, err := control.Listen(home, node, control.Running{…})   // the process that runs the node
//	client, err := control.Dial(ctx, home)                          // another one; ErrNotRunning if there is none
//	result, err := client.Fetch(ctx, link, opts)
//
// It is HTTP: a POST of one JSON object to /v1/<method> is answered by JSON lines, items as they come and one result or
// error at the end. A client that hangs up cancels its call. As long as a client is attached, which Dial does and Close
// ends, Server.Drain waits for it.
package control
