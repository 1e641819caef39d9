package gateway

import (
	"context"
	"log/slog"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// A server that is started again, fails or is slow keeps its names listed for a while (fallback.lists): its last good lists stand
// in, and clients are told how old they are.

// metaStale is the member of _meta that names the servers whose lists are not of now, with their age.
const metaStale = "io.toolcrib/stale"

// standIn is what of a list may stand in for the next one.
type standIn struct {
	good  *listing  // the last one that was had; nil when there was none
	until time.Time // when it was still right, for all that is known
	began time.Time // the fetch under way
	owed  bool      // clients were told that the list changes and were given the old one
}

// keep notes a good list. The caller holds the lock of the catalog.
func (s *standIn) keep(l *listing) {
	if l.err == nil && l.why == nil {
		s.good, s.until = l, l.expires
	}
}

// over notes that the last good list is not right any more. The caller holds the lock of the catalog.
func (s *standIn) over() {
	if now := time.Now(); now.Before(s.until) {
		s.until = now
	}
}

// left is how long the last good list may stand in yet; 0 and less where it may not. The caller holds the lock of the catalog.
func (m *member) left(s *slot) time.Duration {
	if s.good == nil {
		return 0
	}
	return time.Duration(m.now().Fallback.Lists) - max(time.Since(s.until), 0)
}

// stands is the last good list in place of one that cannot be had; nil where there is none, or it is too old. The caller holds the
// lock of the catalog.
func (m *member) stands(s *slot, why error) *listing {
	left := m.left(s)
	if left <= 0 {
		return nil
	}
	l := *s.good
	l.why = why
	l.expires = time.Now().Add(min(retryList, left))
	return &l
}

// patience is how long the fetch under way is still waited for where there is something to give in its place; negative where there
// is not, so that it is waited for to its end. The caller holds the lock of the catalog.
func (m *member) patience(s *slot) time.Duration {
	if failed := s.cur != nil && s.cur.err != nil; !failed && m.left(s) <= 0 {
		return -1
	}
	return max(0, time.Until(s.began.Add(time.Duration(m.now().Fallback.After))))
}

// awaitList waits for a fetch, and returns nothing when it is over. Where it is late, the list that stands in is returned.
func (g *Gateway) awaitList(ctx context.Context, m *member, method mcp.Method, fetch <-chan struct{}, late time.Duration) (*listing, error) {
	var over <-chan time.Time
	if late >= 0 {
		t := time.NewTimer(late)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-fetch:
		return nil, nil //nolint:nilnil // the list is in its slot
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-over:
		return g.overdue(m, method), nil
	}
}

// overdue is what is given in place of a list that is late; nil when it has come meanwhile.
func (g *Gateway) overdue(m *member, method mcp.Method) *listing {
	c := m.catalog
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slot(method)
	if s.fetch == nil || s.cur != nil && time.Now().Before(s.cur.expires) {
		return s.cur
	}
	why := errs.E(`server "`+m.Name+`"`, errs.Timeout, "did not give %s within %s; raise fallback.after to wait longer for it",
		method, time.Duration(m.now().Fallback.After))
	l := m.stands(s, why)
	switch {
	case l != nil:
	case s.cur != nil && s.cur.err != nil:
		return s.cur // it failed before, too
	default:
		return &listing{err: why, expires: time.Now()}
	}
	s.owed = s.owed || s.told
	s.cur = l
	c.changed()
	g.stoodIn(m, method, l.why)
	return l
}

// settleList is what a fetch came to: the list, or what stands in for it. The caller holds the lock of the catalog.
func (g *Gateway) settleList(m *member, method mcp.Method, s *slot, l *listing) *listing {
	if l.err == nil {
		s.keep(l)
		return l
	}
	level := slog.LevelWarn
	if m.server.Status().State != upstream.StateReady {
		level = slog.LevelDebug // that it failed was said when it did
	}
	if old := m.stands(s, l.err); old != nil {
		g.stoodIn(m, method, l.err)
		return old
	}
	g.o.Log.Log(context.Background(), level, "server left out of a list", "server", m.Name, "method", method.String(), "error", l.err)
	return l
}

func (g *Gateway) stoodIn(m *member, method mcp.Method, why error) {
	g.o.Metrics.FellBack(m.Name, "lists")
	g.warnOnce("the last list of a server stands in for one that it does not give", m.Name, method.String(), why.Error())
}

// appendStale appends the member of _meta that tells how old a server's list is: the first one opens it.
func appendStale(b []byte, server string, l *listing) []byte {
	if len(b) == 0 {
		b = append(b, `"`+metaStale+`":{`...)
	} else {
		b = append(b, ',')
	}
	b = append(mcp.AppendString(b, server), `:{"ageMs":`...)
	return append(appendMillis(b, time.Since(l.had)), '}')
}
