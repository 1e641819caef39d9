package cache

import (
	"crypto/sha256"
	"encoding/binary"
)

// Key stands for a request with everything that its answer depends on.
type Key [sha256.Size]byte

// Hash makes a Key of parts in their order. Each part has its length before it, so that no two lists of parts are alike. The zero
// Hash is ready; it is given the room that it writes in.
type Hash struct{ b []byte }

// On makes a hash that writes in b from its beginning.
func On(b []byte) Hash { return Hash{b[:0]} }

// Add adds a part.
func (h *Hash) Add(part []byte) {
	h.b = append(binary.AppendUvarint(h.b, uint64(len(part))), part...)
}

// AddText adds a part.
func (h *Hash) AddText(part string) {
	h.b = append(binary.AppendUvarint(h.b, uint64(len(part))), part...)
}

// AddNumber adds a part.
func (h *Hash) AddNumber(n uint64) {
	h.b = binary.BigEndian.AppendUint64(append(h.b, 8), n)
}

// AddList adds a list of parts as one.
func (h *Hash) AddList(list []string) {
	h.AddNumber(uint64(len(list)))
	for _, part := range list {
		h.AddText(part)
	}
}

// Parts is what was added so far. The next hash on it continues there.
func (h *Hash) Parts() []byte { return h.b }

// Sum is the key of the parts.
func (h *Hash) Sum() Key { return sha256.Sum256(h.b) }
