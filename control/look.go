package control

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
)

// Whoami is who the caller is, and what it may do here.
type Whoami struct {
	Subject string `json:"subject"`
	Tenant  string `json:"tenant"`
	// Method is how the caller was identified: api_key or token.
	Method     string         `json:"method"`
	Issuer     string         `json:"issuer,omitempty"`
	Client     string         `json:"client,omitempty"`
	Groups     []string       `json:"groups,omitempty"`
	Roles      []string       `json:"roles,omitempty"` // those that policies give too
	Scopes     []string       `json:"scopes,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Expires    time.Time      `json:"expires,omitzero"`
	// Manage is what the caller may do at the management interface.
	Manage []string `json:"manage"`
}

func (a *API) whoami(q *asked) (any, error) {
	p := q.who
	me := Whoami{
		Subject: p.Subject, Tenant: p.Tenant, Method: string(p.Method), Issuer: p.Issuer, Client: p.Client, Groups: p.Groups,
		Roles: q.view.Roles(), Scopes: p.Scopes, Attributes: p.Attributes, Expires: p.Expires, Manage: []string{},
	}
	for _, action := range Actions() {
		if q.may(action).Allowed {
			me.Manage = append(me.Manage, action)
		}
	}
	return me, nil
}

func (a *API) servers(q *asked) (any, error) {
	return map[string]any{"servers": a.o.Servers(q.seesServer)}, nil
}

const notForTenant = "the server is not for the tenant"

// seesServer tells whether the caller may know of a server: one that exists for its tenant, unless it is an admin.
func (q *asked) seesServer(name string) bool { return q.view.Exists(name) || q.admin() }

// instances are those that run for the caller's tenant, or for all of them; an admin sees every one.
func (a *API) instances(q *asked) (any, error) {
	r := *a.o.Subject.Report()
	if q.admin() {
		return &r, nil
	}
	r.Servers = slices.DeleteFunc(r.Servers, func(s Server) bool { return !q.seesServer(s.Name) })
	r.Reached = slices.DeleteFunc(r.Reached, func(in Reached) bool { return !q.seesServer(in.Server) })
	r.Instances = slices.DeleteFunc(r.Instances, func(in Instance) bool {
		return !q.seesServer(in.Server) || in.Tenant != "" && in.Tenant != q.who.Tenant
	})
	return &r, nil
}

// lines streams what a server printed, one JSON object a line.
func (a *API) lines(q *asked) (any, error) {
	q.target = q.PathValue("name")
	ctx, end := context.WithCancel(q.Context())
	defer end()
	h := &handler{subject: a.o.Subject, streams: a.streams, life: ctx}
	if !slices.Contains(h.names(), q.target) || !q.seesServer(q.target) {
		return nil, printsNothing()
	}
	var watch sync.WaitGroup
	var over error
	watch.Go(func() {
		over = a.outlived(ctx, q)
		end()
	})
	p := h.stream(q.w, q.Request)
	end()
	watch.Wait()
	if p != nil {
		return nil, p
	}
	return streamed{}, over
}

func printsNothing() *Problem {
	return problem(http.StatusNotFound, "no server of that name prints").do("name one of GET %sinstances", Prefix)
}

// revocationDefault is auth.revocation where no configuration says it.
const revocationDefault = 30 * time.Second

// outlived waits until what the caller opened may not stay open any longer, and says why; nil when it ends by itself. It looks
// twice in each auth.revocation.
func (a *API) outlived(ctx context.Context, q *asked) error {
	for {
		every := revocationDefault
		if a.o.Config != nil {
			every = cmp.Or(time.Duration(a.o.Config().Auth.Revocation), every)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.ending:
			return nil
		case <-time.After(every / 2):
		}
		if p := a.ended(q); p != nil {
			return p
		}
	}
}

// ended tells why the caller may not do any more what it does.
func (a *API) ended(q *asked) *Problem {
	who, err := a.o.Gate().Current(q.who)
	if err != nil {
		p := *problemOf(err)
		p.rule = "what is open ends with the credential that opened it"
		return &p
	}
	now := &asked{who: who, view: a.o.Policies().View(who), at: a.o.Now(), from: q.from}
	if d := now.may(q.what.Action); !d.Allowed {
		p := problem(http.StatusForbidden, "%s of tenant %s may not do this any more: it takes %s", who.Subject, who.Tenant, q.what.Action)
		p.rule = d.Rule
		return p
	}
	if !now.seesServer(q.target) {
		p := printsNothing()
		p.rule = notForTenant
		return p
	}
	return nil
}

// AuditQuery is what is looked for in the audit log.
type AuditQuery struct {
	Since, Until time.Time
	// Tenant is the tenant that all records are of, which is the caller's own unless it is an admin.
	Tenant string
	// Match are further conditions, as the command audit search has them.
	Match map[string]string
	// Limit is how many records there are at most: the last ones.
	Limit int
}

const (
	searchMost    = 10_000
	searchDefault = 100
	searchTime    = 30 * time.Second
	searchesMost  = 4 // at once: each reads whole files, and keeps what it found until that is sent
)

var errNone = errors.New("this gateway keeps no audit log")

// search streams records, one JSON object a line, the oldest first.
func (a *API) search(q *asked) (any, error) {
	if a.o.Search == nil {
		return nil, problem(http.StatusNotFound, "%s", errNone).do("set audit.sinks")
	}
	query, err := q.auditQuery()
	if err != nil {
		return nil, err
	}
	select {
	case a.looks <- struct{}{}:
		defer func() { <-a.looks }()
	default:
		p := problem(http.StatusServiceUnavailable, "%d searches of the audit log are under way", searchesMost).do("ask again when one has ended")
		p.after = time.Second
		return nil, p
	}
	ctx, cancel := context.WithTimeout(q.Context(), searchTime)
	defer cancel()
	found, err := a.o.Search(ctx, query)
	if err != nil {
		return nil, err
	}
	q.w.Header().Set("Content-Type", "application/x-ndjson")
	_ = http.NewResponseController(q.w).SetWriteDeadline(time.Now().Add(searchTime))
	return stream(q.w, found)
}

func stream(w io.Writer, all iter.Seq2[json.RawMessage, error]) (answer any, err error) {
	for line, err := range all {
		if err != nil {
			return answer, err
		}
		answer = streamed{}
		if _, err := w.Write(append(slices.Clip(line), '\n')); err != nil {
			break // the reader is gone
		}
	}
	return streamed{}, nil
}

func (q *asked) auditQuery() (AuditQuery, error) {
	query := AuditQuery{Limit: searchDefault, Match: map[string]string{}}
	for name, values := range q.URL.Query() {
		if len(values) != 1 {
			return query, wrong(name, "", "give it once", "is given %d times", len(values))
		}
		var err error
		switch v := values[0]; name {
		case "since":
			query.Since, err = time.Parse(time.RFC3339, v)
		case "until":
			query.Until, err = time.Parse(time.RFC3339, v)
		case "limit":
			query.Limit, err = strconv.Atoi(v)
			if err == nil && (query.Limit < 1 || query.Limit > searchMost) {
				err = errors.New("is not from 1 to " + strconv.Itoa(searchMost))
			}
		case "tenant":
			query.Tenant = v
		default:
			query.Match[name] = v
		}
		if err != nil {
			return query, wrong(name, values[0], "", "%v", err)
		}
	}
	if !q.admin() && query.Tenant != "" && query.Tenant != q.who.Tenant {
		return query, denied(wrong("tenant", query.Tenant, "leave it out", "is not your own"))
	}
	if !q.admin() {
		query.Tenant = q.who.Tenant
	}
	return query, nil
}

func (a *API) explain(q *asked) (any, error) {
	if a.o.Explain == nil {
		return nil, absent("explain")
	}
	var question policy.Question
	if err := q.decode(&question); err != nil {
		return nil, err
	}
	return a.o.Explain(q.Context(), &question)
}

func (a *API) drift(q *asked) (any, error) {
	if a.o.Drift == nil {
		return nil, absent("drift")
	}
	return a.o.Drift(q.Context(), q.seesServer)
}

// Approval names a definition that was reviewed, by its hash.
type Approval struct {
	Server string `json:"server"`
	Tool   string `json:"tool"`
	// Hash is what drift showed; empty for a tool that is not there any more, whose approval is to end.
	Hash string `json:"hash"`
}

func (a *API) approve(q *asked) (any, error) {
	if a.o.Approve == nil {
		return nil, absent("approve")
	}
	var what Approval
	if err := q.decode(&what); err != nil {
		return nil, err
	}
	for _, f := range [...][2]string{{"server", what.Server}, {"tool", what.Tool}} {
		if f[1] == "" {
			return nil, wrong(f[0], "", "name one of GET "+Prefix+"drift", "is missing")
		}
	}
	q.target = what.Server + "/" + what.Tool
	q.about = []audit.Fact{{Name: "hash", JSON: string(mcp.AppendString(nil, what.Hash))}}
	gone := problem(http.StatusNotFound, "tool %.128q of server %.80q is not there to be approved with the hash %.80q", what.Tool, what.Server, what.Hash).
		do("look at GET %sdrift again", Prefix)
	if !q.seesServer(what.Server) {
		gone.rule = notForTenant
		return nil, gone
	}
	switch err := a.o.Approve(q.Context(), what); {
	case err == nil:
		return what, nil
	case errs.Of(err).Kind == errs.NotFound:
		return nil, gone
	default:
		return nil, err
	}
}

func absent(what string) error {
	return problem(http.StatusNotImplemented, "this gateway has no %s", what)
}
