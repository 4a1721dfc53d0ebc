package shuffle

import (
	"errors"
	"fmt"
	"math/rand/v2"
)

// ErrInvalid is wrapped by every error about a permutation that is none.
var ErrInvalid = errors.New("invalid permutation")

// Permutation is a list of length k ≥ 1 that holds each of 0…k-1 once. Check one that came from elsewhere with Validate;
// every constructor of this package does so. It may be read concurrently.
type Permutation []int

// Trivial returns [0], the permutation that leaves every stream as it is and adds no blanks.
func Trivial() Permutation { return Permutation{0} }

// Random returns a permutation of length k, each with the same probability if r is fair. The result depends on r and k
// alone: Fisher–Yates, from place k-1 down to place 1. For k < 1 it is empty, and thereby invalid.
func Random(k int, r *rand.Rand) Permutation {
	if k < 1 {
		return nil
	}
	p := make(Permutation, k)
	for i := range p {
		p[i] = i
	}
	for i := k - 1; i > 0; i-- {
		j := r.IntN(i + 1)
		p[i], p[j] = p[j], p[i]
	}
	return p
}

// Order returns the order in which a receiver with that seed walks n ranges: the item at place i is the number of the
// range that comes i-th. It is Random on the ChaCha8 stream of the seed, so the same seed gives the same order on every
// machine. No ranges, n < 1, have the empty order.
func Order(n int, seed [32]byte) Permutation {
	return Random(n, rand.New(rand.NewChaCha8(seed)))
}

// Validate returns nil if p is a permutation, and an error that wraps ErrInvalid if not. It needs one byte of memory
// per item.
func (p Permutation) Validate() error {
	if len(p) == 0 {
		return fmt.Errorf("%w: it is empty", ErrInvalid)
	}
	seen := make([]bool, len(p))
	for i, v := range p {
		if v < 0 || v >= len(p) {
			return fmt.Errorf("%w of length %d: item %d is %d", ErrInvalid, len(p), i, v)
		}
		if seen[v] {
			return fmt.Errorf("%w of length %d: %d occurs twice", ErrInvalid, len(p), v)
		}
		seen[v] = true
	}
	return nil
}

// Inverse returns the cyclic inverse of p: a stream that is shuffled with p and then with its inverse has its first
// order again, k-1 steps late. That delay is why it is not the inverse that undoes p as a mapping of places. The error
// wraps ErrInvalid if p is no permutation.
func (p Permutation) Inverse() (Permutation, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	inverse := make(Permutation, len(p))
	for i, v := range p {
		inverse[v] = (len(p) - 1 + i) % len(p)
	}
	return inverse, nil
}
