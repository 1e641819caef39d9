package control

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/store"
)

// Prefix is where the management interface is on the gateway's listener.
const Prefix = "/api/v1/"

// The actions that policies permit, and what stands for none.
const (
	KeysRead         = "keys:read"
	KeysWrite        = "keys:write"
	AuditRead        = "audit:read"
	PolicyRead       = "policy:read"
	ServersRead      = "servers:read"
	ServersWrite     = "servers:write"
	CacheRead        = "cache:read"
	CacheWrite       = "cache:write"
	LimitsRead       = "limits:read"
	DefinitionsRead  = "definitions:read"
	DefinitionsWrite = "definitions:write"
	LogRead          = "log:read"
	LogWrite         = "log:write"
	ProfilesRead     = "profiles:read"
	// TimingsRead is for callers at MCP endpoints who want to know where the time of their requests goes.
	TimingsRead = "timings:read"
	// Self is what everybody may do who has shown who they are.
	Self = "self"

	everything = "*"
)

// Actions are all that policies permit.
func Actions() []string {
	return []string{
		AuditRead, CacheRead, CacheWrite, DefinitionsRead, DefinitionsWrite, KeysRead, KeysWrite, LimitsRead, LogRead, LogWrite, PolicyRead, ProfilesRead,
		ServersRead, ServersWrite, TimingsRead,
	}
}

// Gate says who calls.
type Gate interface {
	Identify(ctx context.Context, r *identity.Request) (*identity.Principal, error)
	Challenge(err error, r *identity.Request) []string
	// Current is the principal as it is now, as for whatever stays open.
	Current(p *identity.Principal) (*identity.Principal, error)
}

// Options are what the management interface needs.
type Options struct {
	// Gate and Policies are those of the configuration that counts now.
	Gate     func() Gate
	Policies func() *policy.Set
	// Knock counts a request before its caller is identified; where it is let in, leave ends it. nil lets all in.
	Knock func(ctx context.Context, r *identity.Request) (leave func(), err error)
	// Config is that configuration; nil in a gateway that has none.
	Config func() *v1.Config
	// Store has the keys. Changed is called when they changed.
	Store   store.Store
	Changed func(context.Context)
	Audit   *audit.Log
	Log     *slog.Logger
	Subject Subject
	// Servers tells what there is to know of each server that shown is true for, Drift of its definitions.
	Servers func(shown func(server string) bool) any
	// Limits tells what is used of limits of a tenant, which has the servers that shown is true for, or of all where shown is nil.
	Limits func(tenant string, shown func(server string) bool) any
	// LogLevels tells what is logged, SetLogLevel changes it: of all components where none is named, to that of the configuration
	// where level is empty, for good where lasting is 0.
	LogLevels   func() []LogLevel
	SetLogLevel func(component, level string, lasting time.Duration) error
	// Explain, Search, Drift, Approve, Cache and Purge are served as far as they are there; the last two for servers that shown is
	// true for.
	Explain func(ctx context.Context, question *policy.Question) (any, error)
	Search  func(ctx context.Context, q AuditQuery) (iter.Seq2[json.RawMessage, error], error)
	Drift   func(ctx context.Context, shown func(server string) bool) (any, error)
	Approve func(ctx context.Context, what Approval) error
	Cache   func(shown func(server string) bool) any
	Purge   func(ctx context.Context, what Purge, shown func(server string) bool) (Purged, error)
	// Now is the clock; time.Now when it is nil.
	Now func() time.Time
}

// Route is one thing that can be asked of the management interface.
type Route struct {
	Method, Path string
	// Action is what a policy must permit for it, or Self.
	Action string
	// Operation is what records call it.
	Operation string

	serve func(*asked) (any, error)
}

// Routes are all there are: whatever is not here is not served.
func Routes() []Route { return new(API).routes() }

