package upstream

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream/balance"
)

func (l *httpLink) do(ctx context.Context, c *Call, out *mcp.Raw) error {
	if l.bound == nil || c.opening {
		return l.attempt(ctx, c, out)
	}
	return l.bounded(ctx, c, out)
}

// wrongEra is an answer that shows the server does not speak the era it was probed as. Nothing was executed.
type wrongEra struct{ error }

func (w *wrongEra) Unwrap() error { return w.error }

// attempt sends a call to an instance, and to another one as long as nothing of it was sent.
func (l *httpLink) attempt(ctx context.Context, c *Call, out *mcp.Raw) error {
	var not []*site // that could not be reached
	if c.last != nil && l.sites.others(c.last) {
		not = []*site{c.last}
	}
	for mistaken := false; ; {
		m, at, err := l.choose(ctx, c, not)
		if err != nil {
			return err
		}
		if l.sites.several && m.client.Cold() {
			if m, not, err = l.connected(ctx, c, m, at, not); err != nil {
				return err
			}
		}
		m, err = l.visit(ctx, m, at, c, out)
		l.sites.release(m)
		if err == nil {
			return nil
		}
		c.last = m
		var w *wrongEra
		switch {
		case errors.As(err, &w) && !mistaken:
			// The instance refused the dialect before it ran anything: it was replaced by one of another era.
			mistaken = true
			m.era.drop(m.era.peek())
		case l.sites.several && unsent(err) && ctx.Err() == nil:
			if not = append(not, m); !l.sites.untried(not) {
				if !l.sites.others(m) {
					l.s.fail(reached(err))
				}
				return err
			}
		default:
			return err
		}
	}
}

// choose finds the instance of a call: that of its session, or one that is picked. The session's place is nil where there are no
// sessions. What was chosen must be released.
func (l *httpLink) choose(ctx context.Context, c *Call, not []*site) (*site, *place[session], error) {
	if !l.sessional.Load() {
		m, err := l.sites.pick(ctx, l.sites.key(c), not)
		return m, nil, err
	}
	at, err := l.sessions.place(sessionKey{c.Session, c.abilities()})
	if err != nil {
		return nil, nil, err
	}
	if ls := at.peek(); ls != nil && !slices.Contains(not, ls.m) && !l.moves(at, ls) {
		if err := l.sites.set.Take(ls.m); err != nil {
			return nil, nil, l.sites.refused(err)
		}
		return ls.m, at, nil
	}
	m, err := l.sites.pick(ctx, l.sites.key(c), not)
	return m, at, err
}

// moves has a session begin anew at another instance where its own takes no work and it is nothing to lose.
func (l *httpLink) moves(at *place[session], ls *session) bool {
	if l.kept() || l.sites.usable(ls.m) || !l.sites.others(ls.m) {
		return false
	}
	at.drop(ls)
	ls.ear.stop()
	return true
}

// connected is the instance of a call that takes a connection first. A session that is nothing to lose goes there with it; of
// another one only its own instance can carry the call out.
func (l *httpLink) connected(ctx context.Context, c *Call, m *site, at *place[session], not []*site) (*site, []*site, error) {
	var ls *session
	if at != nil {
		ls = at.peek()
	}
	if ls != nil && l.kept() {
		return m, not, nil
	}
	m, not, err := l.sites.quickest(ctx, l.sites.key(c), m, not)
	switch {
	case err == nil && ls != nil && ls.m != m:
		at.drop(ls)
		ls.ear.stop()
	case err != nil:
		if c.last = m; unsent(err) && !l.sites.others(m) {
			l.s.fail(reached(err))
		}
	}
	return m, not, err
}

// kept tells whether the instances keep something in their sessions.
func (l *httpLink) kept() bool { return l.s.spec.Balance.State == v1.StateKept }

