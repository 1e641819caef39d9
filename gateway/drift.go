package gateway

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/pinning"
)

// Drift is a tool whose definition is not the approved one.
type Drift struct {
	Server  string          `json:"server"`
	Tool    string          `json:"tool"`
	Verdict pinning.Verdict `json:"verdict"`
	// Quarantined: callers are not offered the tool.
	Quarantined bool `json:"quarantined"`
	// Hash is that of the definition now; empty for a tool that is not there any more, or that cannot be approved.
	Hash        string               `json:"hash,omitempty"`
	Differences []pinning.Difference `json:"differences,omitempty"`
	// Why tells why a tool cannot be approved.
	Why string `json:"why,omitempty"`

	definition *pinning.Definition
}

// Definition is what the server says of the tool now; nil where there is nothing to approve.
func (d *Drift) Definition() *pinning.Definition { return d.definition }

// Survey is how the tools of servers stand to what was approved.
type Survey struct {
	Servers []Surveyed `json:"servers"`
	Drifts  []Drift    `json:"drifts"`
}

// Surveyed is a server whose definitions are looked at.
type Surveyed struct {
	Name string `json:"name"`
	// Tools is how many it lists; those of callers' own instances are not counted.
	Tools int `json:"tools"`
	// PerCaller: its lists differ by caller. Those of callers that have an instance now were looked at.
	PerCaller bool `json:"perCaller,omitempty"`
	// Error tells why its list could not be had.
	Error string `json:"error,omitempty"`
}

// Survey asks the servers whose definitions are looked at for their tools, as far as the gateway does not know them.
func (g *Gateway) Survey(ctx context.Context) (*Survey, error) {
	w := g.acquire()
	defer g.release(w)
	s := &Survey{Servers: []Surveyed{}}
	for _, m := range w.order {
		if looked, _ := w.plan.Config.Pins(m.Name); looked {
			s.Servers = append(s.Servers, Surveyed{Name: m.Name, PerCaller: m.family != nil && m.family.personal()})
		}
	}
	var all sync.WaitGroup
	for i := range s.Servers {
		if at := &s.Servers[i]; !at.PerCaller {
			all.Go(func() { g.survey(ctx, w.members[at.Name], at) })
		}
	}
	all.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if s.Drifts = g.drifts(w); s.Drifts == nil {
		s.Drifts = []Drift{}
	}
	return s, nil
}

func (g *Gateway) survey(ctx context.Context, m *member, at *Surveyed) {
	l, err := g.lists(ctx, m, mcp.MethodToolsList)
	if err == nil {
		err = cmp.Or(l.err, l.why)
	}
	if err != nil {
		at.Error = err.Error()
		return
	}
	at.Tools = len(l.items)
	for i := range l.drifts {
		if l.drifts[i].Quarantined {
			at.Tools++
		}
	}
}

// drifts are the tools of the servers that are not as approved, of all lists that the gateway has, by server and tool.
func (g *Gateway) drifts(w *world) []Drift {
	found := map[[3]string]Drift{}
	for _, m := range w.order {
		if looked, _ := w.plan.Config.Pins(m.Name); !looked {
			continue
		}
		for _, c := range m.catalogs() {
			for _, d := range g.driftsIn(c) {
				found[[3]string{d.Server, d.Tool, d.Hash}] = d
			}
		}
		for _, d := range g.removed(m) {
			found[[3]string{d.Server, d.Tool, d.Hash}] = d
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Drift) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Tool, b.Tool), cmp.Compare(a.Hash, b.Hash))
	})
}

// driftsIn are those of the list of tools of a catalog. Until it is asked for anew they are those of the one before, as far as they
// were not approved since.
func (g *Gateway) driftsIn(c *catalog) []Drift {
	if l := c.last(mcp.MethodToolsList); l != nil {
		return l.drifts // none of a list that could not be had
	}
	was := c.drifts.Load()
	if was == nil {
		return nil
	}
	book := g.approvals.now.Load().book
	return slices.DeleteFunc(slices.Clone(*was), func(d Drift) bool {
		return d.definition != nil && book.Check(d.Server, d.Tool, d.definition) == pinning.Same
	})
}

// toolLists are the lists of tools of a server that the gateway has: its own, and those of callers.
func (m *member) toolLists() []*listing {
	var all []*listing
	for _, c := range m.catalogs() {
		if l := c.last(mcp.MethodToolsList); l != nil && l.err == nil {
			all = append(all, l)
		}
	}
	return all
}

// catalogs are where the lists of a server are: its own, and those of callers.
func (m *member) catalogs() []*catalog {
	all := []*catalog{m.catalog}
	if m.family != nil {
		for _, k := range m.family.pool.All() {
			all = append(all, k.catalog)
		}
	}
	return all
}

