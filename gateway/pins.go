package gateway

import (
	"cmp"
	"io/fs"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/pinning"
	"github.com/toolcrib/toolcrib/runner/launch"
	"github.com/toolcrib/toolcrib/upstream"
)

// approvals are the approved definitions of tools, as the lock file has them.
type approvals struct {
	mu    sync.Mutex
	stamp fileStamp
	now   atomic.Pointer[approved]
}

// approved is what one content of the lock file approves.
type approved struct {
	book pinning.Book
	err  error // it could not be read: nothing is approved
}

// fileStamp tells one content of a file from the next, and whether it can be read.
type fileStamp struct {
	path string
	size int64
	at   time.Time
	mode fs.FileMode
}

func stampOf(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{path: path}
	}
	return fileStamp{path, info.Size(), info.ModTime(), info.Mode()}
}

// Repin reads the lock file again if it changed. Lists are taken anew by what it approves now.
func (g *Gateway) Repin() {
	g.mu.Lock() // a new plan reads it by itself
	defer g.mu.Unlock()
	w := g.acquire()
	defer g.release(w)
	if g.approvals.read(w.plan.Config.LockFile()) {
		g.repinned(w)
	}
}

// read reads the lock file unless it is as it was, and tells whether it is not.
func (p *approvals) read(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	stamp := stampOf(path)
	if p.now.Load() != nil && stamp == p.stamp {
		return false
	}
	lock, err := launch.ReadLock(path)
	next := &approved{err: err}
	if err == nil {
		next.book = lock.Definitions
	}
	was := p.now.Swap(next)
	p.stamp = stamp
	return was == nil || was.err != nil || err != nil || !sameBook(was.book, next.book)
}

func sameBook(a, b pinning.Book) bool {
	return maps.EqualFunc(a, b, func(x, y map[string]*pinning.Definition) bool {
		return maps.EqualFunc(x, y, func(d, e *pinning.Definition) bool { return d.Hash == e.Hash })
	})
}

// repinned has the lists of tools taken anew that depend on what is approved, and clients told.
func (g *Gateway) repinned(w *world) {
	if err := g.approvals.now.Load().err; err != nil {
		g.o.Log.Error("approved definitions of tools cannot be read; with pin: strict no tool is offered", "error", err)
	}
	for _, m := range w.order {
		if looked, _ := w.plan.Config.Pins(m.Name); !looked {
			continue
		}
		g.relist(m)
	}
}

// settlePins has lists taken anew that are judged in another way by a new plan.
func (g *Gateway) settlePins(was, next *world) {
	if g.approvals.read(next.plan.Config.LockFile()) {
		g.repinned(next)
		return
	}
	for _, m := range next.order {
		if !samePins(was.plan.Config, next.plan.Config, m.Name) {
			g.relist(m)
		}
	}
}

func samePins(a, b *v1.Config, server string) bool {
	x, y := a.MCPServers[server], b.MCPServers[server]
	return x == nil || y == nil || cmp.Or(x.Pin, a.Pin) == cmp.Or(y.Pin, b.Pin) && maps.Equal(x.Tools, y.Tools)
}

// relist has the tools of a server listed anew, for all who have its lists.
func (g *Gateway) relist(m *member) {
	for i, c := range m.catalogs() {
		c.invalidate(upstream.ListTools)
		c.forget(upstream.ListTools)
		if i == 0 {
			g.hub.listsChanged(m, upstream.ListTools, false)
		}
	}
}

// pinned tells whether a tool may be offered as its server defines it now, and says otherwise.
func (g *Gateway) pinned(m *member, it *item) (drift *Drift, ok bool) {
	config := g.world.Load().plan.Config
	pin := config.PinOf(m.Name, it.key)
	if pin == v1.PinOff {
		return nil, true
	}
	d, err := pinning.Define(it.raw)
	if err != nil {
		g.warnOnce("tool cannot be pinned", m.Name, it.key, err.Error())
		drift = &Drift{Server: m.Name, Tool: it.key, Verdict: pinning.Unfit, Quarantined: pin == v1.PinStrict, Why: err.Error()}
		g.quarantined(drift)
		return drift, !drift.Quarantined
	}
	now := g.approvals.now.Load()
	verdict := now.book.Check(m.Name, it.key, d)
	if verdict == pinning.Same {
		g.quarantine.leave(m.Name, it.key, d.Hash, m.kin != nil)
		return nil, true
	}
	drift = &Drift{
		Server: m.Name, Tool: it.key, Verdict: verdict, Quarantined: pin == v1.PinStrict, Hash: d.Hash,
		Differences: pinning.Diff(now.book[m.Name][it.key], d), definition: d,
	}
	if drift.Quarantined {
		g.warnOnce("tool quarantined", m.Name, it.key+" "+d.Hash,
			"its definition is "+string(verdict)+": see toolcrib drift, and approve it with toolcrib approve --tools")
		g.quarantined(drift)
	} else {
		g.warnOnce("tool is not as approved", m.Name, it.key+" "+d.Hash,
			"its definition is "+string(verdict)+": see toolcrib drift")
	}
	return drift, !drift.Quarantined
}

// strict tells whether tools of the server may be kept from callers for what they are defined as.
func (m *member) strict(w *world) bool {
	_, strict := w.plan.Config.Pins(m.Name)
	return strict
}
