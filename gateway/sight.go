package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
	"github.com/toolcrib/toolcrib/upstream"
)

const (
	journalLines = 2000
	journalBytes = 512 << 10
	keyShown     = 8 // bytes of the hash of a key
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
func (m *member) instances() []upstream.Instance {
	all := m.server.Instances()
	if m.family == nil {
		return all
	}
	for _, k := range m.family.pool.All() {
		for _, in := range k.server.Instances() {
			if key := k.key.Load(); key != nil {
				in.Key, in.Tenant = key.Name, key.Tenant
			}
			all = append(all, in)
		}
	}
	return all
}

// keyLabel is a short name for an isolation key.
func keyLabel(key string) string {
	if key == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:keyShown])
}

// Queued tells how many calls wait for an instance of each server that is run here.
func (g *Gateway) Queued() map[string]int {
	w := g.acquire()
	defer g.release(w)
	out := make(map[string]int, len(w.order))
	for _, m := range w.order {
		if !m.server.HTTP() || m.family != nil {
			out[m.Name] = m.queued()
		}
	}
	return out
}

// queued are the calls that wait for an instance of a server.
func (m *member) queued() int {
	n := m.server.Queued()
	if m.family != nil {
		n += m.family.pool.Counts().Waiting
		for _, k := range m.family.pool.All() {
			n += k.server.Queued()
		}
	}
	return n
}

// measure counts a request with its tool and its server, at the one replica that asked the server.
func (x *Exchange) measure(failure string, took time.Duration) {
	if x.tool != nil {
		x.tool.Observe(took, failure)
		x.tool.Sizes(len(x.In.Body), x.Out.Len())
	}
	t := &x.call.Timing
	t.Transport = max(0, took-t.Queue-t.Start-t.Server)
	if x.member != nil && t.Server > 0 && x.In.Kind == mcp.KindRequest && !x.Carrier {
		x.member.other.Shares(t.Queue, t.Start, t.Server, t.Transport)
		x.member.other.Operation(x.In.Method.String(), failure, x.member.transport(), t.Server)
	}
}

// transport is how the server is reached, as OpenTelemetry has it.
func (m *member) transport() string {
	if m.server.HTTP() {
		return "tcp"
	}
	return "pipe"
}