// removed are the approved tools that no list of the server has. Where lists differ by caller, nobody knows them all.
func (g *Gateway) removed(m *member) []Drift {
	lists := m.toolLists()
	if len(lists) == 0 || m.family != nil && m.family.personal() {
		return nil
	}
	there := map[string]bool{}
	for _, l := range lists {
		for i := range l.items {
			there[l.items[i].key] = true
		}
		for _, d := range l.drifts {
			there[d.Tool] = true
		}
	}
	var gone []Drift
	for tool, was := range g.approvals.now.Load().book[m.Name] {
		if !there[tool] {
			gone = append(gone, Drift{Server: m.Name, Tool: tool, Verdict: pinning.Removed, Differences: pinning.Diff(was, nil)})
		}
	}
	return gone
}

// Approve gives the definition that a tool has now, for a lock to approve it, if its hash is the one that was reviewed. It is nil
// for a tool that is not there any more, whose hash is empty: its approval is to be forgotten. The server is asked for its tools
// where the gateway does not know them, such as after another approval.
func (g *Gateway) Approve(ctx context.Context, server, tool, hash string) (*pinning.Definition, error) {
	w := g.acquire()
	defer g.release(w)
	if m := w.members[server]; m != nil && (m.family == nil || !m.family.personal()) {
		l, err := g.lists(ctx, m, mcp.MethodToolsList)
		if err == nil {
			err = l.err
		}
		if err != nil {
			return nil, err
		}
	}
	for _, d := range g.drifts(w) {
		if d.Server == server && d.Tool == tool && d.Hash == hash && (d.definition != nil || d.Verdict == pinning.Removed) {
			return d.definition, nil
		}
	}
	return nil, errs.E("gateway", errs.NotFound, "tool %.128q of server %.80q is not there to be approved", tool, server)
}

// Quarantined counts the tools that are kept from callers now, by server. It has every server that some may be kept of.
func (g *Gateway) Quarantined() map[string]int {
	w := g.acquire()
	defer g.release(w)
	book, counts := g.approvals.now.Load().book, map[string]int{}
	for _, m := range w.order {
		if !m.strict(w) {
			continue
		}
		kept := map[string]bool{}
		for _, c := range m.catalogs() {
			drifts := c.drifts.Load()
			if drifts == nil {
				continue
			}
			for _, d := range *drifts {
				if d.Quarantined && (d.definition == nil || book.Check(d.Server, d.Tool, d.definition) != pinning.Same) {
					kept[d.Tool] = true
				}
			}
		}
		counts[m.Name] = len(kept)
	}
	return counts
}

// quarantine remembers which definitions are on record as kept from callers.
type quarantine struct {
	mu sync.Mutex
	m  map[[2]string]map[string]bool // hashes by server and tool: several where lists differ by caller
	n  int                           // hashes
}

// quarantineMost bounds what is remembered. Past it, some is recorded again.
const quarantineMost = 10_000

// enter tells whether the definition was not in quarantine yet.
func (q *quarantine) enter(d *Drift) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := [2]string{d.Server, d.Tool}
	if q.m[k][d.Hash] {
		return false
	}
	if q.m == nil || q.n >= quarantineMost {
		q.m, q.n = map[[2]string]map[string]bool{}, 0
	}
	if q.m[k] == nil {
		q.m[k] = map[string]bool{}
	}
	q.m[k][d.Hash] = true
	q.n++
	return true
}

// leave forgets what was in quarantine of a tool that is as approved, so that it is recorded if it returns. Where lists differ by
// caller others may still have a definition that is kept back: no other than that with the hash is forgotten then.
func (q *quarantine) leave(server, tool, hash string, differ bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := [2]string{server, tool}
	switch all := q.m[k]; {
	case !differ:
		q.n -= len(all)
		delete(q.m, k)
	case all[hash]:
		q.n--
		if delete(all, hash); len(all) == 0 {
			delete(q.m, k)
		}
	}
}

// quarantined puts on record that a tool is kept from callers from now on.
func (g *Gateway) quarantined(d *Drift) {
	if !d.Quarantined || !g.quarantine.enter(d) {
		return
	}
	members := make([]string, len(d.Differences))
	for i, diff := range d.Differences {
		members[i] = diff.Member
	}
	r := &audit.Record{
		Kind: audit.Lifecycle, Time: time.Now(), Operation: "quarantine", Outcome: "ok",
		Detail: "a tool is kept from callers: its definition is not approved",
	}
	for _, f := range [...][2]string{
		{"server", d.Server}, {"tool", d.Tool}, {"verdict", string(d.Verdict)}, {"hash", d.Hash}, {"members", strings.Join(members, " ")},
	} {
		r.Facts = append(r.Facts, audit.Fact{Name: f[0], JSON: string(mcp.AppendString(nil, f[1][:min(len(f[1]), factMost)]))})
	}
	if err := g.o.Audit.Write(r); err != nil {
		g.o.Log.Error("a quarantine is not on record", "server", d.Server, "error", err)
	}
}

// factMost bounds what a server can have a record hold of its names, in bytes.
const factMost = 256