func (a *API) routes() []Route {
	return []Route{
		{"GET", "whoami", Self, "whoami", a.whoami},
		{"GET", "keys", KeysRead, "keys.list", a.listKeys},
		{"POST", "keys", KeysWrite, "keys.create", a.createKey},
		{"GET", "keys/{id}", KeysRead, "keys.get", a.getKey},
		{"DELETE", "keys/{id}", KeysWrite, "keys.revoke", a.revokeKey},
		{"POST", "keys/{id}/rotate", KeysWrite, "keys.rotate", a.rotateKey},
		{"POST", "explain", PolicyRead, "policy.explain", a.explain},
		{"GET", "servers", ServersRead, "servers.list", a.servers},
		{"GET", "instances", ServersRead, "instances.list", a.instances},
		{"GET", "servers/{name}/logs", ServersWrite, "servers.logs", a.lines}, // they may tell what other callers sent
		{"GET", "audit", AuditRead, "audit.search", a.search},
		{"GET", "drift", DefinitionsRead, "definitions.drift", a.drift},
		{"GET", "limits", LimitsRead, "limits.show", a.limits},
		{"GET", "log", LogRead, "log.show", a.logLevels},
		{"POST", "log", LogWrite, "log.set", a.setLogLevel},
		{"GET", "profiles/{name}", ProfilesRead, "profiles.take", a.profile},
		{"GET", "cache", CacheRead, "cache.show", a.cached},
		{"POST", "cache/purge", CacheWrite, "cache.purge", a.purge},
		{"POST", "approve", DefinitionsWrite, "definitions.approve", a.approve},
	}
}

// API is the management interface. It serves what is under Prefix.
type API struct {
	o       Options
	mux     *http.ServeMux
	streams chan struct{} // has one for each that follows lines
	looks   chan struct{} // has one for each search of the audit log
	// profiling has one while a profile is taken that takes time.
	profiling chan struct{}
	ending    chan struct{} // closed by Drain
	drain     sync.Once
}

// NewAPI makes the management interface.
func NewAPI(o Options) *API {
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &API{
		o: o, mux: http.NewServeMux(), profiling: make(chan struct{}, 1),
		streams: make(chan struct{}, streamsMost), looks: make(chan struct{}, searchesMost), ending: make(chan struct{}),
	}
	for _, r := range a.routes() {
		a.mux.Handle(r.Method+" "+Prefix+r.Path, &endpoint{a, r})
	}
	return a
}

// Drain ends what is followed, so that nothing waits for its reader.
func (a *API) Drain() { a.drain.Do(func() { close(a.ending) }) }

// endpoint is a route that is served.
type endpoint struct {
	api   *API
	route Route
}

// asked is a request of somebody who may ask it.
type asked struct {
	*http.Request
	w    http.ResponseWriter
	who  *identity.Principal
	what Route
	view *policy.View
	at   time.Time
	from netip.Addr
	// target and about are what it is about, for the record.
	target string
	about  []audit.Fact
}

// streamed is the answer of a handler that has written it, or its beginning.
type streamed struct{}

// begun is an answer whose status is sent. What goes wrong later is its last line.
type begun struct{ http.ResponseWriter }

func (begun) WriteHeader(int) {}

const (
	bodyMost = 64 << 10
	bodyTime = 10 * time.Second
)

// ServeHTTP identifies the caller before all else: who has no credential learns nothing, also not which paths there are.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	began := a.o.Now()
	handler, pattern := a.mux.Handler(r)
	e, found := handler.(*endpoint)
	rec := &audit.Record{
		Kind: audit.Management, Time: began, HTTPMethod: r.Method, Endpoint: r.URL.Path, Operation: "unknown", BytesIn: int(max(0, r.ContentLength)),
	}
	if found {
		rec.Operation = e.route.Operation
	}
	told := &told{ResponseWriter: w}
	defer a.survive(told, rec)
	w = told
	leave, err := a.knock(r, rec)
	if err != nil {
		a.refuse(w, rec, err)
		return
	}
	defer leave()
	who, err := a.identify(w, r, rec)
	switch {
	case err != nil:
		a.refuse(w, rec, err)
	case !found:
		a.refuse(w, rec, a.unknown(w, r, handler, pattern))
	default:
		a.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, &caller{who, rec})))
	}
}

// callerKey is of the caller in the context of a request, on its short way through the mux.
// told is an answer of which it is known whether it has begun.
type told struct {
	http.ResponseWriter
	begun bool
}

// Unwrap implements what http.ResponseController goes by.
func (t *told) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *told) WriteHeader(status int) {
	t.begun = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *told) Write(b []byte) (int, error) {
	t.begun = true
	return t.ResponseWriter.Write(b)
}

