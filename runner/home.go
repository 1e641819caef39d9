package runner

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
)

// home is what the program has of the system on behalf of its instances: it is made with the first of
// them and given back with the last.
type home struct {
	mu      sync.Mutex
	held    int
	tree    *tree
	folders *folders // nil until an instance wants one
}

var (
	homes  home
	number atomic.Int64 // of the last instance

	// program is the first part of the ids of all instances of this program.
	program = sync.OnceValue(func() string {
		b := make([]byte, 8)
		_, _ = rand.Read(b) // never fails
		return hex.EncodeToString(b)
	})
)

// hold makes what holds one more instance. Each hold needs a release after the group was ended or removed.
func (h *home) hold(l Limits) (*group, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tree == nil {
		h.tree = newTree()
	}
	name := strconv.FormatInt(number.Add(1), 10)
	// A server must not be able to name another's instance, and have that one answer for its processes.
	g, err := h.tree.newGroup(name, program()+"."+rand.Text(), l)
	if err == nil {
		h.held++
	}
	return g, err
}

// give makes the directories that an instance wants.
func (h *home) give(name string, d Dirs, c *Command, as *account) (string, error) {
	d.Work = d.Work && c.Dir == ""
	if !d.Work && !d.Temp {
		return "", nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.folders == nil {
		var err error
		if h.folders, err = makeFolders(); err != nil {
			return "", fmt.Errorf("no directory for the instance's own files: %w", err)
		}
	}
	return h.folders.give(name, d, c, as)
}

func (h *home) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held--; h.held > 0 {
		return
	}
	h.tree.clear()
	if h.folders != nil {
		_ = h.folders.remove()
		h.folders = nil
	}
}

// facts are what the guard has to know to clean up after a program that was killed.
func (h *home) facts() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	facts := []string{factMarker + program() + "."}
	if h.folders != nil {
		facts = append(facts, factFolder+h.folders.path)
	}
	for _, dir := range h.tree.made() {
		facts = append(facts, factGroup+dir)
	}
	return facts
}
