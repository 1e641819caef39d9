package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// discoverTime is how long an HTTP server has for server/discover before initialize is tried.
const discoverTime = 10 * time.Second

var discoverBody = []byte(`{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{}}`)

// probe finds the era of an instance: server/discover first, initialize when that shows no modern server
// and the stream of HTTP+SSE when neither is taken (basic/versioning, and streamable-http "Backward Compatibility").
func (l *httpLink) probe(ctx context.Context, m *site) (*Peer, error) {
	limit := time.Duration(l.s.timeouts().Start)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p, err := l.discover(ctx, m)
	if p != nil {
		return p, nil
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, l.silent(limit)
	}
	if err != nil {
		return nil, err
	}
	at, err := l.sessions.place(sessionKey{can: AllAbilities})
	if err != nil {
		return nil, err
	}
	if old := at.peek(); old != nil && old.m == m { // a probe follows a failure: what the server said before may not hold any more
		at.drop(old)
		l.end(ctx, old)
	}
	ls, err := l.open(ctx, at, m, AllAbilities, l.s.opts.Own)
	if err == nil && ls.m != m {
		if ls, err = l.initialize(ctx, m, AllAbilities, l.s.opts.Own); err == nil {
			l.end(ctx, ls)
		}
	}
	var w *wrongEra
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, l.silent(limit)
	case errors.As(err, &w):
		return l.oldest(ctx, err)
	case err != nil:
		return nil, err
	}
	l.sessional.Store(true)
	return ls.peer, nil
}

// oldest asks a server that takes no POST at its url for the stream of HTTP+SSE; otherwise is the error when it has none.
func (l *httpLink) oldest(ctx context.Context, otherwise error) (*Peer, error) {
	ctx, cancel := context.WithTimeout(ctx, discoverTime)
	defer cancel()
	p, err := l.old.ready(ctx)
	if err != nil {
		l.s.log.Debug("the server does not speak HTTP+SSE either", "error", err)
		return nil, otherwise
	}
	return p, nil
}

func (l *httpLink) silent(limit time.Duration) error {
	return l.s.errorf(errs.Timeout, "answers neither server/discover nor initialize within %s; raise timeouts.start", limit)
}

// discover asks an HTTP server whether it is modern; no peer and no error mean that it is not.
func (l *httpLink) discover(ctx context.Context, m *site) (*Peer, error) {
	short, cancel := context.WithTimeout(ctx, discoverTime)
	defer cancel()
	var out mcp.Raw
	defer out.Free()
	err := l.own(short, m, nil, discoverBody, &out)
	if err == nil {
		return modernPeer(&out), nil
	}
	var w *wrongEra
	if errors.As(err, &w) || errs.Of(err).Kind == errs.Protocol || (short.Err() != nil && ctx.Err() == nil) {
		return nil, nil //nolint:nilnil // not modern is an answer
	}
	return nil, err
}

// modernPeer reads an answer to server/discover; nil when it is not that of a server that speaks our modern version.
// A successful answer may list legacy versions only, and an error may show a modern server.
func modernPeer(out *mcp.Raw) *Peer {
	if out.Kind == mcp.KindError {
		switch out.ErrorCode {
		case mcp.CodeHeaderMismatch, mcp.CodeMissingCapability:
			return &Peer{Modern: true, Version: mcp.VersionModern}
		}
		return nil
	}
	if !lists(out.Body, out.Get(mcp.KeySupportedVersions), mcp.VersionModern) {
		return nil
	}
	return &Peer{
		Modern: true, Version: mcp.VersionModern,
		Capabilities: clone(out.Get(mcp.KeyCapabilities).Of(out.Body)),
		Info:         clone(out.GetMeta(mcp.MetaServerInfo).Of(out.Body)),
		Instructions: clone(out.Get(mcp.KeyInstructions).Of(out.Body)),
	}
}

func lists(body []byte, array mcp.Span, version string) bool {
	found := false
	if array.Present() && body[array.Start] == '[' {
		mcp.Elements(body, array, func(e mcp.Span) bool {
			text, ok := mcp.Text(body, e, nil)
			found = ok && string(text) == version
			return !found
		})
	}
	return found
}

func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

// initializeBody asks for the newest legacy version and declares what clients can be asked.
func initializeBody(info []byte, can Abilities) []byte {
	return wrap(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"`+mcp.LatestLegacy+
		`","capabilities":`+string(can.Capabilities())+`,"clientInfo":`, info, `}}`)
}

var initializedBody = []byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)

// initialize opens a legacy session in which clients of these abilities can be asked.
func (l *httpLink) initialize(ctx context.Context, m *site, can Abilities, who Statement) (*session, error) {
	limit := time.Duration(l.s.timeouts().Start)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out mcp.Raw
	defer out.Free()
	c, err := ownCall(initializeBody(l.info, can))
	if err != nil {
		return nil, err
	}
	c.Who = who
	f := l.take()
	defer l.put(f)
	f.reset(l.s.ids.Add(1))
	f.legacy(c)
	f.m = m
	f.post(m.start)
	f.whose(who)
	opening := newSession(m, "", &Peer{})
	if err := l.send(ctx, f, c, &out, opening); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = l.s.errorf(errs.Timeout, "did not answer initialize within %s; raise timeouts.start", limit)
		}
		return nil, err
	}
	p, err := l.s.legacyPeer(&out)
	if err != nil && noPOST(f.resp.Status()) {
		return nil, &wrongEra{err}
	}
	if err != nil {
		return nil, err
	}
	id := f.resp.Header("Mcp-Session-Id")
	if !visibleASCII(id) {
		return nil, l.s.errorf(errs.Protocol, "mints a session id with characters that no header may carry")
	}
	ls := newSession(m, id, p)
	ls.use(who)
	if err := l.tell(ctx, ls, initializedBody); err != nil {
		return nil, l.s.errorf(errs.Unavailable, "does not take notifications/initialized: %w", err)
	}
	return ls, nil
}

func visibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// legacyPeer reads an InitializeResult.
func (s *Server) legacyPeer(out *mcp.Raw) (*Peer, error) {
	if out.Kind == mcp.KindError {
		return nil, s.errorf(errs.Protocol, "is neither modern nor accepts initialize: %.200s (%d)", out.Get(mcp.KeyMessage).Of(out.Body), out.ErrorCode)
	}
	v, ok := mcp.Text(out.Body, out.Get(mcp.KeyProtocolVersion), nil)
	if !ok || !mcp.Known(string(v)) || mcp.IsModern(string(v)) {
		return nil, s.errorf(errs.Protocol, "offers protocol version %.40q, which this gateway does not speak", v)
	}
	return &Peer{
		Version:      string(v),
		Capabilities: clone(out.Get(mcp.KeyCapabilities).Of(out.Body)),
		Info:         clone(out.Get(mcp.KeyServerInfo).Of(out.Body)),
		Instructions: clone(out.Get(mcp.KeyInstructions).Of(out.Body)),
	}, nil
}
