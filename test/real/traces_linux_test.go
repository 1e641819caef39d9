package real_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/internal/trace"
)

// span is one as the collector has it.
type span struct {
	Name, Kind, Trace, ID, Parent string
	Service, Attributes           map[string]any
}

// spansOf reads what the collector has got of a trace.
func spansOf(t *testing.T, path, id string) (all []span) {
	t.Helper()
	for _, line := range wholeLines(t, path) {
		var s span
		if err := json.Unmarshal(line, &s); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if s.Trace == id {
			all = append(all, s)
		}
	}
	return all
}

// TestTraces: from a client through the gateway to servers over HTTP and stdio there is one trace at an OpenTelemetry collector, which
// refuses requests now and then, whatever both sides speak.
func TestTraces(t *testing.T) {
	t.Parallel()
	binary, err := collectorBinary()
	if err != nil {
		t.Fatalf("the collector that this test needs is not there: %v", err)
	}
	http, grpc, path := freeAddr(t), freeAddr(t), filepath.Join(t.TempDir(), "spans.jsonl")
	start(t, binary, http, path, grpc)
	for protocol, addr := range map[string]string{"http": http, "grpc": grpc} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			servers, entries := map[string]*testenv.Server{}, map[string]any{}
			for _, era := range testenv.Eras {
				script := testenv.Script{Era: era, Tools: testenv.Tools(1)}
				servers[fmt.Sprint("http", era)], servers[fmt.Sprint("stdio", era)] = testenv.HTTPServer(t, script), testenv.StdioServer(t, script)
			}
			for name, s := range servers {
				entries[name] = s.Entry()
			}
			base, _ := startWith(t, map[string]any{"mcpServers": entries, "telemetry": map[string]any{
				"traces": map[string]any{"endpoint": "http://" + addr, "protocol": protocol},
			}})
			var calls []traced
			for _, era := range testenv.Eras {
				c := testenv.NewClient(t, base+"/mcp", era)
				if era == testenv.Legacy {
					c.Initialize(testenv.LegacyVersion)
				}
				for name, s := range servers {
					calls = append(calls, callTraced(t, c, name, s))
				}
			}
			for _, made := range calls {
				made.oneTrace(t, path)
			}
		})
	}
}

// callersSpan is the span of a client that calls.
const callersSpan = "b7ad6b7169203331"

// traced is a call within a trace: to which server, and what that was told of it.
type traced struct{ id, server, told string }

func callTraced(t *testing.T, c *testenv.Client, name string, s *testenv.Server) traced {
	t.Helper()
	id := trace.NewID().String()
	r := c.Do(testenv.Request{Method: "tools/call", Members: `"name":"` + name + `__tool0000"`, Meta: `"traceparent":"00-` + id + `-` + callersSpan + `-01"`})
	if r.Result() == nil {
		t.Fatal(r)
	}
	calls := s.Received("tools/call")
	return traced{id, name, calls[len(calls)-1].Meta("traceparent")}
}

// oneTrace looks at what the collector has got of a call: what the gateway was asked and what it asked for it, next to the lists that it
// had the server asked for meanwhile.
func (c traced) oneTrace(t *testing.T, path string) {
	t.Helper()
	var spans []span
	waitUntil(t, "the trace of a call to "+c.server, runTimeout, func() bool {
		spans = slices.DeleteFunc(spansOf(t, path, c.id), func(s span) bool { return s.Attributes["mcp.method.name"] != "tools/call" })
		return len(spans) == 2
	})
	var in, out span
	for _, s := range spans {
		switch s.Kind {
		case "Server":
			in = s
		case "Client":
			out = s
		}
	}
	want := `"00-` + c.id + `-` + out.ID + `-01"`
	if in.Parent != callersSpan || out.Parent != in.ID || c.told != want || in.Service["service.name"] != "toolcrib" {
		t.Errorf("%s: %+v, %+v, the server was told %s", c.server, in, out, c.told)
	}
}
