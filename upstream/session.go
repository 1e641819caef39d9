package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

const (
	sessionsMost = 10_000           // open sessions towards one server
	sideCall     = 10 * time.Second // limit of notifications, answers and DELETE
)

// session is one legacy session at the server.
type session struct {
	m       *site  // the instance that knows it
	id      string // Mcp-Session-Id; empty when the server mints none
	version string
	peer    *Peer
	born    time.Time
	lines   []byte // the header lines that every request of the session carries
	voice

	mu    sync.Mutex
	level string // the log level last set
	ear   ear    // what the server asks within no call
}

// headers are those of a request of the caller.
func (ls *session) headers(f *flight, who Statement) {
	f.head = append(f.head, ls.lines...)
	f.whose(who)
}

// own are the headers of a message of the gateway itself.
func (ls *session) own(f *flight) { ls.headers(f, ls.whose()) }

func newSession(m *site, id string, p *Peer) *session {
	ls := &session{m: m, id: id, version: p.Version, peer: p, born: time.Now()}
	if p.Version >= "2025-06-18" {
		ls.lines = append(ls.lines, "MCP-Protocol-Version: "+p.Version+"\r\n"...)
	}
	if id != "" {
		ls.lines = append(ls.lines, "Mcp-Session-Id: "+id+"\r\n"...)
	}
	return ls
}

// sessionKey tells apart the sessions at one server: callers share none, and each declares what its client can be asked.
type sessionKey struct {
	caller string
	can    Abilities
}

// open returns the session of a place, which is opened at an instance when there is none.
func (l *httpLink) open(ctx context.Context, at *place[session], m *site, can Abilities, who Statement) (*session, error) {
	if ls := at.peek(); ls != nil {
		return ls, nil
	}
	return at.get(ctx, l.s, func(ctx context.Context) (*session, error) { return l.initialize(ctx, m, can, who) })
}

// endOld ends sessions that are kept no more.
func (l *httpLink) endOld(old []*session) {
	for _, ls := range old {
		l.end(l.s.ctx, ls)
	}
}

// depart ends the sessions of a caller that has gone.
func (l *httpLink) depart(caller string) {
	l.sessions.depart(caller)
	l.old.depart(caller)
}

// endSessions tells the server that every session is over.
func (l *httpLink) endSessions() {
	ctx, cancel := context.WithTimeout(context.Background(), sideCall/5)
	defer cancel()
	var wg sync.WaitGroup
	gate := make(chan struct{}, 32)
	for _, ls := range l.sessions.takeAll() {
		if ls.id == "" {
			continue
		}
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			l.end(ctx, ls)
		})
	}
	wg.Wait()
}

// end closes one session with DELETE; a server that does not allow it is right too.
func (l *httpLink) end(ctx context.Context, ls *session) {
	ls.ear.stop()
	if ended := l.s.opts.SessionClosed; ended != nil {
		ended(time.Since(ls.born))
	}
	if ls.id == "" {
		return
	}
	f := l.take()
	defer l.put(f)
	f.m = ls.m
	f.head = append(append(f.head[:0], "DELETE"...), ls.m.start...)
	ls.own(f)
	f.req.Head, f.req.Body, f.req.Timeout = f.head, nil, sideCall
	if err := ls.m.client.Do(ctx, &f.req, &f.resp); err != nil {
		l.s.log.Debug("session not ended at the server", "error", err)
	}
}

func (l *httpLink) callLegacy(ctx context.Context, at *place[session], ls *session, c *Call, out *mcp.Raw, can Abilities) (err error) {
	ls.use(c.Who)
	if c.Client.LogLevel != "" {
		l.setLevel(ctx, ls, c.Client.LogLevel)
	}
	f := l.take()
	id := l.s.ids.Add(1)
	f.reset(id)
	c.attempted(ls.m.url, ls.version, id)
	defer func() { c.concluded(out, err) }()
	f.legacy(c)
	f.m, f.works = ls.m, true
	f.post(ls.m.start)
	ls.headers(f, c.Who)
	f.head = c.attempt.AppendHeader(f.head)
	if f.asking.begin(c, can); f.asking.opens && can != 0 && c.Session != "" {
		l.listenTo(ctx, ls)
		ls.ear.enter(f)
	}
	return l.conclude(ctx, f, c, out, at, ls, l.send(ctx, f, c, out, ls))
}

