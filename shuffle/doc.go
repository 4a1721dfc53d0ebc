// Package shuffle answers for permutations: of a stream of unknown length and back again, and over the ranges of some
// content. It is pure: it knows no chunks, no clock and no state of its own, and whoever wants randomness passes it in.
//
// Start with StreamShuffler, which permutes a stream cyclically while it flows, and Order, which gives a receiver its
// own order of ranges.
//
// A cyclic permutation of length k holds back at most k-1 elements. Of each row of k elements, the one at place i
// comes out when the stream next reaches place perm[i]:
//
//	perm := shuffle.Permutation{2, 1, 0}
//	in:   a b c d e
//	out:  _ b a c e d _    n + k - 1 elements, of which k - 1 are blanks
//	back: a b c d e        through an InverseStreamShuffler
package shuffle
