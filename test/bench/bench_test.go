package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// TestMain lets the test binary play the roles that the benchmark starts.
func TestMain(m *testing.M) {
	roles["serve"], roles["run"], roles["audit"] = fakeMain, fakeRun, fakeAudit
	if role := roleOf(os.Args); role != nil {
		exit(role(os.Args[2:]))
	}
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil { // else each process of a test sleeps for a second before it ends
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// serveUpstream starts the upstream inside the test and returns its address.
func serveUpstream(t *testing.T) (*upstream, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := newUpstream()
	done := make(chan struct{})
	go func() { defer close(done); u.serve(l) }()
	t.Cleanup(func() { l.Close(); <-done })
	return u, l.Addr().String()
}

func soon() time.Time { return time.Now().Add(20 * time.Second) }

func TestLoadOnUpstream(t *testing.T) {
	u, addr := serveUpstream(t)
	for _, e := range []endpoint{
		{Path: "/modern/10/mcp", Era: modern, Op: opEcho, Tool: "echo"},
		{Path: "/legacy/10/mcp", Era: legacy, Op: opEcho, Tool: "echo"},
		{Path: "/modern/10/mcp", Era: modern, Op: opPayload, Tool: "payload", Size: 64 << 10},
		{Path: "/legacy/10/mcp", Era: legacy, Op: opPayload, Tool: "payload", Size: 64 << 10},
		{Path: "/modern/10/mcp", Era: modern, Op: opSleep, Tool: "sleep", Size: 1},
		{Path: "/modern/100/mcp", Era: modern, Op: opList, Size: 100},
		{Path: "/legacy/100/b/mcp", Era: legacy, Op: opList, Size: 100},
	} {
		t.Run(fmt.Sprint(e.Era, " ", e.Op), func(t *testing.T) {
			e.Addr = addr
			j := job{endpoint: e, Conns: 3, Calls: 300, Upstream: addr, Target: os.Getpid()}
			s, err := j.run()
			if err != nil {
				t.Fatal(err)
			}
			if s.Errors > 0 || s.Calls != 300 || s.Requests != 300 || s.Conns != 0 {
				t.Errorf("got %+v, want 300 calls that make 300 requests on no new connection", s)
			}
			if s.P50 <= 0 || s.P99 < s.P50 {
				t.Errorf("p50 %v, p99 %v", s.P50, s.P99)
			}
		})
	}
	if n := u.stats().Sessions; n != 0 {
		t.Errorf("%d sessions are left open", n)
	}
}

func TestLoadThroughProxy(t *testing.T) {
	_, addr := serveUpstream(t)
	proxy := newProxy(&url.URL{Scheme: "http", Host: addr})
	defer proxy.Transport.(*http.Transport).CloseIdleConnections()
	p := httptest.NewServer(proxy)
	defer p.Close()
	j := job{
		endpoint: endpoint{Addr: p.Listener.Addr().String(), Path: "/legacy/10/mcp", Era: legacy, Op: opEcho, Tool: "echo"},
		Conns:    2, Warm: time.Millisecond, For: 20 * time.Millisecond, Upstream: addr,
	}
	s, err := j.run()
	if err != nil || s.Errors > 0 || s.Calls == 0 || s.Requests != int64(s.Calls) {
		t.Errorf("got %+v, %v", s, err)
	}
}

// The bare proxy must not read from the body of a request whose answer is
// already on its way.
func TestProxyReadsNoMoreThanAnnounced(t *testing.T) {
	closed := iotest.ErrReader(http.ErrBodyReadAfterClose)
	for length, want := range map[int64]error{3: nil, 4: http.ErrBodyReadAfterClose, -1: http.ErrBodyReadAfterClose} {
		s := &sized{io.NopCloser(io.MultiReader(strings.NewReader("abc"), closed)), length}
		got, err := io.ReadAll(s)
		if string(got) != "abc" || !errors.Is(err, want) {
			t.Errorf("of %d bytes: %q, %v, want %v", length, got, err, want)
		}
	}
}

// A target that answers wrongly must not look fast.
func TestLoadNoticesWrongAnswers(t *testing.T) {
	tests := map[string]struct {
		op   op
		body string
		want string
	}{
		"other id":   {opEcho, `{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}]}}`, "not the answer to id"},
		"other text": {opEcho, `{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"x"}]}}`, "echo of"},
		"error":      {opSleep, `{"jsonrpc":"2.0","id":ID,"error":{"code":-32603,"message":"no"}}`, "no content"},
		"short":      {opPayload, `{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"The"}]}}`, "not 1024 bytes"},
		"few tools":  {opList, `{"jsonrpc":"2.0","id":ID,"result":{"tools":[{"inputSchema":{}}]}}`, "1 tools instead of 1024"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked, _ := io.ReadAll(r.Body)
				var m message
				readMessage(asked, &m)
				io.WriteString(w, strings.ReplaceAll(tt.body, "ID", string(m.id)))
			}))
			defer s.Close()
			c, err := dialClient(endpoint{Addr: s.Listener.Addr().String(), Path: "/", Era: modern, Op: tt.op, Tool: "x", Size: 1024}, soon())
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			if err := c.do(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestUpstreamRefuses(t *testing.T) {
	_, addr := serveUpstream(t)
	const call = `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}}`
	const modernHead = "MCP-Protocol-Version: 2026-07-28\r\n"
	tests := map[string]struct {
		verb, path, head, body string
		status                 int
		want                   string
	}{
		"no version":     {"POST", "/modern/3/mcp", "", call, 400, "-32020"},
		"other method":   {"POST", "/modern/3/mcp", modernHead + "Mcp-Method: tools/list\r\n", call, 400, "Mcp-Method"},
		"other name":     {"POST", "/modern/3/mcp", modernHead + "Mcp-Method: tools/call\r\nMcp-Name: x\r\n", call, 400, "Mcp-Name"},
		"no session":     {"POST", "/legacy/3/mcp", "", call, 400, "missing"},
		"dead session":   {"POST", "/legacy/3/mcp", "Mcp-Session-Id: x\r\n", call, 404, "no such session"},
		"dead session's": {"DELETE", "/legacy/3/mcp", "Mcp-Session-Id: x\r\n", "", 404, "no such session"},
		"stream":         {"GET", "/legacy/3/mcp", "", "", 405, "POST only"},
		"modern hello":   {"POST", "/modern/3/mcp", modernHead + "Mcp-Method: initialize\r\n", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`, 400, "-32022"},
		"legacy probe":   {"POST", "/legacy/3/mcp", modernHead, `{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{}}`, 400, "missing"},
		"no server":      {"POST", "/other/3/mcp", "", call, 404, "no such server"},
		"garbage":        {"POST", "/modern/3/mcp", "", `nonsense`, 400, "-32700"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := dialClient(endpoint{Addr: addr, Era: modern}, soon())
			if err != nil {
				t.Fatal(err)
			}
			defer c.close()
			raw := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", tt.verb, tt.path, tt.head, len(tt.body), tt.body)
			if err := c.send(&request{raw: []byte(raw)}); err != nil {
				t.Fatal(err)
			}
			if c.resp.status != tt.status || !strings.Contains(string(c.resp.body), tt.want) {
				t.Errorf("got %d %s, want %d with %q", c.resp.status, c.resp.body, tt.status, tt.want)
			}
		})
	}
}

func TestAnswersAreJSON(t *testing.T) {
	for _, e := range []era{modern, legacy} {
		s := newServer(e, 12)
		for _, m := range []message{
			{method: []byte("tools/list")},
			{method: []byte("tools/call"), name: []byte("payload"), bytes: []byte("5000")},
			{method: []byte("tools/call"), name: []byte("lookup_0003"), text: []byte("a")},
			{method: []byte("tools/call"), name: []byte("nothing")},
			{method: []byte("server/discover")},
			{method: []byte("initialize"), version: []byte("2025-06-18")},
			{method: []byte("prompts/list")},
		} {
			m.id = []byte(`"seven"`)
			got, _, _ := s.answer(nil, &m)
			var v struct{ ID string }
			if err := json.Unmarshal(got, &v); err != nil || v.ID != "seven" {
				t.Errorf("%s %s: %.200s: %v", e, m.method, got, err)
			}
		}
	}
}

func TestFillerIsText(t *testing.T) {
	for n := range 600 {
		f := filler(n)
		var s string
		if err := json.Unmarshal([]byte(`"`+string(f)+`"`), &s); err != nil || len(f) != n || strings.Contains(s, "\uFFFD") {
			t.Fatalf("filler(%d) = %q, %v", n, f, err)
		}
	}
}

func TestServeLines(t *testing.T) {
	in := strings.Join([]string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		``,
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"sleep","arguments":{"ms":100}}}`,
		`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","arguments":{"text":"a\"b"}}}`,
	}, "\n") + "\n"
	var out bytes.Buffer
	if err := serveLines(newServer(legacy, 3), strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(got) != 3 || !strings.Contains(got[0], `"2025-06-18"`) || !strings.Contains(got[1], `a\"b`) || !strings.Contains(got[2], `"id":2`) {
		t.Errorf("got %q", got)
	}
}

func TestWire(t *testing.T) {
	tests := map[string]struct{ in, want, err string }{
		"length":  {"HTTP/1.1 200 OK\r\nCONTENT-LENGTH:  3 \r\nMcp-Session-Id: s\r\n\r\nabc", "200 s abc", ""},
		"chunked": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", "200  abc", ""},
		"empty":   {"HTTP/1.1 204 No Content\r\n\r\n", "204  ", ""},
		"cut off": {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "", "unexpected EOF"},
		"no end":  {"HTTP/1.1 200 OK\r\n\r\nabc", "", "without a length"},
		"no HTTP": {"SSH-2.0-OpenSSH\r\n\r\n", "", "not an HTTP/1.1 response"},
		"huge":    {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "", "over the bound"},
		"chunk":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n", "", "chunk size"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			a, b := net.Pipe()
			go func() { io.WriteString(b, tt.in); b.Close() }()
			defer a.Close()
			var p response
			err := newWire(a, 16).response(&p)
			got := ""
			if err == nil {
				got = fmt.Sprintf("%d %s %s", p.status, p.session, p.body)
			}
			if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v, want %q, %q", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestHist(t *testing.T) {
	var h, other hist
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	other.add(time.Hour)
	other.merge(&h)
	for q, want := range map[float64]time.Duration{0: time.Microsecond, 0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond} {
		if got := h.quantile(q); got < want || float64(got) > 1.02*float64(want) {
			t.Errorf("quantile %v = %v, want %v", q, got, want)
		}
	}
	if other.total != 1001 || other.beyond != 1 || other.quantile(1) < time.Minute {
		t.Errorf("merged: %d, %d beyond, most %v", other.total, other.beyond, other.quantile(1))
	}
	for b := 1; b < len(h.count); b++ {
		if bucket(upper(b)) != b || bucket(upper(b-1)+1) != b {
			t.Fatalf("bucket %d ends at %v, which is in bucket %d", b, upper(b), bucket(upper(b)))
		}
	}
}

func FuzzMembers(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\\\"b","arguments":{"text":"x"}}}`))
	f.Add([]byte(`{"a":[1,{"b":"]"}],"c":"\\"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		want := map[string]json.RawMessage{}
		got := map[string]json.RawMessage{}
		ok := members(b, func(k, v []byte) { got[string(k)] = json.RawMessage(v) })
		var m message
		readMessage(b, &m)
		if json.Unmarshal(b, &want) != nil || bytes.ContainsRune(b, '\\') || len(want) == 0 || !ok {
			return // it trusts its input
		}
		for k := range got {
			if _, there := want[k]; !there && json.Valid(b) && isASCII(k) {
				t.Errorf("%q has no member %q", b, k)
			}
		}
	})
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

func TestReport(t *testing.T) {
	s := func(cpu time.Duration) *sample {
		return &sample{Calls: 1000, Took: time.Second, CPU: cpu, P50: time.Millisecond, P99: 2 * time.Millisecond, Requests: 1000, RSS: 20 << 20}
	}
	r := &report{Machine: "test"}
	tab := &table{Name: "call-mm", Title: "calls", Conns: 4}
	for i := range 3 {
		bare, ours := s(40*time.Millisecond), s(time.Duration(20+10*i)*time.Millisecond)
		tab.add("bare", bare, bare)
		tab.add("gateway", ours, bare)
	}
	r.Tables = []*table{tab}
	r.figure("ready-ms", "exec → ready", "ms", 250)
	r.judge()
	if want := []string{"exec → ready: 250 ms, at most 100"}; !cmp.Equal(r.exceeded(), want) {
		t.Error(cmp.Diff(want, r.exceeded()))
	}
	tab.Lines[1].Samples[0].Errors, tab.Lines[1].Samples[0].Error = 1, "status 500"
	r.judge()
	if err := r.verdict(); err == nil || !strings.Contains(err.Error(), "status 500") {
		t.Errorf("verdict: %v", err)
	}
	failing := s(time.Millisecond)
	failing.Errors = 7
	tab.add(mcpProxy, failing, nil)
	r.Errors = nil
	r.judge()
	if len(r.Errors) != 1 {
		t.Errorf("what fails of a peer is held against us: %q", r.Errors)
	}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{"0.75 (0.50–1.00)", "1.00 (1.00–1.00)", "30.0", "EXCEEDED", "not measured", "ERROR: calls, gateway: 1 errors: status 500"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestChosen(t *testing.T) {
	for _, tt := range []struct {
		only, name string
		want       bool
	}{{"", "call-mm", true}, {"call", "call-mm", true}, {"list100-mm, start", "start", true}, {"big", "call-mm", false}, {",", "call-mm", false}} {
		if got := chosen(tt.only, tt.name); got != tt.want {
			t.Errorf("chosen(%q, %q) = %v", tt.only, tt.name, got)
		}
	}
}

func TestSpread(t *testing.T) {
	if got, want := spreadOf([]float64{4, 1, 3, 2}), (spread{2.5, 1, 4, 4}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The whole program, without the gateway.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	err := run(t.Context(), []string{"-quick", "-gateway", "none", "-peers", "none", "-only", "call-mm,list100-ll", "-json", "-check"}, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Tables) != 2 || len(r.Tables[0].Lines) < 2 || len(r.Errors) > 0 {
		t.Errorf("got %s", out.Bytes())
	}
}

// What the benchmark writes for the gateway must be what the gateway reads.
func TestConfigs(t *testing.T) {
	w := &world{dir: t.TempDir(), key: newKey(), upstream: target{addr: "127.0.0.1:7000"}, spans: "127.0.0.1:7002", issuer: &issuer{url: "http://127.0.0.1:7001"}}
	all := w.configs()
	maps.Copy(all, w.isolatedConfigs())
	all["audit"] = all["calls"]
	for name, servers := range all {
		text, err := w.config(name, "127.0.0.1:8080", servers)
		if err != nil {
			t.Fatal(err)
		}
		c, problems := v1.Parse(text, v1.Options{})
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
			continue
		}
		if got := len(c.ServerNames()); got != len(servers) {
			t.Errorf("%s: %d servers of %d", name, got, len(servers))
		}
	}
}

// Every line of every table must be something that can be started.
func TestRowsHaveTargets(t *testing.T) {
	w := &world{}
	configs := w.configs()
	for _, r := range allRows() {
		bare := 0
		for _, a := range r.aims {
			if a.label == "bare" {
				bare++
			}
			_, ok := configs[a.target]
			if !ok && !slices.Contains([]string{"direct", "bare", "nginx", "run", mcpProxy, superGateway}, a.target) {
				t.Errorf("%s: no target %q", r.name, a.target)
			}
		}
		if bare != 1 {
			t.Errorf("%s: %d lines to compare with", r.name, bare)
		}
	}
}
