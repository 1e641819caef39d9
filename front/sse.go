package front

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
)

// streamCalls is how many requests of one stream may be under way.
const streamCalls = 64

// stream is what a client of 2024-11-05 holds open: its session lives in it and ends with it, and all that the client is told
// comes on it. What it posts goes to the replica that has the stream.
type stream struct {
	h                   *Handler
	out                 *sink
	handle              streamHandle
	path, token         string           // of the endpoint, without its door; and what may be posted with
	request             identity.Request // the GET: its credential serves for what is posted, as long as it is valid
	principal, endpoint string           // who may post, and where
	who                 *identity.Principal
	ttl                 time.Duration

	ctx context.Context //nolint:containedctx // the life of the stream and of all that runs for it
	end context.CancelCauseFunc
	// leave ends that its caller is looked after.
	leave func()

	mu      sync.Mutex
	over    bool
	leaving chan struct{} // closed once nothing runs; nil as long as the stream may stay
	session *session      // nil before initialize
	calls   map[*streamCall]struct{}
	running sync.WaitGroup

	watching sync.WaitGroup // the one who tells the client of changes
}

var (
	errStreamGone = errs.E("front", errs.SessionNotFound, "stream is unknown, has ended, or is of another caller or endpoint; open another with GET")
	errStreamOver = errs.E("front", errs.Canceled, "the client's stream has ended")
	errTakenBack  = errs.E("front", errs.Canceled, "the client cancelled the request")
)

// openStream takes in a GET at doorStream; serve is to be called then.
func (v *visit) openStream(r *http.Request) (*stream, error) {
	v.x.Operation = "session/open"
	if err := acceptsEvents(r.Header); err != nil {
		return nil, err
	}
	c := v.x.Plan().Config
	st := &stream{
		h: v.h, out: &v.sink, request: v.x.Request, path: streamPath(r.URL, c.PublicURL),
		principal: v.x.Principal.Key(), who: v.x.Principal, endpoint: v.x.Endpoint, ttl: time.Duration(c.Sessions.TTL), calls: map[*streamCall]struct{}{},
	}
	if err := v.h.open.enter(st.principal, c.Streams); err != nil {
		return nil, err
	}
	if err := v.record(http.StatusOK, 0, nil); err != nil {
		v.h.open.leave(st.principal)
		return nil, err
	}
	rand.Read(st.handle[:])
	st.token = v.sealStream(st.handle, st.ttl)
	st.ctx, st.end = context.WithCancelCause(r.Context())
	st.leave = v.h.o.Gateway.Last(&v.x, st.end)
	v.h.streams.add(st)
	return st, nil
}

// streamPath is the path of a stream's endpoint as its clients know it: a proxy may have taken that of publicURL off.
func streamPath(asked *url.URL, public string) string {
	path := strings.TrimSuffix(strings.TrimSuffix(asked.EscapedPath(), "/"), "/sse")
	if u, err := url.Parse(public); err == nil {
		path = strings.TrimSuffix(u.EscapedPath(), "/") + path
	}
	return path
}

func acceptsEvents(h http.Header) error {
	accept := h["Accept"]
	all := strings.ToLower(strings.Join(accept, ","))
	if len(accept) == 0 || strings.Contains(all, "text/event-stream") || strings.Contains(all, "text/*") || strings.Contains(all, "*/*") {
		return nil
	}
	return errs.E("front", errs.NotAcceptable, "Accept %.120q lacks text/event-stream, which is all that is answered here", all)
}

// serve holds the stream open until the client leaves, its time is over, or the gateway drains. Nobody can get the answers to
// what still runs then, so it is cancelled.
func (st *stream) serve() {
	defer st.h.open.leave(st.principal)
	defer st.leave()
	st.out.raw([]byte("event: endpoint\ndata: " + st.path + "/message?s=" + st.token + "\n\n"))
	timer := time.NewTimer(st.ttl)
	defer timer.Stop()
	select {
	case <-st.ctx.Done():
		st.recordEnd()
	case <-timer.C:
	case <-st.h.draining:
		select {
		case <-st.finished():
		case <-st.ctx.Done():
			st.recordEnd()
		}
	}
	st.h.streams.remove(st.handle)
	st.shut()
	st.end(errStreamOver)
	st.running.Wait()
	st.watching.Wait()
	if st.session != nil {
		st.h.ended(st.session, "stream")
		st.h.sessions.forget(st.session.id)
		st.h.o.Gateway.Leave(st.session.own, st.session.key)
	}
}

