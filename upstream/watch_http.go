package upstream

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

func (l *httpLink) attend(ctx context.Context, p *Peer, w *watcher) error {
	if p.Modern {
		return l.s.attendModern(ctx, p, w, false, l.listen)
	}
	if p.stream {
		return l.old.attend(ctx, p, w)
	}
	return l.attendLegacy(ctx, w)
}

// listen opens subscriptions/listen at a modern server. A goroutine of the server's reads it.
func (l *httpLink) listen(ctx context.Context, wish Wish) (*listening, error) {
	c, err := listenCall(wish)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	li := newListening()
	li.end = cancel
	if !l.s.spawn(func(context.Context) {
		defer cancel()
		li.over(l.hear(ctx, c, li))
	}) {
		cancel()
		return nil, l.s.closedError()
	}
	return li, nil
}

// hear sends the request and reads what the server says to its end.
func (l *httpLink) hear(ctx context.Context, c *Call, li *listening) error {
	c.Who = l.s.opts.Own
	m, err := l.sites.any(ctx)
	if err != nil {
		return err
	}
	f := l.take()
	defer l.put(f)
	f.m = m
	f.reset(l.s.ids.Add(1))
	f.modern(c, l.info)
	f.post(m.start)
	f.whose(c.Who)
	if err := f.modernHeaders(c); err != nil {
		return err
	}
	limit := time.Duration(l.s.timeouts().List)
	f.req.Head, f.req.Body, f.req.Timeout, f.req.Safe = f.head, f.segs, limit, true
	if err := m.client.Do(ctx, &f.req, &f.resp); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return l.missed(f, c, err, limit)
	}
	switch kind := mediaType(f.resp.Header("Content-Type")); kind {
	case "text/event-stream":
	case "application/json":
		buf, err := l.readAll(f, limit)
		if err != nil {
			return err
		}
		defer buf.Free()
		return l.listened(f, li, buf.B)
	default:
		return l.notMCP(f, nil, kind)
	}
	f.events.Reset(&f.resp)
	f.resp.SetTimeout(0)
	for {
		ev, err := f.events.Next()
		if err != nil {
			return err
		}
		if len(ev.Data) == 0 || (ev.Name != "" && ev.Name != "message") {
			continue
		}
		if err := l.listened(f, li, ev.Data); err != nil {
			return err
		}
	}
}

// listened takes one message of a listen; the error says that it was the last one.
func (l *httpLink) listened(f *flight, li *listening, data []byte) error {
	n := &f.note
	n.Reset()
	n.Body = data
	if e := mcp.Scan(data, &n.Message, l.s.limits()); e != nil {
		return l.garbage(e)
	}
	switch n.Kind {
	case mcp.KindNotification:
		if n.Method == mcp.MethodListenAcknowledged {
			li.acknowledge(n)
		} else {
			l.s.noted(n)
		}
		return nil
	case mcp.KindResult, mcp.KindError:
		if n.Kind == mcp.KindResult && !bytes.Equal(n.ID.Of(data), f.id) {
			return nil
		}
		return l.s.listenEnded(n)
	}
	return l.s.errorf(errs.Protocol, "sends a %s on a listen, which %s does not allow", n.Kind, mcp.VersionModern)
}

// listenEnded judges the answer to subscriptions/listen.
func (s *Server) listenEnded(n *mcp.Raw) error {
	if n.Kind == mcp.KindResult {
		return errWatchOver
	}
	text, _ := mcp.Text(n.Body, n.Get(mcp.KeyMessage), nil)
	err := s.errorf(errs.Protocol, "answers subscriptions/listen with an error: %.200s (%d)", text, n.ErrorCode)
	switch n.ErrorCode {
	case mcp.CodeMethodNotFound:
		return &refusal{err, true}
	case mcp.CodeUnsupportedVersion, mcp.CodeHeaderMismatch:
		return err
	}
	return &refusal{err, false}
}

// standaloneHead is how long a server may keep the head of its GET stream back for the stream to count as open: some send
// it with the first event only.
const standaloneHead = time.Second

// attendLegacy watches a server with sessions: by the stream that GET opens in the gateway's own session, and by
// subscriptions to resources.
func (l *httpLink) attendLegacy(ctx context.Context, w *watcher) error {
	at, err := l.sessions.place(sessionKey{"", AllAbilities})
	if err != nil {
		return err
	}
	at.busy.Add(1)
	defer at.release()
	m, err := l.sites.any(ctx)
	if err != nil {
		return err
	}
	ls, err := l.open(ctx, at, m, AllAbilities, l.s.opts.Own)
	if err != nil {
		return err
	}
	err = l.attendSession(ctx, w, ls)
	if errors.Is(err, errSessionLost) || l.sites.several && (unsent(err) || !l.sites.usable(ls.m)) {
		at.drop(ls)
	}
	return err
}

func (l *httpLink) attendSession(ctx context.Context, w *watcher, ls *session) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	st := &standalone{l: l, ls: ls, open: make(chan struct{}), done: make(chan struct{}), retry: time.Second}
	if !l.s.spawn(func(context.Context) { st.run(ctx) }) {
		return l.s.closedError()
	}
	served, err := st.opened(ctx)
	if err != nil {
		return err
	}
	subs := subscriptions{s: l.s, send: func(ctx context.Context, body []byte, out *mcp.Raw) error { return l.own(ctx, ls.m, ls, body, out) }}
	return l.s.attendSubscribing(ctx, ls.peer, w, &subs, served, st.done, func() error { return st.err })
}

