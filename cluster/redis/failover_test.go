package redis_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/clustertest"
	"github.com/toolcrib/toolcrib/cluster/redis"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// front is one address for several Redis: new connections go to the one that is the master, and those that are open stay.
type front struct {
	net.Listener
	master atomic.Pointer[testenv.Redis]
}

func newFront(t *testing.T, master *testenv.Redis) *front {
	t.Helper()
	f := &front{Listener: testenv.ListenAt(t, testenv.Reserve(t))}
	f.master.Store(master)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := f.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.pass(ctx, c) })
		}
	})
	t.Cleanup(func() {
		f.Close()
		cancel()
		all.Wait()
	})
	return f
}

func (f *front) pass(ctx context.Context, in net.Conn) {
	defer in.Close()
	out, err := (&net.Dialer{}).DialContext(ctx, "tcp", f.master.Load().Address())
	if err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { in.Close() })()
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(in, out) // ends with either
		in.Close()
	})
	_, _ = io.Copy(out, in)
	out.Close()
	back.Wait()
}

// TestDemoted: a Redis that becomes a replica of another and leaves its connections open, as behind one address for both, is
// left for the other, also where nothing is written.
func TestDemoted(t *testing.T) {
	t.Parallel()
	for name, busy := range map[string]bool{"with writes": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			was, is := testenv.StartRedis(t), testenv.StartRedis(t)
			f := newFront(t, was)
			p := nodes(t, "redis://"+f.Addr().String())
			testenv.Eventually(t, "both work", p.works)
			f.master.Store(is)
			if answer, err := was.Do("REPLICAOF", "127.0.0.1", strconv.Itoa(is.Port)); err != nil || answer != "OK" {
				t.Fatal(answer, err)
			}
			testenv.Eventually(t, "both listen at the new master, and not at the old one", func() bool {
				if busy && !p.works() {
					return false
				}
				before, err := was.Do("PUBSUB", "CHANNELS", "toolcrib:*")
				now, err2 := is.Do("PUBSUB", "CHANNELS", "toolcrib:*")
				return err == nil && err2 == nil && before == "" && strings.Contains(now, p.a.ID()) && strings.Contains(now, p.b.ID())
			})
			testenv.Eventually(t, "both work there", p.works)
		})
	}
}

// TestStaysAReplica: what can only be a replica counts as away, and not as there again and again.
func TestStaysAReplica(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t, "--replicaof", "127.0.0.1 1")
	var log testenv.Log
	b, err := redis.New(redis.Options{Address: v1.Secret(r.URL()), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	n := cluster.New(cluster.Options{Backend: b, Ring: clustertest.Fixed(clustertest.Ring(t))})
	t.Cleanup(n.Close)
	testenv.Eventually(t, "the reason is told", func() bool { return strings.Contains(n.Status().Reason, "READONLY") })
	if strings.Contains(log.String(), "connected") {
		t.Error(log.String())
	}
	if answer, err := r.Do("REPLICAOF", "NO", "ONE"); err != nil || answer != "OK" {
		t.Fatal(answer, err)
	}
	testenv.Eventually(t, "it connects to the master that it is now", func() bool { return n.Status().Connected })
}

// TestComplains: each kind of refusal is logged, and none again soon.
func TestComplains(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t)
	var log testenv.Log
	b, err := redis.New(redis.Options{Address: v1.Secret(r.URL()), Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	n := clustertest.Node(t, b, clustertest.Ring(t))
	for _, step := range [][]string{{"maxmemory", "1", "OOM"}, {"maxmemory", "0", ""}, {"min-replicas-to-write", "1", "NOREPLICAS"}} {
		if answer, err := r.Do("CONFIG", "SET", step[0], step[1]); err != nil || answer != "OK" {
			t.Fatal(answer, err)
		}
		for range 3 {
			err := n.Put(t.Context(), "k", "f", "v", time.Now().Add(time.Minute))
			if refused := step[2] != ""; refused != errors.Is(err, cluster.ErrDown) {
				t.Errorf("%v: got %v", step, err)
			}
		}
		if step[2] != "" && strings.Count(log.String(), step[2]) != 1 {
			t.Errorf("%v: %s", step, log.String())
		}
		if s := n.Status(); !s.Connected || !strings.Contains(s.Reason, step[2]) {
			t.Errorf("%v: status %+v", step, s)
		}
	}
}
