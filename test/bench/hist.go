package main

import (
	"math/bits"
	"time"
)

// hist counts durations in buckets at most 1.6 percent wide, up to a minute.
type hist struct {
	count  [2048]uint32
	total  int
	beyond int
}

const sub = 6 // bits of a value kept below its highest

func bucket(d time.Duration) int {
	v := uint64(max(d, 0))
	shift := max(bits.Len64(v)-1-sub, 0)
	return shift<<sub + int(v>>shift)
}

// upper is the largest duration of a bucket.
func upper(b int) time.Duration {
	if b < 2<<sub {
		return time.Duration(b)
	}
	shift := b>>sub - 1
	return time.Duration(uint64(b-shift<<sub+1)<<shift - 1)
}

func (h *hist) add(d time.Duration) {
	h.total++
	if b := bucket(d); b < len(h.count) {
		h.count[b]++
	} else {
		h.beyond++
	}
}

func (h *hist) merge(o *hist) {
	for i, n := range o.count {
		h.count[i] += n
	}
	h.total += o.total
	h.beyond += o.beyond
}

// quantile returns the duration that the share q of all stays within.
func (h *hist) quantile(q float64) time.Duration {
	left := int(q * float64(h.total))
	for i, n := range h.count {
		if left -= int(n); left < 0 {
			return upper(i)
		}
	}
	return upper(len(h.count) - 1)
}
