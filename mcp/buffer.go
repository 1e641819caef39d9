package mcp

import (
	"math/bits"
	"sync"
)

// Sizes of pooled buffers: powers of two from 4 KiB to 4 MiB.
const (
	smallestBits = 12
	largestBits  = 22
	classes      = largestBits - smallestBits + 1
)

// Buffer is a pooled byte slice.
type Buffer struct{ B []byte }

var pools [classes]sync.Pool

// GetBuffer returns an empty buffer with room for size bytes at least.
func GetBuffer(size int) *Buffer {
	c := 0
	if size > 1<<smallestBits {
		c = bits.Len(uint(size-1)) - smallestBits
	}
	if c >= classes {
		return &Buffer{B: make([]byte, 0, size)}
	}
	if b, _ := pools[c].Get().(*Buffer); b != nil {
		return b
	}
	return &Buffer{B: make([]byte, 0, 1<<(smallestBits+c))}
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
	pools[n-smallestBits].Put(b)
}
