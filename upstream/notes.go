package upstream

import (
	"sync"

	"github.com/toolcrib/toolcrib/mcp"
)

// notes are the notifications, and the questions that were admitted, on their way to the one who awaits a call. Most calls
// have none, which then cost no memory.
type notes struct {
	bell chan struct{} // holds a token while there are any
	mu   sync.Mutex
	list []*mcp.Raw
}

func newNotes() notes { return notes{bell: make(chan struct{}, 1)} }

// put adds a note, unless there are too many.
func (n *notes) put(m *mcp.Raw) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) >= notesMost {
		return false
	}
	n.list = append(n.list, m)
	n.ring()
	return true
}

// take returns the oldest note, nil when there is none.
func (n *notes) take() *mcp.Raw {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.list) == 0 {
		return nil
	}
	m := n.list[0]
	n.list[0] = nil
	if n.list = n.list[1:]; len(n.list) == 0 {
		n.list = nil
		return m
	}
	n.ring()
	return m
}

func (n *notes) ring() {
	select {
	case n.bell <- struct{}{}:
	default:
	}
}