// visit sends a call to an instance, and tells which one it was in the end: that of a session that another call opened meanwhile.
func (l *httpLink) visit(ctx context.Context, m *site, at *place[session], c *Call, out *mcp.Raw) (*site, error) {
	p, err := l.eraOf(ctx, m)
	switch {
	case err != nil && ctx.Err() != nil:
		l.sites.set.Judge(m, balance.Neither, "")
		return m, err
	case err != nil:
		l.unanswered(ctx, m, err)
		return m, &unreached{err}
	case p.Modern:
		return m, l.doModern(ctx, m, c, out)
	case p.stream:
		return m, l.old.do(ctx, c, out)
	}
	if at == nil {
		if at, err = l.sessions.place(sessionKey{c.Session, c.abilities()}); err != nil {
			return m, err
		}
	}
	return l.doLegacy(ctx, m, at, c, out)
}

// doLegacy calls within the caller's session, which is opened when there is none and renewed once when the server lost it.
func (l *httpLink) doLegacy(ctx context.Context, m *site, at *place[session], c *Call, out *mcp.Raw) (*site, error) {
	can := c.abilities()
	at.busy.Add(1)
	defer at.release()
	for try := 0; ; try++ {
		was := at.peek()
		ls, err := l.open(ctx, at, m, can, c.Who)
		if err != nil {
			return m, l.unopened(ctx, m, err)
		}
		if ls.m != m {
			if err := l.sites.set.Take(ls.m); err != nil {
				return m, l.sites.refused(err)
			}
			l.sites.release(m)
			m = ls.m
		}
		err = l.callLegacy(ctx, at, ls, c, out, can)
		switch {
		case errors.Is(err, errSessionLost):
		case was == ls && l.kept() && unsent(err) && l.sites.several && (dead(err) || !l.sites.usable(m)): // which comes to the same
		case unsent(err) && l.sites.several && !l.kept():
			at.drop(ls)
			ls.ear.stop()
			return m, err
		case was == ls && l.kept():
			return m, reached(err) // only its own instance can carry it out
		default:
			return m, err
		}
		at.drop(ls)
		ls.ear.stop()
		if was == ls && l.kept() {
			return m, l.lost(c)
		}
		if try > 0 {
			return m, l.s.errorf(errs.Protocol, "loses its session again right after it was renewed")
		}
		l.s.log.Info("session renewed", "session", "lost by the server")
	}
}

// unopened judges an instance by a session that could not be opened there.
func (l *httpLink) unopened(ctx context.Context, m *site, err error) error {
	if errs.Of(err).Kind == errs.Protocol {
		l.sites.set.Judge(m, balance.Neither, "")
		return &wrongEra{err} // it is there, but has no sessions to open any more
	}
	if ctx.Err() != nil {
		l.sites.set.Judge(m, balance.Neither, "")
		return err
	}
	l.unanswered(ctx, m, err)
	return &unreached{err}
}

// lost tells the caller that what the server kept for it is gone.
func (l *httpLink) lost(c *Call) error {
	l.s.log.Info("session lost", "session", "its instance is gone or does not know it")
	const text = "has lost the session and what it kept in it; begin again"
	if c.Client.Modern {
		return l.s.errorf(errs.Lost, text)
	}
	return l.s.errorf(errs.SessionNotFound, text)
}

// judge tells how a call ended of which the instance may be to blame.
func (l *httpLink) judge(ctx context.Context, f *flight, c *Call, err error) {
	set := l.sites.set
	switch {
	case err == nil || errors.Is(err, errAsked) || errors.Is(err, errSessionLost):
		set.Judge(f.m, balance.Good, "")
	case !f.sent && errors.Is(context.Cause(ctx), errOvertime):
		set.Judge(f.m, balance.Bad, "did not begin to answer within "+c.Limits.Total.key("total"))
	case errs.Of(err).Kind != errs.Timeout && ctx.Err() != nil || !blames(f, err):
		set.Judge(f.m, balance.Neither, "")
	default:
		set.Judge(f.m, balance.Bad, causeOf(err))
	}
}

