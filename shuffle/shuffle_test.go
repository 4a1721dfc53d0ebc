package shuffle_test

import (
	"errors"
	"flag"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/swarmsync/swarmsync/shuffle"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0: the time")

// random returns a source whose seed is printed if the test fails.
func random(t *testing.T) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("replay with -seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

const blank = -1

// shuffled returns what comes out of a StreamShuffler for the elements in.
func shuffled(t *testing.T, perm shuffle.Permutation, in []int) []int {
	t.Helper()
	var out []int
	s, err := shuffle.NewStreamShuffler(perm, blank, func(v int) error { out = append(out, v); return nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range in {
		if err := s.Put(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	return out
}

// unshuffled returns what comes out of an InverseStreamShuffler for the elements in.
func unshuffled(t *testing.T, perm shuffle.Permutation, in []int) []int {
	t.Helper()
	var out []int
	s, err := shuffle.NewInverseStreamShuffler(perm, func(v int) error { out = append(out, v); return nil })
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range in {
		if err := s.Put(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.End(); err != nil {
		t.Fatal(err)
	}
	return out
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// checkRoundTrip holds one permutation and stream length against everything that is promised of them.
func checkRoundTrip(t *testing.T, perm shuffle.Permutation, n int) {
	t.Helper()
	in := upTo(n)
	out := shuffled(t, perm, in)
	if len(out) != n+len(perm)-1 {
		t.Fatalf("%v: %d elements became %d", perm, n, len(out))
	}
	dense := slices.DeleteFunc(slices.Clone(out), func(v int) bool { return v == blank })
	slices.Sort(dense)
	if !slices.Equal(dense, in) {
		t.Fatalf("%v: the shuffled stream %v does not hold each of %d elements once", perm, out, n)
	}
	for at, v := range out {
		if v != blank && (at < v || at > v+len(perm)-1) {
			t.Fatalf("%v: element %d came out at step %d", perm, v, at)
		}
	}
	if back := unshuffled(t, perm, out); !slices.Equal(back, in) {
		t.Fatalf("%v: %v came back as %v", perm, in, back)
	}
}

func TestStreamShufflerKnown(t *testing.T) {
	for _, c := range []struct {
		name string
		perm shuffle.Permutation
		n    int
		want []int
	}{
		{"trivial", shuffle.Trivial(), 3, []int{0, 1, 2}},
		{"that of the package's doc", shuffle.Permutation{2, 1, 0}, 5, []int{blank, 1, 0, 2, 4, 3, blank}},
		{"a mere delay", shuffle.Permutation{2, 0, 1}, 3, []int{blank, blank, 0, 1, 2}},
		{"empty stream", shuffle.Permutation{2, 1, 0}, 0, []int{blank, blank}},
		{"empty stream, trivial", shuffle.Trivial(), 0, nil},
		{"identity of two", shuffle.Permutation{0, 1}, 2, []int{0, 1, blank}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := shuffled(t, c.perm, upTo(c.n)); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestRoundTripExhaustive(t *testing.T) {
	for k := 1; k <= 5; k++ {
		permute(make(shuffle.Permutation, 0, k), k, func(perm shuffle.Permutation) {
			for n := range 2*k + 2 {
				checkRoundTrip(t, perm, n)
			}
		})
	}
}

// permute calls do with every permutation of length k that begins with head.
func permute(head shuffle.Permutation, k int, do func(shuffle.Permutation)) {
	if len(head) == k {
		do(head)
		return
	}
	for v := range k {
		if !slices.Contains(head, v) {
			permute(append(head, v), k, do)
		}
	}
}

func TestRoundTripRandom(t *testing.T) {
	r := random(t)
	for range 200 {
		checkRoundTrip(t, shuffle.Random(1+r.IntN(100), r), r.IntN(300))
	}
}

func TestInverse(t *testing.T) {
	r := random(t)
	for range 100 {
		perm := shuffle.Random(1+r.IntN(50), r)
		inverse, err := perm.Inverse()
		if err != nil {
			t.Fatal(err)
		}
		if err := inverse.Validate(); err != nil {
			t.Fatalf("inverse of %v: %v", perm, err)
		}
		for i := range perm {
			if k := len(perm); inverse[perm[i]] != (k-1+i)%k {
				t.Fatalf("inverse of %v is %v", perm, inverse)
			}
		}
	}
}

func TestInvalidPermutations(t *testing.T) {
	for _, c := range []struct {
		name string
		perm shuffle.Permutation
	}{
		{"nil", nil},
		{"empty", shuffle.Permutation{}},
		{"negative", shuffle.Permutation{0, -1}},
		{"too large", shuffle.Permutation{0, 2}},
		{"twice", shuffle.Permutation{1, 1, 0}},
		{"one that is not 0", shuffle.Permutation{1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, inverseErr := c.perm.Inverse()
			_, shufflerErr := shuffle.NewShuffler(c.perm, blank)
			_, streamErr := shuffle.NewStreamShuffler(c.perm, blank, func(int) error { return nil })
			_, backErr := shuffle.NewInverseStreamShuffler(c.perm, func(int) error { return nil })
			for _, err := range []error{c.perm.Validate(), inverseErr, shufflerErr, streamErr, backErr} {
				if !errors.Is(err, shuffle.ErrInvalid) {
					t.Errorf("%v: error %v, want ErrInvalid", c.perm, err)
				}
			}
		})
	}
}

func TestShufflerKeepsNoPermutation(t *testing.T) {
	perm := shuffle.Permutation{1, 0}
	s, err := shuffle.NewShuffler(perm, blank)
	if err != nil {
		t.Fatal(err)
	}
	perm[0], perm[1] = 7, 7
	if got := []int{s.Put(0), s.Put(1), s.Put(2)}; !slices.Equal(got, []int{blank, 0, 1}) {
		t.Errorf("got %v, want [%d 0 1]", got, blank)
	}
}

func TestEmitError(t *testing.T) {
	wrong := errors.New("wrong")
	calls := 0
	emit := func(int) error { calls++; return wrong }
	s, err := shuffle.NewStreamShuffler(shuffle.Permutation{1, 2, 0}, blank, emit)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(0); !errors.Is(err, wrong) {
		t.Errorf("Put returns %v", err)
	}
	if err := s.End(); !errors.Is(err, wrong) || calls != 2 {
		t.Errorf("End returns %v, %d calls in all, want the error of the second", err, calls)
	}

	back, err := shuffle.NewInverseStreamShuffler(shuffle.Trivial(), emit)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Put(0); !errors.Is(err, wrong) {
		t.Errorf("inverse Put returns %v", err)
	}
}

func TestEnded(t *testing.T) {
	emit := func(int) error { return nil }
	s, err := shuffle.NewStreamShuffler(shuffle.Trivial(), blank, emit)
	if err != nil {
		t.Fatal(err)
	}
	back, err := shuffle.NewInverseStreamShuffler(shuffle.Trivial(), emit)
	if err != nil {
		t.Fatal(err)
	}
	if first, second := s.End(), back.End(); first != nil || second != nil {
		t.Fatalf("End returns %v and %v", first, second)
	}
	for _, err := range []error{s.Put(0), s.End(), back.Put(0), back.End()} {
		if !errors.Is(err, shuffle.ErrEnded) {
			t.Errorf("after End: %v, want ErrEnded", err)
		}
	}
}

func TestInverseOfTooShortStream(t *testing.T) {
	for in, want := range map[int]error{0: io.ErrUnexpectedEOF, 1: io.ErrUnexpectedEOF, 2: nil, 3: nil} {
		s, err := shuffle.NewInverseStreamShuffler(shuffle.Permutation{0, 1, 2}, func(int) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		for range in {
			if err := s.Put(blank); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.End(); !errors.Is(err, want) {
			t.Errorf("End after %d elements: %v, want %v", in, err, want)
		}
	}
}

// TestOrderGolden pins the order of a seed: receivers of one version and the next must walk alike, or measurements of
// the planner could not be compared.
func TestOrderGolden(t *testing.T) {
	want := shuffle.Permutation{8, 13, 12, 0, 15, 14, 3, 10, 7, 2, 4, 11, 5, 1, 6, 9}
	if got := shuffle.Order(16, [32]byte{}); !slices.Equal(got, want) {
		t.Errorf("Order(16, zero) = %v, want %v", got, want)
	}
}

func TestOrder(t *testing.T) {
	r := random(t)
	for _, n := range []int{1, 2, 3, 1000} {
		var seed [32]byte
		for i := range seed {
			seed[i] = byte(r.Uint32())
		}
		order := shuffle.Order(n, seed)
		if err := order.Validate(); err != nil || len(order) != n {
			t.Errorf("Order(%d, %x): length %d, %v", n, seed, len(order), err)
		}
		if !slices.Equal(order, shuffle.Order(n, seed)) {
			t.Errorf("Order(%d, %x) gives two orders", n, seed)
		}
		seed[31] ^= 1
		if n == 1000 && slices.Equal(order, shuffle.Order(n, seed)) {
			t.Errorf("Order(%d) does not depend on the last byte of the seed", n)
		}
	}
}

func TestNoRanges(t *testing.T) {
	for _, n := range []int{0, -1} {
		if got := shuffle.Order(n, [32]byte{}); len(got) != 0 {
			t.Errorf("Order(%d) = %v", n, got)
		}
	}
}

// TestRandomIsFair counts all permutations of length 4: with a wrong bound in Fisher–Yates some are far too rare.
func TestRandomIsFair(t *testing.T) {
	r := random(t)
	const each = 1000
	counts := map[[4]int]int{}
	for range 24 * each {
		counts[[4]int(shuffle.Random(4, r))]++
	}
	if len(counts) != 24 {
		t.Fatalf("%d of 24 permutations occurred", len(counts))
	}
	for perm, count := range counts {
		// More than six standard deviations from the mean.
		if count < each-200 || count > each+200 {
			t.Errorf("%v occurred %d times, want about %d", perm, count, each)
		}
	}
}

// FuzzStreamShuffler takes each byte as an item of a permutation. What is none must be refused, by all alike; what is
// one must bring every stream back.
func FuzzStreamShuffler(f *testing.F) {
	f.Add([]byte{0}, uint16(3))
	f.Add([]byte{2, 0, 1}, uint16(10))
	f.Add([]byte{7, 9, 6, 5, 3, 8, 0, 4, 2, 1}, uint16(4))
	f.Add([]byte{1, 1}, uint16(1))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, items []byte, n uint16) {
		perm := make(shuffle.Permutation, len(items))
		for i, item := range items {
			perm[i] = int(item)
		}
		if perm.Validate() == nil {
			checkRoundTrip(t, perm, int(n%1024))
			return
		}
		if _, err := shuffle.NewStreamShuffler(perm, blank, func(int) error { return nil }); err == nil {
			t.Fatalf("NewStreamShuffler takes %v", perm)
		}
		if _, err := perm.Inverse(); err == nil {
			t.Fatalf("%v has an inverse", perm)
		}
	})
}

func BenchmarkStreamShuffler(b *testing.B) {
	perm := shuffle.Random(1024, rand.New(rand.NewPCG(1, 2)))
	s, err := shuffle.NewStreamShuffler(perm, blank, func(int) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		if err := s.Put(i); err != nil {
			b.Fatal(err)
		}
	}
}
