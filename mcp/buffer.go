package mcp

import (
	"math/bits"
	"sync"
)

// Sizes of pooled buffers: powers of four from 4 KiB to 4 MiB.
const (
	smallestBits = 12
	largestBits  = 22
	stepBits     = 2
	classes      = (largestBits-smallestBits)/stepBits + 1
)

// Buffer is a pooled byte slice.
type Buffer struct{ B []byte }

var pools [classes]sync.Pool

// GetBuffer returns an empty buffer with room for size bytes at least.
func GetBuffer(size int) *Buffer {
	c := 0
	if size > 1<<smallestBits {
		c = (bits.Len(uint(size-1)) - smallestBits + stepBits - 1) / stepBits
	}
	if c >= classes {
		return &Buffer{B: make([]byte, 0, size)}
	}
	if b, _ := pools[c].Get().(*Buffer); b != nil {
		return b
	}
	return &Buffer{B: make([]byte, 0, 1<<(smallestBits+c*stepBits))}
}

// Free gives the buffer back; neither it nor its bytes may be used after. A
// buffer that has grown over the largest class is left to the collector. Free
// of nil does nothing.
func (b *Buffer) Free() {
	if b == nil {
		return
	}
	n := bits.Len(uint(cap(b.B))) - 1
	if n < smallestBits || cap(b.B) > 1<<largestBits {
		return
	}
	b.B = b.B[:0]
	pools[(n-smallestBits)/stepBits].Put(b)
}
