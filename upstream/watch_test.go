package upstream_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/upstream"
)

// watchable are the ways to servers of both eras that can be watched.
var watchable = map[string]struct {
	era   testenv.Era
	start starter
}{
	"modern http": {testenv.Modern, testenv.HTTPServer}, "modern stdio": {testenv.Modern, testenv.StdioServer},
	"legacy http": {testenv.Legacy, testenv.HTTPServer}, "legacy stdio": {testenv.Legacy, testenv.StdioServer},
	"legacy sse": {testenv.Legacy, testenv.StreamServer},
}

func eachWatchable(t *testing.T, tell func() *testenv.Teller, f func(*testing.T, *upstream.Server, *testenv.Server, *testenv.Teller)) {
	t.Helper()
	for name, way := range watchable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			teller := tell()
			s := way.start(t, teller.Telling(testenv.Script{Era: way.era}))
			srv := open(t, s)
			srv.SetLinger(50 * time.Millisecond)
			f(t, srv, s, teller)
		})
	}
}

// want wants a wish and waits for what the server grants of it.
func want(t *testing.T, srv *upstream.Server, wish upstream.Wish) upstream.Wish {
	t.Helper()
	return srv.Watched(testenv.Within(t, testenv.Patience), srv.Want(wish), wish)
}

// TestWatchFollowsWishes: what is wanted is watched, once for all who want it, and no longer than a while after nobody does.
func TestWatchFollowsWishes(t *testing.T) {
	t.Parallel()
	eachWatchable(t, func() *testenv.Teller { return &testenv.Teller{} }, func(t *testing.T, srv *upstream.Server, _ *testenv.Server, tell *testenv.Teller) {
		a, b := upstream.Wish{Lists: upstream.AllLists, URIs: []string{"m:a"}}, upstream.Wish{Lists: upstream.ListTools, URIs: []string{"m:a", "m:b"}}
		for _, wish := range []upstream.Wish{a, b} {
			if diff := cmp.Diff(wish, want(t, srv, wish)); diff != "" {
				t.Errorf("granted (-want +got):\n%s", diff)
			}
		}
		if _, uris := tell.Watched(); !slices.Equal(uris, []string{"m:a", "m:b"}) {
			t.Errorf("watched for %q", uris)
		}
		srv.Unwant(b)
		if got, known := srv.Watching(0, a); !known || len(got.URIs) != 1 {
			t.Errorf("after another left: %+v, %t", got, known)
		}
		srv.Unwant(a)
		testenv.Eventually(t, "no watch any more", func() bool {
			open, uris := tell.Watched()
			return open == 0 && len(uris) == 0
		})
		if diff := cmp.Diff(a, want(t, srv, a)); diff != "" {
			t.Errorf("wanted again (-want +got):\n%s", diff)
		}
	})
}

// TestWatchNarrows: a resource that nobody wants any more is not watched for ever, while another is.
func TestWatchNarrows(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"modern http", "legacy http", "legacy stdio", "legacy sse"} { // a modern child keeps its listens
		way := watchable[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tell := &testenv.Teller{}
			srv := open(t, way.start(t, tell.Telling(testenv.Script{Era: way.era})))
			srv.SetLinger(50 * time.Millisecond)
			keep, drop := upstream.Wish{URIs: []string{"m:keep"}}, upstream.Wish{URIs: []string{"m:drop"}}
			want(t, srv, keep)
			want(t, srv, drop)
			srv.Unwant(drop)
			testenv.Eventually(t, "one resource less", func() bool {
				_, uris := tell.Watched()
				return slices.Equal(uris, keep.URIs)
			})
			if got, _ := srv.Watching(0, keep); len(got.URIs) != 1 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestWatchBlame: what a server refuses spoils nothing for the others.
func TestWatchBlame(t *testing.T) {
	t.Parallel()
	bad := []string{"m:3", "m:11", "m:12"}
	eachWatchable(t, func() *testenv.Teller { return &testenv.Teller{Refuse: bad} }, func(t *testing.T, srv *upstream.Server, _ *testenv.Server, _ *testenv.Teller) {
		wish := upstream.Wish{Lists: upstream.AllLists}
		for i := range 20 {
			wish.URIs = append(wish.URIs, fmt.Sprintf("m:%d", i))
		}
		good := wish
		good.URIs = slices.DeleteFunc(slices.Clone(wish.URIs), func(u string) bool { return slices.Contains(bad, u) })
		if diff := cmp.Diff(good, want(t, srv, wish)); diff != "" {
			t.Errorf("granted (-want +got):\n%s", diff)
		}
		if got := want(t, srv, upstream.Wish{URIs: bad}); len(got.URIs) != 0 {
			t.Errorf("granted %q", got.URIs)
		}
	})
}

// TestUnwatchable: of a server that tells of nothing, nothing is granted, and nobody waits for it.
func TestUnwatchable(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]testenv.Script{
		"no listens":     {Era: testenv.Modern, Capabilities: testenv.TellingCapabilities},
		"declares none":  (&testenv.Teller{}).Telling(testenv.Script{Era: testenv.Modern, Capabilities: `{"tools":{},"resources":{}}`}),
		"no GET stream":  (&testenv.Teller{NoStream: true}).Telling(testenv.Script{Era: testenv.Legacy}),
		"legacy, silent": (&testenv.Teller{}).Telling(testenv.Script{Era: testenv.Legacy, Capabilities: `{"tools":{},"resources":{}}`}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := open(t, testenv.HTTPServer(t, script))
			for range 2 {
				began := time.Now()
				got := want(t, srv, upstream.Wish{Lists: upstream.AllLists, URIs: []string{"m:a"}})
				if got.Lists != 0 || len(got.URIs) != 0 || time.Since(began) > testenv.Patience/4 {
					t.Errorf("granted %+v after %s", got, time.Since(began))
				}
			}
		})
	}
}

