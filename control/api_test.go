package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/policy"
)

// boss is a gate that takes everybody for an admin.
type boss struct{}

func (boss) Identify(context.Context, *identity.Request) (*identity.Principal, error) {
	return identity.Suppose(identity.Principal{Subject: "boss", Tenant: "default", Roles: []string{"admin"}, Method: identity.MethodAPIKey}), nil
}

func (boss) Challenge(error, *identity.Request) []string { return nil }

func (boss) Current(p *identity.Principal) (*identity.Principal, error) { return p, nil }

// managed serves the management interface of a gateway without anything, but for what o has.
func managed(t *testing.T, o control.Options) *httptest.Server {
	t.Helper()
	if o.Gate == nil {
		o.Gate = func() control.Gate { return boss{} }
	}
	if o.Policies == nil {
		o.Policies = policies(t, v1.New())
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Subject == nil {
		o.Subject = &subject{}
	}
	s := httptest.NewServer(control.NewAPI(o))
	t.Cleanup(s.Close)
	s.Client().Timeout = 20 * time.Second
	return s
}

func policies(t *testing.T, c *v1.Config) func() *policy.Set {
	t.Helper()
	set, err := policy.Compile(c, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return func() *policy.Set { return set }
}

type answer struct {
	status int
	header http.Header
	body   string
}

func ask(t *testing.T, s *httptest.Server, path string) (answer, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+control.Prefix+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b)}, err
}

// refusedWith wants an answer that is a problem.
func refusedWith(t *testing.T, s *httptest.Server, path string, status int) (*control.Problem, http.Header) {
	t.Helper()
	a, err := ask(t, s, path)
	p := new(control.Problem)
	if err != nil || json.Unmarshal([]byte(a.body), p) != nil || a.status != status || p.Status != status ||
		a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%s: HTTP %d, %v, %q, %v; want a problem with %d", path, a.status, a.header, a.body, err, status)
	}
	return p, a.header
}

// TestSearchesBounded: no more than a few searches of the audit log are under way at once; who comes then is told when to come again.
func TestSearchesBounded(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	s := managed(t, control.Options{Search: func(context.Context, control.AuditQuery) (iter.Seq2[json.RawMessage, error], error) {
		began <- struct{}{}
		<-end
		return func(yield func(json.RawMessage, error) bool) { yield(json.RawMessage(`{}`), nil) }, nil
	}})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if a, err := ask(t, s, "audit"); err != nil || a.status != http.StatusOK || a.body != "{}\n" {
				t.Errorf("HTTP %d, %q, %v", a.status, a.body, err)
			}
		})
		<-began
	}
	if _, h := refusedWith(t, s, "audit", http.StatusServiceUnavailable); h.Get("Retry-After") != "1" {
		t.Errorf("Retry-After is %q", h.Get("Retry-After"))
	}
	close(end)
	all.Wait()
	go func() { <-began }()
	if a, err := ask(t, s, "audit"); err != nil || a.status != http.StatusOK {
		t.Errorf("afterwards: HTTP %d, %q, %v", a.status, a.body, err)
	}
}

// looker may read of servers, for a tenant.
type looker struct {
	boss
	tenant string
}

func (l looker) Identify(context.Context, *identity.Request) (*identity.Principal, error) {
	return identity.Suppose(identity.Principal{Subject: "looker", Tenant: l.tenant, Roles: []string{"auditor"}, Method: identity.MethodAPIKey}), nil
}

// many is a gateway with servers of one tenant and of all.
type many struct{ subject }

func (*many) Report() *control.Report {
	return &control.Report{
		Servers:   []control.Server{{Name: "own-started"}, {Name: "all-started"}},
		Instances: []control.Instance{{Server: "own-started", PID: 1}, {Server: "all-started", Tenant: "acme", PID: 2}, {Server: "all-started", PID: 3}},
		Reached:   []control.Reached{{Server: "own-reached", Address: "own:1"}, {Server: "all-reached", Address: "all:1"}},
	}
}

// TestInstancesOfTenants: who reads of servers for a tenant is shown those that the tenant has, and of shared ones no other tenant's
// processes.
func TestInstancesOfTenants(t *testing.T) {
	c := v1.New()
	c.MCPServers = map[string]*v1.Server{
		"own-started": {Command: "x", Tenants: []string{"acme"}}, "all-started": {Command: "x"},
		"own-reached": {URL: "http://own:1", Tenants: []string{"acme"}}, "all-reached": {URL: "http://all:1"},
	}
	for tenant, want := range map[string]string{
		"acme":  `[own-started all-started] [1 2 3] [own:1 all:1]`,
		"other": `[all-started] [3] [all:1]`,
	} {
		s := managed(t, control.Options{
			Subject: &many{}, Policies: policies(t, c), Gate: func() control.Gate { return looker{tenant: tenant} },
		})
		a, err := ask(t, s, "instances")
		var r control.Report
		if err != nil || json.Unmarshal([]byte(a.body), &r) != nil {
			t.Fatalf("HTTP %d, %q, %v", a.status, a.body, err)
		}
		var servers, pids, addresses []any
		for _, s := range r.Servers {
			servers = append(servers, s.Name)
		}
		for _, in := range r.Instances {
			pids = append(pids, in.PID)
		}
		for _, in := range r.Reached {
			addresses = append(addresses, in.Address)
		}
		if got := fmt.Sprint(servers, pids, addresses); got != want {
			t.Errorf("%s is shown %s, want %s; HTTP %d, %s", tenant, got, want, a.status, a.body)
		}
	}
}

// TestLinesAsked: a number of lines that is none is told of as other wrong fields are.
func TestLinesAsked(t *testing.T) {
	s := managed(t, control.Options{})
	for _, lines := range []string{"-1", "", "x", "1000001", "99999999999999999999"} {
		if p, _ := refusedWith(t, s, "servers/a%2Fb/logs?lines="+lines, http.StatusBadRequest); p.Field != "lines" || p.Value != lines {
			t.Errorf("%q: %+v", lines, p)
		}
	}
	if a, err := ask(t, s, "servers/a%2Fb/logs?lines=1"); err != nil || a.status != http.StatusOK || strings.Count(a.body, "\n") != 1 {
		t.Errorf("HTTP %d, %q, %v", a.status, a.body, err)
	}
	refusedWith(t, s, "servers/none/logs?lines=1", http.StatusNotFound)
}

// TestPanic: a failure of the gateway itself is a problem like others, and the log tells of it; an answer that has begun is cut off.
func TestPanic(t *testing.T) {
	said := &buffer{}
	s := managed(t, control.Options{
		Log:     slog.New(slog.NewTextHandler(said, nil)),
		Servers: func(func(string) bool) any { panic("the reason") },
		Search: func(context.Context, control.AuditQuery) (iter.Seq2[json.RawMessage, error], error) {
			return func(yield func(json.RawMessage, error) bool) {
				yield(json.RawMessage(`"`+strings.Repeat("x", 1<<16)+`"`), nil)
				panic("late")
			}, nil
		},
	})
	if p, _ := refusedWith(t, s, "servers", http.StatusInternalServerError); strings.Contains(p.Error(), "the reason") || p.Remedy == "" {
		t.Errorf("%v", p)
	}
	if !said.has("level=ERROR") || !said.has("the reason") || !said.has("api_test.go") {
		t.Errorf("the log says %s", said.b.String())
	}
	if a, err := ask(t, s, "audit"); !errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(a.body, "status") {
		t.Errorf("%d bytes, %v", len(a.body), err)
	}
	if !said.has("late") {
		t.Errorf("the log says %s", said.b.String())
	}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) has(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Contains(b.b.String(), text)
}
