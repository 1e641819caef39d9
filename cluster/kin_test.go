package cluster_test

import (
	"bytes"
	"context"
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
)

// leaving is a backend that can be out of reach.
type leaving struct {
	*memory.Backend
	away atomic.Bool
}

func (b *leaving) Status() cluster.Status { return cluster.Status{Connected: !b.away.Load()} }

// TestStrangersBounded: however many replicas somebody makes up, few are told of, and none while the backend is not reached.
func TestStrangersBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 10
		b, ring := &leaving{Backend: memory.New()}, clustertest.Ring(t)
		var log bytes.Buffer
		n := cluster.New(cluster.Options{Backend: b, Ring: clustertest.Fixed(ring), Log: slog.New(slog.NewTextHandler(&log, nil))})
		clustertest.Node(t, b, ring)
		time.Sleep(time.Second) // between two looks
		for range 10 {
			for i := range 2 * most {
				said := fmt.Sprint(time.Now().Unix(), " other")
				if err := b.Put(context.Background(), cluster.KinKey, fmt.Sprint("r", i), said, time.Now().Add(time.Hour)); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * time.Second)
		}
		if got := len(n.Strangers()); got != most {
			t.Errorf("%d strangers", got)
		}
		facts, err := b.Facts(t.Context(), cluster.KinKey)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(cluster.Strangers(facts, ring, time.Now())); got != most {
			t.Errorf("%d strangers of the facts", got)
		}
		b.away.Store(true)
		time.Sleep(3 * time.Second)
		if got := len(n.Strangers()); got != 0 {
			t.Errorf("out of reach: %d strangers", got)
		}
		n.Close()
		if got := strings.Count(log.String(), "different keys"); got != most {
			t.Errorf("%d are logged:\n%s", got, &log)
		}
	})
}