// blames tells whether an error shows that the instance does not work, rather than that it does not want to.
func blames(f *flight, err error) bool {
	var w *wrongEra
	switch e := errs.Of(err); {
	case unsent(err), e.Kind == errs.Timeout, e.Kind == errs.Lost:
		return true
	case errors.As(err, &w):
		return false
	case e.Kind == errs.Protocol:
		return true
	case e.Kind == errs.Unavailable:
		status := f.resp.Status()
		return status == 0 || status == 200 || status >= 500
	}
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// missed is explain for what is no call.
func (l *httpLink) missed(f *flight, c *Call, err error, limit time.Duration) error {
	err = l.explain(f, c, err, limit)
	if unsent(err) {
		l.sites.set.Judge(f.m, balance.Bad, causeOf(err))
	}
	return err
}

// ready tells what the server is by the first instance that says it.
func (l *httpLink) ready(ctx context.Context) (*Peer, error) {
	return l.find(ctx, func(*site, error) {})
}

// find is ready, and tells missed of each instance of which it could not be found out.
func (l *httpLink) find(ctx context.Context, missed func(*site, error)) (*Peer, error) {
	if err := l.sites.located(ctx); err != nil {
		return nil, err
	}
	all := l.sites.set.All()
	if len(all) == 1 {
		p, err := l.eraOf(ctx, all[0])
		if err != nil {
			missed(all[0], err)
		}
		return p, err
	}
	var known *Peer
	for _, m := range all {
		if p := m.era.peek(); p != nil {
			if m.State() == balance.Up {
				return p, nil
			}
			known = p
		}
	}
	if known != nil {
		return known, nil
	}
	return l.firstOf(ctx, all, missed)
}

// reach is ready for a call: what it finds out counts for the breakers as calls do, and an open one refuses here already, rather than
// have each call find out anew that nobody is there.
func (l *httpLink) reach(ctx context.Context) (*Peer, error) {
	set := l.sites.set
	all := set.All()
	if len(all) > 0 && !slices.ContainsFunc(all, func(m *site) bool { return !m.Broken() || m.era.peek() != nil }) {
		for _, m := range all {
			if set.Take(m) != nil {
				continue
			}
			p, err := l.eraOf(ctx, m) // which is the trial
			l.unanswered(ctx, m, err) // before it is released: a trial that nobody judged is followed by the next at once
			l.sites.release(m)
			return p, err
		}
		return nil, l.sites.refused(set.Refuse())
	}
	return l.find(ctx, func(m *site, err error) { l.unanswered(ctx, m, err) })
}

// unanswered judges an instance by an attempt to reach it. All who waited for the attempt learn of it; it counts once.
func (l *httpLink) unanswered(ctx context.Context, m *site, err error) {
	switch {
	case err == nil:
	case ctx.Err() != nil:
		l.sites.set.Judge(m, balance.Neither, "")
	case firstTold(err):
		l.sites.set.Judge(m, balance.Bad, causeOf(err))
	}
}

// firstOf asks all instances at the same time.
func (l *httpLink) firstOf(ctx context.Context, all []*site, missed func(*site, error)) (*Peer, error) {
	type answer struct {
		m   *site
		p   *Peer
		err error
	}
	answers := make(chan answer, len(all))
	for _, m := range all {
		if !l.s.spawn(func(ctx context.Context) {
			p, err := l.eraOf(ctx, m)
			if err == nil {
				l.sites.set.Probe(m, true, "")
			}
			answers <- answer{m, p, err}
		}) {
			return nil, l.s.closedError()
		}
	}
	var last error
	for range all {
		select {
		case a := <-answers:
			if a.err == nil {
				return a.p, nil
			}
			last = a.err
			missed(a.m, a.err)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	if last == nil {
		last = l.s.errorf(errs.Unavailable, "has no instance")
	}
	return nil, last
}

// at tells whether sessions are kept at an instance.
func (l *httpLink) at(m *site) bool {
	l.sessions.mu.Lock()
	defer l.sessions.mu.Unlock()
	for _, p := range l.sessions.places {
		if ls := p.peek(); ls != nil && ls.m == m {
			return l.kept() || p.busy.Load() > 0
		}
	}
	return false
}
