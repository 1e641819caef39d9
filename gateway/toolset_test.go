package gateway_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/upstream"
)

const sets = `
toolsets:
  named: {servers: [one], tools: {one__find: {as: look}}}
  fixed: {servers: [one], tools: {one__find: {as: look, fix: {index: tickets}, hide: [debug]}}}
`

// finder is a server of one tool, as cheap as can be.
func finder(b *testing.B) *httptest.Server {
	b.Helper()
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var in mcp.Raw
		in.Body = body
		if e := in.Scan(mcp.Limits{}); e != nil {
			b.Error(e)
		}
		w.Header().Set("Content-Type", "application/json")
		result := map[mcp.Method]string{
			mcp.MethodDiscover:  `"supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":3600000,"cacheScope":"public"`,
			mcp.MethodToolsList: `"ttlMs":3600000,"cacheScope":"public","tools":[{"name":"find","inputSchema":{"type":"object","properties":{"index":{"type":"string"}}}}]`,
			mcp.MethodToolsCall: `"content":[{"type":"text","text":"found"}]`,
		}[in.Method]
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":`+string(in.ID.Of(body))+`,"result":{"resultType":"complete",`+result+`}}`)
	}))
}

// BenchmarkToolset is a call at the aggregated endpoint, and the same through toolsets.
func BenchmarkToolset(b *testing.B) {
	server := finder(b)
	defer server.Close()
	c, problems := v1.Parse([]byte("mcpServers:\n  one: {url: \""+server.URL+"\"}\n  two: {url: \""+server.URL+"\"}\n"+sets), v1.Options{})
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	p, err := plan.Compile(c)
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	g := gateway.New(gateway.Options{Log: log, Metrics: telemetry.NewMetrics("bench"), Identity: identity.New(identity.Options{Log: log})})
	defer g.Close()
	if err := g.Apply(p); err != nil {
		b.Fatal(err)
	}
	for _, row := range [][2]string{{"", "one__find"}, {"toolsets/named", "look"}, {"toolsets/fixed", "look"}} {
		b.Run("at "+row[0], func(b *testing.B) {
			body := `{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"` + row[1] + `","arguments":{"query":"` + strings.Repeat("x", 1000) + `"},` +
				`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
			x := &gateway.Exchange{}
			call := func() {
				x.Header, x.Endpoint, x.Client = http.Header{}, row[0], upstream.Client{Modern: true}
				x.In.Body = []byte(body)
				err := g.Admit(context.Background(), x)
				if err == nil {
					if e := x.In.Scan(mcp.Limits{}); e != nil {
						err = e
					}
				}
				if err == nil {
					err = g.Serve(context.Background(), x)
				}
				if err != nil || x.Out.Kind != mcp.KindResult {
					b.Fatal(err, string(x.Out.Body))
				}
				g.Finish(x, nil)
				x.Reset()
			}
			call()
			b.ReportAllocs()
			for b.Loop() {
				call()
			}
		})
	}
}
