package mcp

const (
	longS  = "\u017f" // LATIN SMALL LETTER LONG S folds to s
	kelvin = "\u212a" // KELVIN SIGN folds to k
)

// names finds known names by their bytes and knows spellings that differ in
// case only. Entry 0 of the list stands for "not known".
type names struct {
	list    []string
	slots   [256]uint8
	longest int
}

func newNames(list []string) *names {
	n := &names{list: list}
	for i, name := range list {
		if name == "" {
			continue
		}
		n.longest = max(n.longest, len(name))
		slot := nameHash([]byte(name))
		for n.slots[slot] != 0 {
			slot++
		}
		n.slots[slot] = uint8(i)
	}
	return n
}

// nameHash is the same for spellings that differ in ASCII case only.
func nameHash(b []byte) uint8 {
	h := uint32(len(b))*0x9e3779b1 + uint32(b[0]|0x20)*0x85ebca6b + uint32(b[len(b)-1]|0x20)*0xc2b2ae35
	return uint8(h >> 24)
}

// find returns the index of the known name that b is (exact) or differs from
// in case only (not exact), 0 when there is none.
func (n *names) find(b []byte) (index uint8, exact bool) {
	if len(b) == 0 || len(b) > n.longest*len(kelvin) {
		return 0, false
	}
	for slot := nameHash(b); n.slots[slot] != 0; slot++ {
		if i := n.slots[slot]; string(b) == n.list[i] {
			return i, true
		}
	}
	return n.findFolded(b), false
}

// findFolded finds the name that b differs from in case only. Two letters
// outside ASCII fold into it.
func (n *names) findFolded(b []byte) uint8 {
	var folded [64]byte
	k := 0
	for i := 0; i < len(b); k++ {
		if k == len(folded) {
			return 0
		}
		switch rest := b[i:]; {
		case rest[0] < 0x80:
			folded[k] = rest[0]
			i++
		case len(rest) >= 2 && string(rest[:2]) == longS:
			folded[k] = 's'
			i += 2
		case len(rest) >= 3 && string(rest[:3]) == kelvin:
			folded[k] = 'k'
			i += 3
		default:
			return 0
		}
	}
	for slot := nameHash(folded[:k]); n.slots[slot] != 0; slot++ {
		if i := n.slots[slot]; len(n.list[i]) == k && equalFoldASCII(folded[:k], n.list[i]) {
			return i
		}
	}
	return 0
}

func equalFoldASCII(b []byte, name string) bool {
	for i := range b {
		if lower(b[i]) != lower(name[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}
