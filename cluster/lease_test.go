package cluster_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/clustertest"
	"github.com/toolcrib/toolcrib/cluster/memory"
)

// TestHoldLost ends what is done under a lease that cannot be renewed before another can have it.
func TestHoldLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &deaf{Backend: memory.New()}
		n := clustertest.Node(t, b, clustertest.Ring(t))
		ctx, cancel := context.WithCancel(t.Context())
		began, ended := make(chan time.Time, 2), make(chan time.Time, 2)
		done := make(chan error, 1)
		go func() {
			done <- n.Hold(ctx, "l", func(ctx context.Context) {
				began <- time.Now()
				<-ctx.Done()
				ended <- time.Now()
			})
		}()
		<-began
		time.Sleep(time.Minute) // it is renewed
		if len(ended) > 0 {
			t.Fatal("it was lost")
		}
		b.down.Store(true)
		from := time.Now()
		if took := (<-ended).Sub(from); took > 9*time.Second {
			t.Errorf("ended %v after the last renewal", took)
		}
		b.down.Store(false)
		<-began
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// deaf is a backend whose leases can be away.
type deaf struct {
	*memory.Backend

	down atomic.Bool
}

func (b *deaf) Lock(ctx context.Context, name, owner string, ttl time.Duration) error {
	if b.down.Load() {
		return cluster.ErrDown
	}
	return b.Backend.Lock(ctx, name, owner, ttl)
}
