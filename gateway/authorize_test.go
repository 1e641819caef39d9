//go:build !race

package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/upstream"
)

// grantsMost is how many roles there are.
const grantsMost = 200

// listed makes a gateway with one server that lists n tools, and a role for each of many groups: that of group g7 may call those
// whose number ends in 7.
func listed(t testing.TB, n int) (*Gateway, *world) {
	t.Helper()
	file := `
mcpServers: {one: {url: "http://127.0.0.1:1/mcp"}}
auth: {apiKeys: [{name: ci, key: 0123456789abcdef, groups: [g]}]}
policies:
  roles: {%s}
  bindings: [%s]
`
	var roles, bindings []string
	for i := range grantsMost {
		roles = append(roles, fmt.Sprintf(`r%d: {allow: ["one__*%d"], deny: ["*__nothing%d*"]}`, i, i%10, i))
		bindings = append(bindings, fmt.Sprintf(`{group: g%d, role: r%d}`, i, i))
	}
	file = fmt.Sprintf(file, strings.Join(roles, ", "), strings.Join(bindings, ", "))
	c, problems := v1.Parse([]byte(file), v1.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	p, err := plan.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	g := New(Options{Version: "test", Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics("test")})
	if err := g.Apply(p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	w := g.world.Load()
	page := &mcp.Raw{Body: []byte(`{"jsonrpc":"2.0","id":1,"result":{"tools":[` + strings.Join(definitions(n), ",") + `]}}`)}
	if e := page.Scan(wide(page.Body)); e != nil {
		t.Fatal(e)
	}
	l := &listing{pages: 1, first: *page, expires: time.Now().Add(time.Hour)}
	l.take(g, w.order[0], mcp.MethodToolsList, &upstream.Peer{}, page, map[string]bool{})
	l.objects = newObjects(l)
	w.order[0].catalog.slot(mcp.MethodToolsList).cur = l
	return g, w
}

func definitions(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`{"name":"tool%04d","description":"says what it got, %s","inputSchema":{"type":"object","properties":{"a":{"type":"string"}}},`+
			`"annotations":{"readOnlyHint":%v}}`, i, strings.Repeat("and more of it, ", 10), i%2 == 0)
	}
	return all
}

// asking makes an exchange of a caller in a group.
func asking(t testing.TB, w *world, group int, body string) *Exchange {
	t.Helper()
	x := &Exchange{Principal: &identity.Principal{Subject: "ci", Tenant: "default", Groups: []string{fmt.Sprintf("g%d", group)}, Method: identity.MethodAPIKey}, started: time.Now()}
	x.bind(w)
	x.view = w.view(x.Principal)
	x.In.Body = []byte(body)
	if e := x.In.Scan(mcp.Limits{}); e != nil {
		t.Fatal(e)
	}
	return x
}

// TestDecisionAllocations: a decision about a call that needs no arguments costs no memory.
func TestDecisionAllocations(t *testing.T) {
	g, w := listed(t, 100)
	x := asking(t, w, 7, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"one__tool0007","arguments":{}}}`)
	x.member, x.name = w.order[0], []byte("tool0007")
	run := func() {
		if _, err := authorize(context.Background(), g, x); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(500, run); n > 0 {
		t.Errorf("%.1f allocations", n)
	}
	x.view = nil
	if n := testing.AllocsPerRun(500, run); n > 0 {
		t.Errorf("%.1f allocations where nothing is enforced", n)
	}
}

func BenchmarkDecision(b *testing.B) {
	g, w := listed(b, 1000)
	x := asking(b, w, 7, `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"one__tool0007","arguments":{}}}`)
	x.member, x.name = w.order[0], []byte("tool0007")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := authorize(context.Background(), g, x); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList makes a list of 2,500 tools for callers with rights that nobody had before, and for known ones.
func BenchmarkList(b *testing.B) {
	const body = `{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{}}`
	b.Run("new", func(b *testing.B) {
		g, w := listed(b, 2500)
		_, _ = list(context.Background(), g, asking(b, w, 0, body))
		n := 0
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			if n++; n%grantsMost == 0 {
				g, w = listed(b, 2500)
				_, _ = list(context.Background(), g, asking(b, w, n%grantsMost, body)) // what fits each tool is known from now on
				n++
			}
			x := asking(b, w, n%grantsMost, body)
			b.StartTimer()
			if _, err := list(context.Background(), g, x); err != nil || len(x.Out.Body) == 0 {
				b.Fatal(err)
			}
		}
	})
	b.Run("first", func(b *testing.B) { // since the configuration or the list changed
		for b.Loop() {
			b.StopTimer()
			g, w := listed(b, 2500)
			x := asking(b, w, 7, body)
			b.StartTimer()
			if _, err := list(context.Background(), g, x); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("known", func(b *testing.B) {
		g, w := listed(b, 2500)
		x := asking(b, w, 7, body)
		_, _ = list(context.Background(), g, x)
		b.ReportAllocs()
		for b.Loop() {
			x.Out.Reset()
			if _, err := list(context.Background(), g, x); err != nil {
				b.Fatal(err)
			}
		}
	})
}
