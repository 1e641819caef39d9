package policy

import (
	"encoding/binary"
	"math/bits"
)

// rules is a set of rules, by number.
type rules []uint64

func newRules(n int) rules { return make(rules, (n+63)/64) }

func (r rules) add(i int) { r[i/64] |= 1 << (i % 64) }

func (r rules) has(i int) bool { return i/64 < len(r) && r[i/64]&(1<<(i%64)) != 0 }

// common returns the first rule from on, below end, that two sets have; -1 when there is none.
func common(a, b rules, from, end int) int {
	for w := from / 64; w < len(a) && w*64 < end; w++ {
		both := a[w] & b[w]
		if w == from/64 {
			both &= ^uint64(0) << (from % 64)
		}
		if both != 0 {
			if i := w*64 + bits.TrailingZeros64(both); i < end {
				return i
			}
			return -1
		}
	}
	return -1
}

// append adds the set to a key.
func (r rules) append(key []byte) []byte {
	for _, w := range r {
		key = binary.LittleEndian.AppendUint64(key, w)
	}
	return key
}
