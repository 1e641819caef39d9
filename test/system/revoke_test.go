package system_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// live is a caller with everything open that outlives a request.
type live struct {
	c             *testenv.Client // of a legacy session
	listen, hears *testenv.Ear
	old           *testenv.StreamClient
}

// revocable configures a server whose reader may read mem://a and mem://b and call everything.
func revocable(s *testenv.Server, h holder, role map[string]any) testenv.Config {
	c := testenv.One(s)
	auth := authOf(h)
	auth["revocation"] = "1s"
	c.More = map[string]any{"auth": auth, "policies": grants(map[string]any{"both": role})}
	return c
}

var readsBoth = map[string]any{"allow": []string{"*"}, "resources": []string{"mem://*"}}

// goLive opens a stream of each kind, with subscriptions to both resources.
func goLive(t *testing.T, g *testenv.Gateway, tell *testenv.Teller) *live {
	t.Helper()
	l := &live{c: g.LegacyOf("/mcp", testenv.LegacyVersion, keyOf("alice"))}
	modern := g.Modern("/servers/one/mcp")
	modern.Key = keyOf("alice")
	l.listen = modern.Listen(`1`, `{"toolsListChanged":true,"resourceSubscriptions":["mem://a","mem://b"]}`)
	l.listen.Await(acknowledged, 1)
	for _, uri := range []string{"mem://a", "mem://b"} {
		if r := l.c.Call("resources/subscribe", `"uri":"`+uri+`"`); string(r.Result()) != "{}" {
			t.Fatalf("%v", r)
		}
	}
	l.hears = l.c.Hear()
	l.old = g.Stream("/sse", keyOf("alice"))
	testenv.Eventually(t, "all streams to tell", func() bool {
		tell.Updated("mem://a", "")
		tell.Updated("mem://b", "")
		return heard(l.listen, "mem://a") && heard(l.listen, "mem://b") && heard(l.hears, "mem://a") && heard(l.hears, "mem://b")
	})
	return l
}

// heard tells whether an ear was told that a resource changed.
func heard(e *testenv.Ear, uri string) bool { return times(e, uri) > 0 }

func times(e *testenv.Ear, uri string) (n int) {
	for _, m := range e.Heard(updated) {
		if strings.Contains(string(m.Raw), `"`+uri+`"`) {
			n++
		}
	}
	return n
}

// TestLosingAGrant: clients hear that lists changed, and no more of what they may not read any longer; their streams go on.
func TestLosingAGrant(t *testing.T) {
	t.Parallel()
	tell := &testenv.Teller{}
	s := teller(t, kinds[0], tell)
	alice := ofGroup("alice", "both")
	g := testenv.Serve(t, revocable(s, alice, readsBoth))
	l := goLive(t, g, tell)
	g.Configure(revocable(s, alice, map[string]any{"allow": []string{"*"}, "resources": []string{"mem://b"}}))
	for name, ear := range map[string]*testenv.Ear{"listen": l.listen, "session": l.hears} {
		testenv.Eventually(t, "the news that lists changed, "+name, func() bool { return len(ear.Heard(toolsChanged)) > 0 })
	}
	a := [2]int{times(l.listen, "mem://a"), times(l.hears, "mem://a")}
	b := [2]int{times(l.listen, "mem://b"), times(l.hears, "mem://b")}
	testenv.Eventually(t, "updates of what may still be read", func() bool {
		tell.Updated("mem://a", "")
		tell.Updated("mem://a/part", "")
		tell.Updated("mem://b", "")
		return times(l.listen, "mem://b") > b[0]+1 && times(l.hears, "mem://b") > b[1]+1
	})
	if got := [2]int{times(l.listen, "mem://a"), times(l.hears, "mem://a")}; got != a {
		t.Errorf("updates of what may not be read: %v, before %v", got, a)
	}
	if code, text := l.c.Call("resources/subscribe", `"uri":"mem://a"`).Error(); code != -32602 || !strings.Contains(text, "unknown resource") {
		t.Errorf("subscribed to what may not be read: %d %s", code, text)
	}
	g.Configure(revocable(s, alice, readsBoth))
	testenv.Eventually(t, "updates of what may be read again", func() bool {
		tell.Updated("mem://a", "")
		return times(l.hears, "mem://a") > a[1]
	})
}

