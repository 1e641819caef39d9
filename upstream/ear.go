package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

const (
	earsMost = 1000                   // streams that are listened to at one server
	earTime  = 300 * time.Millisecond // how long the first call of a session waits for its stream, which a server may open late
)

// ear hears what a legacy server asks on the stream of a session that belongs to no request. Well-known servers ask there what
// they want to know for a call. As over stdio the call is certain only while a single one is in flight in the session.
type ear struct {
	once    sync.Once
	mu      sync.Mutex
	on      bool
	over    bool
	cancel  context.CancelFunc
	calls   int
	flights map[*flight]int // calls that may be parked, in flight or parked, by which of the calls they are
}

// listenTo opens the stream of a session once, and waits until it is open: a server forgets what it says before.
func (l *httpLink) listenTo(ctx context.Context, ls *session) {
	e := &ls.ear
	e.once.Do(func() {
		if ls.id == "" || l.deaf.Load() {
			return
		}
		if l.ears.Add(1) > earsMost {
			l.ears.Add(-1)
			return
		}
		life, cancel := context.WithCancel(l.s.ctx)
		st := &standalone{l: l, ls: ls, open: make(chan struct{}), done: make(chan struct{}), retry: time.Second}
		st.ask = func(q *mcp.Raw) *mcp.Error { return l.hearOn(ls, q) }
		if !e.start(cancel) || !l.s.spawn(func(context.Context) {
			defer l.ears.Add(-1)
			defer cancel()
			st.run(life)
		}) {
			l.ears.Add(-1)
			cancel()
			return
		}
		short, stop := context.WithTimeout(ctx, earTime)
		defer stop()
		if _, err := st.opened(short); err == nil {
			select {
			case <-st.done:
				if errors.Is(st.err, errNoStream) {
					l.deaf.Store(true)
					e.stop()
				}
			default:
			}
		}
	})
}

// start opens the ear, unless its session has ended already.
func (e *ear) start(cancel context.CancelFunc) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.over {
		return false
	}
	e.on, e.cancel, e.flights = true, cancel, map[*flight]int{}
	return true
}

// stop closes the ear for good.
func (e *ear) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.on, e.over = false, true
	if e.cancel != nil {
		e.cancel()
	}
}

// enter counts a call in, before it is sent.
func (e *ear) enter(f *flight) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f.heedful = e.on; e.on {
		e.calls++
		e.flights[f] = e.calls
	}
}

// leave counts a call out. What was asked for it and it did not hear of goes on its list.
func (l *httpLink) leave(ls *session, f *flight) {
	if !f.heedful {
		return
	}
	ls.ear.mu.Lock()
	delete(ls.ear.flights, f)
	aside := f.aside
	f.aside, f.heedful = nil, false
	f.streams.Store(false)
	f.waker.Rest()
	ls.ear.mu.Unlock()
	for _, body := range aside {
		q := mcp.Raw{Body: body}
		if e := q.Scan(l.s.limits()); e == nil { // it was scanned before
			f.asking.take(&q)
		}
	}
}

// hearOn gives a question to the one call in flight in a session; the error says why it cannot.
func (l *httpLink) hearOn(ls *session, q *mcp.Raw) *mcp.Error {
	e := &ls.ear
	if !askable(q.Method) {
		return unknownQuestion(q)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch n := len(e.flights); {
	case n == 0:
		return declined(mcp.CodeInvalidRequest, q, whyNoCall)
	case n > 1:
		return declined(mcp.CodeInvalidRequest, q, "several calls are under way in this session, and outside of their streams nothing tells which one asks")
	}
	for f, call := range e.flights {
		weight := len(q.Body)
		for _, body := range f.aside {
			weight += len(body)
		}
		if len(f.aside) >= questionsMost || weight > l.maxBytes() {
			return declined(mcp.CodeInvalidRequest, q, "too many questions wait already")
		}
		f.aside = append(f.aside, append([]byte(nil), q.Body...))
		f.waker.Wake()
		if !f.streams.Load() {
			l.s.spawn(func(ctx context.Context) { l.outwait(ctx, ls, f, call) })
		}
	}
	return nil
}

// outwait declines what was asked for a call whose answer does not begin to stream for a time: it cannot be parked, and a server
// that answers with one message waits for the answer to the question before.
func (l *httpLink) outwait(ctx context.Context, ls *session, f *flight, call int) {
	select {
	case <-time.After(earTime):
	case <-ctx.Done():
		return
	}
	var aside [][]byte
	ls.ear.mu.Lock()
	if ls.ear.flights[f] == call && !f.streams.Load() {
		aside, f.aside = f.aside, nil
	}
	ls.ear.mu.Unlock()
	for _, body := range aside {
		q := mcp.Raw{Body: body}
		if e := q.Scan(l.s.limits()); e == nil { // it was scanned before
			l.reply(ctx, ls, l.s.decline(&q, declined(mcp.CodeInvalidRequest, &q, "the answer to the call is no stream, on which it could go on")))
		}
	}
}

// overheard takes what was asked on the session's own stream; false when nothing was.
func (l *httpLink) overheard(ctx context.Context, f *flight, ls *session) bool {
	ls.ear.mu.Lock()
	aside := f.aside
	f.aside = nil
	woken := f.waker.Rest()
	ls.ear.mu.Unlock()
	for _, body := range aside {
		q := mcp.Raw{Body: body}
		if e := q.Scan(l.s.limits()); e == nil { // it was scanned before
			l.question(ctx, f, ls, &q)
		}
	}
	return woken
}