// standalone is the stream of a legacy session that belongs to no request (2025-11-25 transports "Listening for Messages").
type standalone struct {
	l     *httpLink
	ls    *session
	open  chan struct{}               // closed when the server began to answer
	done  chan struct{}               // closed when it is over
	err   error                       // why; set before done is closed
	ask   func(q *mcp.Raw) *mcp.Error // takes a question, or tells why it is declined; nil for the gateway's own session
	was   bool
	last  string // id of the last event
	retry time.Duration
}

// errNoStream: the server offers no such stream.
var errNoStream = errors.New("no stream without a request")

// opened waits until the server offers the stream, or does not.
func (st *standalone) opened(ctx context.Context) (served bool, err error) {
	t := time.NewTimer(standaloneHead)
	defer t.Stop()
	select {
	case <-st.open:
	case <-t.C:
	case <-st.done:
		if errors.Is(st.err, errNoStream) {
			return false, nil
		}
		return false, st.err
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	return true, nil
}

// run reads the stream, opened again each time the server lets go of it.
func (st *standalone) run(ctx context.Context) {
	f := st.l.take()
	defer st.l.put(f)
	defer close(st.done)
	pause := time.Duration(0)
	for {
		began := time.Now()
		if st.err = st.get(ctx, f); st.err != nil {
			return
		}
		if pause = max(2*pause, st.retry); time.Since(began) > settled || f.heard {
			pause = st.retry
		}
		t := time.NewTimer(min(pause, retryMost))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			st.err = context.Cause(ctx)
			return
		}
	}
}

// get opens the stream once and reads it to its end, which is no error.
func (st *standalone) get(ctx context.Context, f *flight) error {
	l := st.l
	f.resp.Close()
	f.heard = false
	f.m = st.ls.m
	f.head = append(append(f.head[:0], "GET"...), f.m.start...)
	f.head = append(f.head, "Accept: text/event-stream\r\n"...)
	if st.last != "" {
		f.header("Last-Event-ID", headerSafe.Replace(st.last))
	}
	st.ls.own(f)
	f.req.Head, f.req.Body, f.req.Safe, f.req.Timeout = f.head, nil, true, 0
	if err := f.m.client.Do(ctx, &f.req, &f.resp); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return l.missed(f, &Call{opening: true}, err, 0)
	}
	if err := st.judge(f); err != nil {
		return err
	}
	if !st.was {
		st.was = true
		close(st.open)
	} else if st.last == "" && st.ask == nil {
		lists, _ := st.ls.peer.tells()
		l.s.began(lists) // nothing says what was missed
	}
	f.events.Reset(&f.resp)
	f.resp.SetTimeout(0)
	for {
		ev, err := f.events.Next()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return nil // the server let go of it, as it may
		}
		if ev.ID != "" {
			st.last = ev.ID
		}
		if ev.Retry >= 0 {
			st.retry = min(max(time.Duration(ev.Retry)*time.Millisecond, retryFirst), retryMost)
		}
		if len(ev.Data) > 0 && (ev.Name == "" || ev.Name == "message") {
			f.heard = true
			st.event(ctx, f, ev.Data)
		}
	}
}

// judge tells what the head of the answer means.
func (st *standalone) judge(f *flight) error {
	status := f.resp.Status()
	switch {
	case status == 200 && mediaType(f.resp.Header("Content-Type")) == "text/event-stream":
		return nil
	case status == 404 && st.ls.id != "" && st.was:
		return errSessionLost
	case status == 404 && st.ls.id != "":
		buf, err := st.l.readAll(f, sideCall)
		if err != nil {
			return errSessionLost
		}
		defer buf.Free()
		if bytes.Contains(buf.B, []byte(`"jsonrpc"`)) || bytes.Contains(bytes.ToLower(buf.B), []byte("session")) {
			return errSessionLost
		}
		return errNoStream
	case status >= 500 || status == 429:
		return st.l.s.errorf(errs.Unavailable, "answers GET with HTTP %d", status)
	}
	return errNoStream
}

// event takes one event of the stream.
func (st *standalone) event(ctx context.Context, f *flight, data []byte) {
	l, n := st.l, &f.note
	n.Reset()
	n.Body = data
	if e := mcp.Scan(data, &n.Message, l.s.limits()); e != nil {
		l.s.warnings.warn(l.s.log, "event on the GET stream is no MCP message", "error", e.Message)
		return
	}
	switch n.Kind {
	case mcp.KindNotification:
		if st.ask == nil { // else the stream of the gateway's own session tells it
			l.s.noted(n)
		}
	case mcp.KindRequest:
		var e *mcp.Error
		switch {
		case n.Method == mcp.MethodPing:
		case st.ask == nil:
			e = declined(mcp.CodeInvalidRequest, n, whyApart)
		default:
			if e = st.ask(n); e == nil {
				return
			}
		}
		l.reply(ctx, st.ls, l.s.decline(n, e))
	case mcp.KindBatch:
		spans, e := mcp.Split(data, l.s.limits())
		if e != nil {
			return
		}
		for _, span := range spans {
			if element := span.Of(data); element[0] != '[' {
				st.event(ctx, f, element)
			}
		}
	}
}