// recordEnd puts on record that the stream was ended because its client may not have it any more.
func (st *stream) recordEnd() {
	if e, ok := errors.AsType[*errs.Error](context.Cause(st.ctx)); ok {
		st.h.o.Gateway.RecordEnd(st.who, st.request.Remote, st.request.Path, e)
	}
}

// finished is closed once nothing runs on the stream, which takes no further requests then. What runs may finish, and its questions be
// answered; until then the client can ask for more, as it cannot move.
func (st *stream) finished() <-chan struct{} {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.leaving = make(chan struct{})
	st.leaveIdle()
	return st.leaving
}

// leaveIdle ends a stream that is to end, once nothing runs on it. The caller holds the lock.
func (st *stream) leaveIdle() {
	if st.leaving != nil && !st.over && len(st.calls) == 0 {
		st.over = true
		close(st.leaving)
	}
}

// shut has the stream take no further requests.
func (st *stream) shut() {
	st.mu.Lock()
	st.over = true
	st.mu.Unlock()
}

// take serves what the client posted. Requests go on after it returns; their answers come on the stream.
func (st *stream) take(ctx context.Context, body []byte) error {
	v := &visit{h: st.h, life: st.ctx}
	buf := mcp.GetBuffer(len(body))
	buf.B = append(buf.B, body...)
	v.x.In.Own(buf)
	in, c := &v.x.In, st.h.o.Gateway.Plan().Config
	if e := in.Scan(mcp.Limits{Bytes: int(c.Messages.MaxBytes), Depth: c.Messages.MaxDepth}); e != nil {
		in.Free()
		return scanError(e)
	}
	if in.Kind != mcp.KindRequest && in.Kind != mcp.KindBatch {
		if in.Method == mcp.MethodCancelled {
			st.cancel(string(in.Get(mcp.KeyRequestID).Of(in.Body)))
		}
		return st.exchange(ctx, v, &streamCall{st: st, ctx: st.ctx})
	}
	call, err := st.begin(string(in.ID.Of(in.Body)))
	if err != nil {
		in.Free()
		return err
	}
	v.life = call.ctx
	go func() {
		defer st.done(call)
		defer st.h.contain()
		_ = st.exchange(call.ctx, v, call) // the client was told
	}()
	return nil
}

// exchange serves one message as an exchange of its own, by the plan and the keys of now.
func (st *stream) exchange(ctx context.Context, v *visit, w *streamCall) error {
	v.x.Header, v.x.Request, v.x.Endpoint, v.x.HTTPMethod = st.request.Header, st.request, st.endpoint, http.MethodPost
	v.sink.every, v.sink.silent = st.h.keepAlive(), true // the stream as a whole is kept alive
	v.sink.open(w)
	defer v.sink.close()
	v.sink.streaming = true
	err := st.walk(ctx, v)
	if err != nil && (v.x.In.Kind == mcp.KindRequest || v.x.In.Kind == mcp.KindBatch) {
		v.refuse(err)
	}
	st.h.o.Gateway.Finish(&v.x, err)
	v.x.Reset()
	return err
}

// walk admits and serves a message.
func (st *stream) walk(ctx context.Context, v *visit) (err error) {
	defer st.h.survive(&err)
	err = st.h.o.Gateway.Admit(ctx, &v.x)
	switch {
	case err == nil && v.x.Principal.Key() == st.principal:
		return st.message(ctx, v)
	case err == nil:
		err = errStreamGone
		fallthrough
	case errs.Of(err).Kind == errs.Unauthenticated:
		st.end(err) // the credential that the stream was opened with is not good any more
	}
	return err
}

