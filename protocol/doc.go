// Package protocol answers for remotesync between two parties over any io.Reader and io.Writer. It knows no network;
// whoever has a connection adapts it. It has two halves that share the bits of a wishlist and nothing else.
//
// The session of /remotesync/1.0 is what nodes speak: start with Receiver and Holder.
//
// The protocol of the origin is for plain servers and old clients: start with Builder, which receives, and
// WriteChunkData, which sends. Both sides agree on a SyncInfo first. Then three things happen at the same time, and none
// of them may wait for the end of another:
//
//	receiver                                          sender
//	go builder.WriteWishList(ctx, toSender)           WriteChunkData(ctx, chunks, …, fromReceiver, perm, toReceiver, …)
//	   then close toSender, with or without an error     then close toReceiver
//	builder.ReconstructFileFromRequestedChunks(ctx, fromSender)
//	builder.Dispose(), when it is done or given up
package protocol
