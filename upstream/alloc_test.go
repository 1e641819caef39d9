//go:build !race

package upstream_test

import (
	"log/slog"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// A call to a process allocates little. All that is allocated here meanwhile is counted.
func TestCallAllocations(t *testing.T) {
	const most = 7
	for _, era := range []string{"modern", "legacy"} {
		t.Run(era, func(t *testing.T) {
			lone := testenv.LoneServer(t, era, "")
			spec := v1.Server{Command: lone.Command, Args: lone.Args}
			spec.SetDefaults()
			srv := upstream.Open(&spec, upstream.Options{Name: "one", Version: "test", Log: slog.New(slog.DiscardHandler)})
			t.Cleanup(srv.Close)
			call := upstream.Call{
				In:      &mcp.Raw{Body: []byte(`{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"}}}`)},
				Session: "me", Client: &upstream.Client{Capabilities: []byte(`{}`)}, Name: []byte("echo"),
			}
			if e := call.In.Scan(mcp.Limits{}); e != nil {
				t.Fatal(e)
			}
			ctx := testenv.Within(t, testenv.Patience)
			run := func() {
				var out mcp.Raw
				err := srv.Do(ctx, &call, &out)
				if err != nil || out.Kind != mcp.KindResult {
					t.Fatalf("%s, %v", out.Body, err)
				}
				out.Free()
			}
			run()
			if n := testing.AllocsPerRun(500, run); n > most {
				t.Errorf("%.1f allocations, want at most %d", n, most)
			}
		})
	}
}
