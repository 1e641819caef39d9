package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream/h1"
)

const (
	maxIdleConns = 256
	maxConns     = 4096
	idleTimeout  = 90 * time.Second
	resumeMost   = 8 // reconnects to one interrupted stream
)

// httpLink reaches a server over Streamable HTTP.
type httpLink struct {
	s     *Server
	sites *sites
	bound *bound
	old   *sseLink // where the probe finds that the server speaks HTTP+SSE
	info  []byte   // clientInfo of the gateway
	pool  sync.Pool
	ears  atomic.Int32 // streams of sessions that are listened to
	deaf  atomic.Bool  // the server offers no such stream
	// sessional: some instance has sessions.
	sessional atomic.Bool

	sessions callers[session]
}

func newHTTP(s *Server) *httpLink {
	l := &httpLink{s: s, info: clientInfo(s.opts.Version)}
	l.sessions = callers[session]{s: s, what: "sessions", most: sessionsMost, end: l.endOld, places: map[sessionKey]*place[session]{}}
	l.pool.New = func() any { return &flight{events: mcp.NewEventReader(nil, l.maxBytes()), retry: time.Second} }
	l.bound = newBound(s.spec.Concurrency)
	l.sites = newSites(s, l.joins, l.alive)
	l.old = newStreams(s, l.sites)
	l.sites.begin(l.at)
	return l
}

// dialer makes the client of a url. It connects to addr, or else where the url says.
func dialer(s *Server, u *url.URL, addr string) *h1.Client {
	if addr == "" {
		addr = hostPort(u)
	}
	o := h1.Options{
		Addr: addr, MaxIdle: maxIdleConns, MaxConns: maxConns, IdleTimeout: idleTimeout,
		DialTimeout: func() time.Duration { return time.Duration(s.timeouts().Connect) }, MaxHeader: 64 << 10,
	}
	if u.Scheme == "https" {
		o.TLS = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	}
	return h1.New(o)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// head renders what every request to the server starts with, but for the method.
func head(u *url.URL, s *Server) []byte { return headFor(u.RequestURI(), u, s) }

func headFor(path string, u *url.URL, s *Server) []byte {
	b := []byte(" " + path + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUser-Agent: toolcrib/" + s.opts.Version + "\r\n")
	names := make([]string, 0, len(s.spec.Headers))
	for k := range s.spec.Headers {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		b = append(b, k+": "+s.spec.Headers[k]+"\r\n"...)
	}
	return b
}

func clientInfo(version string) []byte {
	b := mcp.AppendString([]byte(`{"name":"toolcrib","version":`), version)
	return append(b, '}')
}

func (l *httpLink) forget() {
	for _, m := range l.sites.all() {
		m.era.drop(m.era.peek())
	}
	l.deaf.Store(false)
}

func (l *httpLink) close() {
	l.endSessions()
	l.sites.close()
}

func (l *httpLink) doModern(ctx context.Context, m *site, c *Call, out *mcp.Raw) (err error) {
	f := l.take()
	defer l.put(f)
	f.m, f.works = m, true
	id := l.s.ids.Add(1)
	f.reset(id)
	c.attempted(m.url, mcp.VersionModern, id)
	defer func() { c.concluded(out, err) }()
	f.modern(c, l.info)
	f.post(m.start)
	f.whose(c.Who)
	f.head = c.attempt.AppendHeader(f.head)
	if err := f.modernHeaders(c); err != nil {
		return l.s.errorf(errs.Invalid, "cannot take the arguments: %w", err)
	}
	if err := l.send(ctx, f, c, out, nil); err != nil {
		return err
	}
	if out.Kind == mcp.KindError && modernRefusesUs(f, out) {
		out.Reset()
		return &wrongEra{l.s.errorf(errs.Protocol, "does not speak %s any more", mcp.VersionModern)}
	}
	return l.s.finish(c, out, true, "")
}

// modernRefusesUs tells an answer that only a server of another era gives to a well-formed modern request.
func modernRefusesUs(f *flight, out *mcp.Raw) bool {
	if out.ErrorCode == mcp.CodeUnsupportedVersion {
		return true
	}
	switch f.resp.Status() {
	case 400, 404, 405:
		switch out.ErrorCode {
		case mcp.CodeHeaderMismatch, mcp.CodeMissingCapability, mcp.CodeMethodNotFound, mcp.CodeInvalidParams, mcp.CodeParse, mcp.CodeInvalidRequest:
			return false
		}
		return !out.ID.Present() || string(out.ID.Of(out.Body)) == "null"
	}
	return false
}

// flight is the state of one HTTP exchange with a server; flights are pooled.
type flight struct {
	draft
	m       *site // where it goes
	works   bool  // it carries a call, by which the instance is judged
	head    []byte
	req     h1.Request
	resp    h1.Response
	events  *mcp.EventReader
	note    mcp.Raw
	lastID  string // of the last SSE event
	sent    bool   // the call was, so that only its answer may still be fetched
	heard   bool   // a message came since the stream was opened or resumed
	retry   time.Duration
	asking  asking
	heedful bool     // it hears of what is asked on the session's own stream
	aside   [][]byte // questions from there; guarded by the ear of the session
	streams atomic.Bool
	waker   h1.Waker
	gather  time.Time // until when further questions are waited for; zero when there is none
}

func (l *httpLink) take() *flight { return l.pool.Get().(*flight) }

func (l *httpLink) put(f *flight) {
	f.resp.Close()
	f.note.Reset()
	f.edits.Reset()
	clear(f.segs[:cap(f.segs)])
	f.req = h1.Request{}
	f.m, f.works = nil, false
	f.lastID, f.retry, f.sent = "", time.Second, false
	f.asking, f.gather = asking{}, time.Time{}
	l.pool.Put(f)
}

// post starts the head of a POST with a message.
func (f *flight) post(start []byte) {
	f.head = append(append(f.head[:0], "POST"...), start...)
	f.head = append(f.head, "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"...)
}

func (f *flight) header(name, value string) {
	f.head = append(append(append(append(f.head, name...), ": "...), value...), '\r', '\n')
}

// modernHeaders mirrors the body into headers (streamable-http "Request Metadata").
func (f *flight) modernHeaders(c *Call) error {
	f.head = append(f.head, "MCP-Protocol-Version: "+mcp.VersionModern+"\r\n"...)
	f.header("Mcp-Method", c.In.Method.String())
	if c.Name != nil {
		f.head = append(f.head, mcp.HeaderName+": "...)
		f.head = append(mcp.AppendHeader(f.head, c.Name), '\r', '\n')
	}
	if len(c.Params) > 0 {
		var err *mcp.Error
		if f.head, err = mcp.AppendParamHeaders(f.head, c.Params, c.In); err != nil {
			return err
		}
	}
	for k, vs := range c.Header {
		if len(k) > len(paramPrefix) && k[:len(paramPrefix)] == paramPrefix && len(vs) == 1 && !binds(c.Params, k) {
			f.header(k, vs[0])
		}
	}
	return nil
}

const paramPrefix = "Mcp-Param-"

// binds tells whether a header is made from an argument.
func binds(all []mcp.Param, header string) bool {
	return slices.ContainsFunc(all, func(p mcp.Param) bool { return strings.EqualFold(p.Header, header[len(paramPrefix):]) })
}