// FlushError implements what http.ResponseController goes by.
func (t *told) FlushError() error {
	t.begun = true
	return http.NewResponseController(t.ResponseWriter).Flush()
}

// survive is deferred by what answers: its panic becomes an error, which is answered and put on record as any other. An answer that
// has begun is cut off, so that nobody takes it for whole.
func (a *API) survive(w *told, rec *audit.Record) {
	p := recover()
	if p == nil {
		return
	}
	a.o.Log.Error("panic while management was served", "operation", rec.Operation, "panic", p, "stack", string(debug.Stack()))
	err := problem(http.StatusInternalServerError, "the gateway failed while it served the request").do("its log tells why; report it")
	if w.begun {
		a.refuse(&probe{header: http.Header{}}, rec, err)
		panic(http.ErrAbortHandler)
	}
	a.refuse(w, rec, err)
}

type callerKey struct{}

type caller struct {
	who *identity.Principal
	rec *audit.Record
}

// ServeHTTP decides, and serves.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ok := r.Context().Value(callerKey{}).(*caller)
	if !ok {
		http.Error(w, "nobody was identified", http.StatusUnauthorized)
		return
	}
	a, rec := e.api, c.rec
	q := &asked{Request: r, w: w, who: c.who, what: e.route, view: a.o.Policies().View(c.who), at: rec.Time, from: rec.Address.Addr()}
	if err := a.permitted(q, e.route.Action, rec); err != nil {
		a.refuse(w, rec, err)
		return
	}
	if err := a.o.Audit.Admit(r.Context()); err != nil {
		a.refuse(w, rec, err)
		return
	}
	answer, err := e.route.serve(q)
	rec.TargetName, rec.Facts = q.target, q.about
	if q.target != "" {
		rec.Target = audit.Other
		if strings.HasPrefix(e.route.Operation, "keys.") {
			rec.Target = audit.ManagedKey
		}
	}
	if err != nil {
		if _, late := answer.(streamed); late {
			w = begun{w}
		}
		a.refuse(w, rec, err)
		return
	}
	a.answer(w, rec, answer)
}

// knock lets a request in, or tells why not.
func (a *API) knock(r *http.Request, rec *audit.Record) (leave func(), err error) {
	if a.o.Knock == nil {
		return func() {}, nil
	}
	request := identity.RequestOf(r, "")
	rec.Address = request.Remote
	return a.o.Knock(r.Context(), &request)
}

// identify tells who calls. What a browser sends by itself, a certificate or what a proxy adds, is no credential here: a page of
// somebody else could use it.
func (a *API) identify(w http.ResponseWriter, r *http.Request, rec *audit.Record) (*identity.Principal, error) {
	request, gate := identity.RequestOf(r, ""), a.o.Gate()
	rec.Address = request.Remote
	who, err := gate.Identify(r.Context(), &request)
	if err == nil && who.Method != identity.MethodAPIKey && who.Method != identity.MethodToken {
		err = errs.E("identify", errs.Unauthenticated, "management needs a key or a token of its own; send Authorization: Bearer KEY, "+
			"with a key of toolcrib keys or of auth.apiKeys that has a role with manage")
	}
	if err != nil {
		rec.Kind = audit.Logon
		for _, c := range gate.Challenge(errs.E("identify", errs.Unauthenticated, "%w", err), &request) {
			w.Header().Add("WWW-Authenticate", c)
		}
		return nil, err
	}
	rec.Subject, rec.Tenant, rec.Groups, rec.Issuer = who.Subject, who.Tenant, who.Groups, who.Issuer
	rec.Method, rec.OAuthClient = string(who.Method), who.Client
	return who, nil
}

// permitted is the one decision on a route.
func (a *API) permitted(q *asked, action string, rec *audit.Record) error {
	if action == Self {
		rec.Decision, rec.Rule = audit.Allowed, "everybody may see who they are"
		return nil
	}
	d := q.may(action)
	rec.Rule, rec.Decision = d.Rule, audit.Denied
	if d.Allowed {
		rec.Decision = audit.Allowed
		return nil
	}
	return problem(http.StatusForbidden, "%s of tenant %s may not do this: it takes %s", q.who.Subject, q.who.Tenant, action).
		do("have somebody with the role admin give you a role that has %s in manage", action)
}

