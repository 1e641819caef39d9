package clustertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
)

func testFacts(t *testing.T, s *suite) {
	ctx, key, soon := within(t), fmt.Sprint("session ", time.Now().UnixNano()), time.Now().Add(time.Hour)
	put := func(field, value string, expires time.Time) {
		t.Helper()
		if err := s.a.Put(ctx, key, field, value, expires); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want ...string) {
		t.Helper()
		facts, err := s.b.Facts(ctx, key)
		got := make([]string, 0, len(facts))
		for field, value := range facts {
			got = append(got, field+"="+value)
		}
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	check()
	put("level", "debug", soon)
	put("uri\x00 é", strings.Repeat("v", 3), soon)
	check("level=debug", "uri\x00 é=vvv")
	put("level", "", soon)
	check("level=", "uri\x00 é=vvv")
	if err := s.b.Drop(ctx, key, "level"); err != nil {
		t.Fatal(err)
	}
	check("uri\x00 é=vvv")
	put("uri\x00 é", "gone", time.Now().Add(-time.Second))
	check()
	put("brief", "1", time.Now().Add(50*time.Millisecond))
	put("long", "1", soon)
	Eventually(t, "a field expires", func() bool { f, err := s.b.Facts(ctx, key); return err == nil && len(f) == 1 && f["long"] == "1" })
	put("brief", "2", time.Now().Add(time.Minute)) // does not shorten the other's time
	check("brief=2", "long=1")
	if err := s.b.Drop(ctx, key+" never", "x"); err != nil {
		t.Error(err)
	}
}

func testFactsBounded(t *testing.T, s *suite) {
	ctx, key, soon := within(t), fmt.Sprint("full ", time.Now().UnixNano()), time.Now().Add(time.Minute)
	for i := range cluster.MaxFields {
		if err := s.a.Put(ctx, key, fmt.Sprint(i), "v", soon); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.a.Put(ctx, key, "one more", "v", soon); !errors.Is(err, cluster.ErrFull) || errs.Of(err).Kind != errs.Overloaded {
		t.Errorf("one field more: %v", err)
	}
	if err := s.a.Put(ctx, key, "0", "changed", soon); err != nil {
		t.Errorf("a field that is there: %v", err)
	}
	for name, err := range map[string]error{
		"value": s.a.Put(ctx, key+"2", "f", strings.Repeat("v", cluster.MaxValue+1), soon),
		"key":   s.a.Put(ctx, strings.Repeat("v", 5000), "f", "", soon),
		"field": s.a.Put(ctx, key+"2", strings.Repeat("v", 5000), "", soon),
	} {
		if err == nil || errs.Of(err).Kind != errs.TooLarge {
			t.Errorf("a large %s: %v", name, err)
		}
	}
}

func testLeases(t *testing.T, s *suite) {
	ctx, name := within(t), fmt.Sprint("lease ", time.Now().UnixNano())
	first, err := s.a.Acquire(ctx, name, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*cluster.Node{s.a, s.b} {
		if _, err := n.Acquire(ctx, name, time.Minute); !errors.Is(err, cluster.ErrHeld) {
			t.Errorf("a second one: %v", err)
		}
	}
	if err := first.Renew(ctx); err != nil {
		t.Error(err)
	}
	if holder, err := s.b.Holder(ctx, name); err != nil || holder != s.a.ID() {
		t.Errorf("held by %q, %v", holder, err)
	}
	if err := first.Release(ctx); err != nil {
		t.Error(err)
	}
	if holder, err := s.b.Holder(ctx, name); err != nil || holder != "" {
		t.Errorf("after release held by %q, %v", holder, err)
	}
	brief, err := s.b.Acquire(ctx, name, 50*time.Millisecond)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	var next *cluster.Lease
	Eventually(t, "the lease expires", func() bool { next, err = s.a.Acquire(ctx, name, time.Minute); return err == nil })
	if err := brief.Release(ctx); err != nil {
		t.Error(err)
	}
	if err := brief.Renew(ctx); !errors.Is(err, cluster.ErrHeld) {
		t.Errorf("a lost lease was renewed: %v", err)
	}
	if err := next.Renew(ctx); err != nil {
		t.Errorf("the owner of a lost lease released that of the next: %v", err)
	}
}

func testHold(t *testing.T, s *suite) {
	name := fmt.Sprint("hold ", time.Now().UnixNano())
	var inside atomic.Int64
	began := make(chan string, 4)
	hold := func(n *cluster.Node) (cancel func(), ended chan error) {
		ctx, stop := context.WithCancel(within(t))
		ended = make(chan error, 1)
		go func() {
			ended <- n.Hold(ctx, name, func(ctx context.Context) {
				if inside.Add(1) > 1 {
					t.Error("two hold it")
				}
				began <- n.ID()
				<-ctx.Done()
				inside.Add(-1)
			})
		}()
		return stop, ended
	}
	stopA, endedA := hold(s.a)
	await(t, "the first holds it", began, patience)
	stopB, endedB := hold(s.b)
	stopA()
	if err := await(t, "the first ends", endedA, patience); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if id := await(t, "the second holds it", began, patience); id != s.b.ID() {
		t.Errorf("%s holds it", id)
	}
	stopB()
	if err := await(t, "the second ends", endedB, patience); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := s.a.Hold(within(t), name, func(context.Context) {}); err != nil {
		t.Errorf("one that returns by itself: %v", err)
	}
}
