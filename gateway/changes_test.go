package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/clustertest"
	"github.com/toolcrib/toolcrib/cluster/memory"
	"github.com/toolcrib/toolcrib/upstream"
)

// stalling is a backend of which some broadcasts fail, without a word about the connection.
type stalling struct {
	*memory.Backend
	fails atomic.Int64
}

func (b *stalling) Broadcast(ctx context.Context, message []byte) (int, error) {
	if b.fails.Add(-1) >= 0 {
		return 0, errors.New("no answer")
	}
	return b.Backend.Broadcast(ctx, message)
}

// TestChangesTold: changes of each server reach the other replicas, however much another server says, and also when they cannot be
// told at once.
func TestChangesTold(t *testing.T) {
	t.Parallel()
	for what, row := range map[string]struct {
		fails int64
		uri   string
		uris  int
		loud  changed
	}{
		"one resource":        {uri: "mem://a", uris: 1, loud: changed{URIs: map[string]bool{"mem://a 0": true}}},
		"many long resources": {uri: strings.Repeat("a", 20<<10), uris: changesMost, loud: changed{Own: upstream.ListResources}},
		"one that is too long": {
			uri: strings.Repeat("a", cluster.MaxMessage), uris: 1, loud: changed{Own: upstream.ListResources},
		},
		"after a stall": {fails: 9, uri: "mem://a", uris: 1, loud: changed{Own: upstream.ListResources}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, ring := &stalling{Backend: memory.New()}, clustertest.Ring(t)
				b.fails.Store(row.fails)
				g := &Gateway{o: Options{Node: clustertest.Node(t, b, ring), Log: slog.New(slog.DiscardHandler)}, closing: make(chan struct{})}
				heard := make(chan map[string]changed, changesMost)
				clustertest.Node(t, b, ring).OnBroadcast(changesKind, func(body []byte) {
					var all map[string]changed
					if err := json.Unmarshal(body, &all); err != nil {
						t.Error(err)
					}
					heard <- all
				})
				for i := range row.uris {
					g.note("loud", changed{URIs: map[string]bool{fmt.Sprint(row.uri, " ", i): true}})
				}
				g.note("quiet", changed{Lists: upstream.ListTools})
				var loud, quiet bool
				for late := time.After(time.Hour); !loud || !quiet; {
					select {
					case all := <-heard:
						got := all["loud"]
						loud = loud || got.Own == row.loud.Own && len(got.URIs) == len(row.loud.URIs)
						quiet = quiet || all["quiet"].Lists == upstream.ListTools
					case <-late:
						t.Fatalf("told: loud %t, quiet %t", loud, quiet)
					}
				}
				close(g.closing)
				g.retired.Wait()
			})
		})
	}
}
