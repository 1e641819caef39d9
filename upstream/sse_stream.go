package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
	"github.com/toolcrib/toolcrib/upstream/balance"
	"github.com/toolcrib/toolcrib/upstream/h1"
)

// sseStream is the conduit of one session: a GET that stays open, on which the server speaks, and POSTs to the endpoint that
// it named there.
type sseStream struct {
	l      *sseLink
	m      *site
	resp   h1.Response
	events *mcp.EventReader
	post   []byte          // what every POST starts with
	ctx    context.Context //nolint:containedctx // the life of the stream
	end    context.CancelCauseFunc
	over   chan struct{}
	once   sync.Once
}

var (
	streamWords   = &words{whole: "session", wire: "HTTP+SSE", message: "event"}
	errStopped    = errors.New("the gateway closed it")
	errServerLeft = errors.New("the server closed it")
)

// dial opens a stream and waits for its endpoint.
func (l *sseLink) dial(ctx context.Context, who Statement) (*sseStream, error) {
	var not []*site
	for {
		m, err := l.sites.pick(ctx, 0, not)
		if err != nil {
			return nil, err
		}
		if l.sites.several && m.client.Cold() {
			if m, not, err = l.sites.quickest(ctx, 0, m, not); err != nil {
				return nil, err
			}
		}
		st, err := l.dialAt(ctx, m, who)
		l.sites.release(m)
		if err == nil || !unsent(err) || ctx.Err() != nil {
			return st, err
		}
		if not = append(not, m); !l.sites.untried(not) {
			return nil, err
		}
	}
}

func (l *sseLink) dialAt(ctx context.Context, m *site, who Statement) (*sseStream, error) {
	st := &sseStream{l: l, m: m, over: make(chan struct{})}
	st.ctx, st.end = context.WithCancelCause(l.s.ctx)
	defer context.AfterFunc(ctx, func() { st.end(context.Cause(ctx)) })()
	q := h1.Request{Head: append(append([]byte("GET"), m.start...), "Accept: text/event-stream\r\n"...), Safe: true}
	if who != nil {
		q.Head = who.AppendHeader(q.Head)
	}
	if deadline, ok := ctx.Deadline(); ok {
		q.Timeout = time.Until(deadline)
	}
	err := m.client.Do(st.ctx, &q, &st.resp)
	if err != nil {
		err = &unreached{l.s.unreachable(err)}
	} else {
		err = st.greeted()
	}
	switch {
	case err == nil:
		l.sites.set.Judge(m, balance.Good, "")
	case ctx.Err() != nil:
		l.sites.set.Judge(m, balance.Neither, "")
	default:
		l.sites.set.Judge(m, balance.Bad, causeOf(err))
	}
	if err != nil {
		st.abandon()
		return nil, err
	}
	return st, nil
}

// abandon ends a stream that nobody reads.
func (st *sseStream) abandon() {
	st.end(errStopped)
	st.resp.Close()
	st.once.Do(func() { close(st.over) })
}

// greeted reads the answer to the GET up to the endpoint.
func (st *sseStream) greeted() error {
	s := st.l.s
	status, kind := st.resp.Status(), mediaType(st.resp.Header("Content-Type"))
	if err := s.refusal(status); err != nil {
		return err
	}
	if status != 200 || kind != "text/event-stream" {
		return s.errorf(errs.Protocol, "answers HTTP %d with content type %.60q instead of a stream; check that url is the address of its stream", status, kind)
	}
	st.events = mcp.NewEventReader(&st.resp, s.maxBytes())
	for {
		ev, err := st.events.Next()
		if err != nil {
			return s.errorf(errs.Protocol, "ends its stream before it named its endpoint: %w", err)
		}
		if ev.Name == "endpoint" {
			return st.use(string(ev.Data))
		}
	}
}

// use takes the endpoint to post to, which must be of the same origin: what is posted carries the configured headers.
func (st *sseStream) use(endpoint string) error {
	l := st.l
	base := st.m.url
	u, err := base.Parse(strings.TrimSpace(endpoint))
	if err != nil {
		return l.s.errorf(errs.Protocol, "names an endpoint that is no URL: %.200q", endpoint)
	}
	if u.Scheme != base.Scheme || !strings.EqualFold(hostPort(u), hostPort(base)) || u.User != nil {
		return l.s.errorf(errs.Protocol, "names an endpoint of another origin (%.200s), to which nothing is sent; only that of url is used", originOf(u))
	}
	st.post = append([]byte("POST"), head(&url.URL{Scheme: u.Scheme, Host: base.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}, l.s)...)
	st.post = append(st.post, "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"...)
	return nil
}

func originOf(u *url.URL) string { return u.Scheme + "://" + u.Host }

// Read implements conduit.
func (st *sseStream) Read(m *mcp.Buffer) error {
	for {
		ev, err := st.events.Next()
		switch {
		case errors.Is(err, mcp.ErrEventTooLarge):
			return &runner.LineTooLong{Max: st.l.s.maxBytes()}
		case err != nil:
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = errServerLeft
			}
			st.end(err) // does nothing when there was a reason before
			st.abandon()
			return io.EOF
		case len(ev.Data) == 0 || (ev.Name != "" && ev.Name != "message"):
			continue
		}
		m.B = append(m.B[:0], ev.Data...)
		return nil
	}
}

// Write implements conduit. A server that does not know the session any more ends it: nothing was carried out.
func (st *sseStream) Write(ctx context.Context, segments [][]byte, who Statement, limit time.Duration) error {
	if st.ctx.Err() != nil {
		return errGone
	}
	l := st.l
	resp := l.posts.Get().(*h1.Response)
	defer func() {
		resp.Close()
		l.posts.Put(resp)
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(st.ctx, cancel)()
	head := st.post
	if who != nil {
		head = who.AppendHeader(slices.Clip(head))
	}
	err := st.m.client.Do(ctx, &h1.Request{Head: head, Body: segments, Timeout: limit}, resp)
	if err != nil && st.ctx.Err() != nil {
		return fmt.Errorf("the session ended (%s); it may have been carried out", st.fate())
	}
	if err != nil {
		return err
	}
	drain(resp)
	switch status := resp.Status(); {
	case status >= 200 && status < 300:
		return nil
	case status == 404 || status == 410:
		st.end(fmt.Errorf("the server does not know the session any more (HTTP %d)", status))
		return fmt.Errorf("%w: HTTP %d", errGone, status)
	default:
		if err := l.s.refusal(status); err != nil {
			return err
		}
		return fmt.Errorf("HTTP %d", status)
	}
}

// drain reads the little that follows a head, so that the connection can be used again.
func drain(resp *h1.Response) {
	var rest [512]byte
	resp.SetTimeout(drainTime)
	for range 8 {
		if _, err := resp.Read(rest[:]); err != nil {
			return
		}
	}
}

// Stop implements conduit.
func (st *sseStream) Stop(ctx context.Context) error {
	st.end(errStopped)
	select {
	case <-st.over:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Done implements conduit.
func (st *sseStream) Done() <-chan struct{} { return st.over }

// Err implements conduit.
func (st *sseStream) Err() error { return context.Cause(st.ctx) }

func (st *sseStream) words() *words { return streamWords }

// Fault implements conduit.
func (st *sseStream) Fault(line []byte) string { return clip(line) }

func (st *sseStream) fate() string {
	if err := st.Err(); err != nil {
		return err.Error()
	}
	return "unknown"
}
