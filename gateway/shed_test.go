package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/telemetry"
)

// TestSpare has requests of each priority meet each share of the bounds.
func TestSpare(t *testing.T) {
	for _, tt := range []struct {
		others, memory int64
		passes         map[priority]bool
	}{
		{0, 0, map[priority]bool{ending: true, interactive: true, lists: true, bulk: true}},
		{79, 799, map[priority]bool{ending: true, interactive: true, lists: true, bulk: true}},
		{80, 0, map[priority]bool{ending: true, interactive: true, lists: true}},
		{0, 800, map[priority]bool{ending: true, interactive: true, lists: true}},
		{90, 0, map[priority]bool{ending: true, interactive: true}},
		{0, 900, map[priority]bool{ending: true, interactive: true}},
		{100, 0, map[priority]bool{ending: true}},
		{0, 1000, map[priority]bool{ending: true}},
		{125, 0, nil},
		{0, 1250, nil},
	} {
		g := &Gateway{o: Options{Metrics: telemetry.NewMetrics("test")}}
		g.Bear(100, tt.memory)
		g.load.under.Store(tt.others + 1)
		for p := range shares {
			err := g.spare(priority(p))
			if (err == nil) != tt.passes[priority(p)] {
				t.Errorf("%d others, memory %d: %s: %v", tt.others, tt.memory, priorityNames[p], err)
			}
			if err == nil {
				continue
			}
			e := errs.Of(err)
			if e.Kind != errs.Overloaded || e.RetryAfter < time.Second || e.RetryAfter > 3*time.Second || !strings.Contains(string(e.Data), `"overload"`) {
				t.Errorf("refused with %+v", e)
			}
		}
	}
	g := &Gateway{}
	g.load.under.Store(1 << 40)
	if err := g.spare(bulk); err != nil {
		t.Errorf("without a bound: %v", err)
	}
}

// TestPriority tells what a request is by what is known of it at the door, and then.
func TestPriority(t *testing.T) {
	for _, tt := range []struct {
		method string
		header http.Header
		kind   mcp.Kind
		asks   mcp.Method
		want   priority
	}{
		{"POST", http.Header{"Mcp-Method": {"tools/call"}}, 0, 0, interactive},
		{"POST", http.Header{"Mcp-Method": {"tools/list"}}, 0, 0, lists},
		{"POST", http.Header{"Mcp-Method": {"server/discover"}}, 0, 0, lists},
		{"POST", http.Header{"Mcp-Method": {"subscriptions/listen"}}, 0, 0, lists},
		{"POST", http.Header{"Mcp-Method": {"nonsense"}}, 0, 0, interactive},
		{"POST", http.Header{"Mcp-Method": {"tools/call"}, "Priority": {"i, u=5"}}, 0, 0, bulk},
		{"POST", http.Header{"Mcp-Method": {"tools/call"}, "Priority": {"u=3"}}, 0, 0, interactive},
		{"POST", http.Header{"Mcp-Method": {"tools/call"}, "Priority": {"u=77"}}, 0, 0, interactive},
		{"POST", http.Header{"Mcp-Session-Id": {"x"}}, 0, 0, ending},
		{"POST", http.Header{"Mcp-Session-Id": {"x"}, "Priority": {"u=7"}}, 0, 0, ending},
		{"POST", http.Header{"Mcp-Session-Id": {"x"}}, mcp.KindRequest, mcp.MethodToolsList, lists},
		{"POST", http.Header{"Mcp-Session-Id": {"x"}}, mcp.KindRequest, mcp.MethodToolsCall, interactive},
		{"POST", http.Header{"Mcp-Session-Id": {"x"}, "Priority": {"u=7"}}, mcp.KindRequest, mcp.MethodToolsCall, bulk},
		{"POST", http.Header{"Mcp-Session-Id": {"x"}}, mcp.KindNotification, mcp.MethodCancelled, ending},
		{"POST", http.Header{}, mcp.KindResult, 0, ending},
		{"POST", http.Header{}, 0, 0, interactive},
		{"GET", http.Header{"Mcp-Session-Id": {"x"}}, 0, 0, lists},
		{"DELETE", http.Header{"Mcp-Session-Id": {"x"}}, 0, 0, ending},
	} {
		x := &Exchange{HTTPMethod: tt.method, Header: tt.header, bulk: unhurried(tt.header)}
		x.In.Kind, x.In.Method = tt.kind, tt.asks
		if got := x.priority(); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt, priorityNames[got], priorityNames[tt.want])
		}
	}
}

// TestBulkCallers can wait by their tenant or by a group of theirs.
func TestBulkCallers(t *testing.T) {
	g := &Gateway{o: Options{Metrics: telemetry.NewMetrics("test")}}
	g.Bear(100, 850)
	c := &v1.Config{Overload: v1.Overload{Bulk: v1.Bulk{Tenants: []string{"nightly"}, Groups: []string{"crawlers"}}}}
	for _, tt := range []struct {
		who   identity.Principal
		waits bool
	}{
		{identity.Principal{Tenant: "nightly"}, true},
		{identity.Principal{Tenant: "acme", Groups: []string{"staff", "crawlers"}}, true},
		{identity.Principal{Tenant: "acme", Groups: []string{"nightly"}}, false},
		{identity.Principal{Tenant: "crawlers"}, false},
	} {
		x := &Exchange{HTTPMethod: "POST", Principal: &tt.who, world: &world{plan: &plan.Plan{Config: c}}}
		if _, err := ranked(t.Context(), g, x); (err != nil) != tt.waits {
			t.Errorf("%+v: %v", tt.who, err)
		}
	}
}

// TestLoadCostsNothing: what every request passes allocates nothing.
func TestLoadCostsNothing(t *testing.T) {
	g := &Gateway{}
	g.Bear(1<<40, 0)
	x := &Exchange{HTTPMethod: "POST", Header: http.Header{"Mcp-Method": {"tools/call"}}, Principal: identity.Anonymous}
	x.world = &world{plan: &plan.Plan{Config: &v1.Config{}}}
	n := testing.AllocsPerRun(100, func() {
		for _, f := range []func() (bool, error){
			func() (bool, error) { return atDoor(t.Context(), g, x) },
			func() (bool, error) { return ranked(t.Context(), g, x) },
			func() (bool, error) { return weighed(t.Context(), g, x) },
		} {
			if _, err := f(); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}