// unknown answers a path, or a method at a path, that no route has.
func (a *API) unknown(w http.ResponseWriter, r *http.Request, h http.Handler, pattern string) error {
	if pattern == "" {
		probe := &probe{header: http.Header{}}
		h.ServeHTTP(probe, r)
		if allow := probe.header.Get("Allow"); allow != "" {
			w.Header().Set("Allow", allow)
			return problem(http.StatusMethodNotAllowed, "%s is not for %.200s", r.Method, r.URL.Path).do("use %s", allow)
		}
	}
	return problem(http.StatusNotFound, "the management interface has no %.200s", r.URL.Path).do("docs/management.md lists what it has")
}

// probe takes the answer of the mux to what no route has.
type probe struct{ header http.Header }

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(int)             {}

// problemOf is what an error looks like to the caller. Of what nobody wrote for callers, such as an error of the database, they
// learn nothing: it may name paths and addresses.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if errors.Is(err, store.ErrNotFound) { // it was there a moment ago
		return problem(http.StatusNotFound, "there is no such key").do("toolcrib keys list shows those there are")
	}
	if e, ok := errors.AsType[*errs.Error](err); ok && e.Kind != errs.Internal {
		status := e.Kind.HTTP()
		if status < http.StatusBadRequest {
			status = http.StatusBadGateway
		}
		p := problem(status, "%s", e.Text())
		p.after = e.RetryAfter
		return p
	}
	return problem(http.StatusServiceUnavailable, "something that this takes cannot be used now, such as the store").
		do("try again later; the gateway's log tells more")
}

func (a *API) refuse(w http.ResponseWriter, rec *audit.Record, err error) {
	p := problemOf(err)
	rec.Status, rec.Outcome, rec.Detail = p.Status, outcomes[p.Status], p.Detail
	if rec.Outcome == "" {
		rec.Outcome = "error"
	}
	if rec.Decision == audit.Undecided && (p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden) {
		rec.Decision = audit.Denied
	}
	if p.rule != "" {
		rec.Decision, rec.Rule = audit.Denied, p.rule
	}
	if p.Status >= http.StatusInternalServerError {
		a.o.Log.Warn("management", "operation", rec.Operation, "error", err)
	}
	if failed := a.record(rec); failed != nil {
		told := *p
		told.Detail += "; besides, the record of this could not be written to the audit log"
		p = &told
	}
	p.write(w)
}

var outcomes = map[int]string{
	http.StatusUnauthorized: "unauthenticated", http.StatusForbidden: "forbidden", http.StatusNotFound: "not_found",
	http.StatusBadRequest: "invalid", http.StatusConflict: "conflict", http.StatusMethodNotAllowed: "method_not_found",
	http.StatusServiceUnavailable: "unavailable", http.StatusTooManyRequests: "limited",
}

// answer writes what was asked for, once it is on record.
func (a *API) answer(w http.ResponseWriter, rec *audit.Record, v any) {
	rec.Outcome, rec.Status = "ok", http.StatusOK
	if err := a.record(rec); err != nil {
		if _, late := v.(streamed); !late {
			unrecorded(rec, err).write(w)
		}
		return
	}
	switch v := v.(type) {
	case streamed:
	case document:
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(v.body) // a reader that is gone needs none
	default:
		reply(w, http.StatusOK, v)
	}
}

// unrecorded is the answer to what was done, but is not on record: the answer itself, with the secret of a key, is held back.
func unrecorded(rec *audit.Record, err error) *Problem {
	p := problem(problemOf(err).Status, "%s was carried out, but its record could not be written to the audit log, so its answer is held back", rec.Operation)
	p = p.do("see to the disk and the sinks of the audit log")
	switch rec.Operation {
	case "keys.create", "keys.rotate":
		p = p.do("see to the disk and the sinks of the audit log, then rotate the key for a secret that is shown: toolcrib keys rotate %s", rec.TargetName)
	}
	return p
}

func (a *API) record(rec *audit.Record) error {
	rec.Took = a.o.Now().Sub(rec.Time)
	return a.o.Audit.Write(rec)
}

// admin tells whether the caller may do all of management.
func (q *asked) admin() bool { return q.may(everything).Allowed }

func (q *asked) may(action string) policy.Decision {
	return q.view.MayManage(action, &policy.Facts{Now: q.at, Address: q.from})
}