// message serves a message within the session, which initialize opens.
func (st *stream) message(ctx context.Context, v *visit) error {
	in := &v.x.In
	if in.Method == mcp.MethodInitialize {
		return st.initialize(ctx, v)
	}
	st.mu.Lock()
	s := st.session
	st.mu.Unlock()
	switch {
	case s != nil:
		return v.inSession(ctx, s)
	case in.Kind == mcp.KindNotification:
		return nil
	case in.Kind == mcp.KindRequest && in.Method == mcp.MethodPing:
		return v.local(emptyObject)
	}
	return errs.E("front", errs.BadRequest, "the stream has no session yet; initialize comes first")
}

// initialize begins the session of the stream. Whoever asks for a version that nobody knows most likely knows the one that
// this transport is of.
func (st *stream) initialize(ctx context.Context, v *visit) error {
	version, err := v.negotiate(mcp.Version20241105)
	if err != nil {
		return err
	}
	s := v.newSession(version)
	s.local = true
	st.mu.Lock()
	taken := st.session != nil
	if !taken {
		st.session = s
	}
	st.mu.Unlock()
	if taken {
		return errs.E("front", errs.BadRequest, "initialize inside a session; open another stream for another session")
	}
	err = v.describe(ctx, version)
	if err == nil {
		err = v.record(http.StatusOK, v.x.Out.Len(), nil)
	}
	if err != nil {
		st.mu.Lock()
		st.session = nil
		st.mu.Unlock()
		st.h.o.Gateway.Leave(s.own, s.key)
		return err
	}
	st.listen(v, s)
	v.sink.answer(&v.x.Out, http.StatusOK)
	return nil
}

// listen has the client told of changes on its stream. Its session does not wait for servers that are not watched yet.
func (st *stream) listen(v *visit, s *session) {
	impatient, cancel := context.WithCancel(st.ctx)
	cancel()
	w, err := st.h.o.Gateway.WatchSession(impatient, &v.x)
	if err != nil {
		st.h.o.Log.Warn("a client is not told of changes", "endpoint", st.endpoint, "error", err)
		return
	}
	st.watching.Go(func() {
		defer w.Close()
		st.h.attend(st.ctx, s, w, st.out)
	})
}

// streamCall is a message of a stream while it is served, and the writer of its events.
type streamCall struct {
	st  *stream
	id  string          // raw; empty when nothing can cancel it
	ctx context.Context //nolint:containedctx // its own life
	end context.CancelCauseFunc
}

func (st *stream) begin(id string) (*streamCall, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.over:
		return nil, errs.E("front", errs.Draining, "the stream is ending; open another with GET")
	case len(st.calls) >= streamCalls:
		return nil, errs.E("front", errs.Overloaded, "%d requests of this stream are under way, which is the most; wait for answers", streamCalls)
	}
	c := &streamCall{st: st, id: id}
	c.ctx, c.end = context.WithCancelCause(st.ctx)
	st.calls[c] = struct{}{}
	st.running.Add(1)
	return c, nil
}

func (st *stream) done(c *streamCall) {
	c.end(nil)
	st.mu.Lock()
	delete(st.calls, c)
	st.leaveIdle()
	st.mu.Unlock()
	st.running.Done()
}

// cancel ends a request that may not have been taken up yet.
func (st *stream) cancel(id string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for c := range st.calls {
		if c.id == id && id != "" {
			c.end(errTakenBack)
		}
	}
}

// Header implements http.ResponseWriter; a message of a stream has none.
func (c *streamCall) Header() http.Header { return http.Header{} }

// WriteHeader implements http.ResponseWriter.
func (c *streamCall) WriteHeader(int) {}

// Write puts one whole event on the stream. To a request that was cancelled no answer is due (basic/utilities/cancellation).
func (c *streamCall) Write(event []byte) (int, error) {
	if !errors.Is(context.Cause(c.ctx), errTakenBack) {
		c.st.out.raw(event)
	}
	return len(event), nil
}
