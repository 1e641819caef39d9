package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/toolcrib/toolcrib/runner"
	"github.com/toolcrib/toolcrib/upstream"
)

const (
	journalLines = 2000
	journalBytes = 512 << 10
	keyShown     = 4 // bytes of the hash of a key
)

// journal is for what a server of this name prints. That of one whose configuration changes goes on.
func (g *Gateway) journal(server string) *runner.Journal {
	if m := g.world.Load().members[server]; m != nil {
		return m.journal
	}
	return runner.NewJournal(journalLines, journalBytes)
}

// Journal holds what the processes of a server printed; nil when there is no such server, or it has no processes.
func (g *Gateway) Journal(server string) *runner.Journal {
	w := g.acquire()
	defer g.release(w)
	if m := w.members[server]; m != nil && !m.server.HTTP() {
		return m.journal
	}
	return nil
}

// Instances are the running processes of all servers, by server and age. Their keys are hashed: they are for people to tell
// apart, and name nobody.
func (g *Gateway) Instances() []upstream.Instance {
	w := g.acquire()
	defer g.release(w)
	var all []upstream.Instance
	for _, m := range w.order {
		own := m.instances()
		for i := range own {
			own[i].Key = keyLabel(own[i].Key)
			own[i].Isolation = w.plan.Config.IsolationOf(m.Name)
		}
		slices.SortStableFunc(own, func(a, b upstream.Instance) int { return a.Since.Compare(b.Since) })
		all = append(all, own...)
	}
	return all
}

// instances are the running processes of a server, for all its callers.
func (m *member) instances() []upstream.Instance { return m.server.Instances() }

// keyLabel is a short name for an isolation key.
func keyLabel(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:keyShown])
}