// TestWatchWantedWhileLeft: what is wanted again while the server is still told that nobody wants it is watched.
func TestWatchWantedWhileLeft(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"legacy http", "legacy stdio", "legacy sse"} {
		way := watchable[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tell := &testenv.Teller{}
			script := tell.Telling(testenv.Script{Era: way.era})
			leaving, left, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
			leave := script.On["resources/unsubscribe"]
			script.On["resources/unsubscribe"] = func(c *testenv.Call) {
				close(leaving)
				<-left
				leave(c)
				close(done)
			}
			srv := open(t, way.start(t, script))
			srv.SetLinger(50 * time.Millisecond)
			wish := upstream.Wish{Lists: upstream.AllLists, URIs: []string{"m:a"}}
			want(t, srv, wish)
			srv.Unwant(wish)
			<-leaving
			ticket := srv.Want(wish)
			srv.Watched(testenv.Within(t, 200*time.Millisecond), ticket, wish) // in vain, or what was granted is then taken back
			close(left)
			<-done
			if diff := cmp.Diff(wish, srv.Watched(testenv.Within(t, testenv.Patience), ticket, wish)); diff != "" {
				t.Errorf("granted (-want +got):\n%s", diff)
			}
			if _, uris := tell.Watched(); !slices.Equal(uris, wish.URIs) {
				t.Errorf("watched for %q", uris)
			}
		})
	}
}

// TestWatchRefusedBefore: what a server refused is asked of it again when it is wanted anew, and remembered no longer than it is
// wanted.
func TestWatchRefusedBefore(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"modern http", "modern stdio"} {
		way := watchable[name]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tell := &testenv.Teller{}
			script := tell.Telling(testenv.Script{Era: way.era})
			var taken atomic.Bool
			listen := script.On["subscriptions/listen"]
			script.On["subscriptions/listen"] = func(c *testenv.Call) {
				if strings.Contains(c.Param("notifications"), "m:late") && !taken.Load() {
					c.Error(-32602, "not there yet")
					return
				}
				listen(c)
			}
			srv := open(t, way.start(t, script))
			srv.SetLinger(10 * time.Millisecond)
			keep, late := upstream.Wish{URIs: []string{"m:keep"}}, upstream.Wish{URIs: []string{"m:late"}}
			want(t, srv, keep)
			if got := want(t, srv, late); len(got.URIs) != 0 {
				t.Fatalf("granted %q", got.URIs)
			}
			taken.Store(true)
			srv.Unwant(late)
			testenv.Eventually(t, "granted when wanted again", func() bool {
				got := want(t, srv, late)
				if len(got.URIs) == 0 {
					srv.Unwant(late)
				}
				return len(got.URIs) == 1
			})
			if got, _ := srv.Watching(0, keep); len(got.URIs) != 1 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestWatchOfOneAfterTheOther: clients that go on from one resource to the next have the server watched for no more than some
// of those that nobody wants any more.
func TestWatchOfOneAfterTheOther(t *testing.T) {
	t.Parallel()
	eachWatchable(t, func() *testenv.Teller { return &testenv.Teller{} }, func(t *testing.T, srv *upstream.Server, _ *testenv.Server, tell *testenv.Teller) {
		srv.SetLinger(time.Hour)
		keep := upstream.Wish{URIs: []string{"m:keep"}}
		want(t, srv, keep)
		for i := range 3000 {
			next := upstream.Wish{URIs: []string{fmt.Sprintf("m:%d", i)}}
			if i%500 == 0 {
				want(t, srv, next)
			} else {
				srv.Want(next)
			}
			srv.Unwant(next)
		}
		testenv.Eventually(t, "few resources", func() bool {
			_, uris := tell.Watched()
			return len(uris) <= 1100 && slices.Contains(uris, "m:keep")
		})
	})
}
