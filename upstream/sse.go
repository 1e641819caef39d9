package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream/h1"
)

// streamsMost bounds the streams towards one server.
const streamsMost = 2000

// sseLink reaches a server over HTTP+SSE (2024-11-05). Each caller has a session, which is a stream of its own; that of the
// gateway itself stays open, and its end shows that the server broke.
type sseLink struct {
	s     *Server
	sites *sites
	info  []byte
	back  backoff
	posts sync.Pool

	streams callers[instance]
}

func newSSE(s *Server) *sseLink {
	t := newSites(s, connects, connects)
	l := newStreams(s, t)
	t.begin(func(*site) bool { return false })
	return l
}

func newStreams(s *Server, t *sites) *sseLink {
	l := &sseLink{s: s, sites: t, info: clientInfo(s.opts.Version)}
	l.streams = callers[instance]{
		s: s, what: "streams", most: streamsMost, kept: &ownStream, places: map[sessionKey]*place[instance]{},
		busy: (*instance).busyAtAll, end: l.endOld,
	}
	l.posts.New = func() any { return new(h1.Response) }
	return l
}

// forget does nothing: a stream that ended is dropped by the one who watches it.
func (l *sseLink) forget() {}

// ownStream is that of the gateway itself.
var ownStream = sessionKey{can: AllAbilities}

func (l *sseLink) ready(ctx context.Context) (*Peer, error) {
	in, _, err := l.open(ctx, ownStream, l.s.opts.Own)
	if err != nil {
		return nil, err
	}
	return in.peer, nil
}

// close ends what the client does; those who watch the streams stop them when the server's life ends.
func (l *sseLink) close() { l.sites.close() }

func (l *sseLink) do(ctx context.Context, c *Call, out *mcp.Raw) error {
	key := sessionKey{c.Session, c.abilities()}
	err := l.attempt(ctx, key, c, out)
	if errors.Is(err, errGone) {
		err = l.attempt(ctx, key, c, out) // nothing was sent; there is a new stream, or a reason why there is none
	}
	return err
}

func (l *sseLink) attempt(ctx context.Context, key sessionKey, c *Call, out *mcp.Raw) error {
	in, at, err := l.open(ctx, key, c.Who)
	if err != nil {
		return err
	}
	at.busy.Add(1)
	defer at.release()
	if c.Client.LogLevel != "" {
		if err := in.setLevel(ctx, c.Client.LogLevel); err != nil {
			return err
		}
	}
	in.use(c.Who)
	err = in.call(ctx, false, c, out)
	if errors.Is(err, errGone) {
		at.drop(in)
	}
	return err
}

// open returns the stream of a caller, which is opened when there is none.
func (l *sseLink) open(ctx context.Context, key sessionKey, who Statement) (*instance, *place[instance], error) {
	at, err := l.streams.place(key)
	if err != nil {
		return nil, nil, err
	}
	in, err := at.get(ctx, l.s, func(ctx context.Context) (*instance, error) {
		if err := l.back.pause(ctx, l.s, "is connected to again"); err != nil {
			return nil, err
		}
		in, err := l.connect(ctx, key, at, who)
		if err != nil {
			l.back.failed(err)
		}
		return in, err
	})
	return in, at, err
}

// endOld ends streams that are kept no more.
func (l *sseLink) endOld(old []*instance) {
	for _, in := range old {
		l.s.spawn(func(context.Context) { in.stop() })
	}
}

// depart ends the streams of a caller that has gone.
func (l *sseLink) depart(caller string) { l.streams.depart(caller) }

// busyAtAll tells whether a call is in flight, parked ones included.
func (in *instance) busyAtAll() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.pending) > 0
}

// connect opens a stream and the session in it.
func (l *sseLink) connect(ctx context.Context, key sessionKey, at *place[instance], who Statement) (*instance, error) {
	limit := time.Duration(l.s.timeouts().Start)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p, err := l.dial(ctx, who)
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = l.s.errorf(errs.Timeout, "names no endpoint on its stream within %s; raise timeouts.start, or check that url is the address of its stream", limit)
		}
		return nil, err
	}
	in := newInstance(l.s, p, l.info, key.can)
	in.use(who)
	in.drop, in.aside = func() { at.drop(in) }, key != ownStream
	if !in.run() {
		p.abandon()
		return nil, l.s.closedError()
	}
	if in.peer, err = in.handshake(ctx, true); err != nil {
		if ctx.Err() != nil && l.s.ctx.Err() == nil {
			err = l.s.errorf(errs.Timeout, "does not answer initialize within %s%s; raise timeouts.start if it needs longer", limit, in.complaint())
		}
		in.stop()
		return nil, err
	}
	in.peer.stream = true
	up := time.Now()
	if !l.s.spawn(func(ctx context.Context) { l.watch(ctx, key, in, up) }) {
		in.stop()
		return nil, l.s.closedError()
	}
	return in, nil
}

// watch waits for the end of a stream. That of the gateway's own has the server looked after anew.
func (l *sseLink) watch(ctx context.Context, key sessionKey, in *instance, up time.Time) {
	select {
	case <-in.gone:
	case <-ctx.Done():
		in.stop()
		<-in.gone
	}
	if ctx.Err() != nil || key != ownStream {
		return
	}
	err := l.s.errorf(errs.Unavailable, "ended its stream: %s", in.p.fate())
	if time.Since(up) >= settled {
		l.back.over()
	}
	l.back.failed(err)
	l.s.fail(err)
}

// attend watches the server by what it says on the gateway's own stream.
func (l *sseLink) attend(ctx context.Context, _ *Peer, w *watcher) error {
	in, _, err := l.open(ctx, ownStream, l.s.opts.Own)
	if err != nil {
		return err
	}
	return in.attend(ctx, w)
}
