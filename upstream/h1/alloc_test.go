//go:build unix && !race

package h1_test

import (
	"context"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/upstream/h1"
)

// TestAllocations counts those of a call on a reused connection, the test server's included.
func TestAllocations(t *testing.T) {
	cancelable, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, tc := range []struct {
		name      string
		ctx       context.Context //nolint:containedctx // a row of a table
		ask, tell int
		most      float64
	}{
		{"no context to watch", context.Background(), 200, 200, 0},
		{"context to watch", cancelable, 200, 200, 4},
		{"64 KiB answer", context.Background(), 200, 64 << 10, 0},
		{"64 KiB request", context.Background(), 64 << 10, 200, 0},
	} {
		c := client(t, h1.Options{Addr: cheapServer(t, nil, answerOf(tc.tell))})
		q := &h1.Request{Head: []byte(benchHead), Body: [][]byte{make([]byte, tc.ask)}, Timeout: time.Minute}
		p, sink := new(h1.Response), make([]byte, 64<<10)
		run := func() {
			if err := c.Do(tc.ctx, q, p); err != nil {
				t.Fatal(err)
			}
			if p.Header("Content-Type") != "application/json" {
				t.Fatal("no content type")
			}
			p.SetTimeout(time.Minute)
			if n, err := drain(p, sink); n != tc.tell || err != nil {
				t.Fatal(n, err)
			}
			p.Close()
		}
		run()
		if n := testing.AllocsPerRun(500, run); n > tc.most {
			t.Errorf("%s: %v allocations, want at most %v", tc.name, n, tc.most)
		}
	}
}
