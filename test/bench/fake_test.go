package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// fakeGateway stands in for the gateway, so that all rows and shots can be
// tried without it: it answers by itself with as many tools as its servers have.
type fakeGateway struct {
	mu       sync.Mutex
	sessions map[string]bool
	tools    map[string]int // by server, "" for all
	servers  map[string]*server
	urls     map[string]string // of servers, by name
	key      string
	roles    map[string]struct{ Allow []string } // for callers with a token
	lines    int
	record   io.Writer // has a line for each call
}

// fakeMain takes the arguments of `toolcrib serve FILE`.
func fakeMain(args []string) error {
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var config struct {
		Listen   string
		StateDir string
		Policies struct {
			Roles map[string]struct{ Allow []string }
		}
		MCPServers map[string]struct{ URL string }
		Auth       struct{ APIKeys []struct{ Key string } }
	}
	if err := json.Unmarshal(text, &config); err != nil {
		return err
	}
	g := &fakeGateway{sessions: map[string]bool{}, tools: map[string]int{}, servers: map[string]*server{}, urls: map[string]string{}}
	for name, s := range config.MCPServers {
		g.urls[name] = s.URL
		n := 10 // of a stdio server
		if i := strings.Index(s.URL[min(len(s.URL), len("http://")):], "/"); i >= 0 {
			_, n, _, _ = parsePath(s.URL[i+len("http://"):])
		}
		g.tools[name] = n
		g.tools[""] += n
	}
	for _, k := range config.Auth.APIKeys {
		g.key = k.Key
	}
	if g.roles = config.Policies.Roles; len(g.roles) > 0 {
		f, err := fakeLog(config.StateDir)
		if err != nil {
			return err
		}
		defer f.Close()
		g.record = f
	}
	return http.ListenAndServe(config.Listen, g)
}

func fakeLog(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.Create(filepath.Join(dir, auditFile))
}

// fakeAudit takes the arguments of `toolcrib audit`: the log is always good.
func fakeAudit([]string) error { return nil }

// shown are the tools that the caller with a token sees.
func (g *fakeGateway) shown(token string) (n int) {
	_, payload, _ := strings.Cut(token, ".")
	payload, _, _ = strings.Cut(payload, ".")
	claims, _ := base64.RawURLEncoding.DecodeString(payload)
	var c struct{ Groups []string }
	if json.Unmarshal(claims, &c) != nil || len(c.Groups) == 0 {
		return 0
	}
	allow := g.roles["r"+strings.TrimPrefix(c.Groups[0], "g")].Allow
	for _, name := range toolNames(g.tools[""]) {
		if slices.ContainsFunc(allow, func(p string) bool { return v1.Like(p, "one__"+name) }) {
			n++
		}
	}
	return n
}

// fakeRun takes the arguments of `toolcrib run`.
func fakeRun(args []string) error {
	set := flag.NewFlagSet("run", flag.ContinueOnError)
	listen := set.String("listen", "", "address")
	if err := set.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	g := &fakeGateway{sessions: map[string]bool{}, tools: map[string]int{"": 10}, servers: map[string]*server{}}
	return http.ListenAndServe(*listen, g)
}

func (g *fakeGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/health/ready":
		return
	case "/metrics":
		fmt.Fprintln(w, "go_goroutines", runtime.NumGoroutine())
		return
	}
	if g.key != "" && r.Header.Get("Authorization") != "Bearer "+g.key {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Header.Get("Mcp-Method") == listenMethod {
		g.listen(w, r)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Method == http.MethodDelete {
		delete(g.sessions, r.Header.Get("Mcp-Session-Id"))
		return
	}
	body, _ := io.ReadAll(r.Body)
	var m message
	readMessage(body, &m)
	if string(m.name) == string(opAsk) {
		ask(w, &m, body)
		return
	}
	g.answer(w, r, &m)
}

// listen hands a stream on to the server.
func (g *fakeGateway) listen(w http.ResponseWriter, r *http.Request) {
	to, err := url.Parse(g.urls[serverOf(r)])
	if err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL, p.Out.Host = to, to.Host
		p.Out.Body = &sized{p.Out.Body, p.Out.ContentLength}
	}}).ServeHTTP(w, r)
}

func serverOf(r *http.Request) string {
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/servers/"), "/mcp"), "/mcp")
}

// ask answers a call that asks, and the one that comes back with the answer.
func ask(w http.ResponseWriter, m *message, body []byte) {
	result := `{"resultType":"input_required","requestState":"s","inputRequests":{"q1":{}}}`
	if bytes.Contains(body, []byte(`"requestState":"s"`)) && bytes.Contains(body, []byte(`"ok":true`)) {
		result = `{"resultType":"complete","content":[{"type":"text","text":"agreed"}]}`
	}
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.id, result)
}

func (g *fakeGateway) answer(w http.ResponseWriter, r *http.Request, m *message) {
	e := legacy
	switch {
	case r.Header.Get("MCP-Protocol-Version") == modernVersion:
		e = modern
	case string(m.method) == "initialize":
		id := rand.Text()
		g.sessions[id] = true
		w.Header().Set("Mcp-Session-Id", id)
	case !g.sessions[r.Header.Get("Mcp-Session-Id")]:
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if m.id == nil {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	name := serverOf(r)
	if _, local, ok := strings.Cut(string(m.name), "__"); ok {
		m.name = []byte(local)
	}
	tools := g.tools[name]
	if g.roles != nil && string(m.method) == "tools/list" {
		tools = g.shown(r.Header.Get("Authorization"))
	}
	if g.record != nil && string(m.method) == "tools/call" {
		g.lines++
		fmt.Fprintf(g.record, `{"metadata":{"sequence":%d,"api":{"operation":"tools/call"}}}`+"\n", g.lines)
	}
	key := fmt.Sprint(e, name, tools)
	if g.servers[key] == nil {
		g.servers[key] = newServer(e, tools)
	}
	answer, status, _ := g.servers[key].answer(nil, m)
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// Everything there is to measure, once, with the stand-in.
func TestRunAll(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := run(t.Context(), []string{"-quick", "-seconds", "0.02", "-peers", "none", "-gateway", self, "-json"}, &out, io.Discard); err != nil {
		t.Fatal(err, out.String())
	}
	var r report
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Errors) > 0 || len(r.Tables) != len(allRows()) {
		t.Errorf("%d tables of %d, errors %q", len(r.Tables), len(allRows()), r.Errors)
	}
	for _, l := range r.Limits {
		if !l.Found && !strings.HasPrefix(l.Unit, "×") && l.Unit != "µs CPU" { // those take longer than the clock of /proc ticks
			t.Errorf("%s was not measured", l.What)
		}
	}
	for _, f := range r.Figures {
		if f.Name == "sessions-upstream" && f.Values[0] != 0 {
			t.Errorf("the stand-in opened %v sessions", f.Values)
		}
	}
}
