package redis_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/clustertest"
	"github.com/toolcrib/toolcrib/cluster/redis"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/seal"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// open makes a backend that closes with the test.
func open(t testing.TB, url string) *redis.Backend {
	t.Helper()
	b, err := redis.New(redis.Options{Address: v1.Secret(url)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func suite(t *testing.T, url string) {
	t.Helper()
	clustertest.Run(t, func(t *testing.T) cluster.Backend { return open(t, url) })
}

// withPassword is the address of a server with a password.
func withPassword(r *testenv.Redis, password string) string {
	return "redis://:" + password + "@" + r.Address() + "/2"
}

func TestSuite(t *testing.T) {
	t.Parallel()
	suite(t, withPassword(testenv.StartRedis(t, "--requirepass", "sek@rit"), "sek%40rit"))
}

func TestSuiteSentinel(t *testing.T) {
	t.Parallel()
	suite(t, testenv.StartSentinel(t).URL())
}

func TestSuiteCluster(t *testing.T) {
	t.Parallel()
	suite(t, testenv.StartRedisCluster(t).URL())
}

// TestOneNodeNamed shows that one node of a Redis Cluster is enough to find it.
func TestOneNodeNamed(t *testing.T) {
	t.Parallel()
	p := nodes(t, testenv.StartRedisCluster(t).Nodes[0].URL())
	testenv.Eventually(t, "both work", p.works)
}

// TestLeavesAsItListens: a replica that leaves while its subscriptions begin ends, at whatever point that is.
func TestLeavesAsItListens(t *testing.T) {
	t.Parallel()
	url := testenv.StartRedisCluster(t).URL()
	for i := range 150 {
		b := open(t, url)
		_, leave := b.Join(fmt.Sprint("replica ", i), cluster.Callbacks{Deliver: func(bool, []byte) {}, Connected: func(bool) {}})
		select {
		case <-b.Tried():
		case <-time.After(time.Duration(i) * 100 * time.Microsecond): // another point each time
		}
		leave()
		b.Close()
	}
}

// pair is two nodes that call each other.
type pair struct {
	a, b *cluster.Node
	ring func() *seal.Ring
}

func nodes(t *testing.T, url string) *pair {
	t.Helper()
	ring := clustertest.Ring(t)
	p := &pair{clustertest.Node(t, open(t, url), ring), clustertest.Node(t, open(t, url), ring), clustertest.Fixed(ring)}
	for _, n := range []*cluster.Node{p.a, p.b} {
		n.Handle("echo", func(_ context.Context, request []byte, _ func([]byte)) ([]byte, error) { return request, nil })
	}
	return p
}

func (p *pair) works() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err := p.a.Call(ctx, p.b.ID(), "echo", nil, nil)
	_, err2 := p.b.Call(ctx, p.a.ID(), "echo", nil, nil)
	return err == nil && err2 == nil && p.a.Put(ctx, "k", "f", "v", time.Now().Add(time.Minute)) == nil &&
		p.a.Status().Connected && p.b.Status().Connected
}

// waitForEver serves calls that end with their context.
func waitForEver(n *cluster.Node) chan struct{} {
	began := make(chan struct{}, 1)
	n.Handle("wait", func(ctx context.Context, _ []byte, _ func([]byte)) ([]byte, error) {
		began <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	return began
}

// fails tells how long each thing that needs Redis takes to fail while it is away.
func fails(t *testing.T, p *pair) {
	t.Helper()
	ctx := t.Context()
	for name, try := range map[string]func() error{
		"call":      func() error { _, err := p.a.Call(ctx, p.b.ID(), "echo", nil, nil); return err },
		"broadcast": func() error { return p.a.Broadcast(ctx, "x", nil) },
		"put":       func() error { return p.a.Put(ctx, "k", "f", "v", time.Now().Add(time.Minute)) },
		"facts":     func() error { _, err := p.a.Facts(ctx, "k"); return err },
		"drop":      func() error { return p.a.Drop(ctx, "k", "f") },
		"lease":     func() error { _, err := p.a.Acquire(ctx, "l", time.Minute); return err },
	} {
		watch := testenv.StartWatch(t)
		if err := try(); !errors.Is(err, cluster.ErrDown) || watch.Took() > 2*time.Second {
			t.Errorf("%s: got %v after %v", name, err, watch.Took())
		}
	}
	watch := testenv.StartWatch(t)
	for range 1000 {
		if _, err := p.a.Facts(ctx, "k"); !errors.Is(err, cluster.ErrDown) {
			t.Errorf("got %v", err)
		}
	}
	if took := watch.Took(); took > time.Second {
		t.Errorf("known to be away, 1000 tries took %v", took)
	}
	if _, err := p.a.Call(ctx, p.a.ID(), "echo", nil, nil); err != nil {
		t.Errorf("a call to itself: %v", err)
	}
}

func TestAway(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t)
	p := nodes(t, r.URL())
	began := waitForEver(p.b)
	again := make(chan struct{}, 8)
	p.a.OnReconnect(func() { again <- struct{}{} })
	testenv.Eventually(t, "both work", p.works)
	waiting := make(chan error, 1)
	go func() {
		_, err := p.a.Call(context.Background(), p.b.ID(), "wait", nil, nil)
		waiting <- err
	}()
	<-began
	r.Kill()
	if err := <-waiting; !errors.Is(err, cluster.ErrDown) {
		t.Errorf("what was under way: %v", err)
	}
	fails(t, p)
	testenv.Eventually(t, "a call is not begun", func() bool {
		_, err := p.a.Call(t.Context(), p.b.ID(), "echo", nil, nil)
		return errors.Is(err, cluster.ErrDown) && errors.Is(err, cluster.ErrUnsent) && errs.Of(err).Kind == errs.Unavailable
	})
	testenv.Eventually(t, "the reason is told", func() bool { return strings.Contains(p.a.Status().Reason, "refused") })
	r.Start()
	testenv.Eventually(t, "both work again", p.works)
	<-again
	if s := p.a.Status(); s.Reason != "" || s.Backend != "redis" || time.Since(s.Since) > time.Minute {
		t.Errorf("status %+v", s)
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t)
	p := nodes(t, r.URL())
	testenv.Eventually(t, "both work", p.works)
	r.Hang()
	defer r.Resume()
	watch := testenv.StartWatch(t)
	if _, err := p.a.Facts(t.Context(), "k"); !errors.Is(err, cluster.ErrDown) || watch.Took() > 1500*time.Millisecond {
		t.Errorf("the first: got %v after %v", err, watch.Took())
	}
	fails(t, p)
	testenv.Eventually(t, "it is noticed", func() bool { return !p.a.Status().Connected && !p.b.Status().Connected })
	r.Resume()
	testenv.Eventually(t, "both work again", p.works)
}

func TestStartsWithout(t *testing.T) {
	t.Parallel()
	r := testenv.NewRedis(t)
	ring := clustertest.Ring(t)
	n := cluster.New(cluster.Options{Backend: open(t, r.URL()), Ring: clustertest.Fixed(ring)})
	t.Cleanup(n.Close)
	if err := n.Broadcast(t.Context(), "x", nil); !errors.Is(err, cluster.ErrDown) {
		t.Errorf("got %v", err)
	}
	if <-n.Tried(); n.Status().Connected || n.Status().Reason == "not connected yet" {
		t.Errorf("tried: %+v", n.Status())
	}
	r.Start()
	testenv.Eventually(t, "it connects", func() bool { return n.Status().Connected })
	if err := n.Broadcast(t.Context(), "x", nil); err != nil {
		t.Error(err)
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t, "--requirepass", "right")
	n := cluster.New(cluster.Options{Backend: open(t, withPassword(r, "sekrit"))})
	t.Cleanup(n.Close)
	testenv.Eventually(t, "the reason is told", func() bool { return strings.Contains(n.Status().Reason, "WRONGPASS") })
	if s := n.Status(); s.Connected || strings.Contains(s.Reason, "sekrit") {
		t.Errorf("status %+v", s)
	}
	if _, err := redis.New(redis.Options{Address: "redis://:sekrit@a b"}); err == nil || strings.Contains(err.Error(), "sekrit") {
		t.Errorf("a wrong address: %v", err)
	}
}

// TestKilled breaks the connection of a replica without any farewell, as a kill -9 does: the others learn of it at once.
func TestKilled(t *testing.T) {
	t.Parallel()
	url := testenv.StartRedis(t).URL()
	for _, caller := range []bool{true, false} {
		p := nodes(t, url)
		dies := open(t, url)
		victim := cluster.New(cluster.Options{Backend: dies, Ring: p.ring})
		t.Cleanup(victim.Close)
		testenv.Eventually(t, "connected", func() bool { return victim.Status().Connected })
		from, to := p.a, victim
		if caller {
			from, to = to, from
		}
		ended := make(chan error, 1)
		began := make(chan struct{}, 1)
		to.Handle("wait", func(ctx context.Context, _ []byte, _ func([]byte)) ([]byte, error) {
			began <- struct{}{}
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil, ctx.Err()
		})
		failed := make(chan error, 1)
		go func() {
			_, err := from.Call(context.Background(), to.ID(), "wait", nil, nil)
			failed <- err
		}()
		<-began
		watch := testenv.StartWatch(t)
		dies.Close()
		survivor := failed
		if caller {
			survivor = ended
		}
		if err := <-survivor; !errors.Is(err, cluster.ErrGone) || watch.Took() > 2500*time.Millisecond {
			t.Errorf("caller dies %v: %v after %v", caller, err, watch.Took())
		}
		watch = testenv.StartWatch(t)
		if _, err := p.a.Call(t.Context(), victim.ID(), "wait", nil, nil); !errors.Is(err, cluster.ErrGone) || watch.Took() > time.Second {
			t.Errorf("a call to the dead: %v after %v", err, watch.Took())
		}
	}
}

// TestRestrictedUser has a user who may do what docs/replicas.md says, and nothing else.
func TestRestrictedUser(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/replicas.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "A user of its own needs")
	list, _, _ = strings.Cut(list, "Redis should")
	rules := []string{"ACL", "SETUSER", "tc", "reset", "on", ">pw"}
	for i, rule := range strings.Split(list, "`") {
		if i%2 == 0 {
			continue
		}
		if !strings.ContainsAny(rule, "~&") {
			rule = "+" + strings.ToLower(rule)
		}
		rules = append(rules, rule)
	}
	for name, servers := range map[string][]*testenv.Redis{
		"one server": {testenv.StartRedis(t)}, "Redis Cluster": testenv.StartRedisCluster(t).Nodes,
	} {
		for _, r := range servers {
			if answer, err := r.Do(rules...); err != nil || answer != "OK" {
				t.Fatalf("%v: %s, %v", rules, answer, err)
			}
		}
		p := nodes(t, "redis://tc:pw@"+servers[0].Address())
		testenv.Eventually(t, name+": both work", p.works)
		l, err := p.a.Acquire(t.Context(), "l", time.Minute)
		if err != nil || l.Renew(t.Context()) != nil || l.Release(t.Context()) != nil || p.a.Broadcast(t.Context(), "x", nil) != nil {
			t.Errorf("%s: leases and broadcasts: %v", name, err)
		}
		limits := p.a.Counter()
		if d, err := limits.Draw(t.Context(), &cluster.Draw{Name: "l", Most: 10, Need: 1, Want: 1, TTL: time.Minute}); err != nil || d.Got != 1 || d.Left != 9 {
			t.Errorf("%s: limits: %+v, %v", name, d, err)
		}
		if n, err := limits.Hold(t.Context(), "h", "a", 0, 2, 5, time.Minute); err != nil || n != 2 {
			t.Errorf("%s: places: %d, %v", name, n, err)
		}
		if n, err := limits.Present(t.Context(), "a", time.Minute); err != nil || n != 1 {
			t.Errorf("%s: replicas: %d, %v", name, n, err)
		}
		if facts, err := p.b.Facts(t.Context(), "k"); err != nil || len(facts) != 1 || p.b.Drop(t.Context(), "k", "f") != nil {
			t.Errorf("%s: facts: %v, %v", name, facts, err)
		}
	}
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	s := testenv.StartSentinel(t)
	p := nodes(t, s.URL())
	testenv.Eventually(t, "both work", p.works)
	s.Servers[0].Kill()
	testenv.Eventually(t, "the loss is noticed", func() bool { return !p.works() })
	testenv.Eventually(t, "both work with another master", p.works)
	if m := s.Master(); m == nil || m == s.Servers[0] {
		t.Errorf("master %+v", m)
	}
}

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	c := testenv.StartRedisCluster(t)
	p := nodes(t, c.URL())
	testenv.Eventually(t, "both work", p.works)
	c.MasterOf("toolcrib:0:in:" + p.b.ID()).Kill()
	testenv.Eventually(t, "the loss is noticed", func() bool { return !p.works() })
	testenv.Eventually(t, "both work with another master", p.works)
}

// TestNoFalseDeath calls on through a failover: a replica that lives is never said to be gone.
func TestNoFalseDeath(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t)
	p := nodes(t, r.URL())
	testenv.Eventually(t, "both work", p.works)
	for range 3 {
		r.Kill()
		r.Start()
		testenv.Eventually(t, "a call is served again", func() bool {
			_, err := p.a.Call(t.Context(), p.b.ID(), "echo", nil, nil)
			if err != nil && !errors.Is(err, cluster.ErrDown) {
				t.Errorf("got %v", err)
			}
			return err == nil
		})
	}
}
