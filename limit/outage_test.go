package limit_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/memory"
	"github.com/toolcrib/toolcrib/limit"
)

// counter is a backend that counts, and that is away or hangs when it is told to.
type counter struct {
	*memory.Backend

	mu       sync.Mutex
	away     bool
	hangs    bool
	left     map[string]float64
	replicas map[string]time.Time
}

func (c *counter) set(away, hangs bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away, c.hangs = away, hangs
}

// forget is a start anew without the replicas that were there.
func (c *counter) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.replicas)
}

func (c *counter) Status() cluster.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cluster.Status{Connected: !c.away}
}

// enter returns with the lock held, if there is an answer.
func (c *counter) enter(ctx context.Context) error {
	c.mu.Lock()
	switch {
	case c.away:
		c.mu.Unlock()
		return cluster.ErrDown
	case c.hangs:
		c.mu.Unlock()
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (c *counter) Draw(ctx context.Context, d *cluster.Draw) (out cluster.Drawn, err error) {
	if err := c.enter(ctx); err != nil {
		return out, err
	}
	defer c.mu.Unlock()
	left, ok := c.left[d.Name]
	if !ok {
		left = d.Most
	}
	if d.All || left >= d.Need {
		out.Got = d.Want
	}
	out.Left = min(left-out.Got, d.Most)
	c.left[d.Name] = out.Left
	return out, nil
}

func (c *counter) Hold(ctx context.Context, _, _ string, _, want, _ int, _ time.Duration) (int, error) {
	if err := c.enter(ctx); err != nil {
		return 0, err
	}
	defer c.mu.Unlock()
	return want, nil
}

func (c *counter) Present(ctx context.Context, replica string, ttl time.Duration) (n int, err error) {
	if err := c.enter(ctx); err != nil {
		return 0, err
	}
	defer c.mu.Unlock()
	c.replicas[replica] = time.Now().Add(ttl)
	for _, end := range c.replicas {
		if time.Now().Before(end) {
			n++
		}
	}
	return n, nil
}

// counted are three replicas that share limits by a counter and know of one another.
func counted(t *testing.T, all ...v1.Limit) (*counter, []*limit.Limiter, []*limit.Rules) {
	t.Helper()
	c := &counter{Backend: memory.New(), left: map[string]float64{}, replicas: map[string]time.Time{}}
	config := v1.New()
	config.Limits = all
	var limiters []*limit.Limiter
	var rules []*limit.Rules
	for range 3 {
		node := cluster.New(cluster.Options{Backend: c})
		l := limit.New(limit.Options{Node: node})
		t.Cleanup(func() {
			l.Close()
			node.Close()
		})
		limiters, rules = append(limiters, l), append(rules, l.Configure(config))
	}
	time.Sleep(5 * time.Second)
	return c, limiters, rules
}

// useUp asks each replica until it refuses, and tells how many each has let in.
func useUp(rules []*limit.Rules, s *limit.Subject) (in [3]int) {
	for i, r := range rules {
		for ask(r, s) {
			in[i]++
		}
	}
	return in
}

func sum(all [3]int) int { return all[0] + all[1] + all[2] }

// TestQuotaAway: while the backend is away, each replica has its part of what it knows to be left of a quota, of all where it knows
// nothing; neither time nor another outage gives it a new one.
func TestQuotaAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, rules := counted(t, v1.Limit{Per: []string{"principal"}, Quota: "900/month"})
		seen, unseen, idle := &limit.Subject{Principal: "seen"}, &limit.Subject{Principal: "unseen"}, &limit.Subject{Principal: "idle"}
		for range 300 {
			ask(rules[0], seen)
		}
		for _, r := range rules[1:] {
			ask(r, seen)
		}
		time.Sleep(3 * time.Minute) // nobody asks for long, and it is known all the same
		c.set(true, false)
		if in := useUp(rules, seen); sum(in) < 590 || sum(in) > 600 {
			t.Errorf("%v of 598 that are left", in)
		}
		for _, who := range []*limit.Subject{unseen, idle} {
			if in := useUp(rules, who); in != [3]int{300, 300, 300} {
				t.Errorf("%v of 900 for %s, want a third for each", in, who.Principal)
			}
		}
		time.Sleep(3 * time.Minute)
		if in := sum(useUp(rules, seen)) + sum(useUp(rules, unseen)); in != 0 {
			t.Errorf("%d more after three minutes", in)
		}
		c.forget()
		c.set(false, false)
		time.Sleep(3 * time.Second)
		if in := sum(useUp(rules, unseen)); in != 0 {
			t.Errorf("%d more when all is told", in)
		}
		c.set(true, false)
		if in := sum(useUp(rules, unseen)); in != 0 {
			t.Errorf("%d more in a second outage", in)
		}
		if in := sum(useUp(rules, idle)); in > 300 {
			t.Errorf("%d more in a second outage where nothing was asked before", in)
		}
	})
}