// TestLosingAGroup: streams of a caller whose groups changed end, which denies it nothing, and it sees what it may see now. One whose
// key is gone is nobody.
func TestLosingAGroup(t *testing.T) {
	t.Parallel()
	tell := &testenv.Teller{}
	s := teller(t, kinds[0], tell)
	g := testenv.Serve(t, revocable(s, ofGroup("alice", "both"), readsBoth))
	l := goLive(t, g, tell)
	if r := l.c.Tool("a", "{}"); r.Result() == nil {
		if r = l.c.Tool("one__a", "{}"); r.Result() == nil {
			t.Fatalf("%v", r)
		}
	}
	g.Configure(revocable(s, ofGroup("alice"), readsBoth))
	l.ended(t)
	if len(l.hears.Heard(toolsChanged)) == 0 || len(l.listen.Heard(toolsChanged)) == 0 {
		t.Error("the end of the streams did not tell that lists changed")
	}
	if r := l.c.Call("tools/list", ""); r.Status != 200 || len(r.Names("tools")) != 0 {
		t.Errorf("a session goes on with the rights of now: %v", r)
	}
	if code, _ := l.c.Tool("one__a", "{}").Error(); code != -32602 {
		t.Errorf("calls what it may not call any more: %d", code)
	}
	g.Configure(revocable(s, ofGroup("alice", "both"), readsBoth))
	testenv.Eventually(t, "the group again", func() bool { return len(l.c.Call("tools/list", "").Names("tools")) == 1 })
	l = goLive(t, g, tell)
	g.Configure(revocable(s, ofGroup("bob", "both"), readsBoth))
	l.ended(t)
	if r := l.c.Call("tools/list", ""); r.Status != http.StatusUnauthorized {
		t.Errorf("a key that is gone: %v", r)
	}
	g.Stop()
	ends := map[string]int{}
	all, _ := records(t, g.StateDir)
	for _, r := range all {
		if r.API.Operation == "stream/end" {
			ends[r.Actor.User.Name+" "+r.Request.URL.Path+" "+r.Outcome+" "+r.Action]++
		}
	}
	want := map[string]int{}
	for _, path := range []string{"/mcp", "/sse", "/servers/one/mcp"} {
		want["alice "+path+" canceled "], want["alice "+path+" unauthenticated Denied"] = 1, 1
	}
	if d := cmp.Diff(want, ends); d != "" {
		t.Errorf("ends of streams on record (-want +got):\n%s", d)
	}
}

func (l *live) ended(t *testing.T) {
	t.Helper()
	l.listen.Ended()
	l.hears.Ended()
	testenv.Eventually(t, "the end of the old stream", func() bool {
		select {
		case <-l.old.Ended:
			return true
		default:
			return false
		}
	})
}

// TestExpiry: the streams of a key end within auth.revocation of it, without anybody doing anything.
func TestExpiry(t *testing.T) {
	t.Parallel()
	tell := &testenv.Teller{}
	s := teller(t, kinds[0], tell)
	c := revocable(s, ofGroup("alice", "both"), readsBoth)
	key := c.More["auth"].(map[string]any)["apiKeys"].([]map[string]any)[0]
	until := time.Now().Add(8 * time.Second)
	key["expires"] = until.UTC().Format(time.RFC3339Nano)
	g := testenv.Serve(t, c)
	l := goLive(t, g, tell)
	watch := testenv.StartWatchAt(t, until)
	l.ended(t)
	if late := watch.Took(); late > 1500*time.Millisecond { // auth.revocation, and what a busy machine takes
		t.Errorf("ended %s after the key", late)
	}
	if r := l.c.Call("tools/list", ""); r.Status != http.StatusUnauthorized {
		t.Errorf("a key that expired: %v", r)
	}
}

