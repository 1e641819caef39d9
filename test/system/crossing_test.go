package system_test

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// each runs f n times at the same time.
func each(n int, f func(int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// TestNoCrossing: answers and progress reach the client that they are for, when all use the same ids and tokens.
func TestNoCrossing(t *testing.T) {
	t.Parallel()
	const clients = 200
	eachKind(t, func(t *testing.T, k kind) {
		var all sync.WaitGroup
		all.Add(clients)
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("echo")}, On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) {
				all.Done()
				all.Wait() // every call is in flight before the first answer
				var args struct{ Tag int }
				if err := json.Unmarshal([]byte(c.Args()), &args); err != nil {
					t.Error(err)
				}
				c.Progress(args.Tag + 1)
				c.Text(fmt.Sprint("tag ", args.Tag))
			},
		}})
		var wide map[string]any
		if k.stdio {
			wide = map[string]any{"pool": map[string]any{"concurrency": clients}}
		}
		g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(wide)}})
		legacy := make([]*testenv.Client, clients)
		for i := range legacy {
			legacy[i] = g.Client(testenv.Eras[i%2], []string{"/mcp", "/servers/one/mcp"}[i/2%2])
		}
		ctx := testenv.Within(t, 2*testenv.Patience)
		each(clients, func(i int) {
			name := []string{"one__echo", "echo"}[i/2%2]
			r, err := legacy[i].Try(ctx, testenv.Request{
				ID: "1", Method: "tools/call", Meta: `"progressToken":"same"`,
				Members: fmt.Sprintf(`"name":%q,"arguments":{"tag":%d}`, name, i),
			})
			if err != nil || r.ID() != "1" || r.Texts() != fmt.Sprint("tag ", i) {
				t.Errorf("client %d: %v, %v", i, err, r)
				return
			}
			want := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"same","progress":%d}}`, i+1)
			if len(r.Messages) != 2 || string(r.Messages[0]) != want {
				t.Errorf("client %d: %v, want %s", i, r, want)
			}
		})
	})
}