// conclude ends a legacy call that came to an answer or an error, or parks it.
func (l *httpLink) conclude(ctx context.Context, f *flight, c *Call, out *mcp.Raw, at *place[session], ls *session, err error) error {
	if errors.Is(err, errAsked) {
		return l.park(ctx, f, c, out, at, ls)
	}
	l.dismiss(ls, f)
	defer l.put(f)
	if err != nil {
		return err
	}
	otherEra := out.Kind == mcp.KindError && (out.ErrorCode == mcp.CodeHeaderMismatch || out.ErrorCode == mcp.CodeUnsupportedVersion)
	if otherEra && f.asking.given == 0 {
		out.Free()
		return &wrongEra{l.s.errorf(errs.Protocol, "does not speak %s any more", ls.version)}
	}
	return l.s.finish(c, out, false, f.asking.refused)
}

// dismiss ends a call: what it was asked and nobody has answered is declined.
func (l *httpLink) dismiss(ls *session, f *flight) {
	l.leave(ls, f)
	replies := l.s.moot(&f.asking)
	if len(replies) == 0 {
		return
	}
	l.s.spawn(func(ctx context.Context) {
		for _, reply := range replies {
			l.reply(ctx, ls, reply)
		}
	})
}

// setLevel makes the session at least as talkative as the call wants; each caller gets only what it asked for (relay).
// A server that does not take the level costs the caller its messages, not the call.
func (l *httpLink) setLevel(ctx context.Context, ls *session, level string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.level != "" && severities[ls.level] <= severities[level] {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sideCall)
	defer cancel()
	logs, _ := mcp.Lookup(ls.peer.Capabilities, whole(ls.peer.Capabilities), "logging")
	if len(ls.peer.Capabilities) == 0 || !logs.Present() {
		ls.level = level
		return
	}
	var out mcp.Raw
	defer out.Free()
	if err := l.own(ctx, ls.m, ls, setLevelBody(level), &out); err != nil {
		l.s.warnings.warn(l.s.log, "log level not set at the server", "error", err)
		return
	}
	ls.level = level
}

// own sends a request of the gateway itself to an instance, within a session or (ls nil) as a modern request.
func (l *httpLink) own(ctx context.Context, m *site, ls *session, body []byte, out *mcp.Raw) error {
	c, err := ownCall(body)
	if err != nil {
		return err
	}
	c.Who = l.s.opts.Own
	if ls != nil {
		c.Who = ls.whose()
	}
	f := l.take()
	defer l.put(f)
	f.reset(l.s.ids.Add(1))
	if ls == nil {
		f.modern(c, l.info)
	} else {
		f.legacy(c)
	}
	f.m = m
	f.post(m.start)
	f.whose(c.Who)
	if ls == nil {
		_ = f.modernHeaders(c) // no parameters, nothing to fail
	} else {
		ls.headers(f, nil)
	}
	return l.send(ctx, f, c, out, ls)
}

// ownCall makes a call of a message that the gateway wrote.
func ownCall(body []byte) (*Call, error) {
	in := &mcp.Raw{Body: body}
	if e := mcp.Scan(body, &in.Message, mcp.Limits{}); e != nil {
		return nil, e
	}
	return &Call{In: in, Client: &Client{Modern: true}, opening: true}, nil
}

// tell posts a message that has no answer: a notification, or the answer to the server's question.
func (l *httpLink) tell(ctx context.Context, ls *session, body []byte) error {
	f := l.take()
	defer l.put(f)
	f.m = ls.m
	f.post(ls.m.start)
	ls.own(f)
	f.req.Head, f.req.Body, f.req.Timeout, f.req.Safe = f.head, [][]byte{body}, sideCall, false
	if err := ls.m.client.Do(ctx, &f.req, &f.resp); err != nil {
		return err
	}
	drain(&f.resp)
	if st := f.resp.Status(); st == 404 && ls.id != "" {
		return errSessionLost
	}
	return nil
}

// reply answers a question of the server on a connection of its own, as the transport wants it. What becomes of a call whose
// answer is not taken is for the server to say: only it knows what the answer means to it.
func (l *httpLink) reply(ctx context.Context, ls *session, body []byte) {
	ctx, cancel := context.WithTimeout(ctx, sideCall)
	defer cancel()
	if err := l.tell(ctx, ls, body); err != nil {
		l.s.warnings.warn(l.s.log, "answer to the server's question not delivered", "error", err)
	}
}

// cancelled tells the server that nobody waits for the answer any more.
func (l *httpLink) cancelled(ls *session, id []byte) {
	body := cancelNotice(id)
	l.s.spawn(func(ctx context.Context) {
		ctx, stop := context.WithTimeout(ctx, sideCall)
		defer stop()
		if err := l.tell(ctx, ls, body); err != nil {
			l.s.log.Debug("cancellation not delivered", "error", err)
		}
	})
}

func cancelNotice(id []byte) []byte {
	return wrap(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`, id, `,"reason":"the client gave up"}}`)
}