// TestLosingATool: what waits on a tool that its caller may not call any more ends: parked calls, tasks and answers to them.
func TestLosingATool(t *testing.T) {
	t.Parallel()
	asks := testenv.HTTPServer(t, once(testenv.Legacy))
	alice := ofGroup("alice", "caller")
	with := func(tools ...string) testenv.Config {
		c := testenv.One(asks)
		c.More = map[string]any{"auth": authOf(alice), "policies": grants(map[string]any{"caller": map[string]any{"allow": tools}})}
		return c
	}
	g := testenv.Serve(t, with("*"))
	c := g.Modern("/mcp")
	c.Key, c.Capabilities = alice.key, testenv.AllCapabilities
	waits := park(t, c, "one__ask")
	testenv.Eventually(t, "the call to wait at its server", func() bool { return asks.Open() == 1 })
	g.Configure(with("one__echo"))
	testenv.Eventually(t, "the call to be cancelled at its server", func() bool { return asks.Open() == 0 })
	r, err := waits.answer(testenv.Within(t, testenv.Patience), c)
	if err != nil {
		t.Fatal(err)
	}
	if code, text := r.Error(); code != -32602 || !strings.Contains(text, "unknown tool") {
		t.Errorf("an answer to what may not be called any more: %v", r)
	}
	if r := c.Tool("one__echo", "{}"); r.Texts() != "done" {
		t.Errorf("what may still be called: %v", r)
	}
}

// TestLosingATask: the tasks of a tool that may not be called any more are unknown, and so are those of others.
func TestLosingATask(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := newTasker(t, k)
		alice := ofGroup("alice", "caller")
		with := func(tools ...string) testenv.Config {
			c := testenv.Config{Entries: map[string]any{"one": s.Entry()}}
			c.More = map[string]any{"auth": authOf(alice), "policies": grants(map[string]any{"caller": map[string]any{"allow": tools}})}
			return c
		}
		g := testenv.Serve(t, with("*"))
		c := speaks(g, era, "/mcp", alice)
		if refused := opens(c); refused != nil {
			t.Fatalf("%v", refused)
		}
		id := s.start(t, c)
		if r := taskCall(c, "tasks/get", `"taskId":`+id); r.Result() == nil {
			t.Fatalf("%v", r)
		}
		g.Configure(with("*__other"))
		testenv.Eventually(t, "the end of the grant", func() bool { return len(c.Call("tools/list", "").Names("tools")) == 0 })
		methods := []string{"tasks/get", "tasks/cancel"}
		if era == testenv.Legacy {
			methods = append(methods, "tasks/result")
		}
		for _, method := range methods {
			denied, unknown := taskCall(c, method, `"taskId":`+id), taskCall(c, method, `"taskId":"none"`)
			code, text := denied.Error()
			if none, nobody := unknown.Error(); code != none || text != nobody || denied.Status != unknown.Status || !strings.Contains(text, "unknown task") {
				t.Errorf("%s: %v, of a task that is not there %v", method, denied, unknown)
			}
		}
	})
}

// TestGainingByTenant: a client hears that lists changed when a server is for its tenant too from now on.
func TestGainingByTenant(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	of := func(tenants ...string) testenv.Config {
		return twoTenants(map[string]any{"one": s.Entry(map[string]any{"tenants": tenants}), "two": s.Entry()}, nil)
	}
	g := testenv.Serve(t, of("globex"))
	c := g.Modern("/mcp")
	c.Key = aliceKey
	testenv.Eventually(t, "a tool", func() bool { return len(c.Call("tools/list", "").Names("tools")) == 1 })
	ear := c.Listen("1", `{"toolsListChanged":true}`)
	ear.Await(acknowledged, 1)
	was := len(ear.Heard(toolsChanged))
	g.Configure(of("globex", "acme"))
	testenv.Eventually(t, "the news of the server", func() bool { return len(ear.Heard(toolsChanged)) > was })
}
