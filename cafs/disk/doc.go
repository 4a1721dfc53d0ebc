// Package disk holds the store that a node keeps its content in: chunks in pack files that only grow, and an index and
// a catalog of roots in an embedded key-value store.
//
// Start with Open, and with the bytes at rest in docs/format.md ("The store on disk").
//
// What holds at every moment, whatever ends the process or the machine:
//
//   - The packs are the log of everything that was put, roots included. The index is derived from them: it never says
//     more than what is synced in the packs, and whatever a pack has behind the end that the index knows of is read
//     again when the store is opened, and taken over if it hashes to its key.
//   - Files of the user's that chunks are referred to in (volumes) are the exception: nothing tells of them but the
//     index, and if that is lost the files are added again. They belong to somebody else, who may do anything to them
//     at any moment, so what is read there is hashed before it goes anywhere, unless the file cannot have changed since
//     it was hashed.
//   - A Put writes to a pack and to the memory of the process (the overlay of the index); a Sync syncs the packs, then
//     moves the overlay into the index. So a Put costs one write call, and a Sync two waits for the disk, however much
//     was put in between.
//   - A pack is given up when little of it is needed; what it has that is needed was moved and synced before. See run
//     for what is needed, and sweep.go for the steps.
//
// The order of the locks is: quota.turn (one who makes room at a time), then sweeping (one pack at a time), then turn
// (one Sync at a time), then appender.mu (one append at a time), then index.mu, then packSet.mu, fileSet.mu, holds.mu or
// quota.mu. The last five are never held over a call to the disk, and reads take only them. The store starts no
// goroutine of its own; the key-value store has some that end with Close.
package disk
