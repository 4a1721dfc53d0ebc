// Package cafs is a content-addressable file store: content is cut into chunks, each chunk is named by the SHA-256 of
// its bytes, the chunks of a file are listed in a tree of pages, and a small root record on top names the whole.
//
// It answers for everything that must be the same on every node (keys, chunk boundaries, pages, root records; the
// normative text is docs/format.md) and for the roles that a store plays. The stores themselves are in the
// sub-packages memory and disk; cafstest holds the suite that both pass. The package knows no network.
//
// Start with AddFile, which cuts a stream into chunks and stores them under a root, and OpenFile, which reads them back.
package cafs