// TestQuotaOverrun: wherever a quota was used before, what is let in while the backend is away comes to no more than what each replica
// has left of it by what it has seen, divided by how many there are: all together no more than 2-1/n times the quota.
func TestQuotaOverrun(t *testing.T) {
	const quota = 900
	for used, want := range map[[3]int]int{
		{300, 0, 0}:     200 + 300 + 300, // which the page has
		{quota, 0, 0}:   0 + 300 + 300,
		{450, 450, 0}:   150 + 0 + 300, // the first has seen that half is left, the second that nothing is
		{1, 1, 898}:     300 + 300 + 0, // which is the most that it can be
		{300, 300, 300}: 200 + 100 + 0,
		{}:              quota,
	} {
		synctest.Test(t, func(t *testing.T) {
			c, _, rules := counted(t, v1.Limit{Quota: "900/day"})
			before := 0
			for i, n := range used {
				for range n {
					if ask(rules[i], &limit.Subject{}) {
						before++
					}
				}
				time.Sleep(2 * time.Second) // what is at hand and not needed is given back
			}
			c.set(true, false)
			in := sum(useUp(rules, &limit.Subject{}))
			time.Sleep(time.Hour)
			in += sum(useUp(rules, &limit.Subject{}))
			if in > want+quota/50 || in < want-quota/50 {
				t.Errorf("%v used before: %d more while it is away, want %d", used, in, want)
			}
			if before+in > 2*quota-quota/3 {
				t.Errorf("%v used before: %d of %d in all", used, before+in, quota)
			}
		})
	}
}

// TestRestartedAlone: a backend that has forgotten who is there makes nobody's part larger.
func TestRestartedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, limiters, rules := counted(t, v1.Limit{Per: []string{"principal"}, Quota: "900/month"})
		c.set(true, false)
		time.Sleep(10 * time.Second)
		c.forget()
		c.set(false, false)
		time.Sleep(100 * time.Millisecond)
		c.set(true, false)
		if in := useUp(rules, &limit.Subject{}); in != [3]int{300, 300, 300} {
			t.Errorf("%v of 900, want a third for each", in)
		}
		c.forget()
		c.set(false, false)
		limiters[0].Close()
		time.Sleep(20 * time.Second)
		if n, _, _ := limiters[1].Shared(); n != 2 {
			t.Errorf("%d replicas when one has left, want 2", n)
		}
	})
}

// TestHanging: a backend that hangs, without being known to be away, gives no new part each time it is asked, and is told once what
// was used when it goes on.
func TestHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _, rules := counted(t, v1.Limit{Name: "q", Methods: []string{"q"}, Quota: "900/month"},
			v1.Limit{Name: "r", Methods: []string{"r"}, Rate: "1/h", Burst: new(900)})
		c.set(false, true)
		for _, method := range []string{"q", "r"} {
			who, in := &limit.Subject{Method: method}, 0
			began := time.Now()
			for range 60 {
				in += sum(useUp(rules, who))
				time.Sleep(time.Second)
			}
			if in != 900 {
				t.Errorf("%s: %d of 900", method, in)
			}
			if waited := time.Since(began) - time.Minute; waited > time.Second {
				t.Errorf("%s: requests waited %v", method, waited)
			}
		}
		c.set(false, false)
		time.Sleep(3 * time.Second)
		if in := sum(useUp(rules, &limit.Subject{Method: "q"})); in != 0 {
			t.Errorf("%d more when all is told", in)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		least := 900.0
		for _, left := range c.left {
			least = min(least, left)
		}
		if least != 0 {
			t.Errorf("%v of the quota are left", least)
		}
	})
}
